/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * liburcu's wfcqueue in the comparison of `bench channel`. It is unbounded and links nodes, so the
 * producer takes nodes from a pool in turn and the consumer says now and then how far it has read.
 */
#define _LGPL_SOURCE /* inlined, as fast as it gets */
#include "channel_rings.h"

#include <stdlib.h>
#include <string.h>

#include <urcu/wfcqueue.h>

struct node {
	struct cds_wfcq_node link;
	uint64_t word[BENCH_PAYLOAD_WORDS];
} __attribute__((aligned(64)));

struct wfc {
	struct cds_wfcq_tail tail __attribute__((aligned(128)));
	struct __cds_wfcq_head head __attribute__((aligned(128)));
	uint64_t consumed __attribute__((aligned(128))); /* written by the consumer */
	uint64_t sent __attribute__((aligned(128)));	 /* the producer's, with the rest of the line */
	uint64_t limit;
	uint64_t entries;
	struct __cds_wfcq_head out_head __attribute__((aligned(128))); /* the consumer's: spliced */
	struct cds_wfcq_tail out_tail;
	uint64_t read, told;
	struct node node[];
};

static void *wfc_create(unsigned entries)
{
	size_t bytes = sizeof(struct wfc) + entries * sizeof(struct node);
	struct wfc *q = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);

	if (!q)
		return NULL;
	memset(q, 0, bytes);
	__cds_wfcq_init(&q->head, &q->tail);
	__cds_wfcq_init(&q->out_head, &q->out_tail);
	q->entries = q->limit = entries;
	return q;
}

/* A batch is linked in private and spliced with one exchange. */
static unsigned wfc_put(void *opaque, uint64_t first, unsigned n)
{
	struct wfc *q = opaque;
	struct __cds_wfcq_head head;
	struct cds_wfcq_tail tail;
	unsigned i;

	if (q->limit - q->sent < n)
		q->limit = __atomic_load_n(&q->consumed, __ATOMIC_ACQUIRE) + q->entries;
	if (q->limit - q->sent < n)
		n = (unsigned)(q->limit - q->sent);
	if (n > 1)
		__cds_wfcq_init(&head, &tail);
	for (i = 0; i < n; i++) {
		struct node *m = &q->node[q->sent++ & (q->entries - 1)];

		bench_write(m->word, first + i);
		cds_wfcq_node_init(&m->link);
		if (n > 1) {
			/* what cds_wfcq_enqueue() does, without the exchange: nobody else sees it */
			tail.p->next = &m->link;
			tail.p = &m->link;
		} else {
			cds_wfcq_enqueue(&q->head, &q->tail, &m->link);
		}
	}
	if (n > 1)
		__cds_wfcq_splice_nonblocking(&q->head, &q->tail, &head, &tail);
	return n;
}

static unsigned wfc_take(void *opaque, unsigned n, uint64_t *sum)
{
	struct wfc *q = opaque;
	unsigned i = 0;

	while (i < n) {
		struct cds_wfcq_node *l = __cds_wfcq_dequeue_nonblocking(&q->out_head, &q->out_tail);

		if (l == CDS_WFCQ_WOULDBLOCK)
			break;
		if (!l) {
			enum cds_wfcq_ret r = __cds_wfcq_splice_nonblocking(
				&q->out_head, &q->out_tail, &q->head, &q->tail);

			if (r == CDS_WFCQ_RET_SRC_EMPTY || r == CDS_WFCQ_RET_WOULDBLOCK)
				break;
			continue;
		}
		*sum += bench_read(((struct node *)l)->word);
		q->read++;
		i++;
	}
	if (q->read - q->told >= q->entries / 4) {
		q->told = q->read;
		__atomic_store_n(&q->consumed, q->read, __ATOMIC_RELEASE);
	}
	return i;
}

const struct bench_ring bench_peers_urcu[] = {
	{"wfcqueue", "liburcu wfcqueue", wfc_create, free, wfc_put, wfc_take},
	{0},
};
