/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every vCPU writes words of mib= MiB at random, without end: now all over, now again and again to few
 * pages, now in a row. For those who say which pages were written.
 */
#include "apps.h"

#include <lwk/lwk.h>

#define WORDS_PER_PAGE 512u
#define PHASE 4096u

static uint64_t *area, words;

static uint64_t step(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 20;
}

static void write_on(void *arg)
{
	uint64_t seed = lwk_vcpu() + 1, row = 0;

	(void)arg;
	for (uint64_t n = 0;; n++) {
		uint64_t at = step(&seed) % words;

		if (n / PHASE % 3 == 1)
			at = at % (16 * WORDS_PER_PAGE);
		else if (n / PHASE % 3 == 2)
			at = (row += WORDS_PER_PAGE) % words;
		__atomic_store_n(&area[at], seed ^ n, __ATOMIC_RELAXED);
	}
}

int app_dirty(void)
{
	words = lwk_arg_u64("mib", 32) * ((1u << 20) / sizeof(uint64_t));
	area = lwk_alloc(words * sizeof(uint64_t), 4096);
	if (!area) {
		lwk_printf("dirty: no memory for mib=%lu\n", lwk_arg_u64("mib", 32));
		return 1;
	}
	lwk_printf("writing\n");
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_start(i, write_on, NULL);
	write_on(NULL);
	return 0;
}
