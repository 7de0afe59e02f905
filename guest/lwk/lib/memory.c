/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory: RAM behind the stacks, first what lies below 3 GiB, then what lies above 4 GiB, without
 * the initial RAM disk. It comes from the VM process full of zeroes, is handed out and never taken
 * back; malloc keeps what is freed in lists by size.
 */
#include "internal.h"

#define PAGE_2M 0x200000ull
#define HIGH 0x100000000ull
#define CLASS_MIN 5u /* 32 bytes, 16 of them ours */
#define CLASSES 40u

struct block {
	uint64_t size_class;
	struct block *next; /* while free */
};

static uint32_t lock;
static uint64_t next; /* 0: nothing handed out yet */
static struct block *freed[CLASSES];

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

/* End of the memory that @at lies in. The loader puts the initial RAM disk at the top of memory. */
static uint64_t end_of(uint64_t at)
{
	uint64_t end = (at < HIGH ? lwk_boot.memory_low_bytes : HIGH + lwk_boot.memory_high_bytes) &
		       ~(PAGE_2M - 1);

	if (lwk_boot.initrd_bytes && lwk_boot.initrd_gpa >= at && lwk_boot.initrd_gpa < end)
		end = lwk_boot.initrd_gpa;
	return end;
}

static uint64_t fit(uint64_t from, size_t bytes, size_t align)
{
	uint64_t start = (from + align - 1) & ~(uint64_t)(align - 1), end = end_of(from);

	return start <= end && bytes <= end - start ? start : 0;
}

void *lwk_alloc(size_t bytes, size_t align)
{
	uint64_t at;

	take_lock();
	if (!next)
		next = lwk_stacks() + lwk_boot.vcpus * LWK_STACK_BYTES;
	at = fit(next, bytes, align);
	if (!at && next < HIGH)
		at = fit(HIGH, bytes, align);
	if (at)
		next = at + bytes;
	drop_lock();
	return (void *)at;
}

void *malloc(size_t bytes)
{
	unsigned c = CLASS_MIN;
	struct block *b;

	while (c < CLASSES && (1ull << c) - sizeof(*b) < bytes)
		c++;
	if (c == CLASSES)
		return NULL;
	take_lock();
	b = freed[c];
	if (b)
		freed[c] = b->next;
	drop_lock();
	if (!b)
		b = lwk_alloc(1ull << c, 16);
	if (!b)
		return NULL;
	b->size_class = c;
	return b + 1;
}

void free(void *p)
{
	struct block *b;

	if (!p)
		return;
	b = (struct block *)p - 1;
	if (b->size_class < CLASS_MIN || b->size_class >= CLASSES)
		lwk_panic("free of what malloc did not give");
	take_lock();
	b->next = freed[b->size_class];
	freed[b->size_class] = b;
	drop_lock();
}
