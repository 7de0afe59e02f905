/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files that make the firmware tables. */
#ifndef CORE_VMM_ACPI_TABLES_H
#define CORE_VMM_ACPI_TABLES_H

#include <stddef.h>

#include "acpi.h"
#include "layout.h"

/* A piece of guest memory that tables are appended to. */
struct sv_table_area {
	uint8_t *base;
	uint64_t gpa;
	size_t used, capacity;
	bool full; /* something did not fit and is missing */
};

/* Append bytes; NULL (and full) when they do not fit. */
void *sv_table_put(struct sv_table_area *a, const void *bytes, size_t n);
/* Begin an ACPI table on the next 16 bytes: its header. Return: where it lies. */
uint64_t sv_table_begin(struct sv_table_area *a, const char signature[4], uint8_t revision);
/* Fill in length and checksum of the table that began at @gpa. */
void sv_table_end(struct sv_table_area *a, uint64_t gpa);
/* What makes n bytes add up to zero. */
uint8_t sv_table_checksum(const void *bytes, size_t n);

/* The body of the DSDT. */
void sv_acpi_dsdt(struct sv_table_area *a, const struct sv_vm *vm);

/* HMAT: what the memory of each node does for its own CPUs. */
bool sv_acpi_has_hmat(const struct sv_vm *vm);
uint64_t sv_acpi_hmat(struct sv_table_area *a, const struct sv_vm *vm);

/* Number of the I/O APIC, none of the vCPUs'. */
uint8_t sv_ioapic_id(const struct sv_vm *vm);

/* The MP table (specification 1.4): pointer at LAYOUT_MPTABLE, table behind it or in @a. */
int sv_mptable_build(struct sv_vm *vm, struct sv_table_area *a, struct sv_error *err);

/* SMBIOS 3.0: what the machine calls itself, at LAYOUT_SMBIOS. */
int sv_smbios_build(struct sv_vm *vm, struct sv_error *err);

#define ACPI_HEADER_BYTES 36u

#endif
