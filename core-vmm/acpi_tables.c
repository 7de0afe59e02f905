/* SPDX-License-Identifier: BSD-3-Clause */
/* Appending tables to the BIOS area. */
#include "acpi_tables.h"

#include <string.h>

void *sv_table_put(struct sv_table_area *a, const void *bytes, size_t n)
{
	uint8_t *p = a->base + a->used;

	if (a->full || n > a->capacity - a->used) {
		a->full = true;
		return NULL;
	}
	memcpy(p, bytes, n);
	a->used += n;
	return p;
}

uint8_t sv_table_checksum(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

uint64_t sv_table_begin(struct sv_table_area *a, const char signature[4], uint8_t revision)
{
	uint8_t header[ACPI_HEADER_BYTES] = {0};
	size_t at = (a->used + 15) & ~(size_t)15;

	if (at > a->capacity)
		a->full = true;
	else
		a->used = at;
	at = a->used;
	memcpy(header, signature, 4);
	header[8] = revision;
	memcpy(header + 10, "SIDEVMSIDEVISR", 14);
	header[24] = 1;
	memcpy(header + 28, "SDVR", 4);
	header[32] = 1;
	sv_table_put(a, header, sizeof(header));
	return a->gpa + at;
}

void sv_table_end(struct sv_table_area *a, uint64_t gpa)
{
	uint8_t *p = a->base + (gpa - a->gpa);
	uint32_t n = (uint32_t)(a->used - (gpa - a->gpa));

	if (a->full)
		return;
	memcpy(p + 4, &n, sizeof(n));
	p[9] = sv_table_checksum(p, n);
}
