/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Three sidecores and six channels in one thread, stepped in an order that a seed decides: guests
 * submit and reap, sidecores turn, fall asleep and are woken, channels move from one to another.
 * No message is lost, doubled or reordered, and every tick is in one account.
 */
#include <criterion/criterion.h>
#include <sidecore/reactor.h>

#include "channel_by_hand.h"

#define SIDECORES 3u
#define CHANNELS 6u
#define SEEDS 30u
#define STEPS 4000u

static struct sv_reactor *sidecore[SIDECORES];
static struct channel_by_hand channel[CHANNELS];
static unsigned home[CHANNELS];
static uint64_t seed, moves;

static unsigned dice(unsigned sides)
{
	return (unsigned)((next_random(&seed) >> 16) % sides);
}

static void set_up(uint64_t s)
{
	struct sv_reactor_config config = {.cpu = -1, .budget = 3};

	seed = s * 0x9e3779b97f4a7c15ull + 1;
	for (unsigned i = 0; i < SIDECORES; i++)
		cr_assert_eq(sv_reactor_create(&sidecore[i], &config, NULL), 0);
	for (unsigned i = 0; i < CHANNELS; i++) {
		cr_assert_eq(channel_by_hand_open(&channel[i], 2u << i, 2u << dice(5)), 0);
		home[i] = dice(SIDECORES);
		cr_assert_eq(sv_reactor_attach(sidecore[home[i]], &channel[i].endpoint.poller), 0);
	}
}

static void tear_down(void)
{
	for (unsigned i = 0; i < CHANNELS; i++) {
		sv_reactor_detach(sidecore[home[i]], &channel[i].endpoint.poller);
		channel_by_hand_close(&channel[i]);
	}
	for (unsigned i = 0; i < SIDECORES; i++)
		sv_reactor_destroy(sidecore[i]);
}

static void submit(struct channel_by_hand *c)
{
	if (sv_ring_room(&c->tx, 1) <= 0 || c->sent - c->received >= c->cpl_entries)
		return;
	guest_put_full(c);
	if (guest_sees_sleeper(c))
		guest_ring(c);
}

static void move(unsigned i)
{
	sv_reactor_detach(sidecore[home[i]], &channel[i].endpoint.poller);
	home[i] = (home[i] + 1 + dice(SIDECORES - 1)) % SIDECORES;
	cr_assert_eq(sv_reactor_attach(sidecore[home[i]], &channel[i].endpoint.poller), 0);
	moves++;
}

static void step(void)
{
	unsigned i = dice(CHANNELS), s = dice(SIDECORES);

	switch (dice(8)) {
	case 0:
	case 1:
	case 2:
		submit(&channel[i]);
		break;
	case 3:
	case 4:
		guest_reap(&channel[i]);
		break;
	case 5:
		sv_reactor_sleep(sidecore[s], 0);
		break;
	case 6:
		if (dice(16) == 0)
			move(i);
		break;
	default:
		sv_reactor_turn(sidecore[s]);
	}
}

static void check_channels(bool dry)
{
	for (unsigned i = 0; i < CHANNELS; i++) {
		const struct channel_by_hand *c = &channel[i];

		cr_assert_not(host_broken(c));
		cr_assert_eq(c->wrong + c->echo.out_of_order + c->echo.torn, 0);
		cr_assert(!dry || c->received == c->sent, "channel %u: %lu sent, %lu back", i,
			(unsigned long)c->sent, (unsigned long)c->received);
	}
}

static void check_accounts(void)
{
	uint64_t of_pollers = 0, of_sidecores = 0;

	for (unsigned i = 0; i < SIDECORES; i++)
		of_sidecores += sv_reactor_stats(sidecore[i]).busy_ticks;
	for (unsigned i = 0; i < CHANNELS; i++)
		of_pollers += channel[i].endpoint.poller.ticks.busy_ticks;
	cr_assert_eq(of_pollers, of_sidecores);
}

Test(sidecore_step, channels_move_between_sidecores_and_nothing_is_lost)
{
	uint64_t sent = 0, sleeps = 0;

	for (uint64_t s = 1; s <= SEEDS; s++) {
		set_up(s);
		for (unsigned n = 0; n < STEPS; n++)
			step();
		check_channels(false);
		for (unsigned n = 0; n < 200; n++) {
			for (unsigned i = 0; i < SIDECORES; i++)
				sv_reactor_turn(sidecore[i]);
			for (unsigned i = 0; i < CHANNELS; i++)
				while (guest_reap(&channel[i]) == SV_TAKE_ONE)
					;
		}
		check_channels(true);
		check_accounts();
		for (unsigned i = 0; i < CHANNELS; i++)
			sent += channel[i].sent;
		for (unsigned i = 0; i < SIDECORES; i++)
			sleeps += sv_reactor_stats(sidecore[i]).sleeps;
		tear_down();
	}
	cr_log_info("%lu sent, %lu sleeps, %lu moves", (unsigned long)sent, (unsigned long)sleeps,
		(unsigned long)moves);
	cr_expect_gt(sent, 100 * SEEDS);
	cr_expect_gt(sleeps, SEEDS);
	cr_expect_gt(moves, SEEDS);
}

/* What lingers in vain after a request is told apart from work. */
Test(sidecore_step, waiting_for_the_next_request_is_idle_time)
{
	struct sv_poller_ticks t;

	set_up(1);
	for (unsigned i = 0; i < 50; i++) {
		guest_put_full(&channel[5]);
		cr_assert(sv_reactor_turn(sidecore[home[5]]));
		cr_assert_eq(guest_reap(&channel[5]), SV_TAKE_ONE);
	}
	t = channel[5].endpoint.poller.ticks;
	cr_expect_eq(t.busy_polls, 50);
	cr_expect_eq(t.idle_polls, 0);
	cr_expect_gt(t.busy_ticks, 0);
	cr_expect_gt(t.idle_ticks, 0);
	check_accounts();
	tear_down();
}

/* A guest that garbles its ring loses its channel; the others on that sidecore are served on. */
Test(sidecore_step, a_broken_channel_costs_the_others_nothing)
{
	union sv_slot *ring;

	set_up(2);
	for (unsigned i = 1; i < CHANNELS; i++)
		if (home[i] != home[0]) {
			sv_reactor_detach(sidecore[home[i]], &channel[i].endpoint.poller);
			home[i] = home[0];
			sv_reactor_attach(sidecore[home[0]], &channel[i].endpoint.poller);
		}
	ring = (union sv_slot *)(void *)(channel[0].shared + 1);
	sv_store_release(&ring[0].word[SV_SLOT_SEQ], 99);
	for (unsigned n = 0; n < 100; n++) {
		for (unsigned i = 1; i < CHANNELS; i++)
			submit(&channel[i]);
		sv_reactor_turn(sidecore[home[0]]);
		for (unsigned i = 1; i < CHANNELS; i++)
			cr_assert_eq(guest_reap(&channel[i]), SV_TAKE_ONE);
	}
	cr_expect(host_broken(&channel[0]));
	cr_expect_eq(host_defects(&channel[0]), 1);
	sv_reactor_sleep(sidecore[home[0]], 0);
	cr_expect(sv_reactor_sleep(sidecore[home[0]], 0), "a broken channel kept it awake");
	tear_down();
}
