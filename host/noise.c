/* SPDX-License-Identifier: BSD-3-Clause */
#include <host/doctor.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define QUANTUM_US 100.0
#define QUANTA_MAX (1u << 20)
#define CALIBRATE 1000000u

struct measurement {
	int cpu, rc;
	double seconds;
	double *us;
	unsigned n;
};

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* A chain of dependent operations: nothing to overlap, nothing in memory. */
static uint64_t work(uint64_t x, unsigned turns)
{
	while (turns--) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		__asm__ volatile("" : "+r"(x));
	}
	return x;
}

static void *measure(void *arg)
{
	struct measurement *m = arg;
	struct sv_cpus here = {{0}};
	double from, end, took = 1e18;
	unsigned turns;

	sv_cpus_set(&here, m->cpu);
	m->rc = sv_cpus_run_on(&here);
	if (m->rc < 0)
		return NULL;
	for (unsigned i = 0; i < 5; i++) {
		from = now_us();
		work(1, CALIBRATE / 10);
		took = now_us() - from < took ? now_us() - from : took;
	}
	turns = (unsigned)(CALIBRATE / 10 * QUANTUM_US / took) + 1;
	end = now_us() + m->seconds * 1e6;
	while (m->n < QUANTA_MAX && (from = now_us()) < end) {
		work(from > 0, turns);
		m->us[m->n++] = now_us() - from;
	}
	m->rc = m->n ? 0 : -EIO;
	return NULL;
}

static int by_time(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

void sv_noise_from(double *us, unsigned n, struct sv_noise *out)
{
	double sum = 0;

	qsort(us, n, sizeof(*us), by_time);
	*out = (struct sv_noise){.cpu = out->cpu,
		.quanta = n,
		.least_us = us[0],
		.p50_us = us[(uint64_t)n * 50 / 100],
		.p99_us = us[(uint64_t)n * 99 / 100],
		.p9999_us = us[(uint64_t)n * 9999 / 10000],
		.worst_us = us[n - 1]};
	for (unsigned i = 0; i < n; i++) {
		unsigned b = 0;

		sum += us[i];
		while (b + 1 < SV_NOISE_BUCKETS && us[i] - us[0] >= (double)(1u << b))
			b++;
		out->bucket[b]++;
	}
	out->lost = sum > 0 ? (sum - us[0] * n) / sum : 0;
}

int sv_noise_measure(int cpu, double seconds, struct sv_noise *out)
{
	struct measurement m = {.cpu = cpu, .seconds = seconds};
	pthread_t thread;
	int rc;

	m.us = malloc(QUANTA_MAX * sizeof(*m.us));
	if (!m.us)
		return -ENOMEM;
	rc = -pthread_create(&thread, NULL, measure, &m);
	if (rc == 0) {
		pthread_join(thread, NULL);
		rc = m.rc;
	}
	if (rc == 0) {
		out->cpu = cpu;
		sv_noise_from(m.us, m.n, out);
	}
	free(m.us);
	return rc;
}
