/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "bus.h"

static uint64_t last_off, last_value;
static unsigned last_len;

static void dev_read(void *dev, uint64_t off, void *data, unsigned len)
{
	last_off = off;
	memset(data, *(int *)dev, len);
}

static void dev_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	(void)dev;
	last_off = off;
	last_len = len;
	last_value = 0;
	memcpy(&last_value, data, len);
}

static const struct sv_bus_ops ops = {dev_read, dev_write};
static int a = 0xa, b = 0xb;

static struct sv_bus two_devices(void)
{
	struct sv_bus bus = {0};

	cr_assert_eq(sv_bus_add(&bus, 0x200, 0x10, &ops, &b), 0);
	cr_assert_eq(sv_bus_add(&bus, 0x100, 0x10, &ops, &a), 0);
	return bus;
}

Test(bus, access_reaches_the_device_that_claims_it)
{
	struct sv_bus bus = two_devices();
	uint32_t v = 0;

	cr_assert(sv_bus_access(&bus, 0x104, &v, 4, false));
	cr_assert_eq(v, 0x0a0a0a0a);
	cr_assert_eq(last_off, 4);
	v = 0x12345678;
	cr_assert(sv_bus_access(&bus, 0x20e, &v, 2, true));
	cr_assert_eq(last_off, 0xe);
	cr_assert_eq(last_value, 0x5678);
	cr_assert_eq(last_len, 2);
}

Test(bus, unassigned_access_reads_ones_and_is_counted)
{
	struct sv_bus bus = two_devices();
	uint64_t v = 0;

	cr_assert_not(sv_bus_access(&bus, 0x110, &v, 8, false));
	cr_assert_eq(v, UINT64_MAX);
	cr_assert_not(sv_bus_access(&bus, 0, &v, 1, true));
	cr_assert_not(sv_bus_access(&bus, UINT64_MAX, &v, 1, true));
	cr_assert_eq(bus.unassigned, 3);
}

Test(bus, access_past_the_end_of_a_range_is_unassigned)
{
	struct sv_bus bus = two_devices();
	uint64_t v = 0;

	cr_assert_not(sv_bus_access(&bus, 0x10c, &v, 8, false));
	cr_assert_not(sv_bus_access(&bus, 0x10f, &v, 2, true));
	cr_assert(sv_bus_access(&bus, 0x10f, &v, 1, true));
}

Test(bus, overlapping_ranges_are_refused)
{
	struct sv_bus bus = two_devices();

	cr_assert_eq(sv_bus_add(&bus, 0x10f, 1, &ops, &a), -EEXIST);
	cr_assert_eq(sv_bus_add(&bus, 0xf0, 0x11, &ops, &a), -EEXIST);
	cr_assert_eq(sv_bus_add(&bus, 0x100, 0x10, &ops, &a), -EEXIST);
	cr_assert_eq(sv_bus_add(&bus, 0x110, 0xf0, &ops, &a), 0);
	cr_assert_eq(sv_bus_add(&bus, UINT64_MAX, 2, &ops, &a), -EINVAL);
	cr_assert_eq(sv_bus_add(&bus, 0x300, 0, &ops, &a), -EINVAL);
}

Test(bus, full_table_is_refused)
{
	struct sv_bus bus = {0};

	for (unsigned i = 0; i < SV_BUS_RANGES; i++)
		cr_assert_eq(sv_bus_add(&bus, i * 16, 16, &ops, &a), 0);
	cr_assert_eq(sv_bus_add(&bus, 0x10000, 16, &ops, &a), -ENOSPC);
}
