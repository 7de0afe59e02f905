/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <string.h>

#include "acpi.h"
#include "layout.h"
#include "machine_by_hand.h"

static unsigned get(const uint8_t *p, unsigned n)
{
	unsigned v = 0;

	memcpy(&v, p, n);
	return v;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* The table, found as a kernel finds it: checksums right, within what the firmware keeps. */
static const uint8_t *build(struct by_hand *m)
{
	struct sv_error err;
	const uint8_t *f, *t;
	uint64_t rsdp;

	cr_assert_eq(sv_acpi_build(&m->vm, &rsdp, &err), 0, "%s", err.text);
	cr_assert_eq(get(sv_vm_ptr(&m->vm, 0x40e, 2), 2) << 4, LAYOUT_EBDA);
	f = sv_vm_ptr(&m->vm, LAYOUT_MPTABLE, 16);
	cr_assert(!memcmp(f, "_MP_", 4) && f[8] == 1 && f[9] == 4);
	cr_assert_eq(sum(f, 16), 0);
	t = sv_vm_ptr(&m->vm, get(f + 4, 4), 44);
	cr_assert(t && !memcmp(t, "PCMP", 4));
	cr_assert_eq(sum(t, get(t + 4, 2)), 0);
	cr_assert(get(f + 4, 4) + get(t + 4, 2) <= 0xa0000 || get(f + 4, 4) >= LAYOUT_BIOS);
	cr_assert(get(f + 4, 4) + get(t + 4, 2) <= LAYOUT_HIMEM);
	cr_assert_eq(get(t + 36, 4), LAYOUT_LAPIC);
	return t;
}

/* Entries of @type; walks the whole table. */
static unsigned count(const uint8_t *t, uint8_t type)
{
	static const unsigned size[] = {20, 8, 8, 8, 8};
	unsigned entries = get(t + 34, 2), at = 44, n = 0;

	while (entries--) {
		cr_assert_leq(t[at], 4);
		n += t[at] == type;
		at += size[t[at]];
	}
	cr_assert_eq(at, get(t + 4, 2));
	return n;
}

Test(mptable, names_processors_buses_and_the_io_apic)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 4);
	const uint8_t *t = build(m);

	cr_assert_eq(count(t, 0), 4);
	cr_assert_eq(count(t, 1), 2);
	cr_assert_eq(count(t, 2), 1);
	cr_assert_eq(count(t, 3), 15);
	cr_assert_eq(count(t, 4), 2);
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *p = t + 44 + 20 * i;

		cr_assert_eq(p[1], sv_apic_id(&m->config.topology, i));
		cr_assert_eq(p[3], i == 0 ? 3 : 1);
	}
	by_hand_free(m);
}

Test(mptable, io_apic_has_a_number_of_its_own)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 6);
	const uint8_t *t = build(m), *p = t + 44 + 6 * 20 + 2 * 8;

	cr_assert(p[0] == 2 && p[1] == 6);
	cr_assert_eq(get(p + 4, 4), LAYOUT_IOAPIC);
	by_hand_free(m);
}

Test(mptable, many_processors_go_to_the_bios_area)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 255);
	const uint8_t *t = build(m);

	cr_assert_eq(count(t, 0), 255);
	cr_assert(t >= (const uint8_t *)sv_vm_ptr(&m->vm, LAYOUT_BIOS, 1));
	by_hand_free(m);
}

Test(mptable, processors_beyond_255_are_left_out)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);

	by_hand_topology(m, 2, 1, 256, 2, 1);
	cr_assert_eq(count(build(m), 0), 255);
	by_hand_free(m);
}
