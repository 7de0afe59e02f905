/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor bench scale: 64 devices of 16 guests on one sidecore: served, how much memory, how idle. */
#include <bench/bench.h>

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "vu_node.h"

#define GUESTS 16u
#define PER_GUEST 4u
#define DISKS (GUESTS * PER_GUEST)
#define SECOND 1000000000ull

static const char help[] =
	"usage: sidevisor bench scale [--seconds N] [--json]\n"
	"\n"
	"16 guests with 4 disks each on one sidecore, driven by polling from this process: all read at\n"
	"depth 4 for N seconds (default 3), what is read is checked; then all are quiet for as long. Reports reads,\n"
	"the least and the most of one disk, the service's own memory before and after, and the CPU time\n"
	"that its threads take while all is quiet.\n"
	"\n"
	"JSON keys: guests, disks, reads, reads_per_second, least, most, errors, anonymous_kib {connected,\n"
	"after}, idle_cpu_percent, idle_seconds.\n";

struct result {
	uint64_t reads, least, most, errors;
	double seconds, idle_percent, idle_seconds;
	long connected_kib, after_kib;
};

static struct vu_node node;

/* Memory of the service that is no guest's and no file's. */
static long anonymous_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "RssAnon: %ld kB", &kib);
	if (f)
		fclose(f);
	return kib;
}

/* Seconds of CPU time of all its threads, in the resolution of the scheduler's own clock. */
static double cpu_seconds(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
		return 0;
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int measure(unsigned seconds, struct result *r, struct sv_error *err)
{
	struct timespec settle = {.tv_sec = 1}, idle = {.tv_sec = seconds};
	uint64_t begin;
	double cpu;

	if (vu_node_open(&node, NULL, GUESTS, PER_GUEST, 256, false, err) < 0)
		return -1;
	r->connected_kib = anonymous_kib(node.pid);
	for (unsigned i = 0; i < DISKS; i++)
		node.disk[i].depth = 4;
	begin = vu_now_ns();
	vu_node_run(&node, seconds * SECOND);
	r->seconds = (double)(vu_now_ns() - begin) / 1e9;
	if (vu_node_quiet(&node, err) < 0)
		return -1;
	r->least = UINT64_MAX;
	for (unsigned i = 0; i < DISKS; i++) {
		const struct vu_disk *d = &node.disk[i];

		r->reads += d->done;
		r->errors += d->errors;
		r->least = d->done < r->least ? d->done : r->least;
		r->most = d->done > r->most ? d->done : r->most;
	}
	r->after_kib = anonymous_kib(node.pid);
	nanosleep(&settle, NULL);
	if (bench_go_on(err) < 0)
		return -1;
	cpu = cpu_seconds(node.pid);
	begin = vu_now_ns();
	nanosleep(&idle, NULL);
	r->idle_seconds = (double)(vu_now_ns() - begin) / 1e9;
	r->idle_percent = 100 * (cpu_seconds(node.pid) - cpu) / r->idle_seconds;
	return bench_go_on(err);
}

static void report(const struct result *r, bool as_json)
{
	json_t *j;
	char *text;

	if (!as_json) {
		printf("%u disks of %u guests on the sidecore of CPU %d\n", DISKS, GUESTS, node.sidecore_cpu);
		printf("  %llu reads of 4 KiB, %.0f a second; least %llu, most %llu of one disk; %llu wrong\n",
			(unsigned long long)r->reads, (double)r->reads / r->seconds,
			(unsigned long long)r->least, (unsigned long long)r->most,
			(unsigned long long)r->errors);
		printf("  memory of the service: %ld KiB connected, %ld KiB after the load\n",
			r->connected_kib, r->after_kib);
		printf("  CPU while all is quiet: %.2f %% of one, over %.1f s\n", r->idle_percent,
			r->idle_seconds);
		return;
	}
	j = json_pack("{s:i, s:i, s:I, s:f, s:I, s:I, s:I, s:{s:I, s:I}, s:f, s:f}", "guests", (int)GUESTS,
		"disks", (int)DISKS, "reads", (json_int_t)r->reads, "reads_per_second",
		(double)r->reads / r->seconds, "least", (json_int_t)r->least, "most", (json_int_t)r->most,
		"errors", (json_int_t)r->errors, "anonymous_kib", "connected", (json_int_t)r->connected_kib,
		"after", (json_int_t)r->after_kib, "idle_cpu_percent", r->idle_percent, "idle_seconds",
		r->idle_seconds);
	text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	puts(text);
	free(text);
	json_decref(j);
}

int sv_bench_scale(int argc, char **argv)
{
	static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct result r = {0};
	struct sv_error err = {""};
	unsigned seconds = 3;
	bool json = false;
	int c, rc;

	optind = 1;
	while ((c = getopt_long(argc, argv, "s:jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		json |= c == 'j';
		if (c == 's')
			seconds = bench_number(optarg);
	}
	if (optind != argc || !seconds || seconds > 3600) {
		fprintf(stderr, "sidevisor bench scale: --seconds is a number from 1 to 3600, and there are "
				"no operands (see --help)\n");
		return 2;
	}
	bench_catch_signals();
	rc = measure(seconds, &r, &err);
	vu_node_close(&node);
	if (rc < 0)
		return bench_failed("scale", &err);
	report(&r, json);
	return r.errors || !r.least;
}
