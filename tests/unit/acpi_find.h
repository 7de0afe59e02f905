/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding ACPI tables in guest memory as a guest does, checksums checked. */
#ifndef TESTS_ACPI_FIND_H
#define TESTS_ACPI_FIND_H

#include "machine_by_hand.h"

uint32_t get32(const uint8_t *p);
uint64_t get64(const uint8_t *p);

/* Build the tables of @m. Return: the RSDP. */
const uint8_t *acpi_build(struct by_hand *m);
/* The table at a guest address. */
const uint8_t *acpi_table_at(const struct by_hand *m, uint64_t gpa);
/* The table of that signature, NULL when there is none. */
const uint8_t *acpi_find(const struct by_hand *m, const uint8_t *rsdp, const char *signature);

#endif
