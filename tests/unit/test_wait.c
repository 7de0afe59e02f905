/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <channels/wait.h>
#include <channels/wait_sleep.h>

#define TICKS 200000u /* tens of microseconds: how long a wait in vain lasts here */
#define ROUNDS 200u
#define FOR_EVER (UINT64_MAX / 2)

static uint64_t ping __attribute__((aligned(64)));
static uint64_t pong __attribute__((aligned(64)));

static void *answers(void *arg)
{
	enum sv_wait policy = *(const enum sv_wait *)arg;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t v = sv_wait_change(policy, &ping, i, sv_tsc() + FOR_EVER);

		sv_store_release(&pong, v);
	}
	return NULL;
}

/* Every answer is seen, at once or late, with the policy on both sides. */
static void ping_pong(enum sv_wait policy)
{
	pthread_t thread;

	ping = pong = 0;
	cr_assert_eq(pthread_create(&thread, NULL, answers, &policy), 0);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		sv_store_release(&ping, i + 1);
		cr_assert_eq(sv_wait_change(policy, &pong, i, sv_tsc() + FOR_EVER), i + 1);
	}
	pthread_join(thread, NULL);
}

static void keeps_the_contract(enum sv_wait policy)
{
	static uint64_t word = 7;
	uint64_t end = sv_tsc() + TICKS;

	cr_expect_eq(sv_wait_change(policy, &word, 6, 0), 7, "already changed: no deadline needed");
	cr_expect_eq(sv_wait_change(policy, &word, 7, 0), 7, "a deadline in the past");
	cr_expect_eq(sv_wait_change(policy, &word, 7, end), 7);
	cr_expect_geq(sv_tsc(), end, "no wait in vain ends before its deadline");
	ping_pong(policy);
}

#ifdef POLICY
static void skip_if_missing(enum sv_wait policy)
{
	if (sv_wait_available(policy))
		return;
	printf("SKIPPED BECAUSE this CPU has no %s\n", sv_wait_name(policy));
	fflush(stdout);
	cr_skip_test("this CPU has no %s", sv_wait_name(policy));
}

Test(wait, keeps_the_contract)
{
	skip_if_missing(POLICY);
	keeps_the_contract(POLICY);
}
#else
Test(wait, spin)
{
	keeps_the_contract(SV_WAIT_SPIN);
}

Test(wait, pause)
{
	keeps_the_contract(SV_WAIT_PAUSE);
}

Test(wait, the_best_policy_is_one_that_this_cpu_has)
{
	cr_expect(sv_wait_available(sv_wait_best()));
	keeps_the_contract(sv_wait_best());
	for (unsigned i = 0; i < SV_WAITS; i++)
		cr_expect_str_neq(sv_wait_name((enum sv_wait)i), "unknown");
	cr_expect_not(sv_wait_available((enum sv_wait)SV_WAITS));
}

Test(wait, an_eventfd_wakes_once_per_write_or_times_out)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	cr_assert_geq(fd, 0);
	cr_expect_eq(sv_wait_eventfd(fd, 0), 0);
	cr_expect_eq(sv_wait_eventfd(fd, 100000), 0);
	cr_assert_eq(eventfd_write(fd, 3), 0);
	cr_expect_eq(sv_wait_eventfd(fd, 1000000000), 1);
	cr_expect_eq(sv_wait_eventfd(fd, 0), 0, "what was written is taken");
	close(fd);
	cr_expect_eq(sv_wait_eventfd(fd, 0), -EBADF);
}
#endif
