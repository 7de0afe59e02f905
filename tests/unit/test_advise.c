/* SPDX-License-Identifier: BSD-3-Clause */
/* Which paging follows from which measurement, and what is said of it. */
#include <criterion/criterion.h>

#include <string.h>

#include "advise.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

/* A guest that goes over most of its memory at once, on a machine where all of it matters. */
static struct bench_advise_facts array(void)
{
	return (struct bench_advise_facts){.seconds = 3,
		.memory_bytes = 8 * GIB,
		.touched_bytes = 7 * GIB,
		.faults_per_s = 600000,
		.written_bytes = 900 * MIB,
		.touch_ns = 2000,
		.small_over_huge = 1.4,
		.pre_fault = true};
}

static struct bench_advice advise(struct bench_advise_facts f)
{
	struct bench_advice a;

	bench_advise(&f, &a);
	for (unsigned i = 0; i < BENCH_ADVISE_WHYS; i++)
		cr_expect(strlen(a.why[i]) > 20 && strlen(a.why[i]) < sizeof(a.why[i]) - 1);
	return a;
}

Test(advise, a_guest_that_uses_all_of_its_memory_gets_it_beforehand_and_in_huge_pages)
{
	struct bench_advise_facts f = array();
	struct bench_advice a = advise(f);

	cr_expect(a.populate && a.stage2 == SV_STAGE2_RUNNING && a.backing == SV_BACKING_THP);
	cr_expect(!a.direct_paging);
	f.free_2m = 4096;
	cr_expect_eq(advise(f).backing, SV_BACKING_2M);
	f.free_1g = 8;
	cr_expect_eq(advise(f).backing, SV_BACKING_1G);
	f.touched_bytes = f.written_bytes = 2 * GIB;
	cr_expect_eq(advise(f).backing, SV_BACKING_2M, "2 MiB pages reach that far");
}

Test(advise, a_guest_that_changes_its_tables_has_them_on_the_sidecore_and_its_memory_when_it_comes_to_it)
{
	struct bench_advise_facts f = array();
	struct bench_advice a;

	f.touched_bytes = MIB;
	f.written_bytes = MIB / 4;
	f.lightweight = true;
	f.updates_per_s = 50000;
	a = advise(f);
	cr_expect(!a.populate && a.stage2 == SV_STAGE2_DEMAND && a.backing == SV_BACKING_4K);
	cr_expect(a.direct_paging && strstr(a.why[3], "50000 requests a second"));
	f.lightweight = false;
	cr_expect(!advise(f).direct_paging);
}

Test(advise, few_pages_that_cost_much_are_made_beforehand_too)
{
	struct bench_advise_facts f = array();

	f.touched_bytes = 100 * MIB;
	f.touch_ns = 20000;
	cr_expect(advise(f).populate);
	f.touch_ns = 200;
	cr_expect(!advise(f).populate);
	cr_expect_eq(advise(f).backing, SV_BACKING_4K);
}

Test(advise, small_pages_stay_where_huge_ones_bring_nothing)
{
	struct bench_advise_facts f = array();

	f.small_over_huge = 1.01;
	cr_expect_eq(advise(f).backing, SV_BACKING_4K);
	f.small_over_huge = 0;
	cr_expect_eq(advise(f).backing, SV_BACKING_4K, "not measured");
}

Test(advise, a_kvm_that_cannot_map_for_the_guest_is_said)
{
	struct bench_advise_facts f = array();

	f.pre_fault = false;
	cr_expect(strstr(advise(f).why[1], "cannot map memory for a guest"));
}
