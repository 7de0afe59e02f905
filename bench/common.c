/* SPDX-License-Identifier: BSD-3-Clause */
#include "common.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* --- the end ----------------------------------------------------------------------------------- */

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
	caught = sig;
}

static bool is_ignored(int sig)
{
	struct sigaction now;

	return sigaction(sig, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void bench_catch_signals(void)
{
	/* Waiting for processes goes on; poll() and sleeping end in any case. */
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	for (unsigned i = 0; i < SIGNALS; i++)
		if (!is_ignored(signals[i]))
			sigaction(signals[i], &sa, NULL);
}

bool bench_interrupted(void)
{
	return caught != 0;
}

int bench_go_on(struct sv_error *err)
{
	return caught ? sv_fail(err, EINTR, "interrupted") : 0;
}

/* Blocked meanwhile: one that the child is sent early must not be lost in the handler. */
pid_t bench_fork(void)
{
	pid_t parent = getpid(), pid;
	sigset_t ours, before;

	sigemptyset(&ours);
	for (unsigned i = 0; i < SIGNALS; i++)
		sigaddset(&ours, signals[i]);
	sigprocmask(SIG_BLOCK, &ours, &before);
	pid = fork();
	if (pid == 0) {
		for (unsigned i = 0; i < SIGNALS; i++)
			if (!is_ignored(signals[i]))
				signal(signals[i], SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(1);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

int bench_failed(const char *name, const struct sv_error *err)
{
	bench_progress_end();
	fprintf(stderr, "sidevisor bench %s: %s\n", name, caught ? "interrupted" : err->text);
	return caught ? 128 + caught : 1;
}

/* --- how far it is ----------------------------------------------------------------------------- */

static void say(const char *begin, const char *fmt, va_list ap, const char *end)
{
	fputs(begin, stderr);
	vfprintf(stderr, fmt, ap);
	fputs(end, stderr);
}

void bench_progress(const char *fmt, ...)
{
	bool terminal = isatty(2);
	va_list ap;

	va_start(ap, fmt);
	say(terminal ? "\r\033[K" : "", fmt, ap, terminal ? "" : "\n");
	va_end(ap);
}

void bench_progress_step(const char *fmt, ...)
{
	va_list ap;

	if (!isatty(2))
		return;
	va_start(ap, fmt);
	say("\r\033[K", fmt, ap, "");
	va_end(ap);
}

void bench_progress_end(void)
{
	if (isatty(2))
		fputs("\r\033[K", stderr);
}

/* --- numbers ------------------------------------------------------------------------------------ */

unsigned bench_number(const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	return *text < '0' || *text > '9' || *end || errno || n > UINT_MAX ? 0 : (unsigned)n;
}

double bench_seconds(const char *text)
{
	char *end;
	double s = strtod(text, &end);

	return end == text || *end ? (double)NAN : s;
}
