/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-blk (virtio 1.2, section 5.2) over an image file or block device through io_uring: what
 * the device's files share.
 *
 * A flush is an fdatasync submitted after the guest asked for it: every write that the guest saw
 * completed has been handed to the kernel before, and is durable when the flush completes. Without a
 * negotiated flush, or with the write cache switched off, every write carries RWF_DSYNC, and a range
 * operation is followed by an fdatasync before it completes.
 *
 * The polling thread makes one system call per batch to submit and none to reap. Nothing is
 * allocated per request. All that may block runs in the kernel's workers of the ring.
 */
#ifndef IO_BLK_H
#define IO_BLK_H

#include <liburing.h>
#include <linux/virtio_blk.h>
#include <sched.h>

#include "session.h"

#define BLK_SLOTS 256u	 /* requests in flight, all queues together */
#define BLK_SEG_MAX 126u /* data segments of a request; header and status come on top */
#define BLK_SECTOR 512u
#define BLK_RANGE_SECTORS 0x400000u /* of one discard or write-zeroes: 2 GiB */
#define BLK_WORKERS 16u
#define BLK_BOUNCES 8u
#define BLK_BOUNCE_BYTES (128u << 10)
#define BLK_NONE UINT16_MAX

/* One request in flight: taken from a list, never allocated. */
struct blk_slot {
	struct sv_virtq_chain chain;
	struct iovec *iov; /* what is left to transfer, inside chain.iov */
	unsigned niov;
	uint64_t offset, left; /* bytes */
	uint8_t *status;
	uint32_t type;	  /* VIRTIO_BLK_T_* */
	uint32_t written; /* bytes the driver finds written when it succeeds */
	uint16_t queue;
	uint16_t next;	 /* free list, or those that wait for a bounce buffer */
	uint16_t bounce; /* its bounce buffer */
	uint8_t retries;
	uint8_t op; /* IORING_OP_* */
	int mode;   /* of fallocate */
};

/* Written by the polling thread, read by anyone (relaxed). */
struct blk_counters {
	uint64_t reads, writes, flushes, discards, read_bytes, write_bytes;
	uint64_t errors, unsupported, continued, bounced, submits;
};

struct blk {
	struct sv_session session; /* first */
	int fd, cq_event;
	uint64_t capacity; /* bytes */
	bool readonly, discard, direct;
	bool wce, wce_wish; /* write cache on; what the driver wishes if it can flush */
	char serial[VIRTIO_BLK_ID_BYTES];
	unsigned queues;
	bool ring_open, affinity_set;
	cpu_set_t workers; /* where the kernel's workers for this ring may run */

	/* The polling thread's. */
	struct io_uring ring;
	struct blk_slot *slot;
	uint16_t free_head;
	unsigned first_queue; /* where the next round begins */
	unsigned busy;	    /* slots in use */
	unsigned to_submit; /* prepared, not yet given to the kernel */
	uint8_t *bounce;    /* BLK_BOUNCES buffers, with O_DIRECT only */
	uint32_t bounce_free;
	uint16_t wait_head, wait_tail;
	struct blk_counters counts;
};

static inline void blk_count(uint64_t *counter, uint64_t by)
{
	__atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

/* blk.c: as the class's attach and detach; a @foreign front end's memory may lack seals. */
int blk_open(const struct sv_device_request *req, bool foreign, struct blk **out,
	struct sv_error *err);
void blk_close(struct blk *b);

/* blk_ring.c: slots and the ring. Context: polling thread, but for open and close. */
int blk_ring_open(struct blk *b, struct sv_error *err);
void blk_ring_close(struct blk *b);
/* Keep the front end's socket open until the kernel is done with the ring. Return: 0, or -errno. */
int blk_ring_hold(struct blk *b, int sock);
struct blk_slot *blk_slot_take(struct blk *b);
void blk_slot_give(struct blk *b, struct blk_slot *s);
/* Prepare the operation that the slot describes. The slot completes some time. */
void blk_ring_begin(struct blk *b, struct blk_slot *s);
/* Give what was prepared to the kernel: one system call, none when there is nothing. */
void blk_ring_submit(struct blk *b);
/* Take completions, at most as many as the ring holds. Return: how many. */
unsigned blk_ring_reap(struct blk *b);
/* Is there anything to reap or to submit? Called with the wake eventfd drained. */
bool blk_ring_pending(struct blk *b);
/* Answer the driver; not published yet. */
void blk_complete(struct blk *b, struct blk_slot *s, uint8_t status);

/* blk_request.c: take at most @budget requests from a queue. Return: how many. */
unsigned blk_take(struct blk *b, unsigned queue, unsigned budget);
/*
 * Move @n bytes between the front of the pieces and @flat, which may be NULL, and drop them from the
 * pieces. Return: false when there were fewer.
 */
enum blk_move { BLK_FROM_PIECES, BLK_TO_PIECES };
bool blk_pieces_move(struct iovec **iov, unsigned *niov, void *flat, size_t n, enum blk_move way);

#endif
