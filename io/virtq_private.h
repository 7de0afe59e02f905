/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two formats of virtqueues share. Context of everything: the polling thread. */
#ifndef IO_VIRTQ_PRIVATE_H
#define IO_VIRTQ_PRIVATE_H

#include <io/virtq.h>

#include <linux/virtio_ring.h>

#include <channels/atomics.h>

/* One descriptor, copied out of guest memory. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* split: the next in the table; packed: not used here */
};

#define VIRTQ_AHEAD 8u /* chains whose buffers are brought before they are taken */
#define VIRTQ_LINE 64u

static inline void prefetch_to_write(const char *at)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*at));
#else
	__builtin_prefetch(at, 1);
#endif
}

/* Bring the beginning of a buffer. Never faults; an address outside guest memory brings nothing. */
static inline void virtq_prefetch(const struct sv_virtq *vq, struct virtq_desc d)
{
	uint64_t bytes = 2 * VIRTQ_LINE;
	const char *host = sv_gmem_span(vq->gmem, sv_gpa(d.addr), &bytes);

	if (bytes < 2 * VIRTQ_LINE || !host)
		return;
	if (d.flags & VRING_DESC_F_WRITE) {
		prefetch_to_write(host);
		prefetch_to_write(host + VIRTQ_LINE);
	} else {
		__builtin_prefetch(host);
		__builtin_prefetch(host + VIRTQ_LINE);
	}
}

static inline void virtq_count(uint64_t *counter)
{
	sv_store_relaxed(counter, *counter + 1);
}

void virtq_break(struct sv_virtq *vq, enum sv_virtq_defect kind);
void virtq_chain_begin(struct sv_virtq_chain *c);
/* Add one buffer to the chain, in pieces where it crosses regions of guest memory. */
enum sv_virtq_defect virtq_chain_add(const struct sv_virtq *vq, struct sv_virtq_chain *c,
	const struct virtq_desc *d);
/*
 * The table an indirect descriptor names. Return: its entries, 0: invalid. c->absent: it is not there
 * yet, and must not be looked at.
 */
unsigned virtq_indirect_table(const struct sv_virtq *vq, struct sv_virtq_chain *c,
	const struct virtq_desc *d, const void **table);
/* A chain was taken. */
void virtq_taken(struct sv_virtq *vq);
/* @chains were published: interrupt if @wanted, and they are in flight no more. */
void virtq_published(struct sv_virtq *vq, unsigned chains, bool wanted);

/* virtq_resident.c: memory that arrives while the guest runs; what is not there is fetched. */
bool virtq_rings_resident(const struct sv_virtq *vq);
bool virtq_chain_resident(const struct sv_virtq *vq, const struct sv_virtq_chain *c);

/* @c has been walked. */
static inline bool virtq_must_wait(const struct sv_virtq *vq, const struct sv_virtq_chain *c)
{
	return sv_unlikely(vq->gmem->residency != NULL) && (c->absent || !virtq_chain_resident(vq, c));
}

/* virtq_split.c: the split format's side of what io/virtq.h declares. */
void virtq_split_start(struct sv_virtq *vq, uint16_t base);
enum sv_virtq_take virtq_split_take(struct sv_virtq *vq, struct sv_virtq_chain *chain);
void virtq_split_untake(struct sv_virtq *vq, uint16_t head);
void virtq_split_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes);
void virtq_split_publish(struct sv_virtq *vq);
bool virtq_split_arm(struct sv_virtq *vq);
bool virtq_split_waiting(const struct sv_virtq *vq);
/* Return: something was written. */
bool virtq_split_suppress(struct sv_virtq *vq);

/* virtq_packed.c: the packed format's side of what io/virtq.h declares. */
void virtq_packed_start(struct sv_virtq *vq, uint32_t base);
enum sv_virtq_take virtq_packed_take(struct sv_virtq *vq, struct sv_virtq_chain *chain);
bool virtq_packed_waiting(const struct sv_virtq *vq);
void virtq_packed_untake(struct sv_virtq *vq, uint16_t id);
void virtq_packed_put(struct sv_virtq *vq, uint16_t id, uint32_t bytes);
void virtq_packed_publish(struct sv_virtq *vq);
bool virtq_packed_arm(struct sv_virtq *vq);
bool virtq_packed_suppress(struct sv_virtq *vq);

/*
 * virtq_order.c: used in the order of taking. A head that is out already is a defect. What was put is
 * passed on when all before it has been; a broken queue passes on everything.
 */
void virtq_order_start(struct sv_virtq *vq);
enum sv_virtq_defect virtq_order_take(struct sv_virtq *vq, uint16_t head);
void virtq_order_untake(struct sv_virtq *vq, uint16_t head);
void virtq_order_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes);
void virtq_order_void(struct sv_virtq *vq);
/* Into the ring now. */
void virtq_put_now(struct sv_virtq *vq, uint16_t head, uint32_t bytes);

/* virtq_log.c. Only while vq->log is set. */
void virtq_log_taken(struct sv_virtq *vq, const struct sv_virtq_chain *c);
void virtq_log_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes);
/* The words of the ring that the device writes. */
void virtq_log_ring(const struct sv_virtq *vq);

#endif
