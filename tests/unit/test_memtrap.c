/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that goes away under its mapping: here a file of ours, truncated. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/memtrap.h>

#define PAGES 16u
#define BYTES (PAGES * 4096u)

static volatile uint8_t *map_file(int *fd)
{
	void *p;

	*fd = memfd_create("lost", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(*fd, BYTES), 0);
	p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	cr_assert_neq(p, MAP_FAILED);
	return p;
}

Test(memtrap, lost_memory_reads_as_zeroes_and_is_told)
{
	int notify = eventfd(0, EFD_NONBLOCK), fd_a, fd_b, a, b;
	volatile uint8_t *lost = map_file(&fd_a), *kept = map_file(&fd_b);
	uint64_t n;

	cr_assert_eq(sv_memtrap_start(notify), 0);
	a = sv_memtrap_add((void *)(uintptr_t)lost, BYTES);
	b = sv_memtrap_add((void *)(uintptr_t)kept, BYTES);
	lost[5000] = kept[5000] = 7;
	cr_assert_eq(ftruncate(fd_a, 0), 0);
	cr_assert_not(sv_memtrap_lost(a));
	cr_assert_eq(lost[5000], 0);
	lost[BYTES - 1] = 9; /* the whole range is there again */
	cr_assert_eq(lost[BYTES - 1], 9);
	cr_assert(sv_memtrap_lost(a));
	cr_assert_not(sv_memtrap_lost(b));
	cr_assert_eq(kept[5000], 7);
	cr_assert_eq(read(notify, &n, sizeof(n)), 8);
	sv_memtrap_remove(a);
	sv_memtrap_remove(b);
	sv_memtrap_remove(-ENOSPC);
}

Test(memtrap, a_slot_is_clean_when_it_is_used_again)
{
	int fd, slot;
	volatile uint8_t *p = map_file(&fd);

	cr_assert_eq(sv_memtrap_start(-1), 0);
	slot = sv_memtrap_add((void *)(uintptr_t)p, BYTES);
	cr_assert_eq(ftruncate(fd, 0), 0);
	cr_assert_eq(p[0], 0);
	cr_assert(sv_memtrap_lost(slot));
	sv_memtrap_remove(slot);
	cr_assert_eq(sv_memtrap_add((void *)(uintptr_t)p, BYTES), slot);
	cr_assert_not(sv_memtrap_lost(slot));
}

Test(memtrap, the_number_of_ranges_is_bounded)
{
	for (unsigned i = 0; i < SV_MEMTRAP_RANGES; i++)
		cr_assert_eq(sv_memtrap_add((void *)(uintptr_t)(4096ull * (i + 1)), 4096), (int)i);
	cr_assert_eq(sv_memtrap_add((void *)4096, 4096), -ENOSPC);
	sv_memtrap_remove(100);
	cr_assert_eq(sv_memtrap_add((void *)4096, 4096), 100);
}

Test(memtrap, a_bug_of_ours_is_still_one, .signal = SIGBUS)
{
	int fd;
	volatile uint8_t *p = map_file(&fd);

	cr_assert_eq(sv_memtrap_start(-1), 0);
	cr_assert_eq(ftruncate(fd, 0), 0);
	p[0] = 1;
}
