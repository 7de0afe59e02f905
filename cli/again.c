/* SPDX-License-Identifier: BSD-3-Clause */
#include "again.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

int64_t again_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

void again_born(struct again *a)
{
	a->born_ms = again_now_ms();
}

int again_died(struct again *a, int status)
{
	int ms;

	if (again_now_ms() - a->born_ms >= AGAIN_QUICK_MS)
		a->quick = 0;
	if (a->quick < AGAIN_QUICK_MOST)
		a->quick++;
	else if (!WIFSIGNALED(status))
		return -1;
	ms = a->quick == 1 ? 0 : 5 << (a->quick - 1);
	return ms < AGAIN_LONGEST_MS ? ms : AGAIN_LONGEST_MS;
}

/* --- the supervisor -------------------------------------------------------------------------- */

struct supervisor {
	struct again again;
	sigset_t set, before;
	pid_t child, self;
	int ending;	/* the signal that ends it all; 0: none */
	bool lived;	/* a child served: what it was told is right */
};

static void in_child(const struct supervisor *s)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != s->self)
		_exit(EXIT_FAILED);
	sigprocmask(SIG_SETMASK, &s->before, NULL);
}

static void take_signal(struct supervisor *s, int sig)
{
	if (sig != SIGINT && sig != SIGTERM)
		return;
	s->ending = sig;
	if (s->child > 0)
		kill(s->child, SIGTERM);
}

/* Until the child has ended. Return: its wait status. */
static int wait_for_child(struct supervisor *s)
{
	int status;

	for (;;) {
		pid_t got = waitpid(s->child, &status, WNOHANG);

		if (got == s->child)
			break;
		if (got < 0 && errno != EINTR) {
			status = 0;
			break;
		}
		take_signal(s, sigwaitinfo(&s->set, NULL));
	}
	s->child = 0;
	return status;
}

static void pause_for(struct supervisor *s, int ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};
	int64_t until = again_now_ms() + ms;

	while (!s->ending && again_now_ms() < until)
		take_signal(s, sigtimedwait(&s->set, NULL, &left));
}

static int exit_status(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}

/* Is another one to be started? If not, *result is ours. */
static bool goes_on(struct supervisor *s, int status, int *result)
{
	bool lived = again_now_ms() - s->again.born_ms >= AGAIN_QUICK_MS;
	int ms = again_died(&s->again, status);

	*result = exit_status(status);
	s->lived |= WIFSIGNALED(status) || lived;
	if (s->ending || (WIFEXITED(status) && (*result == EXIT_DONE || !s->lived)))
		return false;
	if (ms < 0) {
		fprintf(stderr, "sidevisor serve: the sidecore process ended at once, %u times in a "
			"row; not starting it again\n", AGAIN_QUICK_MOST + 1);
		return false;
	}
	if (WIFSIGNALED(status))
		fprintf(stderr, "sidevisor serve: the sidecore process ended by signal %d (%s); "
			"starting it again\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, "sidevisor serve: the sidecore process ended with status %d; "
			"starting it again\n", *result);
	pause_for(s, ms);
	return !s->ending;
}

int again_supervise(void)
{
	struct supervisor s = {.self = getpid()};
	int status, result = EXIT_FAILED;

	sigemptyset(&s.set);
	sigaddset(&s.set, SIGINT);
	sigaddset(&s.set, SIGTERM);
	sigaddset(&s.set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &s.set, &s.before);
	do {
		again_born(&s.again);
		fflush(NULL);
		s.child = fork();
		if (s.child == 0) {
			in_child(&s);
			return -1;
		}
		if (s.child < 0) {
			fprintf(stderr, "sidevisor serve: fork: %s\n", strerror(errno));
			return EXIT_FAILED;
		}
		status = wait_for_child(&s);
	} while (goes_on(&s, status, &result));
	return result;
}
