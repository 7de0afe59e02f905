/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupt moderation against a driver of a given depth, on a virtual clock. */
#include <math.h>

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
	bool random;	     /* paced: with exponential gaps, mean write_ns */
	uint64_t pause_every, pause_ns; /* requests */
	uint64_t noise;
};

struct outcome {
	uint64_t requests, interrupts, ns, longest_hold, held_ns; /* held_ns: of all requests together */
};

static uint64_t gap_ns(struct driver *d)
{
	double u;

	if (!d->random)
		return d->write_ns;
	d->noise ^= d->noise << 13;
	d->noise ^= d->noise >> 7;
	d->noise ^= d->noise << 17;
	u = (double)((d->noise >> 11) + 1) / (double)(1ull << 53);
	return (uint64_t)(-log(u) * (double)d->write_ns) + 1;
}

/* The back end answers at once; the driver goes on until its depth is reached, then waits. */
static struct outcome play(struct sv_moderate *m, struct driver d, uint64_t requests)
{
	struct outcome o = {0};
	bool owed = false;
	uint64_t now = 1000000, begun = now, owed_since = 0, pause = 0, taken_at = 0;

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
			d.next = d.out < d.depth || d.paced ? now + gap_ns(&d) : UINT64_MAX;
			pause = d.pause_every && o.requests % d.pause_every == 0 ? d.pause_ns : 0;
			if (d.next != UINT64_MAX)
				d.next += pause;
			sv_moderate_taken(m, 1, now);
			taken_at += now;
			if (!owed)
				owed_since = now;
			owed = true;
		}
		if (!owed || !sv_moderate_due(m, d.out, now))
			continue;
		owed = false;
		if (now - owed_since > o.longest_hold)
			o.longest_hold = now - owed_since;
		o.held_ns += d.out * now - taken_at;
		taken_at = 0;
		o.interrupts++;
		d.out = 0;
		if (d.paced)
			continue;
		/* An interrupt amid its writing delays it. */
		d.next = (d.next == UINT64_MAX || d.next < now ? now : d.next) + INTERRUPT_NS + d.think_ns +
			 (d.next == UINT64_MAX ? pause : 0);
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
	struct sv_moderate fast = {0}, slow = {0};
	struct driver f = {.depth = 64, .write_ns = 60000, .paced = true};
	struct driver s = {.depth = 64, .write_ns = 2000000, .paced = true};
	uint64_t held;

	expect_bound(WRITE_NS, 500000);
	expect_bound(400000, 10000000);
	/* Those that would be held for longer, were there no bound. */
	held = play(&fast, f, 50000).longest_hold;
	cr_expect(held > 450000 && held <= 500000 + STEP_NS, "%lu", (unsigned long)held);
	held = play(&slow, s, 20000).longest_hold;
	cr_expect(held > 9000000 && held <= 10000000 + STEP_NS, "%lu", (unsigned long)held);
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
	struct outcome o = play(&m, d, 100000);

	cr_expect_leq(m.held, 100000 / 500, "%lu", (unsigned long)m.held);
	cr_expect_leq(o.longest_hold, 3000000 + STEP_NS);
	cr_expect_not(m.wide);
}

/* Its requests come at a rate that is not ours to change: they need not wait, trials aside. */
Test(moderate, a_driver_of_a_given_rate_is_not_held)
{
	for (uint64_t mean = 250000; mean <= 1000000; mean *= 2) {
		uint64_t held = 0, requests = 0;

		for (uint64_t seed = 1; seed <= 10; seed++) {
			struct sv_moderate m = {0};
			struct driver d = {.depth = 64, .write_ns = mean, .paced = true, .random = true,
				.noise = seed * 88172645463325252ull};
			struct outcome o;

			play(&m, d, 20000);
			o = play(&m, d, 100000);
			held += o.held_ns;
			requests += o.requests;
		}
		cr_expect_leq(held / requests, mean / 20, "mean gap %lu: %lu ns", (unsigned long)mean,
			(unsigned long)(held / requests));
	}
}

/* What chance alone says in one trial, its gaps being random. */
Test(moderate, chance_hardly_speaks_for_wide_limits)
{
	unsigned wide = 0, trials = 0;

	for (uint64_t seed = 1; seed <= 400; seed++) {
		struct sv_moderate m = {0};
		struct driver d = {.depth = 64, .write_ns = 500000, .paced = true, .random = true,
			.noise = seed * 2685821657736338717ull};

		play(&m, d, 20 * 128);
		trials += (unsigned)m.trials;
		wide += m.wide;
	}
	cr_expect_geq(trials, 400);
	cr_expect_leq(wide, 8, "%u of %u", wide, trials);
}

/*
 * Tasks that each wait for their request, think for a random time and ask again; interrupts cost them
 * nothing, so that to hold one only makes its task later. Return: ns for @requests.
 */
static uint64_t play_tasks(struct sv_moderate *m, unsigned tasks, uint64_t think_ns, uint64_t requests)
{
	struct driver d = {.write_ns = think_ns, .random = true, .noise = 2685821657736338717ull};
	uint64_t next[8], now = 1000000, begun = now, done = 0;
	unsigned out = 0;

	for (unsigned i = 0; i < tasks; i++)
		next[i] = now + gap_ns(&d);
	while (done < requests) {
		now += STEP_NS;
		for (unsigned i = 0; i < tasks; i++) {
			if (now < next[i])
				continue;
			next[i] = UINT64_MAX;
			out++;
			done++;
			sv_moderate_taken(m, 1, now);
		}
		if (!out || !sv_moderate_due(m, out, now))
			continue;
		out = 0;
		for (unsigned i = 0; i < tasks; i++)
			if (next[i] == UINT64_MAX)
				next[i] = now + gap_ns(&d);
	}
	return now - begun;
}

Test(moderate, tasks_that_want_each_interrupt_lose_little)
{
	static const uint64_t think[] = {20000, 100000, 1500000};

	for (unsigned i = 0; i < 3; i++) {
		struct sv_moderate m = {0};
		uint64_t requests = 100000, ns = play_tasks(&m, 4, think[i], requests);

		cr_expect_leq(ns, requests * think[i] / 4 * 112 / 100, "think %lu: %lu ns for each",
			(unsigned long)think[i], (unsigned long)(ns / requests));
		cr_expect_not(m.wide);
	}
}

/* A guest that takes so long for each request by each of the limits. */
static void take(struct sv_moderate *m, const uint32_t ns[3], unsigned requests)
{
	for (uint64_t now = m->last; requests--; sv_moderate_taken(m, 1, now))
		now += ns[m->limits];
}

Test(moderate, what_takes_less_time_is_taken)
{
	struct sv_moderate fast = {0}, slow = {0};

	take(&fast, (uint32_t[]){[SV_MODERATE_NARROW] = 10000, [SV_MODERATE_NONE] = 9500, [SV_MODERATE_WIDE] = 1}, 40000);
	cr_expect_not(fast.none, "by less than a sixteenth");
	take(&fast, (uint32_t[]){[SV_MODERATE_NARROW] = 10000, [SV_MODERATE_NONE] = 9000, [SV_MODERATE_WIDE] = 1}, 40000);
	cr_expect(fast.none && fast.limits == SV_MODERATE_NONE);
	take(&slow, (uint32_t[]){1000000, 1000000, 900000}, 40 * 128);
	cr_expect_not(slow.wide, "by less than an eighth");
	take(&slow, (uint32_t[]){1000000, 1000000, 500000}, 200 * 128);
	cr_expect(slow.wide);
	take(&slow, (uint32_t[]){1000000, 1000000, 1000000}, 200 * 128);
	cr_expect_not(slow.wide);
	/* With none held as what wide limits have to beat. */
	take(&slow, (uint32_t[]){1000000, 500000, 600000}, 1200 * 128);
	cr_expect(slow.none && !slow.wide);
	take(&slow, (uint32_t[]){1000000, 500000, 400000}, 1200 * 128);
	cr_expect(slow.wide);
	/* Too slow for it: a trial on the way comes to nothing. */
	take(&slow, (uint32_t[]){3500000, 3500000, 3500000}, 10 * 128);
	cr_expect_not(slow.slow);
	cr_expect_neq(slow.limits, SV_MODERATE_WIDE);
}

/* What holding itself makes the driver wait is no pause. */
Test(moderate, waits_of_our_making_count)
{
	struct sv_moderate m = {0};
	uint64_t now = 0;

	for (unsigned i = 0; i < 100 * 128; i++) {
		now += m.limits != SV_MODERATE_WIDE ? 1200000 : i % 2 ? 500000 : 4500000;
		sv_moderate_taken(&m, 1, now);
		cr_assert_not(m.wide);
	}
	cr_expect_gt(m.trials, 0);
}

/* Pauses are no pace: what was found stays found, and trials go on. */
Test(moderate, pauses_change_nothing)
{
	struct sv_moderate fast = {0}, slow = {0};
	struct driver f = {.depth = 32, .pause_every = 60, .pause_ns = 100000000};
	struct driver s = {.depth = 32, .write_ns = 300000, .think_ns = 500000, .pause_every = 3000,
		.pause_ns = 900000000};

	play(&fast, f, 100000);
	cr_expect_not(fast.slow);
	cr_expect_geq(fast.trials, 2);
	play(&slow, s, 20000);
	cr_expect(slow.slow && slow.wide);
}

/* Pauses in a rhythm that has every other epoch to itself say nothing of the limits. */
Test(moderate, no_rhythm_of_pauses_decides)
{
	struct sv_moderate deep = {0}, paced = {0};
	struct driver d = {.depth = 32, .pause_every = 512, .pause_ns = 100000000};
	struct driver p = {.depth = 64, .write_ns = 210000, .paced = true, .pause_every = 256, .pause_ns = 100000000};

	play(&deep, d, 200000);
	cr_expect_not(deep.none);
	cr_expect_gt(deep.trials, 2);
	for (unsigned i = 0; i < 20; i++) {
		play(&paced, p, 5000);
		cr_expect_not(paced.wide);
	}
}

/* A pace that alternates brings trials nearer, but not so that they are all there is. */
Test(moderate, another_pace_again_and_again_is_no_excuse)
{
	struct sv_moderate m = {0};
	struct driver d = {.depth = 64, .paced = true};
	uint64_t held = 0, requests = 0;

	for (unsigned i = 0; i < 200; i++) {
		struct outcome o;

		d.write_ns = i % 2 ? 90000 : 400000;
		o = play(&m, d, 1500);
		/* (The fast ones are in reach of narrow limits.) */
		held += i % 2 ? 0 : o.held_ns;
		requests += i % 2 ? 0 : o.requests;
	}
	cr_expect_leq(held / requests, 200000, "%lu", (unsigned long)(held / requests));
	cr_expect_leq(m.trials, 300000 / 128 / 32);
}

/* A change of work is noticed long before the next trial would have come. */
Test(moderate, other_work_is_looked_at_again)
{
	struct sv_moderate m = {0};
	struct driver given = {.depth = 64, .write_ns = 210000, .paced = true}, deep = {.depth = 32, .write_ns = 900000,
		.think_ns = 900000};

	play(&m, given, 200000);
	cr_expect_not(m.wide);
	cr_expect_gt(m.wide_wait, 100);
	play(&m, deep, 300 * 128);
	cr_expect(m.wide);
	play(&m, given, 150 * 128);
	cr_expect_not(m.wide);
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
