/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that means harm: every unassigned port, a sweep of MSRs, MMIO pages nobody owns, and its
 * own channel header. The kernel lets it at MSRs with `msrprobe` on the command line. step= thins the sweeps out. It must end with "survived", whatever it wrote.
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

/* Those that would end us, or take our clock or our interrupts away. */
static bool msr_ends_us(uint32_t msr)
{
	return msr == 0x10 || msr == 0x1b || msr == 0x3b || msr == 0x6e0 || (msr >> 8) == 8 ||
	       (msr >= 0xc0000080 && msr <= 0xc0000084);
}

static void sweep_msrs(uint32_t step)
{
	static const struct {
		uint32_t from, to, step; /* step 0: the user's */
	} ranges[] = {{0, 0x1000, 0}, {0x40000000, 0x40000100, 0}, {0x4b564d00, 0x4b564d10, 1},
		{0xc0000080, 0xc0000110, 1}, {0xc0010000, 0xc0010200, 0}, {0xc0011000, 0xc0011100, 0}};

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		for (uint32_t msr = ranges[i].from; msr < ranges[i].to;
			msr += ranges[i].step ? ranges[i].step : step) {
			if (msr_ends_us(msr))
				continue;
			lwk_kcall(LWK_KCALL_PRIVILEGED, 1, msr);
			lwk_kcall(LWK_KCALL_PRIVILEGED, 0, msr);
		}
}

/* The GiB below 4 GiB: PCI, its configuration space, interrupt controllers, pages nobody owns. */
static void sweep_mmio(uint32_t step)
{
	for (uint64_t at = 0xc0000000; at < 0x100000000; at += step * 0x10000ull) {
		*(volatile uint64_t *)at = ~0ull;
		*(volatile uint8_t *)(at + 7) = 0xff;
		(void)*(volatile uint32_t *)(at + 1);
	}
	for (uint64_t at = SV_MMIO_NOP_GPA; at < SV_MMIO_NOP_GPA + 0x10000; at += 0x800) {
		*(volatile uint64_t *)at = ~0ull;
		*(volatile uint8_t *)(at + 7) = 0xff;
		(void)*(volatile uint32_t *)(at + 1);
	}
	for (uint64_t at = 0xfec00000; at < 0xfec01000; at += 16)
		*(volatile uint32_t *)at = 0xffffffff;
	for (uint64_t at = 0xfee00000; at < 0xfee01000; at += 16)
		*(volatile uint32_t *)at = 0xffffffff;
}

int app_hostile(void)
{
	uint32_t step = (uint32_t)lwk_arg_u64("step", 37);
	volatile uint64_t *ch = (volatile uint64_t *)lwk_boot.channel_gpa;

	step = step ? step : 1;
	sweep_ports(step);
	lwk_printf("ports done\n");
	if (lwk_kcall(LWK_KCALL_PRIVILEGED, 1, 0xc0000080) == ~0ull) {
		lwk_printf("MSRs are not ours\n");
	} else {
		sweep_msrs(step);
		lwk_printf("MSRs done\n");
	}
	sweep_mmio(step);
	lwk_printf("MMIO done\n");
	lwk_printf("survived\n");
	/* The header is ours to ruin: nobody else may suffer. The ring after it, too. */
	for (unsigned i = 0; i < 32; i++)
		ch[i] = ~0ull;
	for (unsigned i = 32; i < 32 + 64 * 8; i++)
		ch[i] = 0x123456789abcdefull * i;
	return 0;
}
