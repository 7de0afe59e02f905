/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk on an NBD server. An operation that the server answers ends with that answer. One that it
 * does not answer, because the connection ended or nothing came for half the deadline, is asked again on
 * the next connection, until it is older than the deadline: then it fails. While no connection has been
 * there for that long, operations fail at once.
 *
 * A flush on a new connection covers writes of an earlier one only if the server says so (multi-conn).
 * Of a server that does not, every write is asked to be durable by itself (FUA); if it cannot do that
 * either, the first flush after a reconnection fails when unflushed writes had been reported done.
 */
#include "blk_nbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nbd_link.h"

#define BOUNCES 32u
#define BOUNCE_BYTES (128u << 10)
#define NO_BOUNCE UINT16_MAX
#define TRIM_BYTES (1u << 30)
#define LOOK_MS 50u /* how often the age of operations is looked at */

enum { STEP_DATA, STEP_FLUSH }; /* STEP_FLUSH: the change is made, now it becomes durable */

struct list {
	struct blk_io *head, *tail;
};

struct command {
	struct nbd *nbd;
	struct blk_io *io; /* NULL: free */
};

struct nbd {
	struct blk_store store; /* first */
	struct nbd_link link;
	uint64_t deadline_ms, now_ms, last_answer_ms, looked_ms;
	struct list waiting, ended; /* to be sent; to be told, blk_io.mode is the result */
	struct command sent[BLK_STORE_DEPTH];
	unsigned nsent;
	uint64_t changes, flushed; /* done without FUA; of these, covered by a flush */
	bool lost_cache; /* such a change was not covered when its connection ended */
	bool said; /* that it is dead */
	bool shut_down; /* the server said that it is about to end */
	uint8_t *bounce;
	uint32_t bounce_free;
};

static struct nbd *nbd_of(struct blk_store *s)
{
	return (struct nbd *)s;
}

static uint64_t begun_ms(const struct blk_io *io)
{
	return (uintptr_t)io->priv;
}

static bool is_change(const struct blk_io *io)
{
	return io->op != BLK_READ && io->op != BLK_FLUSH;
}

static void append(struct list *l, struct blk_io *io)
{
	io->next = NULL;
	if (l->tail)
		l->tail->next = io;
	else
		l->head = io;
	l->tail = io;
}

static void push(struct list *l, struct blk_io *io)
{
	io->next = l->head;
	l->head = io;
	if (!l->tail)
		l->tail = io;
}

static struct blk_io *pop(struct list *l)
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
	if (io->bounce != NO_BOUNCE)
		n->bounce_free |= 1u << io->bounce;
	io->bounce = NO_BOUNCE;
}

static uint8_t *bounce_of(const struct nbd *n, const struct blk_io *io)
{
	return io->bounce == NO_BOUNCE ? NULL : n->bounce + (size_t)io->bounce * BOUNCE_BYTES;
}

static void end(struct nbd *n, struct blk_io *io, int result)
{
	bounce_give(n, io);
	io->mode = result;
	append(&n->ended, io);
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
		end(n, io, 0);
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
	end(n, io, 0);
}

/* It was not answered: once more, on another connection. */
static void again(struct nbd *n, struct blk_io *io)
{
	bounce_give(n, io);
	blk_count(&n->store.counts.retried, 1);
	push(&n->waiting, io);
}

/* Context: inside libnbd, which must not be called from here. */
static int answered(void *user_data, int *error)
{
	struct command *c = user_data;
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
		again(n, io);
	} else {
		end(n, io, -*error);
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
	if (piece >= most || piece >= BOUNCE_BYTES) {
		io->at = piece;
		return io->iov->iov_base;
	}
	if (!n->bounce_free)
		return NULL;
	io->bounce = (uint16_t)__builtin_ctz(n->bounce_free);
	n->bounce_free &= n->bounce_free - 1;
	blk_count(&n->store.counts.bounced, 1);
	io->at = most < BOUNCE_BYTES ? most : BOUNCE_BYTES;
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
		end(n, io, -EIO);
		return true;
	}
	if (!n->link.can_flush)
		end(n, io, 0);
	io->at = n->changes;
	return !n->link.can_flush;
}

/* Return: false when it has to wait. */
static bool send_one(struct nbd *n, struct blk_io *io)
{
	struct command *c = n->sent;
	nbd_completion_callback done = {.callback = answered};
	void *data = NULL;

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
	while (c->io)
		c++;
	c->io = io;
	done.user_data = c;
	if (!n->nsent++)
		n->last_answer_ms = n->now_ms;
	if (issue(n, io, data, done) < 0 && c->io == io) {
		c->io = NULL;
		n->nsent--;
		bounce_give(n, io);
		if (n->link.nbd->aio_is_ready(n->link.h)) { /* libnbd does not like it */
			end(n, io, -EIO);
			return true;
		}
		push(&n->waiting, io);
		return false;
	}
	blk_count(&n->store.counts.submits, 1);
	return true;
}

static void send_all(struct nbd *n)
{
	struct blk_io *io;

	while (n->link.state == NBD_UP && (io = pop(&n->waiting)))
		if (!send_one(n, io))
			break;
}

/* --- the connection -------------------------------------------------------------------------- */

/* A change that is done but not flushed, where a new connection's flush says nothing of it. */
static void note_lost_cache(struct nbd *n)
{
	if (n->changes != n->flushed && !n->link.multi_conn)
		n->lost_cache = true;
	if (n->lost_cache)
		n->flushed = n->changes;
}

static void take_back(struct nbd *n)
{
	for (unsigned i = BLK_STORE_DEPTH; i-- && n->nsent;) {
		struct blk_io *io = n->sent[i].io;

		if (!io)
			continue;
		n->sent[i].io = NULL;
		n->nsent--;
		again(n, io);
	}
	note_lost_cache(n);
}

static bool gone_for_long(const struct nbd *n)
{
	return n->link.state == NBD_DEAD ||
	       (n->link.state != NBD_UP && n->now_ms - n->link.down_since_ms > n->deadline_ms);
}

static void fail(struct nbd *n, struct blk_io *io)
{
	if (n->link.state == NBD_DEAD && !n->said) {
		n->said = true; /* at the end of a VM nobody asks any more, and nothing is said */
		blk_notice_say(n->link.notice, "%s; every request fails from now on", n->link.why);
	}
	end(n, io, -EIO);
}

static void fail_old(struct nbd *n)
{
	struct list old = n->waiting;
	struct blk_io *io;

	n->waiting = (struct list){NULL, NULL};
	while ((io = pop(&old)))
		if (n->link.state == NBD_DEAD || n->now_ms - begun_ms(io) > n->deadline_ms)
			fail(n, io);
		else
			append(&n->waiting, io);
}

/* Has the server forgotten something? Then the connection is of no use. */
static bool is_stalled(const struct nbd *n)
{
	if (!n->nsent)
		return false;
	if (n->now_ms - n->last_answer_ms > n->deadline_ms / 2)
		return true;
	for (unsigned i = 0; i < BLK_STORE_DEPTH; i++)
		if (n->sent[i].io && n->now_ms - begun_ms(n->sent[i].io) > n->deadline_ms)
			return true;
	return false;
}

static void drive(struct nbd *n)
{
	bool was_up = n->link.state == NBD_UP;

	n->now_ms = nbd_now_ms();
	nbd_link_drive(&n->link, n->now_ms);
	if (n->link.state == NBD_UP && n->shut_down)
		nbd_link_drop(&n->link, n->now_ms, "it said that it ends");
	n->shut_down = false;
	if (n->now_ms - n->looked_ms >= LOOK_MS) {
		n->looked_ms = n->now_ms;
		if (n->link.state == NBD_UP && is_stalled(n))
			nbd_link_drop(&n->link, n->now_ms, "it does not answer");
		fail_old(n);
	}
	if (n->link.state != NBD_UP && (was_up || n->nsent))
		take_back(n);
	if (n->link.state == NBD_UP && n->link.connections > 1)
		__atomic_store_n(&n->store.counts.reconnects, n->link.connections - 1, __ATOMIC_RELAXED);
	if (n->link.state == NBD_DEAD)
		fail_old(n);
	send_all(n);
}

/* --- the store ------------------------------------------------------------------------------- */

static void remote_begin(struct blk_store *s, struct blk_io *io)
{
	struct nbd *n = nbd_of(s);

	n->now_ms = nbd_now_ms();
	io->priv = (void *)(uintptr_t)n->now_ms;
	io->left = io->bytes;
	io->bounce = NO_BOUNCE;
	io->step = STEP_DATA;
	if (gone_for_long(n))
		fail(n, io);
	else
		append(&n->waiting, io);
}

static bool remote_submit(struct blk_store *s)
{
	struct nbd *n = nbd_of(s);

	if (n->link.state == NBD_UP)
		send_all(n);
	else
		drive(n);
	return false; /* what waits, waits for a descriptor */
}

static unsigned remote_reap(struct blk_store *s)
{
	struct nbd *n = nbd_of(s);
	struct blk_io *io;
	unsigned done = 0;

	drive(n);
	while ((io = pop(&n->ended))) {
		io->done(io, io->mode);
		done++;
	}
	return done;
}

static bool remote_pending(struct blk_store *s)
{
	struct nbd *n = nbd_of(s);

	drive(n);
	return n->ended.head || n->link.state == NBD_DOWN || nbd_link_arm(&n->link, n->now_ms);
}

static int remote_resize(struct blk_store *s, uint64_t bytes, struct sv_error *err)
{
	(void)s;
	(void)bytes;
	return sv_fail(err, ENOTSUP,
		"a remote disk is as large as its export was at the start; resize it there and start the "
		"VM again");
}

static void remote_close(struct blk_store *s)
{
	struct nbd *n = nbd_of(s);

	nbd_link_close(&n->link);
	if (n->bounce)
		munmap(n->bounce, BOUNCES * BOUNCE_BYTES);
	free(n);
}

static const struct blk_store_ops remote_ops = {.name = "nbd",
	.begin = remote_begin,
	.submit = remote_submit,
	.reap = remote_reap,
	.pending = remote_pending,
	.resize = remote_resize,
	.close = remote_close};

static void set_geometry(struct blk_geometry *g, const struct sv_export *x, uint32_t flags)
{
	bool change = !(x->flags & SV_EXPORT_F_READONLY) && !(flags & BLK_RAW_READONLY);

	*g = (struct blk_geometry){.bytes = x->bytes,
		.physical = BLK_SECTOR,
		.discard_align = BLK_SECTOR,
		.readonly = !change,
		.discard = change && flags & BLK_RAW_DISCARD && x->flags & SV_EXPORT_F_DISCARD,
		.zeroes = change && flags & BLK_RAW_DISCARD && x->flags & SV_EXPORT_F_ZEROES};
	if (x->preferred >= BLK_SECTOR && !(x->preferred & (x->preferred - 1)))
		g->physical = g->min_io = g->discard_align = x->preferred;
}

int blk_nbd_open(struct blk_store **out, int dialer, const struct blk_nbd_config *c,
	struct sv_error *err)
{
	struct nbd *n;
	int rc;

	if (c->export.bytes < BLK_SECTOR || c->export.bytes % BLK_SECTOR ||
		c->export.bytes > INT64_MAX || c->export.preferred > 1u << 20)
		return sv_fail(err, EINVAL, "a remote disk of %llu bytes",
			(unsigned long long)c->export.bytes);
	n = calloc(1, sizeof(*n));
	if (!n)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	n->bounce = mmap(NULL, BOUNCES * BOUNCE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (n->bounce == MAP_FAILED) {
		free(n);
		return sv_fail(err, ENOMEM, "the node is out of memory");
	}
	n->bounce_free = UINT32_MAX;
	n->deadline_ms = c->deadline_ms;
	n->store.ops = &remote_ops;
	for (unsigned i = 0; i < BLK_STORE_DEPTH; i++)
		n->sent[i].nbd = n;
	set_geometry(&n->store.geometry, &c->export, c->flags);
	rc = nbd_link_open(&n->link, dialer, &c->export, c->trusted, c->notice, err);
	if (rc < 0) {
		munmap(n->bounce, BOUNCES * BOUNCE_BYTES);
		free(n);
		return rc;
	}
	n->store.wake_fd[0] = n->link.epoll_fd;
	n->store.wake_fd[1] = -1;
	*out = &n->store;
	return 0;
}
