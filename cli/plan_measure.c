/* SPDX-License-Identifier: BSD-3-Clause */
#include "plan_measure.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bench/core_latency.h>
#include <placement/latencies.h>

#define SAMPLE 600u /* pairs, when not all are asked for */

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

static void progress(unsigned done, unsigned n, time_t *last)
{
	bool tty = isatty(STDERR_FILENO);
	time_t now = time(NULL);

	if (done < n && now - *last < (tty ? 1 : 10))
		return;
	*last = now;
	fprintf(stderr, "%ssidevisor: %u of %u pairs of CPUs measured%s", tty ? "\r" : "", done, n,
		tty && done < n ? "" : "\n");
}

static unsigned measure(
	struct sv_latency_pair *pair, unsigned n, unsigned *failed, struct sv_error *err)
{
	time_t last = time(NULL);
	unsigned done = 0;

	for (; done < n && !interrupted; done++) {
		if (sv_core_latency(pair[done].a, pair[done].b, &pair[done].ns, err) < 0)
			++*failed;
		progress(done + 1, n, &last);
	}
	return done;
}

int plan_measure(struct sv_machine *m, const char *path, bool all, struct sv_error *err)
{
	struct sigaction on = {.sa_handler = interrupt}, before;
	struct sv_latency_pair *pair = NULL;
	unsigned done, failed = 0;
	char usual[4096];
	int n = sv_latency_pairs(m, all ? UINT32_MAX : SAMPLE, &pair), rc;

	if (n < 0)
		return sv_fail(err, ENOMEM, "out of memory");
	if (!n) {
		free(pair);
		return sv_fail(err, ENOSPC,
			"--measure: %s has one usable CPU; there is no pair to measure", m->name);
	}
	interrupted = 0;
	sigaction(SIGINT, &on, &before);
	done = measure(pair, (unsigned)n, &failed, err);
	sigaction(SIGINT, &before, NULL);
	if (failed && failed < done)
		fprintf(stderr, "sidevisor: %u pairs could not be measured; the last: %s\n", failed,
			err->text);
	rc = failed == done ? -ENODATA : sv_latencies_use(m, pair, done, err);
	if (rc == -ENODATA && done == 0)
		sv_fail(err, EINTR, "interrupted before the first pair was measured");
	if (rc == 0) {
		/* What was measured counts for this plan even where it cannot be kept. */
		if (!path && sv_latencies_path(usual, sizeof(usual)) < 0)
			sv_warn("not kept: the home directory's name is too long");
		else if (sv_latencies_save(m, pair, done, path ? path : usual, err) < 0)
			sv_warn("not kept: %s; name a file with --latencies", err->text);
		else
			fprintf(stderr, "sidevisor: %u pairs kept in %s\n", done - failed,
				path ? path : usual);
	}
	free(pair);
	return rc;
}

int plan_use_measured(struct sv_machine *m, const char *path, struct sv_error *err)
{
	char usual[4096];
	int rc;

	if (path)
		return strcmp(path, "none") ? sv_latencies_load(m, path, err) : 0;
	if (!m->here || sv_latencies_path(usual, sizeof(usual)) < 0)
		return 0;
	rc = sv_latencies_load(m, usual, err);
	if (rc < 0 && rc != -ENOENT && rc != -ESTALE && rc != -ENOTDIR && rc != -EACCES)
		sv_warn("%s; planned without it", err->text);
	return 0;
}
