/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that means harm: every unassigned port, a sweep of MSRs, MMIO pages nobody owns, and its
 * own channel header. step= thins the sweeps out. It must end with "survived", whatever it wrote.
 */
#include "apps.h"

#include <lwk/lwk.h>

static bool ends_us(uint32_t port)
{
	return port == SV_PORT_EXIT || port == SV_PORT_CRASH || port == SV_PORT_BENCH ||
	       port == 0x64 || port == 0x60 || port == 0xcf9 || port == 0xf4 || port == 0x505 ||
	       (port >= 0x600 && port <= 0x607);
}

static void sweep_ports(uint32_t step)
{
	for (uint32_t port = 0; port < 65536; port += step) {
		if (ends_us(port) || ends_us(port + 1) || ends_us(port + 2) || ends_us(port + 3))
			continue;
		lwk_in32((uint16_t)port);
		lwk_out8((uint16_t)port, 0xff);
		lwk_out32((uint16_t)port, 0xffffffff);
	}
}

static void sweep_msrs(uint32_t step)
{
	for (uint32_t msr = 0; msr < 0x1000; msr += step) {
		if (msr == 0x1b || (msr >= 0x800 && msr < 0x900)) /* our own APIC */
			continue;
		lwk_kcall(LWK_KCALL_PRIVILEGED, 1, msr);
	}
	for (uint32_t msr = 0x4b564d00; msr < 0x4b564d10; msr++)
		lwk_kcall(LWK_KCALL_PRIVILEGED, 0, msr);
	for (uint32_t msr = 0xc0010000; msr < 0xc0010200; msr += step)
		lwk_kcall(LWK_KCALL_PRIVILEGED, 0, msr);
}

static void sweep_mmio(void)
{
	for (uint64_t at = SV_MMIO_NOP_GPA; at < SV_MMIO_NOP_GPA + 0x10000; at += 0x800) {
		*(volatile uint64_t *)at = ~0ull;
		*(volatile uint8_t *)(at + 7) = 0xff;
		(void)*(volatile uint32_t *)(at + 1);
	}
}

int app_hostile(void)
{
	uint32_t step = (uint32_t)lwk_arg_u64("step", 37);
	volatile uint64_t *ch = (volatile uint64_t *)lwk_boot.channel_gpa;

	sweep_ports(step ? step : 1);
	lwk_printf("ports done\n");
	sweep_msrs(step ? step : 1);
	lwk_printf("MSRs done\n");
	sweep_mmio();
	lwk_printf("MMIO done\n");
	lwk_printf("survived\n");
	/* The header is ours to ruin: nobody else may suffer. The ring after it, too. */
	for (unsigned i = 0; i < 32; i++)
		ch[i] = ~0ull;
	for (unsigned i = 32; i < 32 + 64 * 8; i++)
		ch[i] = 0x123456789abcdefull * i;
	return 0;
}
