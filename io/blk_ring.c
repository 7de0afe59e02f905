/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk's io_uring: submission in batches, completion without a system call, bounce buffers. */
#include "blk.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <channels/atomics.h>

#define RETRIES 8u

int blk_ring_open(struct blk *b, struct sv_error *err)
{
	unsigned flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	int rc = io_uring_queue_init(BLK_SLOTS, &b->ring, flags);

	if (rc == -EINVAL) /* before Linux 5.19: completions interrupt the sidecore now and then */
		rc = io_uring_queue_init(BLK_SLOTS, &b->ring, 0);
	if (rc < 0)
		return sv_fail(err, -rc, "io_uring cannot be set up: %s%s", strerror(-rc),
			rc == -EPERM ? " (is kernel.io_uring_disabled set?)" : "");
	b->ring_open = true;
	b->cq_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->cq_event < 0)
		return sv_fail(err, errno, "eventfd: %s", strerror(errno));
	rc = io_uring_register_eventfd(&b->ring, b->cq_event);
	if (rc < 0)
		return sv_fail(err, -rc, "io_uring: %s", strerror(-rc));
	b->free_head = 0;
	for (unsigned i = 0; i < BLK_SLOTS; i++)
		b->slot[i].next = i + 1 < BLK_SLOTS ? (uint16_t)(i + 1) : BLK_NONE;
	b->wait_head = b->wait_tail = BLK_NONE;
	if (!b->direct)
		return 0;
	b->bounce = mmap(NULL, BLK_BOUNCES * BLK_BOUNCE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->bounce == MAP_FAILED) {
		b->bounce = NULL;
		return sv_fail(err, ENOMEM, "no memory for bounce buffers");
	}
	b->bounce_free = (1u << BLK_BOUNCES) - 1;
	return 0;
}

/*
 * The kernel goes on with direct transfers when this process ends, and holds the ring until the last of
 * them is over, and with the ring this socket. So the front end sees the end of the connection, and
 * lets a successor repeat requests, only when nothing of ours can still reach the disk or the guest.
 */
int blk_ring_hold(struct blk *b, int sock)
{
	return b->direct ? io_uring_register_files(&b->ring, &sock, 1) : 0;
}

void blk_ring_close(struct blk *b)
{
	if (b->ring_open)
		io_uring_queue_exit(&b->ring);
	if (b->cq_event >= 0)
		close(b->cq_event);
	if (b->bounce)
		munmap(b->bounce, BLK_BOUNCES * BLK_BOUNCE_BYTES);
	b->ring_open = false;
	b->cq_event = -1;
	b->bounce = NULL;
}

/* --- slots ----------------------------------------------------------------------------------- */

struct blk_slot *blk_slot_take(struct blk *b)
{
	struct blk_slot *s;

	if (b->free_head == BLK_NONE)
		return NULL;
	s = &b->slot[b->free_head];
	b->free_head = s->next;
	s->bounce = BLK_NONE;
	b->busy++;
	return s;
}

void blk_slot_give(struct blk *b, struct blk_slot *s)
{
	s->next = b->free_head;
	b->free_head = (uint16_t)(s - b->slot);
	b->busy--;
}

/* The next request that waits for a bounce buffer gets this one. */
static void bounce_give(struct blk *b, unsigned bounce)
{
	struct blk_slot *s;

	b->bounce_free |= 1u << bounce;
	if (b->wait_head == BLK_NONE)
		return;
	s = &b->slot[b->wait_head];
	b->wait_head = s->next;
	if (b->wait_head == BLK_NONE)
		b->wait_tail = BLK_NONE;
	blk_ring_begin(b, s);
}

void blk_complete(struct blk *b, struct blk_slot *s, uint8_t status)
{
	uint16_t bounce = s->bounce;

	sv_store_relaxed(s->status, status);
	if (status == VIRTIO_BLK_S_IOERR)
		blk_count(&b->counts.errors, 1);
	else if (status == VIRTIO_BLK_S_UNSUPP)
		blk_count(&b->counts.unsupported, 1);
	sv_virtq_put(&b->session.vhost.queue[s->queue].vq, s->chain.head,
		status == VIRTIO_BLK_S_OK ? s->written + 1 : 1);
	blk_slot_give(b, s);
	if (bounce != BLK_NONE)
		bounce_give(b, bounce);
}

/* --- submission ------------------------------------------------------------------------------ */

static bool is_transfer(const struct blk_slot *s)
{
	return s->op == IORING_OP_READV || s->op == IORING_OP_WRITEV;
}

static bool unaligned(const struct blk_slot *s)
{
	uintptr_t bits = 0;

	for (unsigned i = 0; i < s->niov; i++)
		bits |= (uintptr_t)s->iov[i].iov_base | s->iov[i].iov_len;
	return bits & (BLK_SECTOR - 1);
}

static uint8_t *bounce_of(const struct blk *b, const struct blk_slot *s)
{
	return b->bounce + (size_t)s->bounce * BLK_BOUNCE_BYTES;
}

/* Does the slot have a bounce buffer now? If not it waits for one, first come first served. */
static bool bounce_take(struct blk *b, struct blk_slot *s)
{
	uint16_t i = (uint16_t)(s - b->slot);

	if (s->bounce != BLK_NONE)
		return true;
	if (b->bounce_free) {
		s->bounce = (uint16_t)__builtin_ctz(b->bounce_free);
		b->bounce_free &= b->bounce_free - 1;
		blk_count(&b->counts.bounced, 1);
		return true;
	}
	s->next = BLK_NONE;
	if (b->wait_tail == BLK_NONE)
		b->wait_head = i;
	else
		b->slot[b->wait_tail].next = i;
	b->wait_tail = i;
	return false;
}

/* A transfer through the bounce buffer: as much as that holds, the rest later. */
static void prepare_bounced(struct blk *b, struct blk_slot *s, struct io_uring_sqe *sqe)
{
	unsigned n = s->left < BLK_BOUNCE_BYTES ? (unsigned)s->left : BLK_BOUNCE_BYTES;
	uint8_t *bounce = bounce_of(b, s), *to = bounce;

	if (s->op == IORING_OP_READV) {
		io_uring_prep_read(sqe, b->fd, bounce, n, s->offset);
		return;
	}
	for (unsigned i = 0, left = n; left; i++) {
		unsigned k = s->iov[i].iov_len < left ? (unsigned)s->iov[i].iov_len : left;

		memcpy(to, s->iov[i].iov_base, k);
		to += k;
		left -= k;
	}
	io_uring_prep_write(sqe, b->fd, bounce, n, s->offset);
}

void blk_ring_begin(struct blk *b, struct blk_slot *s)
{
	bool bounced = b->direct && is_transfer(s) && (s->bounce != BLK_NONE || unaligned(s));
	struct io_uring_sqe *sqe;

	if (bounced && !bounce_take(b, s))
		return;
	sqe = io_uring_get_sqe(&b->ring);
	SV_BUG_ON(!sqe); /* as many entries as slots, and a slot has one operation at a time */
	if (bounced)
		prepare_bounced(b, s, sqe);
	else if (s->op == IORING_OP_READV)
		io_uring_prep_readv(sqe, b->fd, s->iov, s->niov, s->offset);
	else if (s->op == IORING_OP_WRITEV)
		io_uring_prep_writev(sqe, b->fd, s->iov, s->niov, s->offset);
	else if (s->op == IORING_OP_FSYNC)
		io_uring_prep_fsync(sqe, b->fd, IORING_FSYNC_DATASYNC);
	else
		io_uring_prep_fallocate(sqe, b->fd, s->mode, (off_t)s->offset, (off_t)s->left);
	if (s->op == IORING_OP_WRITEV && !b->wce)
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, s);
	b->to_submit++;
}

void blk_ring_submit(struct blk *b)
{
	int n;

	if (!b->to_submit)
		return;
	n = io_uring_submit(&b->ring);
	blk_count(&b->counts.submits, 1);
	/* EAGAIN, EBUSY: the entries stay in the ring and go with the next turn. */
	if (n > 0)
		b->to_submit -= (unsigned)n < b->to_submit ? (unsigned)n : b->to_submit;
}

/* --- completion ------------------------------------------------------------------------------ */

static void transferred(struct blk *b, struct blk_slot *s, uint64_t n)
{
	bool read = s->op == IORING_OP_READV;

	if (n == 0) { /* the image shrank under us */
		blk_complete(b, s, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (s->bounce != BLK_NONE)
		blk_pieces_move(&s->iov, &s->niov, read ? bounce_of(b, s) : NULL, n, BLK_TO_PIECES);
	else if (n < s->left)
		blk_pieces_move(&s->iov, &s->niov, NULL, n, BLK_TO_PIECES);
	if (n >= s->left) {
		blk_complete(b, s, VIRTIO_BLK_S_OK);
		return;
	}
	s->left -= n;
	s->offset += n;
	blk_count(&b->counts.continued, 1);
	blk_ring_begin(b, s);
}

static void failed(struct blk *b, struct blk_slot *s, int error)
{
	if ((error == EAGAIN || error == EINTR) && s->retries++ < RETRIES) {
		blk_ring_begin(b, s);
		return;
	}
	if (s->op == IORING_OP_FALLOCATE && error == EOPNOTSUPP) {
		if (s->type == VIRTIO_BLK_T_WRITE_ZEROES && (s->mode & FALLOC_FL_PUNCH_HOLE)) {
			s->mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE;
			blk_ring_begin(b, s);
			return;
		}
		blk_complete(b, s, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	blk_complete(b, s, VIRTIO_BLK_S_IOERR);
}

static void came_back(struct blk *b, struct blk_slot *s, int res)
{
	if (res < 0) {
		failed(b, s, -res);
	} else if (is_transfer(s)) {
		transferred(b, s, (uint64_t)res);
	} else if (s->op == IORING_OP_FALLOCATE && !b->wce) {
		s->op = IORING_OP_FSYNC;
		blk_ring_begin(b, s);
	} else {
		blk_complete(b, s, VIRTIO_BLK_S_OK);
	}
}

/* The kernel has completions that only a system call of this thread brings into the ring. */
static bool must_enter(const struct blk *b)
{
	return sv_load_relaxed(b->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

unsigned blk_ring_reap(struct blk *b)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	if (sv_unlikely(must_enter(b)))
		io_uring_get_events(&b->ring);
	io_uring_for_each_cqe(&b->ring, head, cqe) {
		came_back(b, io_uring_cqe_get_data(cqe), cqe->res);
		n++;
	}
	if (n)
		io_uring_cq_advance(&b->ring, n);
	return n;
}

bool blk_ring_pending(struct blk *b)
{
	return b->to_submit || io_uring_cq_ready(&b->ring) || must_enter(b);
}
