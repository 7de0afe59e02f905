/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page tables that the sidecore keeps (sidevisor/paging.h): an application changes its own address
 * space from CPL 3, by requests through its channel. Below 512 GiB everything stays as the kernel made
 * it; what is above is the application's, from LWK_PAGING_FROM.
 */
#ifndef LWK_PAGING_H
#define LWK_PAGING_H

#include <lwk/lwk.h>
#include <sidevisor/paging.h>

#define LWK_PAGING_FROM (1ull << 39)
#define LWK_PAGING_TO (1ull << 47)

enum lwk_paging_via {
	LWK_VIA_RING, /* the sidecore */
	LWK_VIA_PORT, /* an exit to the VM process, for comparison */
	LWK_VIA_TRAP, /* a store that traps there, for comparison; tables are made by port */
};

/*
 * Build a root that maps what the kernel's does, put every vCPU on it, and find out what kind of host
 * this is. vCPU 0, once, while the others are idle. Return: NULL, or why not.
 */
const char *lwk_paging_start(enum lwk_paging_via via);
/* KVM shadows the tables here (as tried at start, not as told). */
bool lwk_paging_shadowed(void);
uint64_t lwk_paging_root(void);

#define LWK_READ SV_PTE_USER
#define LWK_WRITE (SV_PTE_USER | SV_PTE_WRITE)
#define LWK_NOEXEC SV_PTE_NX

/*
 * Map [va, va + bytes) to the frames from @frame on, all multiples of 4 KiB, with pages of 4 KiB; tables are
 * made as needed. Any vCPU. Return: SV_STATUS_*; after a failure some pages may be mapped.
 */
uint32_t lwk_map(uint64_t va, uint64_t frame, uint64_t bytes, uint64_t prot);
/* When these return no vCPU uses what was taken away: its frames may be used for something else. */
uint32_t lwk_unmap(uint64_t va, uint64_t bytes);
uint32_t lwk_protect(uint64_t va, uint64_t bytes, uint64_t prot);
uint32_t lwk_remap(uint64_t va, uint64_t frame, uint64_t bytes, uint64_t prot);
/*
 * Up to SV_PAGING_BATCH_MAX operations, in order; @settle: as the above, nobody uses what they took
 * away. The tables must be there (lwk_paging_tables). *done: how many.
 */
uint32_t lwk_paging_batch(const struct sv_paging_op *ops, unsigned n, bool settle, uint64_t *done);
uint32_t lwk_paging_tables(uint64_t va, uint64_t bytes);
/* The entry of level 1 at @va as it is in the table, 0: none. */
uint64_t lwk_paging_entry(uint64_t va);
/* One request as it is; for tests. */
uint32_t lwk_paging_call(uint16_t opcode, const uint64_t arg[5], struct sv_cpl *cpl);
uint32_t lwk_paging_call_via(enum lwk_paging_via via, uint16_t opcode, const uint64_t arg[5],
	struct sv_cpl *cpl);

/* --- on top: memory as in C libraries -------------------------------------------------------- */

/* @bytes of zeroed memory, whole pages. NULL: none left. Any vCPU. */
void *lwk_mmap(uint64_t bytes, uint64_t prot);
/* What lwk_mmap() gave, whole or in part; the frames are used again. Return: SV_STATUS_*. */
uint32_t lwk_munmap(void *at, uint64_t bytes);
/* Move the end of the heap. Return: the end before, or NULL: no memory (or below its start). */
void *lwk_sbrk(int64_t bytes);

/* --- tests ----------------------------------------------------------------------------------- */

/* Read or write a byte that may not be there. Return: whether it could be done. */
bool lwk_probe_read(uint64_t va, uint8_t *out);
bool lwk_probe_write(uint64_t va, uint8_t v);

#endif
