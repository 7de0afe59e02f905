/* SPDX-License-Identifier: BSD-3-Clause */
/* The requests in flight: taken from a list, answered when their store is done with them. */
#include "blk.h"

#include <errno.h>

#include <channels/atomics.h>

void blk_slots_init(struct blk *b)
{
	b->free_head = 0;
	for (unsigned i = 0; i < BLK_SLOTS; i++) {
		b->slot[i].blk = b;
		b->slot[i].next = i + 1 < BLK_SLOTS ? (uint16_t)(i + 1) : BLK_NONE;
	}
}

struct blk_slot *blk_slot_take(struct blk *b)
{
	struct blk_slot *s;

	if (b->free_head == BLK_NONE)
		return NULL;
	s = &b->slot[b->free_head];
	b->free_head = s->next;
	b->busy++;
	return s;
}

void blk_slot_give(struct blk *b, struct blk_slot *s)
{
	s->next = b->free_head;
	b->free_head = (uint16_t)(s - b->slot);
	b->busy--;
}

void blk_complete(struct blk *b, struct blk_slot *s, uint8_t status)
{
	sv_store_relaxed(s->status, status);
	if (status == VIRTIO_BLK_S_IOERR)
		blk_count(&b->counts.errors, 1);
	else if (status == VIRTIO_BLK_S_UNSUPP)
		blk_count(&b->counts.unsupported, 1);
	if (sv_unlikely(b->stood_in))
		b->late[b->nlate++] = s->ticket;
	else
		sv_qos_done(b->qos.flow, &s->ticket);
	sv_virtq_put(&b->session.vhost.queue[s->queue].vq, s->chain.head,
		status == VIRTIO_BLK_S_OK ? s->written + 1 : 1);
	blk_slot_give(b, s);
}

static void done(struct blk_io *io, int result)
{
	struct blk_slot *s = (struct blk_slot *)io;
	uint8_t status = VIRTIO_BLK_S_OK;

	if (result)
		status = result == -EOPNOTSUPP && io->op >= BLK_DISCARD ? VIRTIO_BLK_S_UNSUPP
									: VIRTIO_BLK_S_IOERR;
	blk_complete(s->blk, s, status);
}

void blk_begin(struct blk *b, struct blk_slot *s)
{
	s->io.done = done;
	/* A driver that cannot flush, or wants no cache: each change is durable when it ends. */
	if (!b->wce && s->io.op != BLK_READ && s->io.op != BLK_FLUSH)
		s->io.flags |= BLK_IO_FUA;
	b->store->ops->begin(b->store, &s->io);
}
