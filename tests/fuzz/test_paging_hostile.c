/* SPDX-License-Identifier: BSD-3-Clause */
/* The fuzzer's harness with bytes from a fixed seed, for every build. */
#include <criterion/criterion.h>

#include "paging_once.h"

#define RUNS 3000u

Test(paging_hostile, random_bytes)
{
	static uint8_t data[4096];
	uint64_t seed = 0x2545f4914f6cdd1d, requests = 0, done = 0;

	for (unsigned run = 0; run < RUNS; run++) {
		struct paging_once sum;

		for (unsigned i = 0; i < sizeof(data); i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			data[i] = (uint8_t)(seed >> 32);
		}
		data[0] = (uint8_t)run;
		sum = paging_once(data, sizeof(data));
		requests += sum.requests;
		done += sum.done;
	}
	cr_expect(requests > 50 * RUNS && done > 5 * RUNS, "%llu requests, %llu done",
		(unsigned long long)requests, (unsigned long long)done);
}
