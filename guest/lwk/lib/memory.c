/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory: from the end of the stacks to the end of low RAM, handed out and never taken back. */
#include "internal.h"

#define STACK_BYTES 65536u

extern char lwk_image_end[];
static uint64_t next;

void *lwk_alloc(size_t bytes, size_t align)
{
	uint64_t first = (((uint64_t)lwk_image_end + 0xffff) & ~0xffffull) +
			 (uint64_t)lwk_boot.vcpus * STACK_BYTES;
	uint64_t end = lwk_boot.memory_low_bytes & ~0x1fffffull, zero = 0, at;

	__atomic_compare_exchange_n(&next, &zero, first, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	at = __atomic_load_n(&next, __ATOMIC_RELAXED);
	for (;;) {
		uint64_t start = (at + align - 1) & ~(uint64_t)(align - 1);

		if (start > end || bytes > end - start)
			return NULL;
		if (__atomic_compare_exchange_n(&next, &at, start + bytes, false, __ATOMIC_RELAXED,
			    __ATOMIC_RELAXED))
			return memset((void *)start, 0, bytes);
	}
}
