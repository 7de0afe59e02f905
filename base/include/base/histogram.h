/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A histogram of durations with a relative error of at most 1/32: 16 equal steps between a power of
 * two and the next, up to 2^40 ns (18 minutes); what is longer counts there.
 *
 * One writer; anyone may read meanwhile (relaxed): the counts then differ by what came in between.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define SV_HISTOGRAM_STEP_BITS 4u
#define SV_HISTOGRAM_STEPS (1u << SV_HISTOGRAM_STEP_BITS)
#define SV_HISTOGRAM_BITS 40u
#define SV_HISTOGRAM_BUCKETS ((SV_HISTOGRAM_BITS - SV_HISTOGRAM_STEP_BITS + 1) * SV_HISTOGRAM_STEPS)

struct sv_histogram {
	uint64_t total, sum_ns, max_ns;
	uint64_t count[SV_HISTOGRAM_BUCKETS];
};

static inline unsigned sv_histogram_bucket(uint64_t ns)
{
	unsigned top;

	if (ns < SV_HISTOGRAM_STEPS)
		return (unsigned)ns;
	if (ns >> SV_HISTOGRAM_BITS)
		return SV_HISTOGRAM_BUCKETS - 1;
	top = 63u - (unsigned)__builtin_clzll(ns);
	return (top - SV_HISTOGRAM_STEP_BITS + 1) * SV_HISTOGRAM_STEPS +
	       (unsigned)(ns >> (top - SV_HISTOGRAM_STEP_BITS)) % SV_HISTOGRAM_STEPS;
}

/* Context: the one writer; does not block. */
static inline void sv_histogram_add(struct sv_histogram *h, uint64_t ns)
{
	uint64_t *c = &h->count[sv_histogram_bucket(ns)];

	__atomic_store_n(c, *c + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&h->total, h->total + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&h->sum_ns, h->sum_ns + ns, __ATOMIC_RELAXED);
	if (ns > h->max_ns)
		__atomic_store_n(&h->max_ns, ns, __ATOMIC_RELAXED);
}

/* The middle of a bucket. */
uint64_t sv_histogram_value(unsigned bucket);
/*
 * The duration that @permille of what was added does not exceed: 500 is the median, 999 is 99.9 %.
 * 0 when nothing was added. Context: any.
 */
uint64_t sv_histogram_at(const struct sv_histogram *h, unsigned permille);
uint64_t sv_histogram_mean(const struct sv_histogram *h);
/* Into @sum, which only the caller uses. */
void sv_histogram_merge(struct sv_histogram *sum, const struct sv_histogram *h);

#endif
