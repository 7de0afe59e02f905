/* SPDX-License-Identifier: BSD-3-Clause */
/* DPDK's rte_ring in the comparison of `bench channel`: one producer, one consumer, 64-byte elements. */
#include "channel_rings.h"

#include <stdlib.h>
#include <string.h>

#include <rte_ring_elem.h>
#include <rte_ring_peek_zc.h>

struct element {
	uint64_t word[8];
} __attribute__((aligned(64)));

/*
 * Set up by hand: the library's own set-up would bring all of DPDK's start-up into this program, and
 * the data path is in the headers.
 */
static void *dpdk_create(unsigned entries)
{
	size_t bytes = sizeof(struct rte_ring) + entries * sizeof(struct element);
	struct rte_ring *r = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);

	if (!r)
		return NULL;
	memset(r, 0, bytes);
	r->flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
	r->prod.sync_type = r->cons.sync_type = RTE_RING_SYNC_ST;
	r->size = entries;
	r->mask = r->capacity = entries - 1;
	return r;
}

/* Copying: a table of elements in, a table of elements out. */
static unsigned dpdk_put(void *q, uint64_t first, unsigned n)
{
	struct element e[BENCH_BATCH_MAX];

	for (unsigned i = 0; i < n; i++)
		bench_write(e[i].word, first + i);
	return rte_ring_sp_enqueue_burst_elem(q, e, sizeof(e[0]), n, NULL);
}

static unsigned dpdk_take(void *q, unsigned n, uint64_t *sum)
{
	struct element e[BENCH_BATCH_MAX];

	n = rte_ring_sc_dequeue_burst_elem(q, e, sizeof(e[0]), n, NULL);
	for (unsigned i = 0; i < n; i++)
		*sum += bench_read(e[i].word);
	return n;
}

/* Without copying: written and read in the ring's own memory. */
static unsigned dpdk_zc_put(void *q, uint64_t first, unsigned n)
{
	struct rte_ring_zc_data at;
	struct element *e;

	n = rte_ring_enqueue_zc_burst_elem_start(q, sizeof(*e), n, &at, NULL);
	if (!n)
		return 0;
	e = at.ptr1;
	for (unsigned i = 0; i < n; i++) {
		if (i == at.n1)
			e = (struct element *)at.ptr2 - i;
		bench_write(e[i].word, first + i);
	}
	rte_ring_enqueue_zc_finish(q, n);
	return n;
}

static unsigned dpdk_zc_take(void *q, unsigned n, uint64_t *sum)
{
	struct rte_ring_zc_data at;
	const struct element *e;

	n = rte_ring_dequeue_zc_burst_elem_start(q, sizeof(*e), n, &at, NULL);
	if (!n)
		return 0;
	e = at.ptr1;
	for (unsigned i = 0; i < n; i++) {
		if (i == at.n1)
			e = (const struct element *)at.ptr2 - i;
		*sum += bench_read(e[i].word);
	}
	rte_ring_dequeue_zc_finish(q, n);
	return n;
}

const struct bench_ring bench_peers_dpdk[] = {
	{"rte_ring", "DPDK rte_ring, SP/SC", dpdk_create, free, dpdk_put, dpdk_take},
	{"rte_ring_zc", "the same, zero copy", dpdk_create, free, dpdk_zc_put, dpdk_zc_take},
	{0},
};
