/* SPDX-License-Identifier: BSD-3-Clause */
/* The scheduler against a model of guests and a store, on a virtual clock. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "qos_sim.h"

static double ratio(uint64_t a, uint64_t b)
{
	return (double)a / (double)b;
}

#define EXPECT_NEAR(got, wanted, within, what) \
	cr_expect((got) > (wanted) * (1 - (within)) && (got) < (wanted) * (1 + (within)), \
		"%s: %g, not within %g %% of %g", what, (double)(got), (within) * 100, (double)(wanted))

/* --- shares ---------------------------------------------------------------------------------- */

/* Eight devices with weights 1 to 8 times a hundred, all with more to do than they get. */
static void shares_by_weight(struct sim *s)
{
	static const char *const weight[8] = {"weight=100", "weight=200", "weight=300", "weight=400",
		"weight=500", "weight=600", "weight=700", "weight=800"};
	uint64_t all = 0;

	for (unsigned i = 0; i < 8; i++)
		sim_add(s, i ? 64 : 256, 4096, weight[i]);
	sim_run(s, SECOND / 2);
	sim_mark(s);
	sim_run(s, 2 * SECOND);
	for (unsigned i = 0; i < 8; i++)
		all += s->flow[i].moved;
	for (unsigned i = 0; i < 8; i++)
		EXPECT_NEAR(ratio(s->flow[i].moved, all), (i + 1) / 36.0, 0.05, weight[i]);
	sim_free(s);
}

Test(qos, shares_of_a_store_follow_the_weights)
{
	shares_by_weight(sim_new(8, 100000));
}

Test(qos, shares_of_the_sidecore_s_time_follow_the_weights)
{
	struct sim *s = sim_new(1, 2000);

	s->inline_store = true;
	shares_by_weight(s);
}

/* Bytes count, not requests: 4 KiB against 128 KiB. */
Test(qos, shares_are_of_bytes)
{
	struct sim *s = sim_new(4, 20000);
	struct sim_flow *small = sim_add(s, 256, 4096, NULL), *large = sim_add(s, 32, 128 << 10, NULL);

	s->ns_per_kib = 1000;
	sim_run(s, 4 * SECOND);
	EXPECT_NEAR(ratio(small->moved, large->moved), 1.0, 0.05, "small against large");
	sim_free(s);
}

/* What the others do not want is there for who does. */
Test(qos, nothing_is_kept_for_the_idle)
{
	struct sim *s = sim_new(4, 100000);
	struct sim_flow *a = sim_add(s, 64, 4096, "weight=1"), *b = sim_add(s, 64, 4096, "weight=10000");

	b->off = true;
	sim_run(s, SECOND / 4);
	sim_mark(s);
	sim_run(s, SECOND);
	EXPECT_NEAR((double)a->ops, 40000.0, 0.05, "all of the store");
	b->off = false;
	sim_run(s, SECOND);
	cr_expect_gt(b->ops, 30000, "%llu", (unsigned long long)b->ops);
	sim_free(s);
}

/* An hour alone is no debt afterwards, and an hour of silence no credit. */
Test(qos, the_past_is_forgotten)
{
	struct sim *s = sim_new(4, 100000);
	struct sim_flow *a = sim_add(s, 64, 4096, NULL), *b = sim_add(s, 64, 4096, NULL);

	b->off = true;
	sim_run(s, 5 * SECOND);
	b->off = false;
	sim_run(s, SECOND / 100);
	sim_mark(s);
	sim_run(s, SECOND / 10);
	EXPECT_NEAR(ratio(a->ops, b->ops), 1.0, 0.1, "right after the pause");
	sim_free(s);
}

/* --- priority, minimum, maximum -------------------------------------------------------------- */

Test(qos, a_priority_is_strict)
{
	struct sim *s = sim_new(4, 100000);
	struct sim_flow *low = sim_add(s, 256, 4096, "weight=10000"),
			*high = sim_add(s, 64, 4096, "weight=1 priority=3");

	sim_run(s, SECOND / 4);
	sim_mark(s);
	sim_run(s, SECOND);
	cr_expect_leq(low->ops * 20, high->ops, "low %llu, high %llu", (unsigned long long)low->ops,
		(unsigned long long)high->ops);
	high->off = true;
	sim_run(s, SECOND / 10);
	cr_expect_gt(low->ops, 3000, "what the high one leaves is the low one's");
	sim_free(s);
}

Test(qos, a_maximum_holds)
{
	struct sim *s = sim_new(8, 100000);
	struct sim_flow *bytes = sim_add(s, 64, 4096, "max-bandwidth=8M"),
			*ops = sim_add(s, 64, 4096, "max-iops=1000"),
			*both = sim_add(s, 64, 65536, "max-bandwidth=8M max-iops=1000"),
			*free = sim_add(s, 64, 4096, NULL);

	sim_run(s, SECOND);
	sim_mark(s);
	sim_run(s, 4 * SECOND);
	EXPECT_NEAR((double)bytes->moved, 4.0 * (8 << 20), 0.05, "bytes");
	EXPECT_NEAR((double)ops->ops, 4000.0, 0.05, "requests");
	EXPECT_NEAR((double)both->moved, 4.0 * (8 << 20), 0.05, "the tighter one of two");
	cr_expect_gt(free->ops, 4 * 60000, "the others have the rest: %llu",
		(unsigned long long)free->ops);
	cr_expect_gt(sv_qos_counters(ops->flow)->throttled_ns, 4 * SECOND);
	cr_expect_eq(sv_qos_counters(free->flow)->throttled_ns, 0);
	sim_free(s);
}

Test(qos, a_burst_uses_what_was_saved)
{
	struct sim *s = sim_new(8, 1000);
	struct sim_flow *f = sim_add(s, 1000, 4096, "max-iops=1000 burst=200");

	f->off = true;
	sim_run(s, SECOND);
	f->off = false;
	sim_run(s, 10 * MS);
	cr_expect(f->ops >= 200 && f->ops <= 215, "%llu", (unsigned long long)f->ops);
	sim_run(s, SECOND);
	cr_expect(f->ops >= 1190 && f->ops <= 1225, "%llu", (unsigned long long)f->ops);
	sim_free(s);
}

/* A minimum holds against weights and against priority; what is beyond it is shared as ever. */
Test(qos, a_minimum_holds)
{
	struct sim *s = sim_new(4, 100000); /* 40,000 requests a second */
	struct sim_flow *ops = sim_add(s, 64, 4096, "weight=1 min-iops=10000"),
			*bytes = sim_add(s, 64, 4096, "weight=1 min-bandwidth=20M"),
			*heavy = sim_add(s, 256, 4096, "weight=10000 priority=7");

	sim_run(s, SECOND / 2);
	sim_mark(s);
	sim_run(s, 2 * SECOND);
	EXPECT_NEAR((double)ops->ops, 20000.0, 0.05, "requests");
	EXPECT_NEAR((double)bytes->moved, 2.0 * (20 << 20), 0.05, "bytes");
	EXPECT_NEAR((double)heavy->ops, 80000.0 - 20000 - 10240, 0.05, "the rest");
	sim_free(s);
}

Test(qos, parameters_change_while_running)
{
	struct sim *s = sim_new(4, 100000);
	struct sim_flow *a = sim_add(s, 64, 4096, NULL), *b = sim_add(s, 64, 4096, NULL);

	sim_run(s, SECOND);
	sim_set(a, "weight=300");
	sim_run(s, SECOND / 20);
	sim_mark(s);
	sim_run(s, SECOND);
	EXPECT_NEAR(ratio(a->ops, b->ops), 3.0, 0.05, "weight");
	sim_set(b, "priority=1");
	sim_run(s, SECOND / 20);
	sim_mark(s);
	sim_run(s, SECOND);
	cr_expect_gt(b->ops, 20 * a->ops);
	sim_set(b, "max-iops=500");
	sim_run(s, SECOND / 20);
	sim_mark(s);
	sim_run(s, SECOND);
	EXPECT_NEAR((double)b->ops, 500.0, 0.05, "maximum");
	sim_free(s);
}

/* --- a neighbour that floods ----------------------------------------------------------------- */

/* p99 of the first of seven devices that ask now and then, @flooded by an eighth at depth 256. */
static uint64_t victim_p99(struct sim *s, bool alone, bool flooded)
{
	uint64_t p99;

	for (unsigned i = 0; i < 8; i++) {
		struct sim_flow *f = sim_add(s, i == 7 ? 256 : 1, 4096, NULL);

		f->every_ns = i == 7 ? 0 : 1010 * 1000 + i * 7919;
		f->off = i == 7 ? !flooded : i && alone;
	}
	sim_run(s, SECOND);
	sim_mark(s);
	sim_run(s, 3 * SECOND);
	p99 = sv_histogram_at(&s->flow[0].latency, 990);
	if (flooded && !s->unfair && !s->inline_store)
		cr_expect_gt(s->flow[7].ops, 3ull * s->servers * SECOND / s->service_ns * 8 / 10,
			"and the store is busy: %llu", (unsigned long long)s->flow[7].ops);
	sim_free(s);
	return p99;
}

static void flood(unsigned servers, uint64_t service_ns, bool inline_store)
{
	uint64_t p99[3];

	for (unsigned i = 0; i < 3; i++) {
		struct sim *s = sim_new(servers, service_ns);

		s->inline_store = inline_store;
		s->unfair = i == 2;
		p99[i] = victim_p99(s, i == 0, i != 0);
	}
	cr_expect_leq(p99[1], 2 * p99[0], "%u servers of %llu ns: alone %llu, flooded %llu", servers,
		(unsigned long long)service_ns, (unsigned long long)p99[0],
		(unsigned long long)p99[1]);
	cr_expect_gt(p99[2], 3 * p99[0], "the model can show harm: %llu, %llu",
		(unsigned long long)p99[0], (unsigned long long)p99[2]);
	cr_log_info("%u servers of %llu ns: p99 alone %llu, flooded %llu, without scheduler %llu",
		servers, (unsigned long long)service_ns, (unsigned long long)p99[0],
		(unsigned long long)p99[1], (unsigned long long)p99[2]);
}

Test(qos, a_flood_at_a_store_of_16_ways)
{
	flood(16, 100000, false);
}

Test(qos, a_flood_at_a_store_of_4_ways)
{
	flood(4, 80000, false);
}

Test(qos, a_flood_of_the_sidecore_s_own_time)
{
	flood(1, 2000, true);
}

/* Floods alone may queue in the store; as soon as somebody waits for single requests, they may not. */
Test(qos, the_store_s_queue_is_short_for_who_waits)
{
	struct sim *s = sim_new(4, 100000);
	struct sim_flow *victim;
	unsigned deep;

	sim_add(s, 64, 4096, NULL);
	sim_add(s, 64, 4096, NULL);
	sim_run(s, 5 * SECOND);
	deep = sv_qos_depth(s->flow[0].flow);
	cr_expect_geq(deep, 8, "%u", deep);
	victim = sim_add(s, 1, 4096, NULL);
	victim->every_ns = MS;
	sim_run(s, SECOND / 10);
	sim_mark(s);
	sim_run(s, 2 * SECOND);
	cr_expect_leq(sv_qos_depth(s->flow[0].flow), 6, "%u", sv_qos_depth(s->flow[0].flow));
	cr_expect_leq(sv_histogram_at(&victim->latency, 990), 2 * 105000);
	sim_free(s);
}

/* A request may turn out to cost more than it moves. */
Test(qos, what_is_charged_counts)
{
	struct sv_qos *q = sv_qos_create();
	struct sv_qos_flow *f[2];
	struct sv_qos_ticket t;
	struct sv_error err;
	unsigned n[2] = {0, 0};

	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(sv_qos_open(&f[i], q, 1, SV_QOS_COST_REQUEST, NULL, &err), 0);
	for (uint64_t now = SECOND; n[0] + n[1] < 60000; now += 1000) {
		unsigned i = now / 1000 % 2;

		sv_qos_visit(f[i], now);
		for (unsigned k = 0; k < 64 && sv_qos_admit(f[i]); k++, n[i]++) { /* there is always more */
			sv_qos_taken(f[i], &t, SV_QOS_OTHER, 1, 16);
			sv_qos_charge(f[i], i ? 2 * SV_QOS_COST_REQUEST : 0);
			sv_qos_done(f[i], &t);
		}
		sv_qos_leave(f[i]);
	}
	EXPECT_NEAR(ratio(n[0], n[1]), 3.0, 0.05, "requests of a third of the cost");
	for (unsigned i = 0; i < 2; i++)
		sv_qos_close(f[i]);
	sv_qos_destroy(q);
}

/* What counts little is taken in batches: 32 frames of each of two interfaces in a turn, in groups of eight. */
Test(qos, small_frames_share_a_turn)
{
	struct sv_qos *q = sv_qos_create();
	struct sv_qos_flow *f[2];
	struct sv_qos_ticket t;
	struct sv_error err;

	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(sv_qos_open(&f[i], q, 1, SV_QOS_COST_FRAME, NULL, &err), 0);
	for (uint64_t turn = 0; turn < 1000; turn++) {
		unsigned n = 0;

		sv_qos_visit(f[turn % 2], SECOND + turn * 1000);
		for (; n < 1000 && sv_qos_admit(f[turn % 2]); n += 8) { /* there is always more */
			sv_qos_taken(f[turn % 2], &t, SV_QOS_WRITE, 8, 8 * 64);
			sv_qos_done(f[turn % 2], &t);
		}
		sv_qos_leave(f[turn % 2]);
		if (turn > 10)
			cr_assert_eq(n, 32, "turn %llu: %u", (unsigned long long)turn, n);
	}
	for (unsigned i = 0; i < 2; i++) {
		cr_expect_gt(sv_qos_counters(f[i])->ops[SV_QOS_WRITE], 15000);
		sv_qos_close(f[i]);
	}
	sv_qos_destroy(q);
}

/* --- edges ----------------------------------------------------------------------------------- */

/* A device that waits and is polled no more holds nobody up. */
Test(qos, who_is_not_polled_waits_no_more)
{
	struct sim *s = sim_new(1, 100000);
	struct sim_flow *a = sim_add(s, 64, 4096, NULL);

	sim_add(s, 64, 4096, "priority=7");
	sim_run(s, SECOND / 10);
	s->n = 1;
	sim_mark(s);
	sim_run(s, SECOND);
	cr_expect_gt(a->ops, 9000, "%llu", (unsigned long long)a->ops);
	s->n = 2;
	sim_free(s);
}

Test(qos, a_closed_one_leaves_nothing_behind)
{
	struct sim *s = sim_new(1, 100000);
	struct sim_flow *a = sim_add(s, 64, 4096, NULL), *b;
	struct sv_error err;

	for (unsigned round = 0; round < 3 * SV_QOS_FLOWS; round++) {
		b = sim_add(s, 64, 4096, "priority=7");
		sim_run(s, MS / 10);
		for (unsigned i = s->nout; i--;) /* whatever is out is lost with it */
			if (s->out[i].flow == 1)
				s->out[i] = s->out[--s->nout];
		sv_qos_close(b->flow);
		s->n = 1;
		sim_run(s, MS / 50);
	}
	sim_mark(s);
	sim_run(s, SECOND);
	cr_expect_gt(a->ops, 9000, "%llu", (unsigned long long)a->ops);
	cr_assert_eq(sv_qos_open(&b->flow, s->q, 2, SV_QOS_COST_REQUEST, NULL, &err), 0);
	sv_qos_close(b->flow);
	sim_free(s);
}

Test(qos, what_a_refused_device_waits_for)
{
	struct sim *s = sim_new(1, 100000);
	struct sim_flow *f = sim_add(s, 4, 4096, "max-iops=100");
	uint64_t until;

	sim_run(s, 105 * MS);
	cr_expect_eq(sv_qos_waits(f->flow, &until), SV_QOS_TIME);
	cr_expect(until > s->now && until <= s->now + 10 * MS, "%llu", (unsigned long long)until);
	sim_set(f, "max-iops=0 depth=2");
	sim_run(s, MS);
	cr_expect_eq(sv_qos_waits(f->flow, &until), SV_QOS_COMPLETION);
	f->off = true;
	sim_run(s, 10 * MS);
	cr_expect_eq(sv_qos_waits(f->flow, &until), SV_QOS_NOTHING);
	cr_expect_eq(sv_qos_counters(f->flow)->outstanding, 0);
	cr_expect_geq(sv_qos_counters(f->flow)->outstanding_max, 2);
	sim_free(s);
}

Test(qos, parameters_as_text)
{
	struct sv_qos_params p, before;
	struct sv_error err;

	sv_qos_defaults(&p);
	cr_expect_eq(p.weight, SV_QOS_WEIGHT);
	cr_expect_eq(sv_qos_param(&p, "max-bandwidth", "200M", &err), 0);
	cr_expect_eq(p.max_bps, 200ull << 20);
	cr_expect_eq(sv_qos_param(&p, "min-iops", "5000", &err), 0);
	cr_expect_eq(sv_qos_value(&p, 4), 5000);
	before = p;
	cr_expect_eq(sv_qos_param(&p, "wieght", "1", &err), -ENOENT);
	for (const char *const *bad = (const char *const[]){"", "0", "10001", "-1", "1.5", "9Q", "1KK", NULL};
		*bad; bad++) {
		cr_expect_eq(sv_qos_param(&p, "weight", *bad, &err), -EINVAL, "'%s'", *bad);
		cr_expect_neq(strstr(err.text, "1 to 10000"), NULL, "%s", err.text);
	}
	cr_expect_eq(sv_qos_param(&p, "priority", "8", &err), -EINVAL);
	cr_expect_eq(sv_qos_param(&p, "max-bandwidth", "99999999999999999999", &err), -EINVAL);
	cr_expect_eq(sv_qos_param(&p, "max-bandwidth", "18446744073709551615T", &err), -EINVAL);
	cr_expect_eq(sv_qos_param(&p, "burst", NULL, &err), -EINVAL);
	cr_expect_arr_eq(&p, &before, sizeof(p), "a wrong value changes nothing");
	cr_expect_eq(sv_qos_param(&p, "max-iops", "4999", &err), 0);
	cr_expect_eq(sv_qos_check(&p, &err), -EINVAL);
}
