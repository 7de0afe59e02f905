/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Builders for the few AML terms that our DSDT needs. Scopes nest: every aml_*_open() returns what
 * its aml_close() takes.
 */
#ifndef CORE_VMM_AML_H
#define CORE_VMM_AML_H

#include "acpi_tables.h"

typedef size_t aml_mark;

aml_mark aml_scope_open(struct sv_table_area *a, const char *path);
aml_mark aml_device_open(struct sv_table_area *a, const char name[4]);
aml_mark aml_method_open(struct sv_table_area *a, const char name[4], unsigned args);
aml_mark aml_package_open(struct sv_table_area *a, uint8_t elements);
void aml_close(struct sv_table_area *a, aml_mark m);

/* Name (@name, …): the value follows. */
void aml_name(struct sv_table_area *a, const char name[4]);
void aml_integer(struct sv_table_area *a, uint64_t v);
void aml_string(struct sv_table_area *a, const char *s);
/* An EISA id such as "PNP0501". */
void aml_eisa(struct sv_table_area *a, const char *id);
void aml_buffer(struct sv_table_area *a, const void *bytes, size_t n);

/* Inside methods, which are serialized. */
#define AML_ARG(n) (0x68 + (n))
#define AML_AND 0x7b
#define AML_OR 0x7d
aml_mark aml_if_open(struct sv_table_area *a); /* the condition follows */
aml_mark aml_else_open(struct sv_table_area *a);
/* Is @object equal to what follows? */
void aml_equal(struct sv_table_area *a, uint8_t object);
/* CreateDWordField (@object, @offset, @name) */
void aml_dword_field(struct sv_table_area *a, uint8_t object, uint8_t offset, const char name[4]);
/* @name = @name @op @value */
void aml_update(struct sv_table_area *a, uint8_t op, const char name[4], uint8_t value);
void aml_return(struct sv_table_area *a, uint8_t object);

/* A resource template: a buffer of descriptors, between open and close. */
struct aml_resources {
	uint8_t bytes[256];
	size_t n;
};
void aml_io(struct aml_resources *r, uint16_t port, uint8_t len);
void aml_irq(struct aml_resources *r, unsigned irq); /* edge, active high, exclusive */
void aml_memory32(struct aml_resources *r, uint32_t base, uint32_t len);
void aml_bus_window(struct aml_resources *r, uint16_t first, uint16_t last);
void aml_io_window(struct aml_resources *r, uint16_t first, uint16_t last);
void aml_memory_window(struct aml_resources *r, uint64_t first, uint64_t last);
/* Name (_CRS, ResourceTemplate () {…}) */
void aml_crs(struct sv_table_area *a, struct aml_resources *r);

#endif
