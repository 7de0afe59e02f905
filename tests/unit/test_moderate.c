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
	uint64_t think_ns;   /* after each interrupt */
};

struct outcome {
	uint64_t requests, interrupts, ns, longest_hold;
};

/* The back end answers at once; the driver goes on until its depth is reached, then waits. */
static struct outcome play(struct sv_moderate *m, struct driver d, uint64_t requests)
{
	struct outcome o = {0};
	bool owed = false;
	uint64_t now = 1000000, begun = now, owed_since = 0;

	d.next = now;
	while (o.requests < requests) {
		now += STEP_NS;
		if (now >= d.next) {
			d.out++;
			o.requests++;
			d.next = d.out < d.depth ? now + WRITE_NS : UINT64_MAX;
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
		o.interrupts++;
		d.out = 0;
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

Test(moderate, nothing_is_held_for_more_than_half_a_millisecond)
{
	static const uint64_t think[] = {0, 1000, 50000, 190000, 1000000};

	for (unsigned i = 0; i < sizeof(think) / sizeof(think[0]); i++)
		for (unsigned depth = 1; depth <= 64; depth *= 4) {
			struct sv_moderate m = {0};
			struct driver d = {.depth = depth, .think_ns = think[i]};

			cr_expect_leq(play(&m, d, 20000).longest_hold, 500000 + STEP_NS);
		}
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
