/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Takes all memory there is in pieces of piece= bytes and writes both ends of each; before that every
 * vCPU takes and frees blocks of many sizes and checks that nobody else has them.
 */
#include "apps.h"

#include <lwk/lwk.h>

#define BLOCKS 64u
#define ROUNDS 200u
#define HIGH 0x100000000ull

static uint64_t errors;

static void churn(void *arg)
{
	uint64_t me = lwk_vcpu() + 1, seed = me * 0x9e3779b97f4a7c15ull;
	uint64_t *block[BLOCKS] = {NULL}, words[BLOCKS], wrong = 0;

	(void)arg;
	for (unsigned r = 0; r < ROUNDS * BLOCKS; r++) {
		unsigned i;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		i = (unsigned)(seed >> 33) % BLOCKS;
		if (block[i]) {
			wrong += block[i][0] != me || block[i][words[i] - 1] != me;
			free(block[i]);
			block[i] = NULL;
			continue;
		}
		words[i] = 1 + (seed >> 40) % 500;
		block[i] = malloc(words[i] * sizeof(uint64_t));
		if (block[i])
			block[i][0] = block[i][words[i] - 1] = me;
		else
			wrong++;
	}
	__atomic_add_fetch(&errors, wrong, __ATOMIC_RELAXED);
}

int app_memory(void)
{
	uint64_t piece = lwk_arg_u64("piece", 1 << 20), low = 0, high = 0;
	uint64_t *p;

	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_start(i, churn, NULL);
	churn(NULL);
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_join(i);
	while (piece >= 16 && (p = lwk_alloc(piece, 4096))) {
		p[0] = p[piece / 8 - 1] = (uint64_t)p;
		*((uint64_t)p < HIGH ? &low : &high) += piece;
	}
	lwk_printf("%lu MiB below 3 GiB and %lu MiB above 4 GiB taken, %lu errors\n", low >> 20,
		high >> 20, errors);
	return errors != 0;
}
