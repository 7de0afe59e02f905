/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mmap and brk over the paging service. Frames come from lwk_alloc() and are kept in a list when
 * they are given back; addresses are used once.
 */
#include "paging.h"

#define PAGE 4096ull
#define HEAP_FROM (LWK_PAGING_FROM + (1ull << 38))
#define HEAP_BYTES (1ull << 38)
#define MMAP_FROM (LWK_PAGING_FROM + (1ull << 30))
#define CHUNK 64u

static uint32_t lock;
static uint64_t *free_frames; /* each frame's first word: the next */
static uint64_t next_va = MMAP_FROM, heap_end = HEAP_FROM;

static void take_lock(void)
{
	unsigned turns = 0;

	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		lwk_relax(&turns);
}

static void drop_lock(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

static void give_frame(uint64_t frame)
{
	take_lock();
	*(uint64_t **)frame = free_frames;
	free_frames = (uint64_t *)frame;
	drop_lock();
}

static uint64_t take_frame(void)
{
	uint64_t *frame;

	take_lock();
	frame = free_frames;
	if (frame)
		free_frames = *(uint64_t **)frame;
	drop_lock();
	if (!frame)
		frame = lwk_alloc(PAGE, PAGE);
	if (frame)
		memset(frame, 0, PAGE);
	return (uint64_t)frame;
}

/* Up to CHUNK pages from @va. Return: whether all of them are mapped; if not, none is. */
static bool fill(uint64_t va, unsigned n, uint64_t prot)
{
	struct sv_paging_op ops[CHUNK];
	uint64_t done = 0;
	unsigned have = 0;

	for (; have < n; have++) {
		uint64_t frame = take_frame();

		if (!frame)
			break;
		ops[have] = (struct sv_paging_op){
			.where = (va + have * PAGE) | SV_PAGING_MAP | SV_PAGING_LEVEL(1),
			.entry = frame | prot | SV_PTE_PRESENT};
	}
	if (have == n && lwk_paging_batch(ops, n, false, &done) == SV_STATUS_OK)
		return true;
	if (done)
		lwk_unmap(va, done * PAGE);
	while (have--)
		give_frame(ops[have].entry & SV_PTE_FRAME);
	return false;
}

uint32_t lwk_munmap(void *at, uint64_t bytes)
{
	uint64_t va = (uint64_t)at, frame[CHUNK];
	uint32_t status = SV_STATUS_OK;

	bytes = (bytes + PAGE - 1) & ~(PAGE - 1);
	while (bytes && status == SV_STATUS_OK) {
		unsigned n = bytes / PAGE < CHUNK ? (unsigned)(bytes / PAGE) : CHUNK;

		for (unsigned i = 0; i < n; i++)
			frame[i] = lwk_paging_entry(va + i * PAGE) & SV_PTE_FRAME;
		status = lwk_unmap(va, n * PAGE);
		for (unsigned i = 0; status == SV_STATUS_OK && i < n; i++)
			give_frame(frame[i]);
		va += n * PAGE;
		bytes -= n * PAGE;
	}
	return status;
}

static bool fill_all(uint64_t va, uint64_t bytes, uint64_t prot)
{
	uint64_t at = 0;

	if (lwk_paging_tables(va, bytes) != SV_STATUS_OK)
		return false;
	while (at < bytes) {
		uint64_t left = (bytes - at) / PAGE;

		if (!fill(va + at, left < CHUNK ? (unsigned)left : CHUNK, prot)) {
			if (at)
				lwk_munmap((void *)va, at);
			return false;
		}
		at += left < CHUNK ? left * PAGE : CHUNK * PAGE;
	}
	return true;
}

void *lwk_mmap(uint64_t bytes, uint64_t prot)
{
	uint64_t va;

	bytes = (bytes + PAGE - 1) & ~(PAGE - 1);
	take_lock();
	va = bytes && bytes < HEAP_FROM - next_va ? next_va : 0;
	next_va += va ? bytes : 0;
	drop_lock();
	return va && fill_all(va, bytes, prot) ? (void *)va : NULL;
}

void *lwk_sbrk(int64_t bytes)
{
	uint64_t end = heap_end, to = end + (uint64_t)bytes;
	uint64_t page = (end + PAGE - 1) & ~(PAGE - 1), to_page = (to + PAGE - 1) & ~(PAGE - 1);

	if (to < HEAP_FROM || to > HEAP_FROM + HEAP_BYTES)
		return NULL;
	if (to_page > page && !fill_all(page, to_page - page, LWK_WRITE | LWK_NOEXEC))
		return NULL;
	if (to_page < page && lwk_munmap((void *)to_page, page - to_page) != SV_STATUS_OK)
		return NULL;
	heap_end = to;
	return (void *)end;
}
