/* SPDX-License-Identifier: BSD-3-Clause */
#include "acpi_find.h"

#include <criterion/criterion.h>
#include <string.h>

#include "acpi.h"
#include "layout.h"

uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

const uint8_t *acpi_table_at(const struct by_hand *m, uint64_t gpa)
{
	const uint8_t *p = sv_vm_ptr(&m->vm, gpa, 36);

	cr_assert(p && sv_vm_ptr(&m->vm, gpa, get32(p + 4)));
	cr_assert_eq(sum(p, get32(p + 4)), 0, "checksum of %.4s", (const char *)p);
	return p;
}

const uint8_t *acpi_build(struct by_hand *m)
{
	struct sv_error err;
	uint64_t rsdp = 0;
	const uint8_t *r;

	cr_assert_eq(sv_acpi_build(&m->vm, &rsdp, &err), 0, "%s", err.text);
	cr_assert(rsdp >= LAYOUT_BIOS && rsdp % 16 == 0);
	r = sv_vm_ptr(&m->vm, rsdp, 36);
	cr_assert(!memcmp(r, "RSD PTR ", 8));
	cr_assert_eq(sum(r, 20), 0);
	cr_assert_eq(sum(r, 36), 0);
	return r;
}

const uint8_t *acpi_find(const struct by_hand *m, const uint8_t *rsdp, const char *signature)
{
	const uint8_t *xsdt = acpi_table_at(m, get64(rsdp + 24));
	unsigned n = (get32(xsdt + 4) - 36) / 8;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *t = acpi_table_at(m, get64(xsdt + 36 + 8 * i));

		if (!memcmp(t, signature, 4))
			return t;
		if (!memcmp(signature, "DSDT", 4) && !memcmp(t, "FACP", 4))
			return acpi_table_at(m, get64(t + 140));
	}
	return NULL;
}
