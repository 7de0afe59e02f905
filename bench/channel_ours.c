/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel's ring in the comparison of `bench channel`. */
#include "channel_rings.h"

#include <stdlib.h>
#include <string.h>

#include <channels/ring.h>

struct ours {
	struct sv_ring_tx tx __attribute__((aligned(128))); /* the producer's */
	struct sv_ring_rx rx __attribute__((aligned(128))); /* the consumer's */
	uint64_t consumed __attribute__((aligned(128)));    /* shared */
	union sv_slot slot[] __attribute__((aligned(128)));
};

static void *ours_create(unsigned entries)
{
	size_t bytes = sizeof(struct ours) + entries * sizeof(union sv_slot);
	struct ours *q = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);

	if (!q)
		return NULL;
	memset(q, 0, bytes);
	sv_ring_tx_init(&q->tx, q->slot, &q->consumed, entries);
	sv_ring_rx_init(&q->rx, q->slot, &q->consumed, entries);
	return q;
}

static unsigned ours_put(void *opaque, uint64_t first, unsigned n)
{
	struct ours *q = opaque;
	int64_t room = sv_ring_room(&q->tx, n);
	uint64_t msg[BENCH_BATCH_MAX][8];

	if (room < (int64_t)n)
		n = (unsigned)room;
	for (unsigned i = 0; i < n; i++)
		bench_write(msg[i], first + i);
	if (n)
		sv_ring_put_n(&q->tx, msg, n, false);
	return n;
}

static unsigned ours_take(void *opaque, unsigned n, uint64_t *sum)
{
	struct ours *q = opaque;
	uint64_t msg[BENCH_BATCH_MAX][8];
	int64_t got = sv_ring_take_n(&q->rx, msg, n);

	for (int64_t i = 0; i < got; i++)
		*sum += bench_read(msg[i]);
	return got > 0 ? (unsigned)got : 0;
}

const struct bench_ring bench_ours[] = {
	{"sidevisor", "our ring", ours_create, free, ours_put, ours_take},
	{0},
};
