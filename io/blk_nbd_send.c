/* SPDX-License-Identifier: BSD-3-Clause */
/* How operations go to the server, a command at a time, and what its answers mean. */
#include "blk_nbd_private.h"

#include <errno.h>
#include <string.h>

#define TRIM_BYTES (1u << 30)

static bool is_change(const struct blk_io *io)
{
	return io->op != BLK_READ && io->op != BLK_FLUSH;
}

void nbd_list_append(struct nbd_list *l, struct blk_io *io)
{
	io->next = NULL;
	if (l->tail)
		l->tail->next = io;
	else
		l->head = io;
	l->tail = io;
}

static void push(struct nbd_list *l, struct blk_io *io)
{
	io->next = l->head;
	l->head = io;
	if (!l->tail)
		l->tail = io;
}

struct blk_io *nbd_list_pop(struct nbd_list *l)
{
	struct blk_io *io = l->head;

	if (io) {
		l->head = io->next;
		if (!l->head)
			l->tail = NULL;
	}
	return io;
}

static void bounce_give(struct nbd *n, struct blk_io *io)
{
	if (io->bounce != NBD_NO_BOUNCE)
		n->bounce_free |= 1u << io->bounce;
	io->bounce = NBD_NO_BOUNCE;
}

static uint8_t *bounce_of(const struct nbd *n, const struct blk_io *io)
{
	return io->bounce == NBD_NO_BOUNCE ? NULL : n->bounce + (size_t)io->bounce * NBD_BOUNCE_BYTES;
}

void nbd_end(struct nbd *n, struct blk_io *io, int result)
{
	bounce_give(n, io);
	io->mode = result;
	nbd_list_append(&n->ended, io);
}

/* --- answers --------------------------------------------------------------------------------- */

/* Is the change durable by itself when it is done? */
static bool by_itself(const struct nbd *n, const struct blk_io *io)
{
	return is_change(io) && n->link.can_fua && (io->flags & BLK_IO_FUA || !n->link.multi_conn);
}

static void data_done(struct nbd *n, struct blk_io *io)
{
	if (io->op == BLK_READ || io->op == BLK_WRITE)
		blk_pieces_move(&io->iov, &io->niov, io->op == BLK_READ ? bounce_of(n, io) : NULL,
			io->at, BLK_TO_PIECES);
	bounce_give(n, io);
	io->left -= io->at;
	if (is_change(io) && !by_itself(n, io) && n->link.can_flush)
		n->changes++;
	if (io->left) {
		blk_count(&n->store.counts.continued, 1);
		push(&n->waiting, io);
	} else if (is_change(io) && io->flags & BLK_IO_FUA && !n->link.can_fua) {
		io->step = STEP_FLUSH;
		push(&n->waiting, io);
	} else {
		nbd_end(n, io, 0);
	}
}

static void done_right(struct nbd *n, struct blk_io *io)
{
	if (io->op != BLK_FLUSH && io->step == STEP_DATA) {
		data_done(n, io);
		return;
	}
	if (io->at > n->flushed)
		n->flushed = io->at;
	nbd_end(n, io, 0);
}

void nbd_again(struct nbd *n, struct blk_io *io)
{
	bounce_give(n, io);
	blk_count(&n->store.counts.retried, 1);
	push(&n->waiting, io);
}

/* Context: inside libnbd, which must not be called from here. */
static int answered(void *user_data, int *error)
{
	struct nbd_command *c = user_data;
	struct nbd *n = c->nbd;
	struct blk_io *io = c->io;

	if (!io)
		return 1;
	c->io = NULL;
	n->nsent--;
	n->last_answer_ms = n->now_ms;
	if (!*error) {
		done_right(n, io);
	} else if (*error == ENOTCONN || *error == ESHUTDOWN) {
		n->shut_down |= *error == ESHUTDOWN;
		nbd_again(n, io);
	} else {
		nbd_end(n, io, -*error);
	}
	return 1; /* libnbd forgets it */
}

/* --- sending --------------------------------------------------------------------------------- */

/* A transfer goes directly when its next piece is large enough, else through a buffer of ours. */
static void *find_data(struct nbd *n, struct blk_io *io)
{
	uint64_t most = io->left < n->link.most ? io->left : n->link.most, piece;
	struct iovec *from;
	uint8_t *to;

	while (io->niov && !io->iov->iov_len) {
		io->iov++;
		io->niov--;
	}
	if (!io->niov)
		return NULL;
	piece = io->iov->iov_len < most ? io->iov->iov_len & ~(uint64_t)(BLK_SECTOR - 1) : most;
	if (piece >= most || piece >= NBD_BOUNCE_BYTES) {
		io->at = piece;
		return io->iov->iov_base;
	}
	if (!n->bounce_free)
		return NULL;
	io->bounce = (uint16_t)__builtin_ctz(n->bounce_free);
	n->bounce_free &= n->bounce_free - 1;
	blk_count(&n->store.counts.bounced, 1);
	io->at = most < NBD_BOUNCE_BYTES ? most : NBD_BOUNCE_BYTES;
	to = bounce_of(n, io);
	from = io->iov;
	for (uint64_t left = io->op == BLK_WRITE ? io->at : 0; left; from++) {
		uint64_t k = from->iov_len < left ? from->iov_len : left;

		memcpy(to, from->iov_base, k);
		to += k;
		left -= k;
	}
	return bounce_of(n, io);
}

static int64_t issue(struct nbd *n, struct blk_io *io, void *data, nbd_completion_callback done)
{
	const struct nbd_calls *nbd = n->link.nbd;
	struct nbd_handle *h = n->link.h;
	uint64_t at = io->offset + io->bytes - io->left;
	uint32_t flags = by_itself(n, io) ? LIBNBD_CMD_FLAG_FUA : 0;

	if (io->op == BLK_FLUSH || io->step == STEP_FLUSH)
		return nbd->aio_flush(h, done, 0);
	if (io->op == BLK_READ)
		return nbd->aio_pread(h, data, io->at, at, done, 0);
	if (io->op == BLK_WRITE)
		return nbd->aio_pwrite(h, data, io->at, at, done, flags);
	if (io->op == BLK_DISCARD)
		return nbd->aio_trim(h, io->at, at, done, flags);
	if (!(io->flags & BLK_IO_UNMAP))
		flags |= LIBNBD_CMD_FLAG_NO_HOLE;
	return nbd->aio_zero(h, io->at, at, done, flags);
}

/* What a flush cannot promise any more. Return: the operation ended. */
static bool flush_is_vain(struct nbd *n, struct blk_io *io)
{
	if (n->lost_cache) {
		n->lost_cache = false;
		nbd_end(n, io, -EIO);
		return true;
	}
	if (!n->link.can_flush)
		nbd_end(n, io, 0);
	io->at = n->changes;
	return !n->link.can_flush;
}

static struct nbd_command *free_command(struct nbd *n)
{
	for (unsigned i = 0; i < BLK_STORE_DEPTH; i++)
		if (!n->sent[i].io)
			return &n->sent[i];
	return NULL;
}

/* Return: false when it has to wait. */
static bool send_one(struct nbd *n, struct blk_io *io)
{
	struct nbd_command *c = free_command(n);
	nbd_completion_callback done = {.callback = answered};
	void *data = NULL;

	if (!c) {
		push(&n->waiting, io);
		return false;
	}
	if (io->op == BLK_FLUSH || io->step == STEP_FLUSH) {
		if (flush_is_vain(n, io))
			return true;
	} else if (io->op == BLK_READ || io->op == BLK_WRITE) {
		data = find_data(n, io);
		if (!data) {
			push(&n->waiting, io);
			return false;
		}
	} else {
		io->at = io->left < TRIM_BYTES ? io->left : TRIM_BYTES;
	}
	c->io = io;
	done.user_data = c;
	if (!n->nsent++)
		n->last_answer_ms = n->now_ms;
	if (issue(n, io, data, done) < 0 && c->io == io) {
		c->io = NULL;
		n->nsent--;
		bounce_give(n, io);
		if (n->link.nbd->aio_is_ready(n->link.h)) { /* libnbd does not like it */
			nbd_end(n, io, -EIO);
			return true;
		}
		push(&n->waiting, io);
		return false;
	}
	blk_count(&n->store.counts.submits, 1);
	return true;
}

void nbd_send_all(struct nbd *n)
{
	struct blk_io *io;

	while (n->link.state == NBD_UP && (io = nbd_list_pop(&n->waiting)))
		if (!send_one(n, io))
			break;
}
