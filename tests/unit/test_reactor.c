/* SPDX-License-Identifier: BSD-3-Clause */
/* The reactor, stepped by hand and as a thread, over pollers that only count. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <sidecore/reactor.h>

struct probe {
	struct sv_poller poller;
	unsigned work; /* polls that find something */
	unsigned polls, arms, disarms, budget;
	bool pending; /* what arm() says */
	uint64_t waited;
	int forbidden; /* detached: no op may run any more */
	int seen_forbidden;
};

static struct probe *probe_of(struct sv_poller *p)
{
	return (struct probe *)(void *)((char *)p - offsetof(struct probe, poller));
}

static enum sv_poll probe_poll(struct sv_poller *p, unsigned budget)
{
	struct probe *q = probe_of(p);

	if (sv_load_acquire(&q->forbidden))
		sv_store_release(&q->seen_forbidden, 1);
	sv_store_relaxed(&q->polls, q->polls + 1);
	q->budget = budget;
	if (!sv_load_relaxed(&q->work))
		return SV_POLL_IDLE;
	sv_store_relaxed(&q->work, q->work - 1);
	p->waited_ticks = q->waited;
	return SV_POLL_BUSY;
}

static bool probe_arm(struct sv_poller *p)
{
	sv_store_relaxed(&probe_of(p)->arms, probe_of(p)->arms + 1);
	return probe_of(p)->pending;
}

static void probe_disarm(struct sv_poller *p)
{
	sv_store_relaxed(&probe_of(p)->disarms, probe_of(p)->disarms + 1);
}

static const struct sv_poller_ops ops = {
	.service = "probe", .poll = probe_poll, .arm = probe_arm, .disarm = probe_disarm};
static const struct sv_poller_ops bare_ops = {.service = "bare", .poll = probe_poll};

static void probe_init(struct probe *q, const struct sv_poller_ops *o)
{
	memset(q, 0, sizeof(*q));
	q->poller.ops = o;
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		q->poller.wake_fds[i] = -1;
}

static struct sv_reactor *by_hand(void)
{
	struct sv_reactor_config c = {.cpu = -1, .budget = 17};
	struct sv_reactor *r;

	cr_assert_eq(sv_reactor_create(&r, &c, NULL), 0);
	return r;
}

static int first_cpu(void)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			return i;
	return 0;
}

static struct sv_reactor *threaded(uint64_t idle_spin_us)
{
	struct sv_reactor_config c = {.cpu = first_cpu(), .idle_spin_us = idle_spin_us};
	struct sv_reactor *r;

	cr_assert_eq(sv_reactor_create(&r, &c, NULL), 0);
	return r;
}

static void until(const unsigned *counter, unsigned at_least)
{
	while (sv_load_relaxed(counter) < at_least)
		sched_yield();
}

/* --- by hand --------------------------------------------------------------------------------- */

Test(reactor, a_turn_polls_each_once_with_the_budget)
{
	struct sv_reactor *r = by_hand();
	struct probe a, b;

	probe_init(&a, &ops);
	probe_init(&b, &ops);
	cr_assert_eq(sv_reactor_attach(r, &a.poller), 0);
	cr_assert_eq(sv_reactor_attach(r, &b.poller), 0);
	cr_assert_not(sv_reactor_turn(r));
	b.work = 1;
	cr_assert(sv_reactor_turn(r));
	cr_assert_eq(a.polls, 2);
	cr_assert_eq(b.polls, 2);
	cr_assert_eq(a.budget, 17);
	cr_assert_eq(a.poller.crowd, 2);
	sv_reactor_detach(r, &a.poller);
	cr_assert_eq(b.poller.crowd, 1);
	sv_reactor_turn(r);
	cr_assert_eq(a.polls, 2);
	cr_assert_eq(b.polls, 3);
	sv_reactor_detach(r, &b.poller);
	sv_reactor_destroy(r);
}

Test(reactor, several_are_stepped_in_one_thread)
{
	struct sv_reactor *r[3];
	struct probe q[3];

	for (unsigned i = 0; i < 3; i++) {
		r[i] = by_hand();
		probe_init(&q[i], &ops);
		cr_assert_eq(sv_reactor_attach(r[i], &q[i].poller), 0);
	}
	sv_reactor_turn(r[1]);
	sv_reactor_turn(r[2]);
	sv_reactor_turn(r[2]);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(q[i].polls, i);
		sv_reactor_detach(r[i], &q[i].poller);
		sv_reactor_destroy(r[i]);
	}
}

Test(reactor, every_tick_is_in_one_account)
{
	struct sv_reactor *r = by_hand();
	struct sv_reactor_stats s, before;
	uint64_t busy = 0, idle = 0, first_end, from, after, to;
	struct probe q[5];

	for (unsigned i = 0; i < 5; i++) {
		probe_init(&q[i], &ops);
		q[i].work = i * 100;
		cr_assert_eq(sv_reactor_attach(r, &q[i].poller), 0);
	}
	first_end = sv_tsc();
	sv_reactor_turn(r);
	before = sv_reactor_stats(r);
	from = sv_tsc();
	for (unsigned n = 0; n < 499; n++)
		sv_reactor_turn(r);
	after = sv_tsc();
	sv_reactor_turn(r);
	to = sv_tsc();
	s = sv_reactor_stats(r);
	for (unsigned i = 0; i < 5; i++) {
		busy += q[i].poller.ticks.busy_ticks;
		idle += q[i].poller.ticks.idle_ticks;
		cr_assert_eq(q[i].poller.ticks.busy_polls, i * 100);
		cr_assert_eq(q[i].poller.ticks.idle_polls, 501 - i * 100);
		sv_reactor_detach(r, &q[i].poller);
	}
	cr_assert_eq(s.busy_ticks, busy);
	cr_assert_eq(s.idle_ticks, idle);
	cr_assert_eq(s.turns, 501);
	/* From the first turn's end to the last one's: what the clock says, up to the calls around. */
	cr_assert_leq(s.busy_ticks + s.idle_ticks - before.busy_ticks - before.idle_ticks, to - first_end);
	cr_assert_geq(s.busy_ticks + s.idle_ticks - before.busy_ticks - before.idle_ticks, after - from);
	sv_reactor_destroy(r);
}

Test(reactor, waiting_in_vain_is_idle_time)
{
	struct sv_reactor *r = by_hand();
	struct probe q;

	probe_init(&q, &ops);
	q.work = 1;
	q.waited = UINT64_MAX; /* more than there was: all of it */
	cr_assert_eq(sv_reactor_attach(r, &q.poller), 0);
	cr_assert(sv_reactor_turn(r));
	cr_assert_eq(q.poller.ticks.busy_ticks, 0);
	cr_assert_gt(q.poller.ticks.idle_ticks, 0);
	cr_assert_eq(q.poller.ticks.busy_polls, 1);
	cr_assert_eq(q.poller.waited_ticks, 0);
	sv_reactor_detach(r, &q.poller);
	sv_reactor_destroy(r);
}

Test(reactor, sleeps_only_when_nobody_has_work)
{
	struct sv_reactor *r = by_hand();
	struct probe a, b, bare;

	probe_init(&a, &ops);
	probe_init(&b, &ops);
	probe_init(&bare, &bare_ops);
	sv_reactor_attach(r, &a.poller);
	sv_reactor_attach(r, &b.poller);
	sv_reactor_attach(r, &bare.poller);
	b.pending = true;
	cr_assert_not(sv_reactor_sleep(r, 60000));
	cr_assert_eq(sv_reactor_stats(r).sleeps, 0);
	cr_assert_eq(a.arms, 1);
	cr_assert_eq(a.disarms, 1);
	b.pending = false;
	sv_reactor_sleep(r, 0); /* what attach() wrote to fetch a sleeper is used up */
	cr_assert(sv_reactor_sleep(r, 0));
	cr_assert_eq(sv_reactor_stats(r).sleeps, 2);
	cr_assert_eq(sv_reactor_stats(r).wakes, 1);
	cr_assert_eq(b.disarms, 3);
	sv_reactor_detach(r, &a.poller);
	sv_reactor_detach(r, &b.poller);
	sv_reactor_detach(r, &bare.poller);
	sv_reactor_destroy(r);
}

static void sleeper_is_woken(bool by_edge)
{
	struct sv_reactor *r = by_hand();
	uint64_t one = 1;
	struct probe q;
	int fd = eventfd(0, EFD_NONBLOCK);

	probe_init(&q, &ops);
	q.poller.wake_fds[2] = fd;
	q.poller.wake_by_edge = by_edge;
	cr_assert_eq(sv_reactor_attach(r, &q.poller), 0);
	sv_reactor_sleep(r, 0);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t wakes = sv_reactor_stats(r).wakes;

		cr_assert_eq(write(fd, &one, sizeof(one)), 8);
		cr_assert(sv_reactor_sleep(r, 60000));
		cr_assert_eq(sv_reactor_stats(r).wakes, wakes + 1);
		if (!by_edge)
			cr_assert_eq(read(fd, &one, sizeof(one)), 8);
		cr_assert(sv_reactor_sleep(r, 0));
		cr_assert_eq(sv_reactor_stats(r).wakes, wakes + 1, "woken twice by one write");
	}
	sv_reactor_detach(r, &q.poller);
	cr_assert_eq(write(fd, &one, sizeof(one)), 8);
	sv_reactor_sleep(r, 0); /* what detach() wrote */
	one = sv_reactor_stats(r).wakes;
	sv_reactor_sleep(r, 0);
	cr_assert_eq(sv_reactor_stats(r).wakes, one, "a detached poller's descriptor still wakes");
	sv_reactor_destroy(r);
	close(fd);
}

Test(reactor, a_write_to_a_wake_fd_ends_the_sleep, .timeout = 30)
{
	sleeper_is_woken(false);
}

Test(reactor, a_wake_fd_by_edge_need_not_be_read, .timeout = 30)
{
	sleeper_is_woken(true);
}

Test(reactor, a_wake_fd_that_cannot_be_watched_is_refused)
{
	struct sv_reactor *r = by_hand();
	struct probe q;
	int good = eventfd(0, 0), bad = open("/proc/self/exe", 0);

	probe_init(&q, &ops);
	q.poller.wake_fds[0] = good;
	q.poller.wake_fds[1] = bad;
	cr_assert_eq(sv_reactor_attach(r, &q.poller), -EPERM);
	sv_reactor_turn(r);
	cr_assert_eq(q.polls, 0);
	q.poller.wake_fds[1] = -1;
	cr_assert_eq(sv_reactor_attach(r, &q.poller), 0, "the first descriptor was left behind");
	sv_reactor_detach(r, &q.poller);
	sv_reactor_destroy(r);
}

Test(reactor, more_pollers_than_there_is_room_for_are_refused)
{
	static struct probe q[SV_REACTOR_POLLERS + 1];
	struct sv_reactor *r = by_hand();

	for (unsigned i = 0; i <= SV_REACTOR_POLLERS; i++)
		probe_init(&q[i], &bare_ops);
	for (unsigned i = 0; i < SV_REACTOR_POLLERS; i++)
		cr_assert_eq(sv_reactor_attach(r, &q[i].poller), 0);
	cr_assert_eq(sv_reactor_attach(r, &q[SV_REACTOR_POLLERS].poller), -ENOSPC);
	sv_reactor_turn(r);
	for (unsigned i = 0; i < SV_REACTOR_POLLERS; i++) {
		cr_assert_eq(q[i].polls, 1);
		sv_reactor_detach(r, &q[i].poller);
	}
	sv_reactor_destroy(r);
}

static void count_one(const struct sv_poller *p, void *ctx)
{
	cr_assert_str_eq(p->ops->service, "probe");
	++*(unsigned *)ctx;
}

Test(reactor, each_sees_every_poller)
{
	struct sv_reactor *r = by_hand();
	struct probe a, b;
	unsigned n = 0;

	probe_init(&a, &ops);
	probe_init(&b, &ops);
	sv_reactor_attach(r, &a.poller);
	sv_reactor_attach(r, &b.poller);
	sv_reactor_each(r, count_one, &n);
	cr_assert_eq(n, 2);
	sv_reactor_detach(r, &a.poller);
	sv_reactor_detach(r, &b.poller);
	sv_reactor_destroy(r);
}

/* --- as a thread ----------------------------------------------------------------------------- */

Test(reactor, thread_runs_on_its_cpu_only)
{
	struct sv_reactor *r = threaded(100);

	cr_assert_eq(sv_reactor_cpu(r), first_cpu());
	sv_reactor_destroy(r);
}

Test(reactor, a_cpu_that_is_not_there_is_an_error_with_a_sentence)
{
	struct sv_reactor_config c = {.cpu = CPU_SETSIZE - 1};
	struct sv_error err = {""};
	struct sv_reactor *r;

	cr_assert_eq(sv_reactor_create(&r, &c, &err), -EINVAL);
	cr_assert_not_null(strstr(err.text, "1023"));
}

Test(reactor, no_op_runs_after_detach, .timeout = 120)
{
	struct sv_reactor *r = threaded(SV_IDLE_NEVER);
	struct probe stays, comes;

	probe_init(&stays, &ops);
	cr_assert_eq(sv_reactor_attach(r, &stays.poller), 0);
	for (unsigned i = 0; i < 200; i++) {
		unsigned polls = sv_load_relaxed(&stays.polls);

		probe_init(&comes, &ops);
		cr_assert_eq(sv_reactor_attach(r, &comes.poller), 0);
		until(&comes.polls, 1);
		sv_reactor_detach(r, &comes.poller);
		sv_store_release(&comes.forbidden, 1);
		until(&stays.polls, polls + 2); /* the other is served on */
		cr_assert_eq(sv_load_acquire(&comes.seen_forbidden), 0);
	}
	sv_reactor_detach(r, &stays.poller);
	sv_reactor_destroy(r);
}

Test(reactor, without_load_it_sleeps_and_hardly_turns, .timeout = 60)
{
	struct sv_reactor *r = threaded(0);
	struct sv_reactor_stats s;
	struct probe q;

	probe_init(&q, &ops);
	cr_assert_eq(sv_reactor_attach(r, &q.poller), 0);
	until(&q.arms, 1);
	for (unsigned i = 0; i < 1000; i++)
		sched_yield();
	do {
		s = sv_reactor_stats(r);
	} while (s.sleeps < 2);
	cr_assert_leq(s.turns, 3 * (s.sleeps + 4), "%lu turns for %lu sleeps",
		(unsigned long)s.turns, (unsigned long)s.sleeps);
	sv_reactor_detach(r, &q.poller);
	sv_reactor_destroy(r);
}

Test(reactor, a_sleeper_takes_up_a_new_poller_at_once, .timeout = 60)
{
	struct sv_reactor *r = threaded(0);
	struct probe q;

	for (unsigned i = 0; i < 50; i++) {
		while (sv_reactor_stats(r).sleeps <= i)
			sched_yield();
		probe_init(&q, &ops);
		q.work = 3;
		cr_assert_eq(sv_reactor_attach(r, &q.poller), 0);
		until(&q.polls, 4);
		sv_reactor_detach(r, &q.poller);
	}
	sv_reactor_destroy(r);
}

Test(reactor, that_shall_never_sleep_does_not, .timeout = 60)
{
	struct sv_reactor *r = threaded(SV_IDLE_NEVER);
	struct probe q;
	uint64_t sleeps;

	probe_init(&q, &ops);
	cr_assert_eq(sv_reactor_attach(r, &q.poller), 0);
	until(&q.polls, 1);
	sleeps = sv_reactor_stats(r).sleeps; /* before there was anything to poll */
	until(&q.polls, 20000);
	cr_assert_eq(sv_reactor_stats(r).sleeps, sleeps);
	cr_assert_eq(sv_load_relaxed(&q.arms), 0);
	sv_reactor_detach(r, &q.poller);
	sv_reactor_destroy(r);
}
