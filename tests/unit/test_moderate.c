/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupt moderation against a driver of a given depth, on a virtual clock. */
#include <criterion/criterion.h>

#include "moderate.h"

#define WRITE_NS 3000u	  /* the driver writes a request */
#define INTERRUPT_NS 6000u /* from the interrupt to the driver's first request after it */
#define STEP_NS 100u

struct driver {
	unsigned depth, out; /* out: written, end not seen */
	uint64_t next;	     /* when it writes the next request; UINT64_MAX: it waits */
	uint64_t write_ns;   /* 0: WRITE_NS */
	uint64_t think_ns;   /* after each interrupt */
	bool paced;	     /* interrupts neither delay nor hasten it */
};

struct outcome {
	uint64_t requests, interrupts, ns, longest_hold, held_ns;
};

/* The back end answers at once; the driver goes on until its depth is reached, then waits. */
static struct outcome play(struct sv_moderate *m, struct driver d, uint64_t requests)
{
	struct outcome o = {0};
	bool owed = false;
	uint64_t now = 1000000, begun = now, owed_since = 0;

	d.next = now;
	if (!d.write_ns)
		d.write_ns = WRITE_NS;
	while (o.requests < requests) {
		now += STEP_NS;
		if (!owed && d.next > now && d.next != UINT64_MAX)
			now = d.next;
		if (now >= d.next) {
			d.out++;
			o.requests++;
			d.next = d.out < d.depth || d.paced ? now + d.write_ns : UINT64_MAX;
			sv_moderate_taken(m, 1, now);
			if (!owed)
				owed_since = now;
			owed = true;
		}
		if (!owed || !sv_moderate_due(m, d.out, now))
			continue;
		owed = false;
		if (now - owed_since > o.longest_hold)
			o.longest_hold = now - owed_since;
		o.held_ns += now - owed_since;
		o.interrupts++;
		d.out = 0;
		if (d.paced)
			continue;
		/* An interrupt amid its writing delays it. */
		d.next = (d.next == UINT64_MAX || d.next < now ? now : d.next) + INTERRUPT_NS + d.think_ns;
	}
	o.ns = now - begun;
	return o;
}

/* What each request takes when every one is interrupted for. */
static uint64_t alone_ns(const struct driver *d)
{
	return INTERRUPT_NS + d->think_ns + STEP_NS;
}

Test(moderate, depth_one_is_hardly_ever_held)
{
	struct sv_moderate m = {0};
	struct driver d = {.depth = 1};
	struct outcome o = play(&m, d, 100000);

	cr_expect_eq(o.interrupts, o.requests);
	cr_expect_leq(m.held, 100);
	cr_expect_leq(o.ns, 100000 * alone_ns(&d) * 101 / 100);
}

Test(moderate, a_deep_queue_shares_its_interrupts)
{
	for (unsigned depth = 4; depth <= 128; depth *= 2) {
		struct sv_moderate m = {0};
		struct driver d = {.depth = depth};
		struct outcome o = play(&m, d, 200000);
		unsigned share = depth < 8 ? depth / 2 : 4;

		cr_expect_leq(o.interrupts * share, o.requests, "depth %u: %lu", depth,
			(unsigned long)o.interrupts);
		cr_expect_lt(o.ns, 200000 * (uint64_t)(WRITE_NS + INTERRUPT_NS));
	}
}

/* @longest: as said in moderate.h, of a fast and of a slow driver. */
static void expect_bound(uint64_t write_ns, uint64_t longest)
{
	static const uint64_t think[] = {0, 1000, 50000, 150000};

	for (unsigned i = 0; i < sizeof(think) / sizeof(think[0]); i++)
		for (unsigned depth = 1; depth <= 64; depth *= 4) {
			struct sv_moderate m = {0};
			struct driver d = {.depth = depth, .write_ns = write_ns, .think_ns = think[i]};

			cr_expect_leq(play(&m, d, 20000).longest_hold, longest + STEP_NS, "think %lu, depth %u",
				(unsigned long)think[i], depth);
		}
}

Test(moderate, nothing_is_held_for_long)
{
	expect_bound(WRITE_NS, 500000);
	expect_bound(400000, 10000000);
}

Test(moderate, a_slow_guest_with_a_deep_queue_shares_its_interrupts)
{
	struct sv_moderate m = {0};
	struct driver d = {.depth = 32, .write_ns = 300000, .think_ns = 500000};
	struct outcome before = play(&m, d, 2048), o = play(&m, d, 20000);

	cr_expect_gt(before.interrupts, o.interrupts / 4);
	cr_expect_leq(o.interrupts * 3, o.requests, "%lu", (unsigned long)o.interrupts);
	cr_expect_lt(o.ns, 20000 * (uint64_t)500000);
}

Test(moderate, a_slow_guest_of_depth_one_is_hardly_ever_held)
{
	struct sv_moderate m = {0};
	struct driver d = {.depth = 1, .think_ns = 800000};
	struct outcome o = play(&m, d, 50000);

	cr_expect_leq(o.ns, 50000 * alone_ns(&d) * 101 / 100);
}

/* Its requests come at a rate that is not ours to change: they need not wait, a few trials aside. */
Test(moderate, a_driver_of_a_given_rate_is_not_held)
{
	struct sv_moderate m = {0};
	struct driver d = {.depth = 64, .write_ns = 500000, .paced = true};
	struct outcome o;

	play(&m, d, 20000);
	o = play(&m, d, 200000);
	cr_expect_leq(o.held_ns / o.requests, 50000, "%lu", (unsigned long)(o.held_ns / o.requests));
	cr_expect_geq(o.interrupts * 100, o.requests * 97);
}

Test(moderate, a_driver_that_becomes_shallow_is_noticed)
{
	struct sv_moderate m = {0};
	struct driver deep = {.depth = 64}, shallow = {.depth = 1};
	uint64_t held;

	play(&m, deep, 50000);
	held = m.held;
	play(&m, shallow, 10000);
	cr_expect_leq(m.held - held, 60);
	cr_expect_gt(m.trials, 0);
}
