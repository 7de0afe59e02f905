/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page tables: one to one, 2 MiB pages and larger. The first 4 MiB (boot structures, kernel) are the
 * supervisor's; the applications' text is read-only; the lowest 4 KiB of every stack are not there;
 * the rest of RAM, the channels, the doorbells and the GiB of MMIO below 4 GiB are the user's. The window
 * of page tables is read-only.
 */
#include "kernel.h"

#define P 1ull
#define W 2ull
#define U 4ull
#define LARGE 0x80ull
#define PAGE_4K 0x1000ull
#define PAGE_2M 0x200000ull
#define GIB 0x40000000ull
#define HIGH (4 * GIB)
#define REACH (512 * GIB)

/* Frames for the tables: the MiB below the kernel, which is the supervisor's and, as a rule, zero at the start. */
#define FRAMES_FROM 0x100000ull
#define FRAMES_TO 0x200000ull

static uint64_t next_frame = FRAMES_FROM;
static bool frames_dirty;

static uint64_t *take_frame(void)
{
	uint64_t frame = next_frame;

	if (frame == FRAMES_TO)
		kernel_refuse("the page tables have no room for so much memory");
	next_frame += PAGE_4K;
	for (unsigned i = 0; frames_dirty && i < PAGE_4K / 8; i++)
		((uint64_t *)frame)[i] = 0;
	return (uint64_t *)frame;
}

static bool has_gib_pages(void)
{
	uint32_t a = 0x80000001, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return d >> 26 & 1;
}

/* The table that @entry refers to, made if there is none. */
static uint64_t *table_of(uint64_t *entry)
{
	if (!*entry)
		*entry = (uint64_t)take_frame() | P | W | U;
	return (uint64_t *)(*entry & ~0xfffull);
}

/* Map [from, to), multiples of 2 MiB. */
static void map(uint64_t *pdpt, uint64_t from, uint64_t to, uint64_t flags, bool gib_pages)
{
	if (to > REACH)
		kernel_refuse("memory or channels above 512 GiB");
	while (from < to) {
		uint64_t *entry = &pdpt[from / GIB];

		if (gib_pages && from % GIB == 0 && to - from >= GIB) {
			*entry = from | P | LARGE | flags;
			from += GIB;
		} else {
			table_of(entry)[from / PAGE_2M % 512] = from | P | LARGE | flags;
			from += PAGE_2M;
		}
	}
}

/* Cut the 2 MiB page at @at into small ones. */
static uint64_t *split(uint64_t *pdpt, uint64_t at)
{
	uint64_t *entry = &table_of(&pdpt[at / GIB])[at / PAGE_2M % 512], *small;

	if (*entry & LARGE) {
		uint64_t page = at & ~(PAGE_2M - 1);

		small = take_frame();
		for (unsigned i = 0; i < 512; i++)
			small[i] = (page + i * PAGE_4K) | P | W | U;
		*entry = (uint64_t)small | P | W | U;
	}
	return (uint64_t *)(*entry & ~0xfffull);
}

static void guard_stacks(uint64_t *pdpt, unsigned vcpus)
{
	for (unsigned i = 0; i < vcpus; i++) {
		uint64_t at = lwk_stacks() + i * LWK_STACK_BYTES;

		split(pdpt, at)[at / PAGE_4K % 512] = 0;
	}
}

uint64_t kernel_build_page_tables(const struct sv_boot *boot)
{
	uint64_t low = boot->memory_low_bytes & ~(PAGE_2M - 1);
	uint64_t high = HIGH + (boot->memory_high_bytes & ~(PAGE_2M - 1));
	uint64_t channels = (boot->channel_stride * boot->vcpus + PAGE_2M - 1) & ~(PAGE_2M - 1);
	const struct sv_channel *ch = (const struct sv_channel *)boot->channel_gpa;
	uint64_t doorbells = ch->info.doorbell_gpa & ~(PAGE_2M - 1);
	bool gib_pages = has_gib_pages();
	uint64_t *pml4, *pdpt;

	frames_dirty = boot->flags & SV_BOOT_F_SOURCE;
	pml4 = take_frame();
	pdpt = table_of(&pml4[0]);
	if (lwk_stacks() + boot->vcpus * LWK_STACK_BYTES > low)
		kernel_refuse("too little memory below 3 GiB for the stacks of so many vCPUs");
	map(pdpt, 0, 2 * PAGE_2M, W, false);
	map(pdpt, 2 * PAGE_2M, 3 * PAGE_2M, U, false);
	map(pdpt, 3 * PAGE_2M, low, W | U, false);
	map(pdpt, HIGH - GIB, HIGH, W | U, gib_pages);
	map(pdpt, HIGH, high, W | U, gib_pages);
	map(pdpt, boot->channel_gpa, boot->channel_gpa + channels, W | U, false);
	map(pdpt, doorbells, doorbells + 3 * PAGE_2M, W | U, false);
	map(pdpt, boot->tables_gpa, boot->tables_gpa + boot->tables_bytes, U, false);
	map(pdpt, boot->trap_gpa, boot->trap_gpa + boot->tables_bytes, W | U, false);
	guard_stacks(pdpt, boot->vcpus);
	return (uint64_t)pml4;
}
