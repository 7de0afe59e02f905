/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which chains of a split virtqueue are out, written down in memory that survives this process: the
 * layout is that of vhost-user's in-flight regions, so that any front end can keep it for us.
 *
 * The writer is the polling thread, and it can end between any two instructions. A process that ends
 * has executed a prefix of its program, so all that matters is the order of its stores:
 *
 *   take      counter, then inflight = 1             RECORD   before the request is begun
 *   put       next, then last_batch_head             BATCH    before used idx is published
 *   publish   used idx, then inflight = 0 of the     CLEAR    before the next put
 *             batch, then used_idx
 *
 * What a successor finds, and what it does, is argued in docs/restart.md. The region is shared with
 * the front end and believed as little as guest memory: words are copied once, at the start, and
 * checked; nothing is read back after that.
 */
#ifndef IO_INFLIGHT_H
#define IO_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include <io/virtq.h>

/* vhost-user, "Inflight I/O tracking", split virtqueue; host byte order. */
struct inflight_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct inflight_split {
	uint64_t features;
	uint16_t version; /* 0: never used */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_desc desc[];
};

_Static_assert(sizeof(struct inflight_desc) == 16, "vhost-user");
_Static_assert(sizeof(struct inflight_split) == 16, "vhost-user");

/* One queue's record. Private to the polling thread but for the calls that say otherwise. */
struct sv_inflight {
	struct inflight_split *split; /* foreign memory */
	uint16_t room;		    /* entries of the region, at least as many as the queue's */
	uint16_t size;
	uint64_t counter;	    /* of the next chain taken */
	uint16_t last;		    /* last_batch_head as written last */
	uint16_t batch;		    /* heads put since the last publish */
	uint64_t fresh;		    /* taken from the ring since the start: all after the predecessor's */
	uint16_t again, agains;	    /* the next of those to be taken once more; how many there were */
	uint16_t batch_head[SV_VIRTQ_MAX_SIZE];
	uint16_t again_head[SV_VIRTQ_MAX_SIZE];
};

/* A chain that is out: @entry of the region, and when it was taken. */
struct inflight_found {
	uint64_t counter;
	uint16_t entry;
};

/* Sort, oldest first: in place, so that it never waits. @n: at most SV_VIRTQ_MAX_SIZE. */
void inflight_by_age(struct inflight_found *found, unsigned n);

/* Of one queue: a multiple of 64, as other back ends lay them out. */
static inline uint64_t inflight_bytes(uint16_t size)
{
	return (sizeof(struct inflight_split) + (uint64_t)size * sizeof(struct inflight_desc) + 63) &
	       ~63ull;
}

/*
 * Begin or go on with what the region says. @base: where the front end says the queue stands;
 * @used: the used ring's idx, copied. When chains are out, the region and @used decide, and the chains
 * are taken again in the order of their counters; else @base does. *next_used, *next_avail: where
 * the queue stands. Context: control thread, queue not polled; or its polling thread, when the rings
 * arrived late: never blocks.
 * Return: false: the region contradicts itself or the ring.
 */
bool inflight_start(struct sv_inflight *f, uint16_t size, uint16_t base, uint16_t used,
	uint16_t *next_used, uint16_t *next_avail);
/* Chains that were out when a predecessor ended, and have not been taken again. */
static inline unsigned inflight_agains(const struct sv_inflight *f)
{
	return (unsigned)(f->agains - f->again);
}
/* The next of them; its record stands. Return: false: none is left. */
bool inflight_again(const struct sv_inflight *f, uint16_t *head);
/* It was usable, and is taken. */
static inline void inflight_again_taken(struct sv_inflight *f)
{
	f->again++;
}
/* Order: RECORD, BATCH, CLEAR. @head is below the queue's size. */
void inflight_take(struct sv_inflight *f, uint16_t head);
/*
 * The chain taken last is as if it had not been. Return: it goes back to the ring; false: to those of
 * the predecessor.
 */
bool inflight_untake(struct sv_inflight *f, uint16_t head);
void inflight_put(struct sv_inflight *f, uint16_t head);
void inflight_published(struct sv_inflight *f, uint16_t used);

#endif
