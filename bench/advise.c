/* SPDX-License-Identifier: BSD-3-Clause */
#include "advise.h"

#include <stdio.h>

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define HALF_TOUCHED 0.5   /* of memory: the rest will be wanted, too */
#define FAULTS_SHARE 0.01  /* of a core's time */
#define REACH (8 * MIB)	   /* of about 2,000 translations of 4 KiB */
#define REACH_2M (3 * GIB) /* of about 1,500 of 2 MiB */
#define HUGE_PAYS 1.05
#define UPDATES_MATTER 10.0 /* a second */

static double mib(uint64_t bytes)
{
	return (double)bytes / MIB;
}

/* How much of a core's time went into first touches, over the time that it was watched. */
static double share(const struct bench_advise_facts *f)
{
	return f->seconds > 0 ? (double)f->touched_bytes / 4096 * f->touch_ns / 1e9 / f->seconds : 0;
}

static void choose_populate(const struct bench_advise_facts *f, struct bench_advice *a)
{
	double touched = f->memory_bytes ? (double)f->touched_bytes / (double)f->memory_bytes : 0;

	a->populate = touched >= HALF_TOUCHED || share(f) >= FAULTS_SHARE;
	if (a->populate)
		snprintf(a->why[0], sizeof(a->why[0]),
			"populate: on, since it touched %.0f of %.0f MiB in %.1f s, which on demand takes "
			"%.1f %% of a core's time here (%.0f ns more per page)",
			mib(f->touched_bytes), mib(f->memory_bytes), f->seconds, 100 * share(f),
			f->touch_ns);
	else
		snprintf(a->why[0], sizeof(a->why[0]),
			"populate: off, since it touched only %.0f of %.0f MiB in %.1f s, which on demand "
			"takes %.2f %% of a core's time; the rest stays with the host",
			mib(f->touched_bytes), mib(f->memory_bytes), f->seconds, 100 * share(f));
}

static void choose_stage2(const struct bench_advise_facts *f, struct bench_advice *a)
{
	a->stage2 = a->populate ? SV_STAGE2_RUNNING : SV_STAGE2_DEMAND;
	if (!a->populate)
		snprintf(a->why[1], sizeof(a->why[1]),
			"stage2: demand, as memory is not populated (%.0f faults a second were seen)",
			f->faults_per_s);
	else
		snprintf(a->why[1], sizeof(a->why[1]), "stage2: running, %s",
			f->pre_fault ? "so that KVM's tables are filled beside the guest and it takes "
				       "none of these faults"
				     : "though this KVM cannot map memory for a guest: pages are made "
				       "beforehand, and its own faults map them");
}

static void choose_backing(const struct bench_advise_facts *f, struct bench_advice *a)
{
	uint64_t span = f->written_bytes > f->touched_bytes ? f->written_bytes : f->touched_bytes;
	bool pays = f->small_over_huge >= HUGE_PAYS;

	if (span <= REACH || !pays || !a->populate) {
		a->backing = SV_BACKING_4K;
		snprintf(a->why[2], sizeof(a->why[2]),
			"backing: 4k, since %s (%.0f MiB in use, %.1f MiB written in 0.2 s; random reads "
			"through small pages take %.2f times as long as through huge ones)",
			span <= REACH ? "the processor remembers the translations of so little memory"
			: !pays	      ? "huge pages bring nothing on this machine"
				      : "huge pages would hold more memory than it uses",
			mib(span), mib(f->written_bytes), f->small_over_huge);
		return;
	}
	a->backing = SV_BACKING_THP;
	if (f->free_2m * 2 * MIB >= f->memory_bytes && f->memory_bytes % (2 * MIB) == 0)
		a->backing = SV_BACKING_2M;
	if (span > REACH_2M && f->memory_bytes % GIB == 0 && f->free_1g * GIB >= f->memory_bytes)
		a->backing = SV_BACKING_1G;
	snprintf(a->why[2], sizeof(a->why[2]),
		"backing: %s, since it uses %.0f MiB (%.1f MiB written in 0.2 s), more than the "
		"translations that a processor remembers cover in small pages, through which random "
		"reads take %.2f times as long as through huge ones%s",
		a->backing == SV_BACKING_1G   ? "1g"
		: a->backing == SV_BACKING_2M ? "2m"
					      : "thp",
		mib(span), mib(f->written_bytes), f->small_over_huge,
		a->backing == SV_BACKING_THP ? "; not enough huge pages are reserved, the kernel makes them"
					     : "; enough are reserved");
}

static void choose_tables(const struct bench_advise_facts *f, struct bench_advice *a)
{
	a->direct_paging = f->lightweight && f->updates_per_s >= UPDATES_MATTER;
	if (!f->lightweight)
		snprintf(a->why[3], sizeof(a->why[3]),
			"direct_paging: off, since the guest's kernel keeps its page tables itself");
	else if (a->direct_paging)
		snprintf(a->why[3], sizeof(a->why[3]),
			"direct_paging: on, since it changes its page tables: %.0f requests a second went "
			"to the sidecore, each in place of an exit",
			f->updates_per_s);
	else
		snprintf(a->why[3], sizeof(a->why[3]),
			"direct_paging: off, since its page tables hardly change (%.1f requests a second)",
			f->updates_per_s);
}

void bench_advise(const struct bench_advise_facts *f, struct bench_advice *a)
{
	choose_populate(f, a);
	choose_stage2(f, a);
	choose_backing(f, a);
	choose_tables(f, a);
}
