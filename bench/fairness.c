/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench fairness: eight guests' disks on one sidecore. What a neighbour that floods does to the
 * others' latency, and how near weights, priority, minimum and maximum come to what they say.
 */
#include <bench/bench.h>

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "vu_node.h"

#define GUESTS 8u
#define FLOOD (GUESTS - 1)
#define FLOOD_DEPTH 256u
#define MS 1000000ull
#define SLICE (200 * MS)
#define SETTLE (100 * MS)

static const char help[] =
	"usage: sidevisor bench fairness [--rounds N] [--direct] [--dir PATH] [--json]\n"
	"\n"
	"Eight disks on one sidecore, driven by polling from this process, without guests. Seven victims\n"
	"read 4 KiB about every millisecond, each alone and while the eighth floods at depth 256, in turns\n"
	"(N rounds, default 8); then all flood, with weights 1 to 8, with a priority, a minimum, maxima.\n"
	"  --direct   O_DIRECT; else images are in the page cache, and the sidecore's time is what is shared\n"
	"  --dir      where images go (default: a temporary directory)\n"
	"\n"
	"As it comes it takes about half a minute. How far it is, is on standard error.\n"
	"\n"
	"Latencies and shares of moments in which the host took the CPU away from sidecore or driver are left\n"
	"out: on a host that is busy otherwise. Nothing is done about its work: `nice`, or better, free cores.\n"
	"\n"
	"JSON keys: sidecore_cpu, driver_cpu, direct, rounds, latencies {kept, left_out, can_tell}, victims [{alone_p99_ns, flooded_p99_ns,\n"
	"ratio}], worst_ratio, median_ratio, flood_iops, weights {shares [], worst_error}, priority {share},\n"
	"minimum {asked_iops, got_iops}, maximum {asked_iops, got_iops, asked_bps, got_bps}, errors, kicks.\n";

struct options {
	unsigned rounds;
	bool direct, json;
	const char *dir;
};

struct rate {
	double asked, got;
};

struct result {
	struct sv_histogram alone[FLOOD], flooded[FLOOD];
	double flood_iops, share[GUESTS], worst_error, priority_share;
	struct rate min, max_iops, max_bps;
	uint64_t errors, kicks;
};

static struct vu_node node;

static int set(unsigned disk, const char *key, double value, struct sv_error *err)
{
	char text[32];

	snprintf(text, sizeof(text), "%.0f", value);
	return vu_node_set(&node, disk, key, text, err);
}

static void victim(unsigned i)
{
	node.disk[i].every_ns = MS;
	node.disk[i].next_ns = 0;
}

/* A slice under load, or alone: what it adds to the histograms @into, of one victim or of all. */
static int slice(unsigned first, unsigned n, bool flood, struct sv_histogram *into, struct result *r,
	uint64_t ns, struct sv_error *err)
{
	int rc = vu_node_quiet(&node, err);

	if (rc < 0)
		return rc;
	for (unsigned i = first; i < first + n; i++)
		victim(i);
	node.disk[FLOOD].depth = flood ? FLOOD_DEPTH : 0;
	vu_node_run(&node, SETTLE / 2);
	vu_node_mark(&node);
	vu_node_run(&node, ns);
	for (unsigned i = first; i < first + n; i++)
		sv_histogram_merge(&into[i], &node.disk[i].latency);
	for (unsigned i = 0; i < GUESTS; i++) {
		r->errors += node.disk[i].errors;
		r->kicks += node.disk[i].kicks;
	}
	if (flood)
		r->flood_iops += (double)node.disk[FLOOD].done * 1e9 / (double)ns;
	return 0;
}

static int latencies(unsigned rounds, struct result *r, struct sv_error *err)
{
	int rc = 0;

	for (unsigned round = 0; round < rounds; round++) {
		bench_progress("latencies, round %u of %u", round + 1, rounds);
		for (unsigned i = 0; i < FLOOD && rc == 0; i++)
			rc = slice(i, 1, false, r->alone, r, SLICE, err);
		if (rc == 0)
			rc = slice(0, FLOOD, true, r->flooded, r, SLICE * 2, err);
		if (rc < 0)
			return rc;
	}
	r->flood_iops /= rounds;
	return 0;
}

/* Everybody floods for so long. Return: requests of all in windows that are kept. */
static double everybody(uint64_t ns, struct result *r)
{
	double all = 0;

	for (unsigned i = 0; i < GUESTS; i++) {
		node.disk[i].every_ns = 0;
		node.disk[i].depth = i == FLOOD ? FLOOD_DEPTH : 64;
	}
	vu_node_run(&node, SETTLE);
	vu_node_mark(&node);
	vu_node_run(&node, ns);
	for (unsigned i = 0; i < GUESTS; i++) {
		all += (double)node.disk[i].kept_done;
		r->errors += node.disk[i].errors;
		r->kicks += node.disk[i].kicks;
	}
	return all;
}

static int weights(struct result *r, struct sv_error *err)
{
	double all;

	bench_progress("weights");
	for (unsigned i = 0; i < GUESTS; i++)
		if (set(i, "weight", 100.0 * (i + 1), err) < 0)
			return -1;
	all = everybody(10 * SLICE, r);
	for (unsigned i = 0; i < GUESTS; i++) {
		double fair = (i + 1) / (GUESTS * (GUESTS + 1) / 2.0), error;

		r->share[i] = (double)node.disk[i].kept_done / all;
		error = r->share[i] / fair - 1;
		error = error < 0 ? -error : error;
		if (error > r->worst_error)
			r->worst_error = error;
	}
	return 0;
}

static int priority(struct result *r, struct sv_error *err)
{
	double all;

	bench_progress("priority");
	if (set(FLOOD, "weight", 1, err) < 0 || set(FLOOD, "priority", 7, err) < 0)
		return -1;
	all = everybody(5 * SLICE, r);
	r->priority_share = (double)node.disk[FLOOD].kept_done / all;
	return set(FLOOD, "priority", 0, err);
}

/* A device of weight 1 among heavy ones has a fifth of all by its minimum alone. */
static int minimum(struct result *r, struct sv_error *err)
{
	double all = 0, seconds = 5 * SLICE / 1e9;

	bench_progress("minimum");
	everybody(5 * SLICE, r);
	for (unsigned i = 0; i < GUESTS; i++)
		all += (double)node.disk[i].done;
	r->min.asked = all / seconds / 5;
	for (unsigned i = 1; i < GUESTS; i++)
		if (set(i, "weight", 10000, err) < 0)
			return -1;
	if (set(0, "weight", 1, err) < 0 || set(0, "min-iops", r->min.asked, err) < 0)
		return -1;
	everybody(10 * SLICE, r);
	r->min.got = (double)node.disk[0].done / (2 * seconds);
	return set(0, "min-iops", 0, err);
}

static int maxima(struct result *r, struct sv_error *err)
{
	double seconds = 10 * SLICE / 1e9;

	bench_progress("maxima");
	r->max_iops.asked = r->min.asked / 10;
	r->max_bps.asked = r->min.asked / 10 * VU_DISK_BLOCK;
	if (set(FLOOD, "max-iops", r->max_iops.asked, err) < 0 ||
		set(6, "max-bandwidth", r->max_bps.asked, err) < 0)
		return -1;
	everybody(10 * SLICE, r);
	r->max_iops.got = (double)node.disk[FLOOD].done / seconds;
	r->max_bps.got = (double)node.disk[6].done * VU_DISK_BLOCK / seconds;
	return 0;
}

static int measure(const struct options *o, struct result *r, struct sv_error *err)
{
	if (vu_node_open(&node, o->dir, GUESTS, 1, o->direct ? 16384 : 4096, o->direct, err) < 0 ||
		latencies(o->rounds, r, err) < 0 || weights(r, err) < 0 || bench_go_on(err) < 0 ||
		priority(r, err) < 0 || bench_go_on(err) < 0 || minimum(r, err) < 0 ||
		bench_go_on(err) < 0 || maxima(r, err) < 0)
		return -1;
	return vu_node_quiet(&node, err);
}

/* --- the report ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static json_t *victims_json(const struct result *r, double *worst, double *median)
{
	json_t *all = json_array();
	double ratio[FLOOD];

	for (unsigned i = 0; i < FLOOD; i++) {
		uint64_t alone = sv_histogram_at(&r->alone[i], 990);
		uint64_t flooded = sv_histogram_at(&r->flooded[i], 990);

		ratio[i] = alone ? (double)flooded / (double)alone : 0;
		json_array_append_new(all,
			json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "alone_p50_ns",
				(json_int_t)sv_histogram_at(&r->alone[i], 500), "alone_p99_ns",
				(json_int_t)alone, "flooded_p50_ns",
				(json_int_t)sv_histogram_at(&r->flooded[i], 500), "flooded_p99_ns",
				(json_int_t)flooded, "samples", (json_int_t)r->flooded[i].total, "ratio",
				ratio[i]));
	}
	qsort(ratio, FLOOD, sizeof(ratio[0]), by_value);
	*worst = ratio[FLOOD - 1];
	*median = ratio[FLOOD / 2];
	return all;
}

static json_t *to_json(const struct options *o, const struct result *r)
{
	json_t *shares = json_array();
	double worst, median;
	json_t *victims = victims_json(r, &worst, &median);

	for (unsigned i = 0; i < GUESTS; i++)
		json_array_append_new(shares, json_real(r->share[i]));
	return json_pack("{s:i, s:i, s:b, s:i, s:{s:I, s:I, s:b}, s:o, s:f, s:f, s:f, s:{s:o, s:f}, s:{s:f}, s:{s:f, s:f}, "
			 "s:{s:f, s:f, s:f, s:f}, s:I, s:I}",
		"sidecore_cpu", node.sidecore_cpu, "driver_cpu", node.driver_cpu, "direct", o->direct,
		"rounds", (int)o->rounds, "latencies", "kept", (json_int_t)node.kept, "left_out",
		(json_int_t)node.lost, "can_tell", node.told, "victims", victims, "worst_ratio", worst, "median_ratio", median,
		"flood_iops", r->flood_iops, "weights", "shares", shares, "worst_error", r->worst_error,
		"priority", "share", r->priority_share, "minimum", "asked_iops", r->min.asked, "got_iops",
		r->min.got, "maximum", "asked_iops", r->max_iops.asked, "got_iops", r->max_iops.got,
		"asked_bps", r->max_bps.asked, "got_bps", r->max_bps.got, "errors", (json_int_t)r->errors,
		"kicks", (json_int_t)r->kicks);
}

static void print(const struct options *o, const struct result *r, const json_t *j)
{
	printf("8 disks on the sidecore of CPU %d, driven from CPU %d, %s\n", node.sidecore_cpu,
		node.driver_cpu, o->direct ? "O_DIRECT" : "in the page cache");
	printf("a flood at depth 256 (%.0f reads/s) against 7 that read every millisecond, p50 and p99 in us:\n",
		r->flood_iops);
	for (unsigned i = 0; i < FLOOD; i++)
		printf("  victim %u: alone %7.1f %7.1f, flooded %7.1f %7.1f, p99 x %.2f\n", i,
			(double)sv_histogram_at(&r->alone[i], 500) / 1e3,
			(double)sv_histogram_at(&r->alone[i], 990) / 1e3,
			(double)sv_histogram_at(&r->flooded[i], 500) / 1e3,
			(double)sv_histogram_at(&r->flooded[i], 990) / 1e3,
			(double)sv_histogram_at(&r->flooded[i], 990) /
				(double)sv_histogram_at(&r->alone[i], 990));
	printf("  of all latencies %.0f %% are left out: %s took a CPU away meanwhile\n",
		100.0 * (double)node.lost / (double)(node.kept + node.lost + 1),
		node.told ? "the host" : "the host (of the driver, the kernel does not tell of the sidecore)");
	printf("  worst x %.2f, median x %.2f\n", json_real_value(json_object_get(j, "worst_ratio")),
		json_real_value(json_object_get(j, "median_ratio")));
	printf("weights 1 to 8: shares");
	for (unsigned i = 0; i < GUESTS; i++)
		printf(" %.3f", r->share[i]);
	printf(", at most %.1f %% off\n", 100 * r->worst_error);
	printf("priority over weight: %.1f %% of all\n", 100 * r->priority_share);
	printf("minimum: asked %.0f, got %.0f reads/s\n", r->min.asked, r->min.got);
	printf("maximum: asked %.0f, got %.0f reads/s; asked %.1f, got %.1f MiB/s\n", r->max_iops.asked,
		r->max_iops.got, r->max_bps.asked / (1 << 20), r->max_bps.got / (1 << 20));
	if (r->errors)
		printf("%llu reads failed or had wrong data\n", (unsigned long long)r->errors);
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {{"rounds", required_argument, NULL, 'r'},
		{"direct", no_argument, NULL, 'd'}, {"dir", required_argument, NULL, 'D'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int c;

	*o = (struct options){.rounds = 8};
	optind = 1;
	while ((c = getopt_long(argc, argv, "r:dD:jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		if (c == 'r')
			o->rounds = bench_number(optarg);
		o->direct |= c == 'd';
		o->json |= c == 'j';
		o->dir = c == 'D' ? optarg : o->dir;
	}
	if (optind == argc && o->rounds && o->rounds <= 1000)
		return -1;
	fprintf(stderr, "sidevisor bench fairness: --rounds is a number from 1 to 1000, and there are no "
			"operands (see --help)\n");
	return 2;
}

int sv_bench_fairness(int argc, char **argv)
{
	static struct result r;
	struct sv_error err = {""};
	struct options o;
	json_t *j;
	char *text;
	int rc = parse(&o, argc, argv);

	if (rc >= 0)
		return rc;
	bench_catch_signals();
	rc = measure(&o, &r, &err);
	bench_progress_end();
	vu_node_close(&node);
	if (rc < 0)
		return bench_failed("fairness", &err);
	j = to_json(&o, &r);
	if (o.json) {
		text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
		puts(text);
		free(text);
	} else {
		print(&o, &r, j);
	}
	json_decref(j);
	return r.errors != 0;
}
