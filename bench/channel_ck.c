/* SPDX-License-Identifier: BSD-3-Clause */
/* Concurrency Kit's ck_ring in the comparison of `bench channel`: SPSC. */
#include "channel_rings.h"

#include <stdlib.h>
#include <string.h>

#include <ck_ring.h>

struct message {
	uint64_t word[8];
} __attribute__((aligned(64)));

CK_RING_PROTOTYPE(message, message)

struct ck {
	struct ck_ring ring;
	struct message *message;     /* typed: the ring's buffer; by pointer: the pool */
	struct ck_ring_buffer *slot; /* by pointer: the ring's buffer */
	uint64_t mask;		     /* of the pool */
	uint64_t next;		     /* in the pool: the producer's */
};

static void ck_destroy(void *opaque)
{
	struct ck *q = opaque;

	free(q->message);
	free(q->slot);
	free(q);
}

/* The pool is twice the ring: what was taken from the ring is read before it is written again. */
static void *ck_create(unsigned entries)
{
	struct ck *q = aligned_alloc(128, (sizeof(*q) + 127) & ~(size_t)127);

	if (!q)
		return NULL;
	memset(q, 0, sizeof(*q));
	ck_ring_init(&q->ring, entries);
	q->mask = 2ull * entries - 1;
	q->message = aligned_alloc(4096, ((q->mask + 1) * sizeof(*q->message) + 4095) & ~4095ul);
	q->slot = aligned_alloc(4096, (entries * sizeof(*q->slot) + 4095) & ~4095ul);
	if (!q->message || !q->slot) {
		ck_destroy(q);
		return NULL;
	}
	memset(q->message, 0, (q->mask + 1) * sizeof(*q->message));
	memset(q->slot, 0, entries * sizeof(*q->slot));
	return q;
}

static unsigned ck_put(void *opaque, uint64_t first, unsigned n)
{
	struct ck *q = opaque;
	struct message m;
	unsigned i;

	for (i = 0; i < n; i++) {
		bench_write(m.word, first + i);
		if (!CK_RING_ENQUEUE_SPSC(message, &q->ring, q->message, &m))
			break;
	}
	return i;
}

static unsigned ck_take(void *opaque, unsigned n, uint64_t *sum)
{
	struct ck *q = opaque;
	struct message m;
	unsigned i;

	for (i = 0; i < n && CK_RING_DEQUEUE_SPSC(message, &q->ring, q->message, &m); i++)
		*sum += bench_read(m.word);
	return i;
}

static unsigned ck_pointer_put(void *opaque, uint64_t first, unsigned n)
{
	struct ck *q = opaque;
	unsigned i;

	for (i = 0; i < n; i++) {
		struct message *m = &q->message[q->next & q->mask];

		bench_write(m->word, first + i);
		if (!ck_ring_enqueue_spsc(&q->ring, q->slot, m))
			break;
		q->next++;
	}
	return i;
}

static unsigned ck_pointer_take(void *opaque, unsigned n, uint64_t *sum)
{
	struct ck *q = opaque;
	struct message *m;
	unsigned i;

	for (i = 0; i < n && ck_ring_dequeue_spsc(&q->ring, q->slot, &m); i++)
		*sum += bench_read(m->word);
	return i;
}

const struct bench_ring bench_peers_ck[] = {
	{"ck_ring", "ck_ring SPSC, 64-byte entries", ck_create, ck_destroy, ck_put, ck_take},
	{"ck_ring_pointer", "ck_ring SPSC, pointers", ck_create, ck_destroy, ck_pointer_put,
		ck_pointer_take},
	{0},
};
