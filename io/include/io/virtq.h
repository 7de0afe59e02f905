/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device side of a virtqueue (virtio 1.2, sections 2.7 split and 2.8 packed), against a hostile
 * driver. Which format it has is decided before it starts; the calls are the same.
 *
 * Every word of the rings and of a descriptor is loaded once; indices are private and never read
 * back from guest memory; a chain is walked at most SV_VIRTQ_CHAIN_MAX descriptors far, so that a
 * loop ends like a chain that is too long. What the specification forbids is a defect: it is
 * counted by kind, the queue is marked broken and nothing is served from it until it is set up
 * anew. The host and the other queues go on.
 *
 * Who writes what in a split queue, and the edges (packed: virtq_packed.c):
 *
 *   word                      writer   reader   edge
 *   avail ring, descriptors   driver   device   ordered by avail idx
 *   avail idx                 driver   device   AVAIL   release -> acquire
 *   used ring                 device   driver   ordered by used idx
 *   used idx                  device   driver   USED    release -> acquire
 *   avail event, used flags   device   driver   ARM     full: store it, then load avail idx
 *   used event, avail flags   driver   device   CALL    full: store used idx, then load it
 */
#ifndef IO_VIRTQ_H
#define IO_VIRTQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <base/gmem.h>

#define SV_VIRTQ_MAX_SIZE 1024u	  /* entries of a queue */
#define SV_VIRTQ_CHAIN_MAX 130u	  /* descriptors of one chain, indirect ones included */
#define SV_VIRTQ_INDIRECT_MAX 1024u /* entries of an indirect table */

/* What a driver did wrong. The first kind found breaks the queue. */
enum sv_virtq_defect {
	SV_VIRTQ_OK = 0,
	SV_VIRTQ_BAD_AVAIL,    /* avail idx names more buffers than the queue can hold */
	SV_VIRTQ_BAD_HEAD,     /* head or next beyond the table */
	SV_VIRTQ_TOO_LONG,     /* chain longer than the bound, or a loop */
	SV_VIRTQ_BAD_ADDRESS,  /* outside guest memory, or address + length wraps */
	SV_VIRTQ_BAD_ORDER,    /* readable after writable */
	SV_VIRTQ_BAD_INDIRECT, /* size, alignment, nesting, or not negotiated */
	SV_VIRTQ_BAD_LENGTH,   /* a descriptor of zero bytes, or more than 4 GiB in all */
	SV_VIRTQ_BAD_REQUEST,  /* the device found the buffers unusable (no room for an answer) */
	SV_VIRTQ_BAD_RECORD,   /* the in-flight region contradicts itself or the ring */
	SV_VIRTQ_DEFECTS,
};

/* Buffers of one request: the readable ones first. Pieces are checked host ranges. */
struct sv_virtq_chain {
	uint16_t head;				/* split: its first descriptor; packed: its buffer id */
	unsigned readable, writable;		/* number of pieces */
	bool absent; /* memory that has not arrived yet is in it: not to be taken now */
	uint32_t readable_bytes, writable_bytes;
	struct iovec iov[SV_VIRTQ_CHAIN_MAX];
};

/*
 * Pages of guest memory that the device wrote, one bit each of 4 KiB, least significant first, from
 * guest-physical 0 (vhost-user's dirty log). @bits is shared with whoever fetches and clears them: a
 * bit is set, with a locked operation, after the write it stands for. Pages beyond @bytes are left out.
 * @written: of the chains that are out, by head; vq->size elements.
 */
struct sv_virtq_written {
	unsigned n;
	struct iovec piece[SV_VIRTQ_CHAIN_MAX];
};
struct sv_virtq_log {
	uint8_t *bits;
	uint64_t bytes;
	struct sv_virtq_written *written;
};

enum sv_virtq_take {
	SV_VIRTQ_EMPTY = 0,
	SV_VIRTQ_ONE = 1,
	SV_VIRTQ_BROKEN = -1,
};

/* Counters: written by the polling thread, read by anyone (relaxed). */
struct sv_virtq_stats {
	uint64_t requests;
	uint64_t calls;	      /* interrupts signalled */
	uint64_t calls_saved; /* batches of used buffers that needed none */
	uint64_t calls_again; /* of the interrupts: repeated */
	uint64_t defects[SV_VIRTQ_DEFECTS];
};

struct sv_inflight;
struct sv_inflight_packed;

struct sv_virtq {
	/* Set up by the control thread while nobody polls the queue. */
	const struct sv_gmem *gmem;
	/* Split: the three rings. Packed: descriptor ring, driver event, device event. */
	void *desc, *avail, *used;
	uint16_t size; /* power of two */
	bool event_idx, indirect, packed, in_order;
	struct sv_virtq_log *log; /* where writes to guest memory are recorded; NULL: nowhere */
	void (*call)(void *ctx); /* interrupts the driver, never blocks; NULL: the driver polls */
	void *call_ctx;
	bool calls_held; /* the device interrupts by itself: sv_virtq_call_owed() */
	bool calls_missed; /* the driver may sleep through an interrupt: sv_virtq_call_again() */
	/* What is out, for a successor (inflight.h, inflight_packed.h); NULL: not recorded. */
	struct sv_inflight *record;		  /* split only */
	struct sv_inflight_packed *packed_record; /* packed only */

	/*
	 * Rings that have not arrived yet (sv_gmem_resident): the queue starts when they have. Written
	 * as the words below.
	 */
	bool late;
	uint32_t late_base;

	/* Private to the polling thread. */
	uint16_t next_avail;	 /* position of the next buffer to take */
	uint16_t seen_avail;	 /* avail idx as loaded last */
	uint16_t ahead;		 /* split: buffers up to here have been brought */
	uint16_t next_used;	 /* position of the next used element */
	uint16_t published_used; /* used idx as published last */
	uint16_t event_written;	 /* avail event as written last */
	bool armed;		 /* the driver was asked to kick */
	bool owed;		 /* an interrupt that the driver asked for is held */
	uint32_t unseen;	 /* published since the last interrupt */
	bool unheeded;		 /* it was interrupted, with calls_missed, and not again */
	uint16_t called_at;	 /* next_avail at that time */
	uint64_t called_ns;	 /* when that was noticed; 0: not yet */
	/* Packed only. */
	bool avail_wrap, used_wrap; /* the turn that next_avail and next_used belong to */
	bool batch_wrap;
	uint16_t batch;		    /* chains put since the last publish */
	uint16_t batch_at, batch_flags; /* the first of them: its flags are written by publish */
	uint16_t positions;	    /* of the ring, taken and not put */
	uint16_t length_of[SV_VIRTQ_MAX_SIZE]; /* positions of the chain by buffer id; 0: not out */

	/* IN_ORDER only: what is out, oldest first, and what became of it by head. */
	uint16_t order[SV_VIRTQ_MAX_SIZE], order_first, order_n;
	uint8_t order_state[SV_VIRTQ_MAX_SIZE];
	uint32_t order_bytes[SV_VIRTQ_MAX_SIZE];

	uint32_t broken;   /* enum sv_virtq_defect, 0: in order. Written by the polling thread. */
	uint32_t inflight; /* taken and not yet returned; anyone may read it (acquire) */
	struct sv_virtq_stats stats;
};

/*
 * Begin at position @base with notifications off; nothing is in flight, but with a record what it
 * says was: then it says where the queue stands, and sv_virtq_take() gives those chains first.
 * Split: avail and used alike. Packed: as in vhost-user, position and wrap counter (bit 15) of avail,
 * those of used above them.
 * The caller filled the set-up fields and checked that the rings lie in guest memory for @size
 * entries. Context: control thread, queue not polled.
 */
void sv_virtq_start(struct sv_virtq *vq, uint32_t base);
/* Chains of a predecessor that wait to be taken again. Context: polling thread, or not polled. */
unsigned sv_virtq_agains(const struct sv_virtq *vq);
/* The @base to go on from later; nothing is in flight. Context: as above. */
uint32_t sv_virtq_position(const struct sv_virtq *vq);

/*
 * Take the next available chain, all of whose memory is there; one that has to wait for memory is
 * EMPTY until then. Context: polling thread. Order: AVAIL, acquire side.
 * Return: SV_VIRTQ_ONE with *chain filled; EMPTY; BROKEN, *chain undefined.
 */
enum sv_virtq_take sv_virtq_take(struct sv_virtq *vq, struct sv_virtq_chain *chain);

/*
 * Is there something to take (or to find broken)? Looks without taking. Context: polling thread.
 * Order: AVAIL, acquire side.
 */
bool sv_virtq_waiting(const struct sv_virtq *vq);

/*
 * The chain taken last was not used and is available again: it comes first at the next take. To undo
 * several, the last first; none of them, and nothing taken after them, has been put.
 * Context: polling thread.
 */
void sv_virtq_untake(struct sv_virtq *vq, uint16_t head);

/*
 * Mark the queue broken: the chain just taken is of no use and will not be returned.
 * Context: polling thread.
 */
void sv_virtq_reject(struct sv_virtq *vq);

/*
 * Return a chain with @bytes written into it. Not seen by the driver before sv_virtq_publish(); with
 * IN_ORDER not before all that were taken earlier have been put, too. Context: polling thread.
 */
void sv_virtq_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes);

/*
 * Publish what was put and interrupt the driver if it asked for that: once per batch.
 * Context: polling thread; one call of vq->call at most.
 * Order: USED, release side; CALL.
 */
void sv_virtq_publish(struct sv_virtq *vq);

/*
 * Deliver the interrupt that is held, if one is: with calls_held publishing only notes that one is
 * owed, so that several batches can share it. Context: polling thread, or queue not polled.
 */
void sv_virtq_call_owed(struct sv_virtq *vq);

#define SV_VIRTQ_AGAIN_NS 50000u
/*
 * With calls_missed: repeat the last interrupt, once, when the driver made nothing available for
 * SV_VIRTQ_AGAIN_NS after the first call that found it so. Context: polling thread.
 */
void sv_virtq_call_again(struct sv_virtq *vq, uint64_t now_ns);

/* Interrupt the driver whatever it asked for. Context: polling thread, or queue not polled. */
void sv_virtq_signal(struct sv_virtq *vq);

/*
 * Ask the driver for a kick, then look again. Order: ARM.
 * Return: true when buffers are there after all. Context: polling thread.
 */
bool sv_virtq_arm(struct sv_virtq *vq);
/* No kicks, please: also to be called now and then while polling (cheap). */
void sv_virtq_suppress(struct sv_virtq *vq);

const char *sv_virtq_defect_name(enum sv_virtq_defect kind);

/* Where a new queue begins. */
static inline uint32_t sv_virtq_first_base(bool packed)
{
	return packed ? 0x80008000u : 0;
}

/* Bytes of the three areas for @size entries (the event words included). */
static inline uint64_t sv_virtq_desc_bytes(uint16_t size)
{
	return 16ull * size;
}
static inline uint64_t sv_virtq_avail_bytes(uint16_t size, bool packed)
{
	return packed ? 4 : 6 + 2ull * size;
}
static inline uint64_t sv_virtq_used_bytes(uint16_t size, bool packed)
{
	return packed ? 4 : 6 + 8ull * size;
}

static inline bool sv_virtq_size_valid(uint32_t size)
{
	return size && size <= SV_VIRTQ_MAX_SIZE && (size & (size - 1)) == 0;
}

#endif
