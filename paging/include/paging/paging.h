/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct paging for one VM: the state behind the paging service (sidevisor/paging.h).
 *
 * What the guest can write is never believed: entries and counts are private, the tables in guest
 * memory are written and never read. docs/paging.md says what is guaranteed against whom.
 */
#ifndef PAGING_PAGING_H
#define PAGING_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <base/gmem.h>
#include <sidevisor/channel.h>

struct sv_paging;

#define SV_PAGING_DEVICES 4u

struct sv_paging_config {
	/* The VM's memory: constant and mapped as long as the instance lives. Not owned. */
	const struct sv_gmem *gmem;
	/* Guest-physical ranges that are no memory and may be mapped all the same: doorbells, MMIO. */
	struct {
		uint64_t gpa, bytes;
	} device[SV_PAGING_DEVICES];
	unsigned devices;
	/* Frames that may become tables, whole pages. */
	uint64_t pool_gpa, pool_bytes;
	/* Frames that nobody maps writable, the pool among them or not; 0 bytes: none. */
	uint64_t closed_gpa, closed_bytes;
	/* struct sv_paging_page, SV_PAGING_PAGE_BYTES in the VM's memory; 0: none. */
	uint64_t page_gpa;
	unsigned levels; /* of a root: 4 or 5 */
	unsigned vcpus;
	bool gib_pages;
	/*
	 * KVM shadows the tables and does not see stores of the host: what has been a table, or a large
	 * page, somewhere stays that, there (docs/paging.md).
	 */
	bool shadowed;
	/*
	 * Make KVM forget its translations to [gpa, gpa + bytes): returns when no vCPU has one any
	 * more. NULL: not possible. Return: 0 or -errno.
	 */
	int (*forget)(void *ctx, uint64_t gpa, uint64_t bytes);
	void *forget_ctx;
};

struct sv_paging_stats {
	uint64_t requests, updates, refused, forgotten, tables, pages;
};

/* Return: 0 with *out, or -errno with a sentence. Context: set-up; allocates. */
int sv_paging_create(struct sv_paging **out, const struct sv_paging_config *config,
	struct sv_error *err);
void sv_paging_destroy(struct sv_paging *p);

/*
 * Serve one request of vCPU @vcpu. @req: a private copy. Fills cpl->status and cpl->value. Context:
 * any thread, one at a time inside (a short spin); does not block, except in forget().
 */
void sv_paging_handle(struct sv_paging *p, uint32_t vcpu, const struct sv_req *req,
	struct sv_cpl *cpl);

/* Context: as sv_paging_handle(). */
void sv_paging_stats(struct sv_paging *p, struct sv_paging_stats *out);

/*
 * Count everything again from the private entries, and compare: counts of frames, of tables, and what
 * lies in guest memory. For tests; takes long. @memory_too: nobody forged tables. Return: 0, or how
 * many differ.
 */
uint64_t sv_paging_audit(struct sv_paging *p, bool memory_too);

#endif
