/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench restart: `serve` is killed by SIGKILL under load and started again. How long the disk
 * was away, and whether every request came back once, with the right data.
 */
#include <bench/bench.h>

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "vu_node.h"

#define BLOCKS 4096u
#define KILLS_MAX 10000u
#define MS 1000000ull
#define PATIENCE (20000 * MS)

static const char help[] =
	"usage: sidevisor bench restart [--kills N] [--depth N] [--direct] [--dir PATH] [--json]\n"
	"\n"
	"A driver without a guest reads 4 KiB at a depth (default 32) from a disk of `sidevisor serve`, which is\n"
	"killed by SIGKILL at N random moments (default 50) and started again at once. Reported: from the signal\n"
	"until the next one has the disk's queue, and until the first request comes back. Requests that come\n"
	"back twice, with wrong data, or not at all are errors, and the exit status is 1.\n"
	"  --direct   O_DIRECT; else the image is in the page cache\n"
	"  --dir      where the image goes (default: a temporary directory)\n"
	"\n"
	"JSON keys: sidecore_cpu, driver_cpu, direct, depth, kills, ready_ms {median, p90, max}, outage_ms {median,\n"
	"p90, max}, requests, errors.\n";

struct options {
	unsigned kills, depth;
	bool direct, json;
	const char *dir;
};

struct result {
	double ready_ms[KILLS_MAX], outage_ms[KILLS_MAX];
	uint64_t requests, errors;
};

static struct vu_node node;

static void add_counts(struct result *r)
{
	r->requests += node.disk[0].done;
	r->errors += node.disk[0].errors;
	vu_node_mark(&node);
}

/* Return: 0, or -errno with a sentence: what was out did not come back. */
static int one_kill(struct result *r, unsigned k, unsigned depth, struct sv_error *err)
{
	struct vu_disk *d = &node.disk[0];
	uint64_t ready, begin, first;
	int rc;

	d->depth = depth;
	vu_node_run(&node, (uint64_t)rand() % (20 * MS));
	d->depth = 0; /* what is out stays out */
	add_counts(r);
	if (bench_go_on(err) < 0)
		return -EINTR;
	begin = vu_now_ns();
	rc = vu_node_restart(&node, &ready, err);
	if (rc < 0)
		return rc;
	d->depth = depth;
	first = d->done;
	while (d->done == first && vu_now_ns() - begin < PATIENCE && !bench_interrupted())
		vu_disk_poll(d, vu_now_ns());
	if (bench_go_on(err) < 0)
		return -EINTR;
	if (d->done == first)
		return sv_fail(err, ETIMEDOUT, "%u requests do not come back after the end of `serve`",
			vu_disk_out(d));
	r->ready_ms[k] = (double)ready / 1e6;
	r->outage_ms[k] = (double)(vu_now_ns() - begin) / 1e6;
	return 0;
}

static int measure(const struct options *o, struct result *r, struct sv_error *err)
{
	int rc = vu_node_open(&node, o->dir, 1, 1, BLOCKS, o->direct, err);

	for (unsigned k = 0; k < o->kills && rc == 0; k++)
		rc = one_kill(r, k, o->depth, err);
	if (rc == 0)
		rc = vu_node_quiet(&node, err);
	add_counts(r);
	return rc;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print(const struct options *o, struct result *r)
{
	unsigned n = o->kills;
	const double *ready = r->ready_ms, *outage = r->outage_ms;

	qsort(r->ready_ms, n, sizeof(double), by_size);
	qsort(r->outage_ms, n, sizeof(double), by_size);
	if (o->json) {
		printf("{\"sidecore_cpu\": %d, \"driver_cpu\": %d, \"direct\": %s, \"depth\": %u, \"kills\": %u, "
		       "\"ready_ms\": {\"median\": %.2f, \"p90\": %.2f, \"max\": %.2f}, "
		       "\"outage_ms\": {\"median\": %.2f, \"p90\": %.2f, \"max\": %.2f}, "
		       "\"requests\": %llu, \"errors\": %llu}\n",
			node.sidecore_cpu, node.driver_cpu, o->direct ? "true" : "false", o->depth, n,
			ready[n / 2], ready[n * 9 / 10], ready[n - 1], outage[n / 2], outage[n * 9 / 10],
			outage[n - 1], (unsigned long long)r->requests, (unsigned long long)r->errors);
		return;
	}
	printf("`serve` killed %u times under reads of 4 KiB at depth %u, %s, and started again\n", n, o->depth,
		o->direct ? "O_DIRECT" : "page cache");
	printf("  until it has the queue:         median %6.2f ms, p90 %6.2f ms, max %6.2f ms\n", ready[n / 2],
		ready[n * 9 / 10], ready[n - 1]);
	printf("  until a request comes back:     median %6.2f ms, p90 %6.2f ms, max %6.2f ms\n", outage[n / 2],
		outage[n * 9 / 10], outage[n - 1]);
	printf("  %llu requests, %llu of them lost, repeated or wrong\n", (unsigned long long)r->requests,
		(unsigned long long)r->errors);
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {{"kills", required_argument, NULL, 'k'},
		{"depth", required_argument, NULL, 'q'}, {"direct", no_argument, NULL, 'd'},
		{"dir", required_argument, NULL, 'D'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int c;

	*o = (struct options){.kills = 50, .depth = 32};
	optind = 1;
	while ((c = getopt_long(argc, argv, "k:q:dD:jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		if (c == 'k')
			o->kills = bench_number(optarg);
		if (c == 'q')
			o->depth = bench_number(optarg);
		o->direct |= c == 'd';
		o->json |= c == 'j';
		o->dir = c == 'D' ? optarg : o->dir;
	}
	if (optind == argc && o->kills && o->kills <= KILLS_MAX && o->depth && o->depth <= VU_DISK_DEPTH)
		return -1;
	fprintf(stderr, "sidevisor bench restart: --kills is a number from 1 to %u, --depth one from 1 to %u "
			"(see --help)\n", KILLS_MAX, VU_DISK_DEPTH);
	return 2;
}

int sv_bench_restart(int argc, char **argv)
{
	static struct result r;
	struct sv_error err = {""};
	struct options o;
	int rc = parse(&o, argc, argv);

	if (rc >= 0)
		return rc;
	srand(1);
	bench_catch_signals();
	rc = measure(&o, &r, &err);
	if (rc == 0)
		print(&o, &r);
	vu_node_close(&node);
	if (rc < 0)
		return bench_failed("restart", &err);
	return r.errors != 0;
}
