/* SPDX-License-Identifier: BSD-3-Clause */
/* Random reads in mib= MiB, each of which waits for the one before: what a translation costs. */
#include "apps.h"

#include <lwk/lwk.h>

#define STRIDE 64u
#define ROUNDS 7u

int app_walk(void)
{
	uint64_t bytes = lwk_arg_u64("mib", 64) << 20, n = lwk_arg_u64("n", 200000);
	uint8_t *area = lwk_alloc(bytes, 0x200000);
	uint64_t seed = 1, best = ~0ull, slots = bytes / STRIDE;

	if (!area || !n || (slots & (slots - 1))) {
		lwk_printf("walk: no memory for mib=%lu (a power of two)\n", bytes >> 20);
		return 1;
	}
	for (uint64_t i = 0; i < bytes; i += 4096)
		((volatile uint8_t *)area)[i] = 0;
	for (unsigned r = 0; r < ROUNDS; r++) {
		uint64_t t = lwk_tsc();

		for (uint64_t i = 0; i < n; i++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			seed += *(volatile uint64_t *)(area + (seed >> 20) % slots * STRIDE);
		}
		t = lwk_tsc() - t;
		best = t < best ? t : best;
	}
	lwk_printf("walk %lu ps per read\n", lwk_ticks_to_ns(best) * 1000 / n);
	return 0;
}
