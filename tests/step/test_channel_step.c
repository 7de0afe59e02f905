/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Both ends of a channel, stepped by hand in one thread in an order that a seed decides. The node's
 * end is the real endpoint, driven the way a reactor drives it: poll, arm, sleep, disarm.
 */
#include <criterion/criterion.h>

#include "channel_by_hand.h"

#define SEEDS 200u
#define STEPS 3000u
#define QUIET_STEPS 5000u

enum guest_at { GUEST_IDLE, GUEST_FILLING, GUEST_LOOKS, GUEST_RINGS };
enum side_at { SIDE_POLLS, SIDE_ARMS, SIDE_SLEEPS };

struct run {
	struct channel_by_hand c;
	uint64_t random;
	enum guest_at guest;
	enum side_at side;
	unsigned to_fill;
	unsigned polite; /* the guest leaves room for every answer, as the library does */
	uint64_t slept, pending_after_all;
};

static unsigned dice(struct run *r, unsigned sides)
{
	return (unsigned)((next_random(&r->random) >> 16) % sides);
}

static uint64_t may_send(struct run *r)
{
	int64_t room = sv_ring_room(&r->c.tx, r->c.tx.entries);
	uint64_t answers = r->c.rx.entries - (r->c.sent - r->c.received);

	cr_assert_geq(room, 0);
	return r->polite && answers < (uint64_t)room ? answers : (uint64_t)room;
}

/* One step of submitting: publish an entry, look at `sleeping`, ring. */
static void guest_submits(struct run *r)
{
	switch (r->guest) {
	case GUEST_IDLE:
		r->to_fill = (unsigned)may_send(r);
		if (!r->to_fill)
			return;
		r->to_fill = 1 + dice(r, r->to_fill);
		r->guest = GUEST_FILLING;
		break;
	case GUEST_FILLING:
		if (--r->to_fill) {
			guest_put(&r->c);
		} else {
			guest_put_full(&r->c);
			r->guest = GUEST_LOOKS;
		}
		break;
	case GUEST_LOOKS:
		r->guest = guest_sees_sleeper(&r->c) ? GUEST_RINGS : GUEST_IDLE;
		break;
	case GUEST_RINGS:
		guest_ring(&r->c);
		r->guest = GUEST_IDLE;
		break;
	}
}

static void side_steps(struct run *r, bool may_wake_by_itself)
{
	struct sv_poller *p = &r->c.endpoint.poller;

	if (r->side == SIDE_SLEEPS) {
		if (doorbell_rung(&r->c) || (may_wake_by_itself && dice(r, 64) == 0)) {
			doorbell_take(&r->c);
			p->ops->disarm(p);
			r->side = SIDE_POLLS;
		}
		return;
	}
	if (r->side == SIDE_POLLS) {
		if (p->ops->poll(p, 1 + dice(r, 4)) == SV_POLL_IDLE && dice(r, 2))
			r->side = SIDE_ARMS;
		return;
	}
	if (p->ops->arm(p)) {
		r->pending_after_all++;
		p->ops->disarm(p);
		r->side = SIDE_POLLS;
	} else {
		r->slept++;
		r->side = SIDE_SLEEPS;
	}
}

/* What holds between any two steps. */
static void assert_nothing_lost(const struct run *r)
{
	cr_assert_eq(r->c.echo.out_of_order, 0);
	cr_assert_eq(r->c.echo.torn, 0);
	cr_assert_eq(r->c.wrong, 0);
	cr_assert_not(host_broken(&r->c));
	cr_assert_eq(host_requests(&r->c), r->c.echo.next);
	cr_assert(r->c.received <= r->c.echo.next && r->c.echo.next <= r->c.sent);
	if (r->side == SIDE_SLEEPS && r->guest == GUEST_IDLE && r->c.echo.next < r->c.sent)
		cr_assert(doorbell_rung(&r->c), "requests wait, the sidecore sleeps, nobody rang");
}

/* No new requests: all that were sent come back, with no wake-up but the doorbell. */
static void run_dry(struct run *r)
{
	for (unsigned i = 0; i < QUIET_STEPS; i++) {
		if (r->guest != GUEST_IDLE)
			guest_submits(r);
		side_steps(r, false);
		guest_reap(&r->c);
		assert_nothing_lost(r);
	}
	cr_assert_eq(r->c.received, r->c.sent, "%lu sent, %lu came back",
		(unsigned long)r->c.sent, (unsigned long)r->c.received);
}

static struct run one_run(uint64_t seed, uint32_t req_entries, uint32_t cpl_entries, bool polite)
{
	struct run r = {.random = seed * 0x9e3779b97f4a7c15ull + 1, .polite = polite};
	unsigned guest_share = 1 + dice(&r, 9);

	cr_assert_eq(channel_by_hand_open(&r.c, req_entries, cpl_entries), 0);
	r.c.endpoint.poller.crowd = UINT32_MAX; /* no lingering: one look per step */
	for (unsigned i = 0; i < STEPS; i++) {
		if (dice(&r, 10) >= guest_share)
			side_steps(&r, true);
		else if (dice(&r, 2))
			guest_submits(&r);
		else if (dice(&r, 8) == 0)
			sv_ring_retire(&r.c.rx);
		else
			guest_reap(&r.c);
		assert_nothing_lost(&r);
	}
	run_dry(&r);
	channel_by_hand_close(&r.c);
	return r;
}

static void all_seeds(uint32_t req_entries, uint32_t cpl_entries, bool polite)
{
	uint64_t sent = 0, slept = 0, rung = 0, after_all = 0, stalls = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct run r = one_run(seed, req_entries, cpl_entries, polite);

		sent += r.c.sent;
		slept += r.slept;
		rung += r.c.doorbells;
		after_all += r.pending_after_all;
		stalls += host_stalls(&r.c);
	}
	cr_log_info("%lu sent, %lu slept, %lu rung, %lu pending after all, %lu stalls",
		(unsigned long)sent, (unsigned long)slept, (unsigned long)rung,
		(unsigned long)after_all, (unsigned long)stalls);
	cr_expect_gt(sent, 100u * SEEDS);
	cr_expect_gt(slept, SEEDS);
	cr_expect_gt(rung, SEEDS);
	cr_expect_gt(after_all, 0);
	cr_expect(polite || stalls > 0);
}

Test(channel_step, rings_of_two_entries)
{
	all_seeds(2, 2, true);
}

Test(channel_step, rings_of_sixteen_entries_lazily_acknowledged)
{
	all_seeds(16, 16, true);
}

Test(channel_step, more_requests_than_answers_fit_wait_and_are_not_lost)
{
	all_seeds(32, 4, false);
	all_seeds(2, 2, false);
}

Test(channel_step, one_pending_request_keeps_the_sidecore_awake)
{
	struct run r = {.random = 1};
	struct sv_poller *p = &r.c.endpoint.poller;

	cr_assert_eq(channel_by_hand_open(&r.c, 4, 4), 0);
	guest_put_full(&r.c);
	cr_assert_not(guest_sees_sleeper(&r.c));
	cr_expect(p->ops->arm(p), "published before `sleeping` was: found by looking again");
	cr_expect(guest_sees_sleeper(&r.c));
	p->ops->disarm(p);
	cr_expect_not(guest_sees_sleeper(&r.c));
	channel_by_hand_close(&r.c);
}

Test(channel_step, going_to_sleep_acknowledges_what_was_taken)
{
	struct run r = {.random = 1};
	struct sv_poller *p = &r.c.endpoint.poller;

	cr_assert_eq(channel_by_hand_open(&r.c, 64, 64), 0);
	guest_put_full(&r.c);
	cr_assert_eq(p->ops->poll(p, 1), SV_POLL_BUSY);
	cr_expect_eq(r.c.shared->side.req_consumed, 0);
	cr_assert_not(p->ops->arm(p));
	cr_expect_eq(r.c.shared->side.req_consumed, 1);
	channel_by_hand_close(&r.c);
}
