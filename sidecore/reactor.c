/* SPDX-License-Identifier: BSD-3-Clause */
#include <sidecore/reactor.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <urcu-qsbr.h>

#include <channels/atomics.h>

#define SLEEP_DEADLINE_MS 1000
#define SPIN_TURNS 4096u /* turns without work before PAUSE comes in */
#define TSC_CHECK_TURNS 64u
#define IDLE_BATCH 16u /* turns without work that are attributed together */

/* A snapshot of who is polled: replaced as a whole, read under RCU. */
struct table {
	struct rcu_head rcu;
	unsigned n;
	struct sv_poller *poller[];
};

struct sv_reactor {
	struct sv_reactor_config config;
	struct table *table; /* RCU */
	pthread_mutex_t change; /* attach and detach */
	pthread_t thread;
	bool threaded;
	int stop;
	int epoll_fd, wake_fd;
	uint64_t ticks_per_us;
	struct sv_reactor_stats stats;

	/* The reactor's thread alone. Ticks up to `attributed` are in somebody's account. */
	uint64_t attributed;
	unsigned idle_turns; /* since then, none of which found work */
};

static void count(uint64_t *counter, uint64_t by)
{
	sv_store_relaxed(counter, *counter + by);
}

uint64_t sv_reactor_ticks_per_us(void)
{
	static uint64_t cached;
	struct timespec a, b;
	uint64_t t0, t1, ns;

	if (sv_load_relaxed(&cached))
		return cached;
	clock_gettime(CLOCK_MONOTONIC_RAW, &a);
	t0 = sv_tsc();
	do {
		clock_gettime(CLOCK_MONOTONIC_RAW, &b);
		ns = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u + (uint64_t)b.tv_nsec -
		     (uint64_t)a.tv_nsec;
	} while (ns < 200000);
	t1 = sv_tsc();
	sv_store_relaxed(&cached, (t1 - t0) * 1000 / ns ? (t1 - t0) * 1000 / ns : 1);
	return cached;
}

static struct table *table_new(unsigned n)
{
	struct table *t = calloc(1, sizeof(*t) + n * sizeof(t->poller[0]));

	if (t)
		t->n = n;
	return t;
}

static void account_busy(struct sv_reactor *r, struct sv_poller *p)
{
	uint64_t now = sv_tsc(), ticks = now - r->attributed;

	count(&p->ticks.busy_ticks, ticks);
	count(&p->ticks.busy_polls, 1);
	count(&r->stats.busy_ticks, ticks);
	r->attributed = now;
}

/* Turns that found nothing are attributed together, in equal shares: the clock is read less often. */
static void account_idle(struct sv_reactor *r, const struct table *t)
{
	uint64_t now, ticks;

	if (++r->idle_turns < IDLE_BATCH)
		return;
	now = sv_tsc();
	ticks = now - r->attributed;
	for (unsigned i = 0; i < t->n; i++) {
		count(&t->poller[i]->ticks.idle_ticks, ticks / t->n);
		count(&t->poller[i]->ticks.idle_polls, r->idle_turns);
	}
	count(&r->stats.idle_ticks, ticks);
	r->attributed = now;
	r->idle_turns = 0;
}

bool sv_reactor_turn(struct sv_reactor *r)
{
	const struct table *t = rcu_dereference(r->table);
	bool busy = false;

	for (unsigned i = 0; i < t->n; i++) {
		struct sv_poller *p = t->poller[i];

		if (p->ops->poll(p, r->config.budget) == SV_POLL_BUSY) {
			account_busy(r, p);
			busy = true;
		}
	}
	if (!busy)
		account_idle(r, t);
	count(&r->stats.turns, 1);
	return busy;
}

static bool arm_all(const struct table *t)
{
	bool pending = false;

	for (unsigned i = 0; i < t->n; i++)
		if (t->poller[i]->ops->arm)
			pending |= t->poller[i]->ops->arm(t->poller[i]);
	return pending;
}

static void disarm_all(const struct table *t)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->poller[i]->ops->disarm)
			t->poller[i]->ops->disarm(t->poller[i]);
}

bool sv_reactor_sleep(struct sv_reactor *r, int deadline_ms)
{
	const struct table *t = rcu_dereference(r->table);
	struct epoll_event ev[16];
	uint64_t then = sv_tsc(), drain;
	bool pending = arm_all(t);

	if (!pending && !sv_load_acquire(&r->stop)) {
		count(&r->stats.sleeps, 1);
		/* Off line: attach and detach do not wait for a sleeper; wake_fd fetches it. */
		if (r->threaded)
			rcu_thread_offline();
		if (epoll_wait(r->epoll_fd, ev, 16, deadline_ms) > 0)
			count(&r->stats.wakes, 1);
		if (r->threaded)
			rcu_thread_online();
		if (read(r->wake_fd, &drain, sizeof(drain)) < 0 && errno != EAGAIN)
			sv_warn("wake eventfd: %s", strerror(errno));
		t = rcu_dereference(r->table);
	}
	disarm_all(t);
	r->attributed = sv_tsc();
	r->idle_turns = 0;
	count(&r->stats.sleep_ticks, r->attributed - then);
	return !pending;
}

/* The loop: poll, and climb the idle ladder while there is nothing. */
static void *reactor_thread(void *arg)
{
	struct sv_reactor *r = arg;
	uint64_t last_work, idle_ticks = r->config.idle_spin_us * r->ticks_per_us;
	unsigned idle_turns = 0;

	rcu_register_thread();
	last_work = r->attributed = sv_tsc();
	while (!sv_load_acquire(&r->stop)) {
		bool busy = sv_reactor_turn(r);

		rcu_quiescent_state();
		if (busy) {
			idle_turns = 0;
			continue;
		}
		if (idle_turns++ == 0)
			last_work = sv_tsc();
		if (idle_turns < SPIN_TURNS)
			continue;
		sv_cpu_relax();
		if (r->config.idle_spin_us == SV_IDLE_NEVER || idle_turns % TSC_CHECK_TURNS)
			continue;
		if (sv_tsc() - last_work >= idle_ticks && sv_reactor_sleep(r, SLEEP_DEADLINE_MS))
			idle_turns = sv_reactor_turn(r) ? 0 : SPIN_TURNS;
	}
	rcu_unregister_thread();
	return NULL;
}

static int start_thread(struct sv_reactor *r, struct sv_error *err)
{
	pthread_attr_t attr;
	sigset_t all, old;
	cpu_set_t set;
	char name[16];
	int rc;

	CPU_ZERO(&set);
	CPU_SET(r->config.cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&r->thread, &attr, reactor_thread, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc)
		return sv_fail(err, rc, "cannot start a sidecore on CPU %d: %s", r->config.cpu,
			strerror(rc));
	r->threaded = true;
	snprintf(name, sizeof(name), "sidecore-%d", r->config.cpu);
	pthread_setname_np(r->thread, name);
	return 0;
}

int sv_reactor_create(struct sv_reactor **out, const struct sv_reactor_config *config,
	struct sv_error *err)
{
	struct sv_reactor *r = calloc(1, sizeof(*r));
	struct epoll_event ev = {.events = EPOLLIN};
	int rc = 0;

	if (!r)
		return sv_fail(err, ENOMEM, "out of memory");
	r->config = *config;
	if (!r->config.budget)
		r->config.budget = 64;
	r->ticks_per_us = sv_reactor_ticks_per_us();
	pthread_mutex_init(&r->change, NULL);
	r->table = table_new(0);
	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r->table || r->epoll_fd < 0 || r->wake_fd < 0 ||
		epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->wake_fd, &ev) < 0)
		rc = sv_fail(err, errno, "cannot set a sidecore up: %s", strerror(errno));
	if (rc == 0 && config->cpu >= 0)
		rc = start_thread(r, err);
	if (rc < 0) {
		sv_reactor_destroy(r);
		return rc;
	}
	*out = r;
	return 0;
}

static void wake(struct sv_reactor *r)
{
	uint64_t one = 1;

	if (write(r->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		sv_warn("wake eventfd: %s", strerror(errno));
}

void sv_reactor_destroy(struct sv_reactor *r)
{
	sv_store_release(&r->stop, 1);
	if (r->threaded) {
		wake(r);
		pthread_join(r->thread, NULL);
	}
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	SV_BUG_ON(r->table && r->table->n);
	free(r->table);
	pthread_mutex_destroy(&r->change);
	free(r);
}

/* Publish @next, wait until nobody reads the old snapshot, free that. */
static void replace(struct sv_reactor *r, struct table *next)
{
	struct table *old = r->table;

	for (unsigned i = 0; i < next->n; i++)
		sv_store_relaxed(&next->poller[i]->crowd, next->n);
	rcu_assign_pointer(r->table, next);
	if (r->threaded) {
		wake(r);
		synchronize_rcu();
	}
	free(old);
}

static void watch(struct sv_reactor *r, const struct sv_poller *p, int op)
{
	struct epoll_event ev = {.events = EPOLLIN};

	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		if (p->wake_fds[i] >= 0)
			epoll_ctl(r->epoll_fd, op, p->wake_fds[i], &ev);
}

int sv_reactor_attach(struct sv_reactor *r, struct sv_poller *p)
{
	struct table *next;

	pthread_mutex_lock(&r->change);
	next = r->table->n < SV_REACTOR_POLLERS ? table_new(r->table->n + 1) : NULL;
	if (!next) {
		pthread_mutex_unlock(&r->change);
		return -ENOSPC;
	}
	memcpy(next->poller, r->table->poller, r->table->n * sizeof(next->poller[0]));
	next->poller[r->table->n] = p;
	watch(r, p, EPOLL_CTL_ADD);
	replace(r, next);
	pthread_mutex_unlock(&r->change);
	return 0;
}

void sv_reactor_detach(struct sv_reactor *r, struct sv_poller *p)
{
	struct table *next;
	unsigned n = 0;

	pthread_mutex_lock(&r->change);
	next = table_new(r->table->n);
	SV_BUG_ON(!next);
	for (unsigned i = 0; i < r->table->n; i++)
		if (r->table->poller[i] != p)
			next->poller[n++] = r->table->poller[i];
	SV_BUG_ON(n + 1 != r->table->n);
	next->n = n;
	watch(r, p, EPOLL_CTL_DEL);
	replace(r, next);
	pthread_mutex_unlock(&r->change);
}

struct sv_reactor_stats sv_reactor_stats(const struct sv_reactor *r)
{
	return (struct sv_reactor_stats){
		.turns = sv_load_relaxed(&r->stats.turns),
		.busy_ticks = sv_load_relaxed(&r->stats.busy_ticks),
		.idle_ticks = sv_load_relaxed(&r->stats.idle_ticks),
		.sleep_ticks = sv_load_relaxed(&r->stats.sleep_ticks),
		.sleeps = sv_load_relaxed(&r->stats.sleeps),
		.wakes = sv_load_relaxed(&r->stats.wakes),
	};
}

int sv_reactor_cpu(const struct sv_reactor *r)
{
	return r->config.cpu;
}
