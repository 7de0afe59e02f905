/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The raw store: what its files share. blk_raw.c is the polling thread's, blk_raw_open.c the control
 * thread's, blk_image.c knows no ring.
 */
#ifndef IO_BLK_RAW_H
#define IO_BLK_RAW_H

#include <liburing.h>
#include <sched.h>

#include "blk_pinned.h"
#include "blk_store.h"

#define BLK_RAW_BOUNCES 8u
#define BLK_RAW_BOUNCE_BYTES (128u << 10)
#define BLK_RAW_IMAGE 1 /* where the image is among the ring's registered files */

struct raw {
	struct blk_store store; /* first */
	int fd;
	bool direct;
	bool fixed; /* the image is a registered file */
	bool placed;
	bool crowded;	   /* the workers have no CPU but the sidecore's */
	cpu_set_t workers; /* where the kernel's workers for this ring may run */
	/*
	 * [1], when it is there, has transfers whose completions the kernel looks for when it is asked
	 * (IORING_SETUP_IOPOLL), and nothing else; [0] has all else.
	 */
	struct io_uring ring[2];
	struct blk_pinned pinned[2]; /* memory is registered with the ring that transfers go through */
	bool pin_refused;	     /* the control thread's: until memory changes */
	unsigned rings;

	/* The polling thread's. */
	unsigned to_submit[2]; /* prepared, not yet given to the kernel */
	unsigned busy;	    /* operations begun and not done */
	unsigned punted;    /* of these, what a worker may have to do */
	unsigned polled;    /* in ring[1] */
	/* The storage refused that: all goes through ring[0]. The control thread reads it (relaxed). */
	bool unpolled;
	uint8_t *bounce;    /* BLK_RAW_BOUNCES buffers, with O_DIRECT only */
	uint32_t bounce_free;
	struct blk_io *wait_head, *wait_tail; /* for a bounce buffer */
};

/* The control thread has something to pin. Context: any thread. */
void blk_raw_ask_pin(const struct raw *r);

/* blk_raw.c: as the store's. */
void blk_raw_begin(struct blk_store *s, struct blk_io *io);
bool blk_raw_submit(struct blk_store *s);
unsigned blk_raw_reap(struct blk_store *s);
bool blk_raw_pending(struct blk_store *s);

/* blk_image.c. Context: control thread; may block. */
/* Fill in all but readonly, discard and zeroes. Return: 0, or -errno with a sentence. */
int blk_raw_geometry(int fd, struct blk_geometry *g, struct sv_error *err);
/* Opened O_DIRECT, and a sector can be read so? If not, O_DIRECT is taken away with a warning. */
bool blk_raw_direct_works(int fd, const char *name);
/* As the store's resize(). */
int blk_raw_resize(int fd, struct blk_geometry *g, uint64_t bytes, struct sv_error *err);

#endif
