/* SPDX-License-Identifier: BSD-3-Clause */
#include "apps.h"

#include <lwk/lwk.h>

static uint64_t call_time(void)
{
	static const uint64_t none[5];
	struct sv_cpl cpl;

	if (lwk_call(SV_SERVICE_CORE, SV_CORE_TIME, none, &cpl) != SV_STATUS_OK)
		return 0;
	return cpl.value[0] / 1000000000u;
}

int app_hello(void)
{
	uint64_t t = call_time();

	if (!lwk_arg_word("quiet"))
		lwk_printf("Hello from CPL 3 on vCPU %u of %u: %lu MiB of memory, a clock of %lu MHz, "
			   "and the time is %02lu:%02lu:%02lu UTC.\n",
			lwk_vcpu(), lwk_vcpus(), lwk_boot.memory_bytes >> 20,
			lwk_boot.tsc_hz / 1000000, t / 3600 % 24, t / 60 % 60, t % 60);
	return t ? 0 : 1;
}

/* Waits to be stopped. */
int app_idle(void)
{
	unsigned turns = 0;

	for (;;)
		lwk_relax(&turns);
}

/* The local APIC timer interrupts the application n times, every other time out of a halt. */
int app_timer(void)
{
	uint64_t n = lwk_arg_u64("n", 10), until = lwk_tsc() + 10 * lwk_boot.tsc_hz;

	for (uint64_t i = 1; i <= n; i++) {
		lwk_kcall(LWK_KCALL_TIMER, 100000, 0);
		while (lwk_timer_interrupts() < i) {
			if (lwk_tsc() > until)
				return 1;
			if (i % 2)
				lwk_halt();
		}
	}
	lwk_printf("%lu timer interrupts taken at CPL 3\n", lwk_timer_interrupts());
	return 0;
}
