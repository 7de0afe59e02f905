/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two reactors, and pollers that come, move from one to the other and go, each in memory that is
 * overwritten and freed the moment it was detached; a channel whose service table is exchanged and
 * freed while its guest calls; a thread that reads all accounts meanwhile. What runs too long, too
 * late or unordered is found by ThreadSanitizer, AddressSanitizer or the overwritten memory.
 *
 * A plain program: Criterion's sandbox and ThreadSanitizer both want the same addresses.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sidecore/reactor.h>

#include "channel_by_hand.h"

#define ROUNDS 1500u
#define LIVE 8u
#define POISON 0xee
#define GIVE_UP_S 240

#define must(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "test_reactor_stress.c:%d: %s\n", __LINE__, #cond); \
			_exit(1); \
		} \
	} while (0)

struct worker {
	struct sv_poller poller;
	uint64_t polls;
};

static struct sv_reactor *reactor[2];
static struct channel_by_hand channel;
static uint32_t stop;

static enum sv_poll worker_poll(struct sv_poller *p, unsigned budget)
{
	struct worker *w = (struct worker *)(void *)p;

	must(budget == 64);
	sv_store_relaxed(&w->polls, w->polls + 1);
	return w->polls % 3 ? SV_POLL_IDLE : SV_POLL_BUSY;
}

static bool worker_arm(struct sv_poller *p)
{
	return ((struct worker *)(void *)p)->polls % 5 == 0;
}

static const struct sv_poller_ops worker_ops = {
	.service = "worker", .poll = worker_poll, .arm = worker_arm};

static void start_reactors(void)
{
	struct sv_reactor_config config = {.idle_spin_us = 5};
	cpu_set_t set;
	int first = -1, last = -1;

	must(sched_getaffinity(0, sizeof(set), &set) == 0);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		first = first < 0 ? i : first;
		last = i;
	}
	for (unsigned i = 0; i < 2; i++) {
		config.cpu = i ? last : first;
		must(sv_reactor_create(&reactor[i], &config, NULL) == 0);
	}
}

static void add_poller(const struct sv_poller *p, void *ctx)
{
	*(uint64_t *)ctx += sv_load_relaxed(&p->ticks.busy_ticks) +
			    sv_load_relaxed(&p->ticks.idle_ticks) + strlen(p->ops->service);
}

static void *reader(void *arg)
{
	uint64_t sum = 0;

	(void)arg;
	while (!sv_load_acquire(&stop)) {
		for (unsigned i = 0; i < 2; i++) {
			sum += sv_reactor_stats(reactor[i]).turns;
			sv_reactor_each(reactor[i], add_poller, &sum);
		}
		sched_yield();
	}
	must(sum > 0);
	return NULL;
}

static void *guest(void *arg)
{
	(void)arg;
	while (!sv_load_acquire(&stop)) {
		if (channel.sent - channel.received < 8) {
			guest_put_full(&channel);
			if (guest_sees_sleeper(&channel))
				guest_ring(&channel);
		}
		if (guest_reap(&channel) != SV_TAKE_ONE)
			sched_yield();
	}
	while (channel.received < channel.sent)
		if (guest_reap(&channel) != SV_TAKE_ONE)
			sched_yield();
	return NULL;
}

static struct worker *worker_new(int wake_fd)
{
	struct worker *w = calloc(1, sizeof(*w));

	must(w);
	w->poller.ops = &worker_ops;
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		w->poller.wake_fds[i] = -1;
	w->poller.wake_fds[0] = wake_fd;
	w->poller.wake_by_edge = true;
	return w;
}

/* The same services in another piece of memory; the old one is poisoned and freed. */
static void exchange_services(struct sv_reactor *r)
{
	static struct sv_service_table *last;
	struct sv_service_table *next = malloc(sizeof(*next));

	must(next);
	*next = channel.services;
	sv_endpoint_set_services(&channel.endpoint, next);
	sv_reactor_sync(r);
	if (last) {
		memset(last, POISON, sizeof(*last));
		free(last);
	}
	last = next;
}

static void churn(void)
{
	struct worker *live[LIVE] = {NULL};
	unsigned home[LIVE] = {0};
	uint64_t seed = 88172645463325252ull, one = 1;
	int fd[LIVE];

	for (unsigned i = 0; i < LIVE; i++)
		fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned i = (unsigned)(next_random(&seed) >> 20) % LIVE;
		bool move = live[i] && next_random(&seed) % 2;

		if (live[i]) {
			sv_reactor_detach(reactor[home[i]], &live[i]->poller);
			if (!move) {
				memset(live[i], POISON, sizeof(*live[i]));
				free(live[i]);
				live[i] = NULL;
			}
		}
		if (move || round < ROUNDS - LIVE * 8) {
			live[i] = live[i] ? live[i] : worker_new(fd[i]);
			home[i] ^= 1;
			must(sv_reactor_attach(reactor[home[i]], &live[i]->poller) == 0);
			must(write(fd[i], &one, sizeof(one)) == sizeof(one));
		}
		if (round % 4 == 0)
			exchange_services(reactor[0]);
		if (round % 64 == 0)
			while (live[i] && sv_load_relaxed(&live[i]->polls) == 0)
				sched_yield();
	}
	for (unsigned i = 0; i < LIVE; i++) {
		if (live[i])
			sv_reactor_detach(reactor[home[i]], &live[i]->poller);
		free(live[i]);
		close(fd[i]);
	}
}

int main(void)
{
	pthread_t t[2];

	alarm(GIVE_UP_S);
	start_reactors();
	must(channel_by_hand_open(&channel, 64, 64) == 0);
	must(sv_reactor_attach(reactor[0], &channel.endpoint.poller) == 0);
	must(pthread_create(&t[0], NULL, reader, NULL) == 0);
	must(pthread_create(&t[1], NULL, guest, NULL) == 0);
	churn();
	sv_store_release(&stop, 1u);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	sv_reactor_detach(reactor[0], &channel.endpoint.poller);
	for (unsigned i = 0; i < 2; i++) {
		struct sv_reactor_stats s = sv_reactor_stats(reactor[i]);

		printf("reactor %u: %lu turns, %lu sleeps, %lu wakes\n", i, (unsigned long)s.turns,
			(unsigned long)s.sleeps, (unsigned long)s.wakes);
		sv_reactor_destroy(reactor[i]);
	}
	printf("%lu messages\n", (unsigned long)channel.received);
	must(channel.received > 0 && channel.received == channel.sent && channel.wrong == 0);
	must(!host_broken(&channel) && channel.echo.out_of_order == 0 && channel.echo.torn == 0);
	return 0;
}
