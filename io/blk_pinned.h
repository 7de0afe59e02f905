/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's memory, registered with a ring: the kernel holds its pages from then on and need not look
 * for them at each transfer. All of it becomes resident, and what takes a page away from the guest
 * meanwhile (a balloon, memory that arrives while it runs) would leave the disk with the old one.
 */
#ifndef IO_BLK_PINNED_H
#define IO_BLK_PINNED_H

#include <liburing.h>
#include <stdint.h>
#include <sys/uio.h>

#include <base/gmem.h>

#define BLK_PINNED_PIECE (1u << 30) /* bytes that the kernel takes as one buffer */
#define BLK_PINNED_PIECES 1024u

struct blk_pinned {
	bool table; /* the ring has one for BLK_PINNED_PIECES */
	unsigned pieces; /* of these, in use */
	unsigned n;
	struct {
		uintptr_t base;
		uint64_t bytes;
		unsigned first; /* piece */
	} region[SV_GMEM_REGIONS];
};

/*
 * Register @gmem in the place of what was; transfers may be in flight. Context: control thread, not
 * polled; as long as it takes to make all of it resident. Return: 0, or -errno and nothing is
 * registered.
 */
int blk_pinned_set(struct blk_pinned *p, struct io_uring *ring, const struct sv_gmem *gmem);
/* The buffer that all of @piece lies in; -1: none. Context: polling thread. */
int blk_pinned_find(const struct blk_pinned *p, const struct iovec *piece);

#endif
