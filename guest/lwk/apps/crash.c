/* SPDX-License-Identifier: BSD-3-Clause */
/* Crashes the way how= says, on vCPU on=. */
#include "apps.h"

#include <lwk/lwk.h>

static volatile int zero;

static int recurse(volatile int *above, int depth)
{
	volatile int here[256];

	here[0] = *above;
	return depth ? recurse(here, depth - 1) + here[0] : 0;
}

static void crash(void *arg)
{
	(void)arg;
	if (lwk_arg_is("how", "divide"))
		__asm__ volatile(
			"xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx" : : : "eax", "ecx", "edx", "cc");
	else if (lwk_arg_is("how", "jump"))
		((void (*)(void))0x8000000000000000ull)();
	else if (lwk_arg_is("how", "kernel"))
		*(volatile uint64_t *)0x200000 = 0;
	else if (lwk_arg_is("how", "text"))
		*(volatile uint64_t *)0x400000 = 0;
	else if (lwk_arg_is("how", "stack"))
		recurse(&zero, 1 << 20);
	else if (lwk_arg_is("how", "invalid"))
		__builtin_trap();
	else if (lwk_arg_is("how", "null"))
		*(volatile uint64_t *)(uint64_t)zero = 1;
	else
		*(volatile uint64_t *)(511ull << 30) = 0;
}

int app_crash(void)
{
	unsigned on = (unsigned)lwk_arg_u64("on", 0);

	if (on && lwk_thread_start(on, crash, NULL))
		lwk_thread_join(on);
	else
		crash(NULL);
	lwk_printf("still here\n");
	return 3;
}
