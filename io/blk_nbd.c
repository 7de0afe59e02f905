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
#include "blk_nbd_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LOOK_MS 50u /* how often the age of operations is looked at */

static struct nbd *nbd_of(struct blk_store *s)
{
	return (struct nbd *)s;
}

static uint64_t begun_ms(const struct blk_io *io)
{
	return (uintptr_t)io->priv;
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
		nbd_again(n, io);
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
	nbd_end(n, io, -EIO);
}

static void fail_old(struct nbd *n)
{
	struct nbd_list old = n->waiting;
	struct blk_io *io;

	n->waiting = (struct nbd_list){NULL, NULL};
	while ((io = nbd_list_pop(&old)))
		if (n->link.state == NBD_DEAD || n->now_ms - begun_ms(io) > n->deadline_ms)
			fail(n, io);
		else
			nbd_list_append(&n->waiting, io);
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
	nbd_send_all(n);
}

/* --- the store ------------------------------------------------------------------------------- */

static void remote_begin(struct blk_store *s, struct blk_io *io)
{
	struct nbd *n = nbd_of(s);

	n->now_ms = nbd_now_ms();
	io->priv = (void *)(uintptr_t)n->now_ms;
	io->left = io->bytes;
	io->bounce = NBD_NO_BOUNCE;
	io->step = STEP_DATA;
	if (gone_for_long(n))
		fail(n, io);
	else
		nbd_list_append(&n->waiting, io);
}

static bool remote_submit(struct blk_store *s)
{
	struct nbd *n = nbd_of(s);

	if (n->link.state == NBD_UP)
		nbd_send_all(n);
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
	while ((io = nbd_list_pop(&n->ended))) {
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

	for (unsigned i = 0; i < BLK_STORE_DEPTH; i++) /* libnbd ends them all */
		n->sent[i].io = NULL;
	nbd_link_close(&n->link);
	if (n->bounce)
		munmap(n->bounce, NBD_BOUNCES * NBD_BOUNCE_BYTES);
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
	n->bounce = mmap(NULL, NBD_BOUNCES * NBD_BOUNCE_BYTES, PROT_READ | PROT_WRITE,
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
		munmap(n->bounce, NBD_BOUNCES * NBD_BOUNCE_BYTES);
		free(n);
		return rc;
	}
	n->store.wake_fd[0] = n->link.epoll_fd;
	n->store.wake_fd[1] = n->store.pin_fd = -1;
	*out = &n->store;
	return 0;
}
