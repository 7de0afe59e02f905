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

#include <base/pin.h>
#include <channels/atomics.h>
#include <channels/wait.h>

#define SLEEP_DEADLINE_MS 1000
#define ENTER_MS 5000
#define DEFAULT_REST_US 50
#define DEFAULT_BUDGET 64u
#define RETIRED_MAX 64u /* snapshots that wait for the next grace period */

/* A snapshot of who is polled: replaced as a whole, read under RCU. */
struct table {
	struct table *retired; /* the next one to be freed */
	unsigned n;
	struct sv_poller *poller[];
};

struct sv_reactor {
	struct sv_reactor_config config;
	struct table *table; /* RCU */
	pthread_t thread;
	bool threaded;
	int entered; /* 1: the thread is on its CPU; -errno: it cannot */
	int stop;
	int epoll_fd, wake_fd;
	uint64_t rest_ticks, sleep_ticks; /* without work for so long: rest, sleep */
	enum sv_wait rest;
	struct sv_reactor_stats stats;
	uint64_t attributed; /* the thread's: ticks up to here are in somebody's account */

	/* Attach and detach. */
	pthread_mutex_t change;
	struct table *retired;
	unsigned nretired;
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

/* What passed since the last look at the clock is this poller's. */
static void account(struct sv_reactor *r, struct sv_poller *p, enum sv_poll found)
{
	uint64_t now = sv_tsc(), ticks = now - r->attributed, idle = ticks;

	if (found == SV_POLL_BUSY) {
		idle = p->waited_ticks < ticks ? p->waited_ticks : ticks;
		count(&p->ticks.busy_ticks, ticks - idle);
		count(&p->ticks.busy_polls, 1);
		count(&r->stats.busy_ticks, ticks - idle);
		p->waited_ticks = 0;
	} else {
		count(&p->ticks.idle_polls, 1);
	}
	count(&p->ticks.idle_ticks, idle);
	count(&r->stats.idle_ticks, idle);
	r->attributed = now;
}

static void account_nobody(struct sv_reactor *r, uint64_t *counter)
{
	uint64_t now = sv_tsc();

	count(counter, now - r->attributed);
	r->attributed = now;
}

bool sv_reactor_turn(struct sv_reactor *r)
{
	const struct table *t = sv_load_acquire(&r->table);
	bool busy = false;

	for (unsigned i = 0; i < t->n; i++) {
		struct sv_poller *p = t->poller[i];
		enum sv_poll found = p->ops->poll(p, r->config.budget);

		account(r, p, found);
		busy |= found == SV_POLL_BUSY;
	}
	if (!t->n)
		account_nobody(r, &r->stats.idle_ticks);
	sv_store_release(&r->stats.turns, r->stats.turns + 1);
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

/* Off line meanwhile: attach and detach do not wait for a sleeper; wake_fd fetches it. */
static void sleep_in_kernel(struct sv_reactor *r, int deadline_ms)
{
	struct epoll_event ev[16];

	sv_store_release(&r->stats.sleeps, r->stats.sleeps + 1);
	if (r->threaded)
		rcu_thread_offline();
	if (epoll_wait(r->epoll_fd, ev, 16, deadline_ms) > 0)
		count(&r->stats.wakes, 1);
	if (r->threaded)
		rcu_thread_online();
}

bool sv_reactor_sleep(struct sv_reactor *r, int deadline_ms)
{
	bool pending;

	account_nobody(r, &r->stats.idle_ticks);
	pending = arm_all(sv_load_acquire(&r->table));
	if (!pending && !sv_load_acquire(&r->stop))
		sleep_in_kernel(r, deadline_ms);
	disarm_all(sv_load_acquire(&r->table));
	account_nobody(r, pending ? &r->stats.idle_ticks : &r->stats.sleep_ticks);
	return !pending;
}

/* The loop: poll, and climb the idle ladder while there is nothing. */
static void *reactor_thread(void *arg)
{
	struct sv_reactor *r = arg;
	uint64_t quiet_since;
	int rc = r->config.join_fd > 0 ? sv_pin_self(r->config.join_fd, r->config.cpu) : 0;

	sv_store_release(&r->entered, rc < 0 ? rc : 1);
	if (rc < 0)
		return NULL;
	rcu_register_thread();
	quiet_since = r->attributed = sv_tsc();
	while (!sv_load_acquire(&r->stop)) {
		bool busy = sv_reactor_turn(r);
		uint64_t quiet = r->attributed - quiet_since;

		rcu_quiescent_state();
		if (busy)
			quiet_since = r->attributed;
		else if (quiet >= r->sleep_ticks || !sv_load_acquire(&r->table)->n)
			sv_reactor_sleep(r, SLEEP_DEADLINE_MS);
		else if (quiet >= r->rest_ticks)
			sv_wait_rest(r->rest, &r->attributed, r->attributed, r->attributed + r->rest_ticks);
	}
	rcu_unregister_thread();
	return NULL;
}

/* Has the thread reached its CPU? Return: 0, or -errno with a sentence and the thread is gone. */
static int wait_entered(struct sv_reactor *r, struct sv_error *err)
{
	struct timespec slice = {.tv_nsec = 1000000};
	int entered = 0;

	for (int ms = 0; ms < ENTER_MS && !(entered = sv_load_acquire(&r->entered)); ms++)
		nanosleep(&slice, NULL);
	if (entered > 0)
		return 0;
	sv_store_release(&r->stop, 1);
	pthread_join(r->thread, NULL);
	r->threaded = false;
	return sv_fail(err, entered ? -entered : ETIMEDOUT,
		"a sidecore cannot enter its cpuset and run on CPU %d: %s", r->config.cpu,
		strerror(entered ? -entered : ETIMEDOUT));
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
	if (r->config.join_fd <= 0)
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* base/memtrap.h */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r->threaded = true; /* the thread reads it */
	rc = pthread_create(&r->thread, &attr, reactor_thread, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc) {
		r->threaded = false;
		return sv_fail(err, rc, "cannot start a sidecore on CPU %d: %s", r->config.cpu,
			strerror(rc));
	}
	snprintf(name, sizeof(name), "sidecore-%d", r->config.cpu);
	pthread_setname_np(r->thread, name);
	return r->config.join_fd > 0 ? wait_entered(r, err) : 0;
}

/* The longest rest of a CPU that needs no line to watch: our own line stands in for one. */
static enum sv_wait choose_rest(void)
{
	if (sv_wait_available(SV_WAIT_TPAUSE))
		return SV_WAIT_TPAUSE;
	return sv_wait_available(SV_WAIT_MWAITX) ? SV_WAIT_MWAITX : SV_WAIT_PAUSE;
}

static void configure(struct sv_reactor *r, const struct sv_reactor_config *config)
{
	uint64_t per_us = sv_reactor_ticks_per_us();

	r->config = *config;
	if (!r->config.budget)
		r->config.budget = DEFAULT_BUDGET;
	r->rest = choose_rest();
	r->rest_ticks = (config->idle_rest_us ? config->idle_rest_us : DEFAULT_REST_US) * per_us;
	r->sleep_ticks = config->idle_spin_us < SV_IDLE_NEVER / per_us
				 ? config->idle_spin_us * per_us
				 : UINT64_MAX;
	r->attributed = sv_tsc();
}

int sv_reactor_create(struct sv_reactor **out, const struct sv_reactor_config *config,
	struct sv_error *err)
{
	struct sv_reactor *r = calloc(1, sizeof(*r));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	int rc = 0;

	if (!r)
		return sv_fail(err, ENOMEM, "out of memory");
	configure(r, config);
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

static void free_retired(struct sv_reactor *r)
{
	while (r->retired) {
		struct table *t = r->retired;

		r->retired = t->retired;
		free(t);
	}
	r->nretired = 0;
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
	free_retired(r);
	free(r->table);
	pthread_mutex_destroy(&r->change);
	free(r);
}

/*
 * Wait until nobody reads an old snapshot. The two loads take over what the thread's release stores
 * at the end of a turn and before a sleep published: the same edge as liburcu's, spelled so that
 * ThreadSanitizer sees it.
 */
static void grace_period(struct sv_reactor *r)
{
	if (r->threaded)
		synchronize_rcu();
	(void)sv_load_acquire(&r->stats.turns);
	(void)sv_load_acquire(&r->stats.sleeps);
	free_retired(r);
}

/* Publish @next and fetch a sleeper; the old snapshot is freed after the next grace period. */
static void replace(struct sv_reactor *r, struct table *next)
{
	struct table *old = r->table;

	for (unsigned i = 0; i < next->n; i++)
		sv_store_relaxed(&next->poller[i]->crowd, next->n);
	sv_store_release(&r->table, next);
	wake(r);
	old->retired = r->retired;
	r->retired = old;
	r->nretired++;
}

static void unwatch(struct sv_reactor *r, const struct sv_poller *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (p->wake_fds[i] >= 0)
			epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, p->wake_fds[i], NULL);
}

static int watch(struct sv_reactor *r, const struct sv_poller *p)
{
	struct epoll_event ev = {.events = EPOLLIN | (p->wake_by_edge ? EPOLLET : 0u)};

	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++) {
		int fd = p->wake_fds[i];

		if (fd >= 0 && epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
			int rc = -errno;

			unwatch(r, p, i);
			return rc;
		}
	}
	return 0;
}

static int attach_locked(struct sv_reactor *r, struct sv_poller *p)
{
	struct table *next;
	int rc;

	if (r->table->n >= SV_REACTOR_POLLERS)
		return -ENOSPC;
	next = table_new(r->table->n + 1);
	if (!next)
		return -ENOMEM;
	rc = watch(r, p);
	if (rc < 0) {
		free(next);
		return rc;
	}
	memcpy(next->poller, r->table->poller, r->table->n * sizeof(next->poller[0]));
	next->poller[r->table->n] = p;
	replace(r, next);
	if (r->nretired >= RETIRED_MAX)
		grace_period(r);
	return 0;
}

int sv_reactor_attach(struct sv_reactor *r, struct sv_poller *p)
{
	int rc;

	pthread_mutex_lock(&r->change);
	rc = attach_locked(r, p);
	pthread_mutex_unlock(&r->change);
	return rc;
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
	unwatch(r, p, SV_POLLER_WAKE_FDS);
	replace(r, next);
	grace_period(r);
	pthread_mutex_unlock(&r->change);
}

void sv_reactor_sync(struct sv_reactor *r)
{
	pthread_mutex_lock(&r->change);
	grace_period(r);
	pthread_mutex_unlock(&r->change);
}

void sv_reactor_each(struct sv_reactor *r, void (*each)(const struct sv_poller *p, void *ctx),
	void *ctx)
{
	pthread_mutex_lock(&r->change);
	for (unsigned i = 0; i < r->table->n; i++)
		each(r->table->poller[i], ctx);
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
