/* SPDX-License-Identifier: BSD-3-Clause */
/* From a descriptor chain to an operation on the image: copied once, checked, then begun. */
#include "blk.h"

#include <string.h>

bool blk_pieces_move(struct iovec **iov, unsigned *niov, void *flat, size_t n, enum blk_move way)
{
	uint8_t *at = flat;

	while (n && *niov) {
		size_t k = (*iov)->iov_len < n ? (*iov)->iov_len : n;

		if (at) {
			memcpy(way == BLK_TO_PIECES ? (*iov)->iov_base : at,
				way == BLK_TO_PIECES ? at : (*iov)->iov_base, k);
			at += k;
		}
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + k;
		(*iov)->iov_len -= k;
		n -= k;
		if (!(*iov)->iov_len) {
			(*iov)++;
			(*niov)--;
		}
	}
	return n == 0;
}

/* The last writable byte is the status; it leaves the data. NULL: there is none. */
static uint8_t *status_byte(struct sv_virtq_chain *c)
{
	struct iovec *last;

	if (!c->writable)
		return NULL;
	last = &c->iov[c->readable + c->writable - 1];
	if (--last->iov_len == 0)
		c->writable--;
	c->writable_bytes--;
	return (uint8_t *)last->iov_base + last->iov_len;
}

static bool in_range(const struct blk *b, uint64_t sector, uint64_t bytes)
{
	return sector <= b->store->geometry.bytes / BLK_SECTOR &&
	       bytes <= b->store->geometry.bytes - sector * BLK_SECTOR;
}

static uint8_t begin_transfer(struct blk *b, struct blk_slot *s, uint64_t sector)
{
	bool write = s->type == VIRTIO_BLK_T_OUT;
	struct blk_io *io = &s->io;

	io->bytes = write ? s->chain.readable_bytes - sizeof(struct virtio_blk_outhdr)
			  : s->chain.writable_bytes;
	if ((write && b->store->geometry.readonly) || !io->bytes || io->bytes % BLK_SECTOR ||
		!in_range(b, sector, io->bytes))
		return VIRTIO_BLK_S_IOERR;
	if (!write) {
		io->iov = &s->chain.iov[s->chain.readable];
		io->niov = s->chain.writable;
		s->written = (uint32_t)io->bytes;
	}
	io->op = write ? BLK_WRITE : BLK_READ;
	io->offset = sector * BLK_SECTOR;
	blk_count(write ? &b->counts.writes : &b->counts.reads, 1);
	blk_count(write ? &b->counts.write_bytes : &b->counts.read_bytes, io->bytes);
	blk_begin(b, s);
	return VIRTIO_BLK_S_OK;
}

static uint8_t begin_flush(struct blk *b, struct blk_slot *s)
{
	s->io.op = BLK_FLUSH;
	s->io.offset = s->io.bytes = 0;
	blk_count(&b->counts.flushes, 1);
	blk_begin(b, s);
	return VIRTIO_BLK_S_OK;
}

/* Discard and write-zeroes: one segment (max_*_seg is 1). */
static uint8_t begin_range(struct blk *b, struct blk_slot *s)
{
	struct virtio_blk_discard_write_zeroes seg;
	bool unmap, discard = s->type == VIRTIO_BLK_T_DISCARD;
	struct blk_io *io = &s->io;

	if (!(discard ? b->store->geometry.discard : b->store->geometry.zeroes))
		return VIRTIO_BLK_S_UNSUPP;
	if (s->chain.readable_bytes != sizeof(struct virtio_blk_outhdr) + sizeof(seg) ||
		!blk_pieces_move(&io->iov, &io->niov, &seg, sizeof(seg), BLK_FROM_PIECES))
		return VIRTIO_BLK_S_IOERR;
	unmap = seg.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	if ((seg.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) || (discard && unmap))
		return VIRTIO_BLK_S_UNSUPP;
	io->bytes = (uint64_t)seg.num_sectors * BLK_SECTOR;
	if (!seg.num_sectors || seg.num_sectors > BLK_RANGE_SECTORS ||
		!in_range(b, seg.sector, io->bytes))
		return VIRTIO_BLK_S_IOERR;
	io->offset = seg.sector * BLK_SECTOR;
	io->op = discard ? BLK_DISCARD : BLK_ZEROES;
	io->flags = unmap ? BLK_IO_UNMAP : 0;
	blk_count(&b->counts.discards, 1);
	/* It moves no data, but a large one is no small request either. */
	sv_qos_charge(b->qos.flow, io->bytes / (discard ? 64 : 16));
	blk_begin(b, s);
	return VIRTIO_BLK_S_OK;
}

static void answer_id(struct blk *b, struct blk_slot *s)
{
	size_t n = sizeof(b->serial);

	if (n > s->chain.writable_bytes)
		n = s->chain.writable_bytes;
	s->io.iov = &s->chain.iov[s->chain.readable];
	s->io.niov = s->chain.writable;
	blk_pieces_move(&s->io.iov, &s->io.niov, b->serial, n, BLK_TO_PIECES);
	s->written = (uint32_t)n;
	blk_complete(b, s, VIRTIO_BLK_S_OK);
}

/* The scheduler hears of it before anything can end it. */
static void account(struct blk *b, struct blk_slot *s)
{
	static const uint8_t kind[] = {[VIRTIO_BLK_T_IN] = SV_QOS_READ,
		[VIRTIO_BLK_T_OUT] = SV_QOS_WRITE,
		[VIRTIO_BLK_T_FLUSH] = SV_QOS_FLUSH};
	bool known = s->type == VIRTIO_BLK_T_IN || s->type == VIRTIO_BLK_T_OUT ||
		     s->type == VIRTIO_BLK_T_FLUSH;

	sv_qos_taken(b->qos.flow, &s->ticket, known ? kind[s->type] : SV_QOS_OTHER, 1,
		(uint64_t)s->chain.writable_bytes + s->chain.readable_bytes -
			sizeof(struct virtio_blk_outhdr));
}

/* Decode one request and begin what it asks for; what ends at once is completed here. */
static void begin(struct blk *b, struct blk_slot *s)
{
	struct virtio_blk_outhdr head;
	uint8_t status;

	blk_pieces_move(&s->io.iov, &s->io.niov, &head, sizeof(head), BLK_FROM_PIECES);
	s->type = head.type;
	account(b, s);
	switch (head.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		status = begin_transfer(b, s, head.sector);
		break;
	case VIRTIO_BLK_T_FLUSH:
		status = begin_flush(b, s);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		status = begin_range(b, s);
		break;
	case VIRTIO_BLK_T_GET_ID:
		answer_id(b, s);
		return;
	default:
		status = VIRTIO_BLK_S_UNSUPP;
	}
	if (status != VIRTIO_BLK_S_OK)
		blk_complete(b, s, status);
}

/* Fill the slot from the next chain of the queue. Return: a request is there. */
static bool take_one(struct sv_vhost_queue *q, struct blk_slot *s)
{
	if (sv_virtq_take(&q->vq, &s->chain) != SV_VIRTQ_ONE)
		return false;
	s->status = status_byte(&s->chain);
	if (!s->status || s->chain.readable_bytes < sizeof(struct virtio_blk_outhdr)) {
		sv_virtq_reject(&q->vq);
		return false;
	}
	s->io.iov = s->chain.iov;
	s->io.niov = s->chain.readable;
	s->io.flags = 0;
	s->written = 0;
	return true;
}

unsigned blk_take(struct blk *b, unsigned queue, unsigned budget)
{
	struct sv_vhost_queue *q = &b->session.vhost.queue[queue];
	unsigned n = 0;

	while (n < budget && sv_vhost_serving(q)) {
		struct blk_slot *s;

		if (!sv_virtq_waiting(&q->vq))
			break;
		/* What a predecessor had taken is taken: a stop waits for it. */
		if (!sv_virtq_agains(&q->vq) && !sv_qos_admit(b->qos.flow))
			break;
		s = blk_slot_take(b);
		if (!s)
			break;
		if (!take_one(q, s)) {
			blk_slot_give(b, s);
			break;
		}
		s->queue = (uint16_t)queue;
		n++;
		begin(b, s);
	}
	return n;
}
