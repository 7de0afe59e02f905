/* SPDX-License-Identifier: BSD-3-Clause */
/* n= times every other vCPU halts until vCPU 0 wakes it, and vCPU 0 until the last of them woke it. */
#include "apps.h"

#include <lwk/lwk.h>

static uint32_t turn, answers;

static void sleeper(void *arg)
{
	uint32_t n = (uint32_t)(uint64_t)arg;

	for (uint32_t i = 1; i <= n; i++) {
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) < i)
			lwk_halt();
		if (__atomic_add_fetch(&answers, 1, __ATOMIC_ACQ_REL) % (lwk_vcpus() - 1) == 0)
			lwk_wake(0);
	}
}

int app_wake(void)
{
	uint64_t n = lwk_arg_u64("n", 10), start = lwk_tsc();
	unsigned others = lwk_vcpus() - 1;

	for (unsigned i = 1; i <= others; i++)
		lwk_thread_start(i, sleeper, (void *)n);
	for (uint32_t i = 1; others && i <= n; i++) {
		__atomic_store_n(&turn, i, __ATOMIC_RELEASE);
		for (unsigned v = 1; v <= others; v++)
			lwk_wake(v);
		while (__atomic_load_n(&answers, __ATOMIC_ACQUIRE) < i * others)
			lwk_halt();
	}
	lwk_printf("%u vCPUs woke %lu times each in %lu ms\n", others, n,
		lwk_ticks_to_ns(lwk_tsc() - start) / 1000000);
	return others ? 0 : 1;
}
