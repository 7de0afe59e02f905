/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's memory, registered with a ring: the kernel holds its pages from then on and need not look
 * for them at each transfer. All of it becomes resident, and what takes a page away from the guest
 * meanwhile (a balloon, memory that arrives while it runs) would leave the disk with the old one.
 *
 * It is registered piece by piece beside the polling thread, which uses what is there already. The
 * control thread writes all of this; the polling thread reads .done of a region, which says how much of
 * it is registered, and what is constant while it polls.
 */
#ifndef IO_BLK_PINNED_H
#define IO_BLK_PINNED_H

#include <liburing.h>
#include <stdint.h>
#include <sys/uio.h>

#include <base/gmem.h>

#define BLK_PINNED_PIECE (64u << 20) /* bytes that the kernel takes as one buffer */
#define BLK_PINNED_PIECES 16384u     /* the most that it takes */

struct blk_pinned {
	bool table;	 /* the ring has one for BLK_PINNED_PIECES */
	unsigned pieces; /* from this one on its table is empty */
	unsigned swept;	 /* up to here nothing is in it but what regions have */
	unsigned n;
	struct blk_pinned_region {
		uintptr_t base;
		uint64_t bytes, id;
		unsigned first; /* piece */
		uint64_t done;	/* bytes; whole pieces or all */
	} region[SV_GMEM_REGIONS];
};

/*
 * @gmem is the guest's memory from now on. What stays, stays registered; what went is not found any
 * more, and unregistered by what follows. Context: control thread, not polled; brief. Return: 0, or
 * -E2BIG and there is none.
 */
int blk_pinned_set(struct blk_pinned *p, const struct sv_gmem *gmem);
/*
 * Register the next piece, or unregister some: that much is done at a time. Context: control thread.
 * Return: 1: there is more to do; 0; or -errno: this piece cannot be registered.
 */
int blk_pinned_more(struct blk_pinned *p, struct io_uring *ring);
/* Nothing is found any more; blk_pinned_sweep() unregisters. Context: control thread. */
void blk_pinned_drop(struct blk_pinned *p);
/* Unregister some of what is not found. Context: control thread. Return: 1: there is more; 0. */
int blk_pinned_sweep(struct blk_pinned *p, struct io_uring *ring);
/* The buffer that all of @piece lies in; -1: none. Context: polling thread. */
int blk_pinned_find(const struct blk_pinned *p, const struct iovec *piece);

#endif
