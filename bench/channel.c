/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench channel: throughput of the ring against others of its kind, and the latency of a
 * round trip against the bare cache line. Two pinned threads; rounds go through all items in turn,
 * so that drift of the machine hits all alike.
 */
#include <bench/bench.h>

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <channels/atomics.h>

#include "channel_latency.h"
#include "channel_options.h"
#include "channel_rings.h"

#define RINGS_MAX 8u
#define BATCHES 3u
#define GIVE_UP_S 20u

static const unsigned batch_of[BATCHES] = {1, 8, 32};

/* One item under way, shared by the two threads. */
struct job {
	const struct bench_ring *ring;
	void *queue;
	struct latency *latency; /* instead of a ring */
	unsigned batch;
	uint64_t messages;
	uint64_t *window; /* out: by the consumer: ticks of every BENCH_WINDOW messages */
	uint64_t sum;	  /* out: by the consumer */
	uint64_t give_up_at; /* TSC */
};

static struct {
	struct channel_options o;
	const struct bench_ring *ring[RINGS_MAX];
	void *queue[RINGS_MAX];
	unsigned rings;
	double *rate[RINGS_MAX][BATCHES]; /* messages per second, by round */
	uint64_t *window;
	struct latency latency;
	double ns_per_tick;

	struct job job;
	uint64_t go __attribute__((aligned(128)));   /* written by the main thread: number of the job */
	uint64_t done __attribute__((aligned(128))); /* written by the other thread */
} b;

/* --- the two threads ------------------------------------------------------------------------- */

static void produce(struct job *j)
{
	uint64_t sent = 0;
	unsigned looks = 0;

	while (sent < j->messages) {
		uint64_t left = j->messages - sent;
		unsigned n = j->ring->put(
			j->queue, sent, left < j->batch ? (unsigned)left : j->batch);

		sent += n;
		if (sv_unlikely(!n) && ++looks % 1024 == 0 && sv_tsc() > j->give_up_at)
			return;
	}
}

static bool consume(struct job *j)
{
	uint64_t got = 0, sum = 0, from = sv_tsc(), end = BENCH_WINDOW, now;
	unsigned looks = 0, w = 0;

	while (got < j->messages) {
		unsigned n = j->ring->take(j->queue, j->batch, &sum);

		got += n;
		if (sv_unlikely(got >= end)) {
			now = sv_tsc();
			j->window[w++] = now - from;
			from = now;
			end += BENCH_WINDOW;
		}
		if (sv_unlikely(!n) && ++looks % 1024 == 0 && sv_tsc() > j->give_up_at)
			return false;
	}
	j->sum = sum;
	return true;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* The producer; in the latency items the server. */
static void *other_thread(void *unused)
{
	(void)unused;
	pin(b.o.cpu[0]);
	for (uint64_t n = 1;; n++) {
		while (sv_load_acquire(&b.go) < n)
			sv_cpu_relax();
		if (!b.job.ring && !b.job.latency)
			return NULL;
		if (b.job.ring)
			produce(&b.job);
		else
			latency_serve(b.job.latency, b.job.give_up_at);
		sv_store_release(&b.done, n);
	}
}

/* One job on both threads. Return: false when it did not come to its end in time. */
static bool run_job(struct job j)
{
	uint64_t n = b.go + 1;
	bool ok = true;

	j.give_up_at = sv_tsc() + (uint64_t)(GIVE_UP_S * 1e9 / b.ns_per_tick);
	b.job = j;
	sv_store_release(&b.go, n);
	if (j.ring)
		ok = consume(&b.job);
	else if (j.latency)
		ok = latency_measure(j.latency, j.give_up_at);
	else
		return true;
	while (sv_load_acquire(&b.done) < n)
		sv_cpu_relax();
	return ok;
}

/* --- rounds ---------------------------------------------------------------------------------- */

static int by_ticks(const void *x, const void *y)
{
	uint64_t p = *(const uint64_t *)x, q = *(const uint64_t *)y;

	return p < q ? -1 : p > q;
}

static bool throughput(unsigned ring, unsigned batch, unsigned round)
{
	uint64_t m = b.o.messages, k = BENCH_PAYLOAD_WORDS;
	uint64_t want = k * (m * (m - 1) / 2) + m * (k * (k - 1) / 2);
	unsigned windows = b.o.messages / BENCH_WINDOW;

	if (!run_job((struct job){.ring = b.ring[ring], .queue = b.queue[ring],
		    .batch = batch_of[batch], .messages = m, .window = b.window})) {
		fprintf(stderr, "sidevisor bench channel: %s did not move %u messages in %u s\n",
			b.ring[ring]->name, b.o.messages, GIVE_UP_S);
		return false;
	}
	if (b.job.sum != want) {
		fprintf(stderr, "sidevisor bench channel: %s lost or changed a message\n",
			b.ring[ring]->name);
		return false;
	}
	qsort(b.window, windows, sizeof(*b.window), by_ticks);
	b.rate[ring][batch][round] = BENCH_WINDOW / ((double)b.window[windows / 2] * b.ns_per_tick * 1e-9);
	return true;
}

static bool rounds(void)
{
	for (unsigned r = 0; r < b.o.rounds; r++) {
		for (unsigned i = 0; i < BATCHES; i++)
			for (unsigned k = 0; k < b.rings; k++)
				if (!throughput((k + r) % b.rings, i, r))
					return false;
		for (unsigned k = 0; k < LATENCY_ITEMS; k++) {
			b.latency.item = (k + r) % LATENCY_ITEMS;
			if (!run_job((struct job){.latency = &b.latency})) {
				fputs("sidevisor bench channel: no answer from the other thread\n", stderr);
				return false;
			}
		}
	}
	return true;
}

/* --- report ---------------------------------------------------------------------------------- */

static int by_double(const void *x, const void *y)
{
	double d = *(const double *)x - *(const double *)y;

	return d < 0 ? -1 : d > 0;
}

struct percentiles {
	double p10, p50, p90, ours;
};

static struct percentiles percentiles(unsigned ring, unsigned batch)
{
	unsigned n = b.o.rounds;
	double *v = malloc(2 * n * sizeof(*v)), *q;
	struct percentiles p = {0};

	if (!v)
		return p;
	q = v + n;
	for (unsigned r = 0; r < n; r++) {
		v[r] = b.rate[ring][batch][r];
		q[r] = b.rate[0][batch][r] / v[r];
	}
	qsort(v, n, sizeof(*v), by_double);
	qsort(q, n, sizeof(*q), by_double);
	p = (struct percentiles){v[n / 10], v[n / 2], v[n * 9 / 10], q[n / 2]};
	free(v);
	return p;
}

static void print_text(void)
{
	printf("producer on CPU %d, consumer on CPU %d, %u rounds of %u messages, %u entries\n\n",
		b.o.cpu[0], b.o.cpu[1], b.o.rounds, b.o.messages, b.o.entries);
	printf("%-30s %5s %9s %9s %9s %12s\n", "million messages per second", "batch", "p10", "p50",
		"p90", "ours over it");
	for (unsigned i = 0; i < BATCHES; i++)
		for (unsigned k = 0; k < b.rings; k++) {
			struct percentiles p = percentiles(k, i);

			printf("%-30s %5u %9.2f %9.2f %9.2f %12.2f\n", b.ring[k]->what, batch_of[i],
				p.p10 * 1e-6, p.p50 * 1e-6, p.p90 * 1e-6, p.ours);
		}
	latency_print(&b.latency, b.ns_per_tick);
}

static void print_json(void)
{
	json_t *o = json_pack("{s:s, s:[i,i], s:i, s:i, s:i}", "bench", "channel", "cpus", b.o.cpu[0],
		b.o.cpu[1], "rounds", (int)b.o.rounds, "messages", (int)b.o.messages, "entries",
		(int)b.o.entries);
	json_t *all = json_object();
	char key[16], *text;

	for (unsigned k = 0; k < b.rings; k++) {
		json_t *one = json_object();

		for (unsigned i = 0; i < BATCHES; i++) {
			struct percentiles p = percentiles(k, i);

			snprintf(key, sizeof(key), "batch_%u", batch_of[i]);
			json_object_set_new(one, key,
				json_pack("{s:f, s:f, s:f, s:f}", "p10", p.p10, "p50", p.p50, "p90",
					p.p90, "ours_over_it", p.ours));
		}
		json_object_set_new(all, b.ring[k]->name, one);
	}
	json_object_set_new(o, "throughput", all);
	json_object_set_new(o, "latency", latency_json(&b.latency, b.ns_per_tick));
	text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	if (text)
		puts(text);
	free(text);
	json_decref(o);
}

/* --- set-up ---------------------------------------------------------------------------------- */

static void add_rings(const struct bench_ring *r)
{
	for (; r->name && b.rings < RINGS_MAX; r++)
		b.ring[b.rings++] = r;
}

static int allocate(void)
{
	b.rings = 0;
	add_rings(bench_ours);
#ifdef SV_BENCH_DPDK
	add_rings(bench_peers_dpdk);
#endif
#ifdef SV_BENCH_CK
	add_rings(bench_peers_ck);
#endif
#ifdef SV_BENCH_URCU
	add_rings(bench_peers_urcu);
#endif
	for (unsigned k = 0; k < b.rings; k++) {
		b.queue[k] = b.ring[k]->create(b.o.entries);
		if (!b.queue[k])
			return -ENOMEM;
		for (unsigned i = 0; i < BATCHES; i++) {
			b.rate[k][i] = calloc(b.o.rounds, sizeof(double));
			if (!b.rate[k][i])
				return -ENOMEM;
		}
	}
	b.window = calloc(b.o.messages / BENCH_WINDOW + 1, sizeof(*b.window));
	if (!b.window)
		return -ENOMEM;
	return latency_init(&b.latency, b.o.rounds);
}

static void release(void)
{
	for (unsigned k = 0; k < b.rings; k++) {
		if (b.queue[k])
			b.ring[k]->destroy(b.queue[k]);
		for (unsigned i = 0; i < BATCHES; i++)
			free(b.rate[k][i]);
	}
	free(b.window);
	latency_free(&b.latency);
	memset(&b, 0, sizeof(b));
}

static double measure_tick(void)
{
	struct timespec t0, t1;
	uint64_t c0, c1;
	double ns;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t0);
	c0 = sv_tsc();
	do {
		clock_gettime(CLOCK_MONOTONIC_RAW, &t1);
		ns = (double)(t1.tv_sec - t0.tv_sec) * 1e9 + (double)(t1.tv_nsec - t0.tv_nsec);
	} while (ns < 2e6);
	c1 = sv_tsc();
	return ns / (double)(c1 - c0);
}

int sv_bench_channel(int argc, char **argv)
{
	pthread_t other;
	cpu_set_t before;
	int rc = channel_options_parse(&b.o, argc, argv);

	if (rc >= 0)
		return rc;
	b.ns_per_tick = measure_tick();
	if (allocate()) {
		fputs("sidevisor bench channel: out of memory: take fewer --rounds\n", stderr);
		release();
		return 1;
	}
	sched_getaffinity(0, sizeof(before), &before);
	rc = pthread_create(&other, NULL, other_thread, NULL);
	if (rc) {
		fprintf(stderr, "sidevisor bench channel: no thread: %s\n", strerror(rc));
		release();
		return 1;
	}
	pin(b.o.cpu[1]);
	rc = rounds() ? 0 : 1;
	run_job((struct job){0}); /* the end of the other thread */
	pthread_join(other, NULL);
	sched_setaffinity(0, sizeof(before), &before);
	if (rc == 0 && b.o.json)
		print_json();
	else if (rc == 0)
		print_text();
	release();
	return rc;
}
