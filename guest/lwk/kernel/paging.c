/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page tables: one to one, 2 MiB pages. The first 4 MiB (boot structures, kernel) are the
 * supervisor's; the applications' text is read-only; the rest of RAM, the channels, the doorbells
 * and the measurement pages are the user's.
 */
#include "kernel.h"

#define P 1ull
#define W 2ull
#define U 4ull
#define LARGE 0x80ull
#define PAGE_2M 0x200000ull
#define GIB 0x40000000ull
#define DIRECTORIES 12u
#define DOORBELL_GIB GIB

static uint64_t pml4[512] __attribute__((aligned(4096)));
static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[DIRECTORIES][512] __attribute__((aligned(4096)));
static unsigned used;

/* Map [from, to), both multiples of 2 MiB, below 512 GiB. What finds no directory is not mapped. */
static void map(uint64_t from, uint64_t to, uint64_t flags)
{
	for (uint64_t at = from; at < to; at += PAGE_2M) {
		uint64_t *entry = &pdpt[at / GIB % 512];

		if (!*entry) {
			if (used == DIRECTORIES)
				return;
			*entry = (uint64_t)pd[used++] | P | W | U;
		}
		((uint64_t *)(*entry & ~0xfffull))[at / PAGE_2M % 512] = at | P | LARGE | flags;
	}
}

uint64_t kernel_build_page_tables(const struct sv_boot *boot)
{
	uint64_t low = boot->memory_low_bytes & ~(PAGE_2M - 1);
	uint64_t channels = (boot->channel_stride * boot->vcpus + PAGE_2M - 1) & ~(PAGE_2M - 1);
	const struct sv_channel *ch = (const struct sv_channel *)boot->channel_gpa;
	uint64_t doorbells = ch->info.doorbell_gpa & ~(PAGE_2M - 1);

	pml4[0] = (uint64_t)pdpt | P | W | U;
	map(0, 2 * PAGE_2M, W);
	map(2 * PAGE_2M, 3 * PAGE_2M, U);
	map(3 * PAGE_2M, low, W | U);
	map(boot->channel_gpa, boot->channel_gpa + channels, W | U);
	map(doorbells, doorbells + 2 * PAGE_2M, W | U);
	map(SV_MMIO_NOP_GPA, SV_MMIO_NOP_GPA + PAGE_2M, W | U);
	return (uint64_t)pml4;
}
