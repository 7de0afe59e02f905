/* SPDX-License-Identifier: BSD-3-Clause */
#include <base/histogram.h>

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

uint64_t sv_histogram_value(unsigned bucket)
{
	unsigned octave = bucket / SV_HISTOGRAM_STEPS, step = bucket % SV_HISTOGRAM_STEPS;
	uint64_t low, width;

	if (!octave)
		return bucket;
	width = 1ull << (octave - 1);
	low = (SV_HISTOGRAM_STEPS + step) * width;
	return low + width / 2;
}

/* The buckets are counted here and not believed to add up to the total: a writer may be at work. */
uint64_t sv_histogram_at(const struct sv_histogram *h, unsigned permille)
{
	uint64_t all = 0, seen = 0, wanted, max = load(&h->max_ns);

	for (unsigned i = 0; i < SV_HISTOGRAM_BUCKETS; i++)
		all += load(&h->count[i]);
	if (!all || permille >= 1000)
		return all ? max : 0;
	wanted = (all * permille + 999) / 1000;
	if (!wanted)
		wanted = 1;
	for (unsigned i = 0; i < SV_HISTOGRAM_BUCKETS; i++) {
		seen += load(&h->count[i]);
		if (seen >= wanted) {
			uint64_t value = sv_histogram_value(i);

			return value < max ? value : max;
		}
	}
	return max;
}

uint64_t sv_histogram_mean(const struct sv_histogram *h)
{
	uint64_t total = load(&h->total);

	return total ? load(&h->sum_ns) / total : 0;
}

void sv_histogram_merge(struct sv_histogram *sum, const struct sv_histogram *h)
{
	uint64_t max = load(&h->max_ns);

	for (unsigned i = 0; i < SV_HISTOGRAM_BUCKETS; i++)
		sum->count[i] += load(&h->count[i]);
	sum->total += load(&h->total);
	sum->sum_ns += load(&h->sum_ns);
	if (max > sum->max_ns)
		sum->max_ns = max;
}
