/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two threads: a guest that submits batches, rings and reaps, and a real reactor that polls the
 * channel's host end and goes to sleep as soon as it can. Meanwhile a third thread attaches and
 * detaches a second channel.
 *
 * A plain program: Criterion's sandbox and ThreadSanitizer both want the same addresses.
 */
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <sidecore/reactor.h>

#include "channel_by_hand.h"

#define GIVE_UP_S 120

#define must(cond, ...) \
	do { \
		if (!(cond)) \
			fail(__LINE__, #cond, __VA_ARGS__); \
	} while (0)

static struct channel_by_hand channel, other;
static struct sv_reactor *reactor;
static uint32_t stop;
static uint64_t attached;

static __attribute__((noreturn, format(printf, 3, 4))) void fail(
	int line, const char *cond, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "test_channel_stress.c:%d: %s: ", line, cond);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static int64_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void start(uint32_t req_entries, uint32_t cpl_entries)
{
	struct sv_reactor_config config = {.idle_spin_us = 5};
	struct sv_error err = {""};
	cpu_set_t set;

	must(sched_getaffinity(0, sizeof(set), &set) == 0, "no CPUs");
	while (!CPU_ISSET(config.cpu, &set))
		config.cpu++;
	must(channel_by_hand_open(&channel, req_entries, cpl_entries) == 0, "no channel");
	must(channel_by_hand_open(&other, 2, 2) == 0, "no channel");
	must(sv_reactor_create(&reactor, &config, &err) == 0, "%s", err.text);
	must(sv_reactor_attach(reactor, &channel.endpoint.poller) == 0, "not attached");
}

static void expect_all_served(const struct channel_by_hand *c)
{
	must(c->echo.out_of_order == 0 && c->echo.torn == 0, "the sidecore saw another order");
	must(c->echo.next == c->sent && host_requests(c) == c->sent, "requests lost or doubled");
	must(c->received == c->sent && c->wrong == 0, "answers lost, doubled or changed");
	must(!host_broken(c) && host_defects(c) == 0, "a defect was seen");
}

static void finish(const char *what)
{
	struct sv_reactor_stats stats = sv_reactor_stats(reactor);

	sv_reactor_detach(reactor, &channel.endpoint.poller);
	expect_all_served(&channel);
	expect_all_served(&other);
	printf("%s: %lu messages, %lu doorbells, %lu sleeps, %lu wakes\n", what,
		(unsigned long)channel.received, (unsigned long)channel.doorbells,
		(unsigned long)stats.sleeps, (unsigned long)stats.wakes);
	must(stats.sleeps > 0 && channel.doorbells > 0, "a sleeper was served without a doorbell");
	sv_reactor_destroy(reactor);
	channel_by_hand_close(&other);
	channel_by_hand_close(&channel);
}

static unsigned room_for(struct channel_by_hand *c)
{
	int64_t room = sv_ring_room(&c->tx, c->tx.entries);
	uint64_t answers = c->rx.entries - (c->sent - c->received);

	must(room >= 0, "an impossible acknowledgement");
	return (unsigned)(answers < (uint64_t)room ? answers : (uint64_t)room);
}

/* Entry by entry, or as a batch whose first entry is published last. */
static void submit(struct channel_by_hand *c, unsigned n)
{
	union sv_slot batch[32];

	if (n > 1 && n <= 32 && n % 2) {
		for (unsigned i = 0; i < n; i++)
			batch[i] = channel_by_hand_request(c->sent++);
		sv_ring_put_n(&c->tx, batch, n, true);
	} else {
		while (n-- > 1)
			guest_put(c);
		guest_put_full(c);
	}
	if (guest_sees_sleeper(c))
		guest_ring(c);
}

/* Send and reap @messages in batches of random size; now and then long enough apart for a nap. */
static void guest(struct channel_by_hand *c, uint64_t messages, unsigned naps)
{
	uint64_t random = 88172645463325252ull;
	int64_t until = now_s() + GIVE_UP_S;
	unsigned idle = 0;

	while (c->received < messages) {
		unsigned room = room_for(c), n;
		enum sv_take t = SV_TAKE_ONE;

		if (room > messages - c->sent)
			room = (unsigned)(messages - c->sent);
		if (room) {
			n = 1 + (unsigned)(next_random(&random) >> 32) % room;
			submit(c, n);
		}
		if (naps && (next_random(&random) >> 32) % naps == 0)
			usleep(20);
		for (n = 0; t == SV_TAKE_ONE; n++)
			t = guest_reap(c);
		must(t != SV_TAKE_DEFECT, "an impossible sequence number");
		if (n == 1 && !room && ++idle % 64 == 0)
			sched_yield();
		must(now_s() < until, "%lu sent, %lu came back: a wake-up was lost",
			(unsigned long)c->sent, (unsigned long)c->received);
	}
}

static void *comes_and_goes(void *arg)
{
	uint64_t before;

	(void)arg;
	while (!sv_load_acquire(&stop)) {
		if (sv_reactor_attach(reactor, &other.endpoint.poller) < 0)
			break;
		before = other.sent;
		guest(&other, before + 10, 0);
		sv_reactor_detach(reactor, &other.endpoint.poller);
		attached++;
	}
	return NULL;
}

/* Wait until the sidecore sleeps, then ask it for one answer more: that takes the doorbell. */
static void wake_a_sleeper(struct channel_by_hand *c)
{
	int64_t until = now_s() + GIVE_UP_S;

	while (!guest_sees_sleeper(c)) {
		must(now_s() < until, "the sidecore never slept");
		usleep(50);
	}
	guest(c, c->received + 1, 0);
}

static void two_threads(const char *what, uint32_t entries, uint64_t messages)
{
	start(entries, entries);
	guest(&channel, messages, 50);
	wake_a_sleeper(&channel);
	finish(what);
}

static void another_comes_and_goes(void)
{
	pthread_t thread;

	start(256, 256);
	must(pthread_create(&thread, NULL, comes_and_goes, NULL) == 0, "no thread");
	guest(&channel, 300000, 50);
	sv_store_release(&stop, 1);
	pthread_join(thread, NULL);
	printf("the other channel came and went %lu times\n", (unsigned long)attached);
	must(attached > 0, "the other channel was never served");
	wake_a_sleeper(&channel);
	finish("another comes and goes");
}

int main(void)
{
	two_threads("rings of 64", 64, 200000);
	two_threads("rings of 2", 2, 20000);
	another_comes_and_goes();
	return 0;
}
