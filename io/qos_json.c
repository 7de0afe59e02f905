/* SPDX-License-Identifier: BSD-3-Clause */
/* What the scheduler knows of a device, as JSON. */
#include "qos_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <channels/atomics.h>

static const char *const kind_name[SV_QOS_KINDS] = {"read", "write", "flush", "other"};

static unsigned long long load(const uint64_t *counter)
{
	return sv_load_relaxed(counter);
}

static void print_params(FILE *f, const struct sv_qos_params *p)
{
	for (unsigned i = 0; sv_qos_keys[i]; i++)
		fprintf(f, "\"%s\": %llu, ", sv_qos_keys[i],
			(unsigned long long)sv_qos_value(p, i));
}

/* Counts between powers of two: [at least ns, below twice that, count] without the empty ones. */
static void print_octaves(FILE *f, const struct sv_histogram *h)
{
	const char *comma = "";

	fputs("\"histogram\": [", f);
	for (unsigned first = 0; first < SV_HISTOGRAM_BUCKETS; first += SV_HISTOGRAM_STEPS) {
		uint64_t n = 0;

		for (unsigned i = 0; i < SV_HISTOGRAM_STEPS; i++)
			n += load(&h->count[first + i]);
		if (!n)
			continue;
		fprintf(f, "%s[%llu, %llu]", comma,
			first ? 1ull << (first / SV_HISTOGRAM_STEPS + SV_HISTOGRAM_STEP_BITS - 1) : 0,
			(unsigned long long)n);
		comma = ", ";
	}
	fputs("]", f);
}

static void print_latency(FILE *f, const char *name, const struct sv_histogram *h)
{
	fprintf(f,
		"\"%s\": {\"count\": %llu, \"mean\": %llu, \"p50\": %llu, \"p90\": %llu, "
		"\"p99\": %llu, \"p999\": %llu, \"max\": %llu",
		name, load(&h->total), (unsigned long long)sv_histogram_mean(h),
		(unsigned long long)sv_histogram_at(h, 500),
		(unsigned long long)sv_histogram_at(h, 900),
		(unsigned long long)sv_histogram_at(h, 990),
		(unsigned long long)sv_histogram_at(h, 999), load(&h->max_ns));
}

static void print_latencies(FILE *f, const struct sv_qos_counters *c)
{
	static struct sv_histogram all; /* the control thread's */

	memset(&all, 0, sizeof(all));
	fputs(", \"latency_ns\": {", f);
	for (unsigned i = 0; i < SV_QOS_KINDS; i++) {
		if (!load(&c->latency[i].total))
			continue;
		print_latency(f, kind_name[i], &c->latency[i]);
		fputs("}, ", f);
		sv_histogram_merge(&all, &c->latency[i]);
	}
	print_latency(f, "all", &all);
	fputs(", ", f);
	print_octaves(f, &all);
	fputs("}}", f);
}

static void print_counters(FILE *f, const struct sv_qos_counters *c)
{
	fputs("\"operations\": {", f);
	for (unsigned i = 0; i < SV_QOS_KINDS; i++)
		fprintf(f, "%s\"%s\": %llu", i ? ", " : "", kind_name[i], load(&c->ops[i]));
	fputs("}, \"bytes\": {", f);
	for (unsigned i = 0; i < SV_QOS_KINDS; i++)
		fprintf(f, "%s\"%s\": %llu", i ? ", " : "", kind_name[i], load(&c->bytes[i]));
	fprintf(f, "}, \"outstanding\": %llu, \"outstanding_max\": %llu, \"throttled_ns\": %llu, "
		   "\"held_ns\": %llu",
		load(&c->outstanding), load(&c->outstanding_max), load(&c->throttled_ns),
		load(&c->held_ns));
}

char *qos_wish_json(const struct sv_control_qos *wish)
{
	struct sv_qos_params p;
	struct sv_error err;
	char *text = NULL;
	size_t size;
	FILE *f;

	if (sv_qos_from_wish(&p, wish, &err) < 0)
		return NULL;
	f = open_memstream(&text, &size);
	if (!f)
		return NULL;
	fputs("{\"front_end\": \"none\", \"qos\": {", f);
	print_params(f, &p);
	fputs("\"outstanding\": 0}}", f);
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

char *qos_device_json(const struct qos_device *d, bool latencies)
{
	struct sv_qos_params p;
	char *text = NULL;
	size_t size;
	FILE *f;

	if (!d->flow)
		return strdup("{}");
	f = open_memstream(&text, &size);
	if (!f)
		return NULL;
	sv_qos_get_params(d->flow, &p);
	fputs("{", f);
	print_params(f, &p);
	fprintf(f, "\"store_depth\": %u, ", sv_qos_depth(d->flow));
	print_counters(f, sv_qos_counters(d->flow));
	if (latencies)
		print_latencies(f, sv_qos_counters(d->flow));
	fputs("}", f);
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
