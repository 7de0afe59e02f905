/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct paging: page tables that belong to the sidecore. Freestanding; docs/paging.md is the text.
 *
 * Tables lie in a pool that the machine names (struct sv_boot) and that the guest cannot write. A
 * guest changes an entry by asking: the request is validated against types and reference counts of
 * frames, and what is valid is stored. The same requests can be made through an exit
 * (SV_PORT_PAGING) or by storing into the trap window; both are for comparison.
 */
#ifndef SIDEVISOR_PAGING_H
#define SIDEVISOR_PAGING_H

#include "channel.h"

#define SV_SERVICE_PAGING 3u

/*
 * Requests. All addresses are guest-physical unless they are called linear.
 *
 *   INFO      value[0] = SV_PAGING_I_*, value[1] = start of the pool, value[2] = bytes of it,
 *             value[3] = levels of a root (4 or 5)
 *   PIN       arg[0] = frame of the pool, arg[1] = level 1..5: an empty table from now on
 *   UNPIN     arg[0] = table: empty and linked nowhere; a plain frame from now on
 *   ACTIVATE  arg[0] = root, or 0: what this vCPU runs on; it is in sv_paging_page.root[vCPU] then
 *   UPDATE    arg[0] = root, arg[1] = where, arg[2] = entry, arg[3] = SV_PAGING_F_*, arg[4] =
 *             count: so many neighbouring entries of one table (0 and 1: one), frames ascending
 *   BATCH     arg[0] = root, arg[1] = address of struct sv_paging_op[], 16-byte aligned, arg[2] =
 *             how many, at most SV_PAGING_BATCH_MAX, arg[3] = SV_PAGING_F_*
 *   FLUSHED   arg[0] = epoch: every vCPU has flushed its TLB since that epoch was returned
 *   RESERVE   arg[0], arg[1] = frames (address, bytes) that nothing maps: the kernel's, from now on
 *             never accessible to CPL 3. For good.
 *   STORE     arg[0] = address of an entry of a table, arg[1] = its new value: what a trapped store
 *             asks for. The operation is the one that leads from the old value to the new one.
 *   FORGET    arg[0] = address of uint64_t[], 8-byte aligned, arg[1] = how many, at most
 *             SV_PAGING_BATCH_MAX, arg[2] = epoch: the host drops its translations to these frames
 *             of 4 KiB; since that epoch was returned every vCPU has answered an interrupt
 *
 * UPDATE, BATCH, FORGET: a request that has too much to forget ends early, with AGAIN: repeat it
 * with the rest. value[0] = how many were done; the first that is refused ends the request, its
 * reason is the status. With SV_PAGING_F_EPOCH value[1] = the epoch that this request closed.
 */
#define SV_PAGING_INFO 0u
#define SV_PAGING_PIN 1u
#define SV_PAGING_UNPIN 2u
#define SV_PAGING_ACTIVATE 3u
#define SV_PAGING_UPDATE 4u
#define SV_PAGING_BATCH 5u
#define SV_PAGING_FLUSHED 6u
#define SV_PAGING_RESERVE 7u
#define SV_PAGING_STORE 8u
#define SV_PAGING_FORGET 9u

#define SV_PAGING_BATCH_MAX 512u

/* INFO */
#define SV_PAGING_I_SHADOWED (1ull << 0) /* KVM shadows the tables: see SV_PAGING_F_FORGET */
#define SV_PAGING_I_FORGET (1ull << 1)	 /* SV_PAGING_F_FORGET works */
#define SV_PAGING_I_GIB (1ull << 2)	 /* pages of 1 GiB */

/* Flags of UPDATE and BATCH. */
/*
 * FORGET: the host drops the translations that were taken away. Enough where no other vCPU can be
 * in the middle of a page fault there; else: EPOCH, every vCPU answers an interrupt, then a FORGET
 * request.
 */
#define SV_PAGING_F_FORGET (1ull << 0)
#define SV_PAGING_F_EPOCH (1ull << 1)  /* close the epoch: the guest flushes, then says FLUSHED */

/*
 * `where`: a linear address, multiple of the page size, with the operation in bits 0..3 and the
 * level in bits 4..6: the level of the table that holds the entry (1: pages of 4 KiB, 2: of 2 MiB
 * or tables of level 1, …). Bits 7..11 are zero.
 *
 *   MAP      nothing is there -> a page
 *   UNMAP    a page -> nothing
 *   PROTECT  a page -> the same frame with the flags of `entry`, whose frame is zero
 *   REMAP    a page -> another page
 *   LINK     nothing is there -> the table `entry` (an address without flags) of the level below
 *   UNLINK   an empty table -> nothing
 *   SPLIT    a page of 2 MiB or 1 GiB -> the empty, unlinked table `entry`, filled with its pieces
 *   MERGE    a table of 512 equal neighbours -> the one page that they are; the table is empty then
 */
#define SV_PAGING_MAP 1ull
#define SV_PAGING_UNMAP 2ull
#define SV_PAGING_PROTECT 3ull
#define SV_PAGING_REMAP 4ull
#define SV_PAGING_LINK 5ull
#define SV_PAGING_UNLINK 6ull
#define SV_PAGING_SPLIT 7ull
#define SV_PAGING_MERGE 8ull
#define SV_PAGING_OP_MASK 0xfull
#define SV_PAGING_LEVEL(n) ((uint64_t)(n) << 4)
#define SV_PAGING_LEVEL_MASK 0x70ull
#define SV_PAGING_WHERE_ZERO 0xf80ull

/* An entry is the processor's. ACCESSED and DIRTY are always set: no walk writes to a table. */
#define SV_PTE_PRESENT (1ull << 0)
#define SV_PTE_WRITE (1ull << 1)
#define SV_PTE_USER (1ull << 2)
#define SV_PTE_ACCESSED (1ull << 5)
#define SV_PTE_DIRTY (1ull << 6)
#define SV_PTE_LARGE (1ull << 7)   /* a page of 2 MiB or 1 GiB */
#define SV_PTE_SOFT (7ull << 9)	   /* the guest's own */
#define SV_PTE_NX (1ull << 63)
#define SV_PTE_FRAME 0x000ffffffffff000ull

struct sv_paging_op {
	uint64_t where;
	/* UNMAP, UNLINK, MERGE: zero. SV_PTE_LARGE exactly in those above level 1. */
	uint64_t entry;
};

/* First frames of the pool's window: written by the host, read by the guest's kernel. */
#define SV_PAGING_MAGIC 0x31474e4750565353ull /* "SSVPGNG1" */
#define SV_PAGING_PAGE_BYTES 16384u
#define SV_PAGING_PAGE_VCPUS 1024u
struct sv_paging_page {
	uint64_t magic;
	uint64_t reserved[7];
	uint64_t root[SV_PAGING_PAGE_VCPUS]; /* by vCPU: what ACTIVATE said last; 0: none */
};

/* For SV_PORT_PAGING: 64-byte aligned, below 256 GiB. req.tag: number of the vCPU. */
struct sv_paging_call {
	struct sv_req req;
	struct sv_cpl cpl;
};

SV_ABI_ASSERT(sizeof(struct sv_paging_call) == 128, "ABI");
SV_ABI_ASSERT(sizeof(struct sv_paging_op) == 16, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_paging_op, entry) == 8, "ABI");
SV_ABI_ASSERT(offsetof(struct sv_paging_page, root) == 64, "ABI");
SV_ABI_ASSERT(sizeof(struct sv_paging_page) <= SV_PAGING_PAGE_BYTES, "ABI");

#endif
