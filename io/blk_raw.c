/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A raw image or block device behind an io_uring: submission in batches, completion without a system
 * call, bounce buffers for O_DIRECT. All that may block runs in the kernel's workers of the ring.
 */
#include "blk_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <channels/atomics.h>

#define RETRIES 8u
#define WORKERS 16u
#define CROWDED_NS 100000
#define NO_BOUNCE UINT16_MAX

static struct raw *raw_of(struct blk_store *s)
{
	return (struct raw *)s;
}

/* --- bounce buffers -------------------------------------------------------------------------- */

static bool is_transfer(const struct blk_io *io)
{
	return io->step == IORING_OP_READV || io->step == IORING_OP_WRITEV;
}

static bool unaligned(const struct blk_io *io)
{
	uintptr_t bits = 0;

	for (unsigned i = 0; i < io->niov; i++)
		bits |= (uintptr_t)io->iov[i].iov_base | io->iov[i].iov_len;
	return bits & (BLK_SECTOR - 1);
}

static uint8_t *bounce_of(const struct raw *r, const struct blk_io *io)
{
	return r->bounce + (size_t)io->bounce * BLK_RAW_BOUNCE_BYTES;
}

/* Does the operation have a bounce buffer now? If not it waits for one, first come first served. */
static bool bounce_take(struct raw *r, struct blk_io *io)
{
	if (io->bounce != NO_BOUNCE)
		return true;
	if (r->bounce_free) {
		io->bounce = (uint16_t)__builtin_ctz(r->bounce_free);
		r->bounce_free &= r->bounce_free - 1;
		blk_count(&r->store.counts.bounced, 1);
		return true;
	}
	io->next = NULL;
	if (r->wait_tail)
		r->wait_tail->next = io;
	else
		r->wait_head = io;
	r->wait_tail = io;
	return false;
}

static void step(struct raw *r, struct blk_io *io);

/* The next operation that waits for a bounce buffer gets this one. */
static void bounce_give(struct raw *r, unsigned bounce)
{
	struct blk_io *io = r->wait_head;

	r->bounce_free |= 1u << bounce;
	if (!io)
		return;
	r->wait_head = io->next;
	if (!io->next)
		r->wait_tail = NULL;
	step(r, io);
}

/* --- submission ------------------------------------------------------------------------------ */

/* A transfer through the bounce buffer: as much as that holds, the rest later. */
static void prepare_bounced(struct raw *r, struct blk_io *io, struct io_uring_sqe *sqe, int fd)
{
	unsigned n = io->left < BLK_RAW_BOUNCE_BYTES ? (unsigned)io->left : BLK_RAW_BOUNCE_BYTES;
	uint8_t *bounce = bounce_of(r, io), *to = bounce;

	if (io->step == IORING_OP_READV) {
		io_uring_prep_read(sqe, fd, bounce, n, io->at);
		return;
	}
	for (unsigned i = 0, left = n; left; i++) {
		unsigned k = io->iov[i].iov_len < left ? (unsigned)io->iov[i].iov_len : left;

		memcpy(to, io->iov[i].iov_base, k);
		to += k;
		left -= k;
	}
	io_uring_prep_write(sqe, fd, bounce, n, io->at);
}

/* From or to the guest's memory itself. */
static void prepare_direct(struct raw *r, struct blk_io *io, struct io_uring_sqe *sqe, int fd,
	const struct blk_pinned *p)
{
	bool read = io->step == IORING_OP_READV;
	int pinned = io->niov == 1 ? blk_pinned_find(p, io->iov) : -1;

	if (pinned >= 0) {
		void *at = io->iov->iov_base;
		unsigned n = (unsigned)io->iov->iov_len;

		if (read)
			io_uring_prep_read_fixed(sqe, fd, at, n, io->at, pinned);
		else
			io_uring_prep_write_fixed(sqe, fd, at, n, io->at, pinned);
		blk_count(&r->store.counts.pinned, 1);
	} else if (read) {
		io_uring_prep_readv(sqe, fd, io->iov, io->niov, io->at);
	} else {
		io_uring_prep_writev(sqe, fd, io->iov, io->niov, io->at);
	}
}

static void prepare(struct raw *r, struct blk_io *io, unsigned which, bool bounced)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring[which]);
	int fd = r->fixed ? BLK_RAW_IMAGE : r->fd;

	SV_BUG_ON(!sqe); /* as many entries as operations, and each has one step at a time */
	if (bounced)
		prepare_bounced(r, io, sqe, fd);
	else if (is_transfer(io))
		prepare_direct(r, io, sqe, fd, &r->pinned[which]);
	else if (io->step == IORING_OP_FSYNC)
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	else
		io_uring_prep_fallocate(sqe, fd, io->mode, (off_t)io->at, (off_t)io->left);
	if (r->fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	if (io->step == IORING_OP_WRITEV && (io->flags & BLK_IO_FUA))
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, io);
}

/* Prepare what the operation has to do next. */
static void step(struct raw *r, struct blk_io *io)
{
	bool bounced = r->direct && is_transfer(io) && (io->bounce != NO_BOUNCE || unaligned(io));
	unsigned which = r->rings == 2 && is_transfer(io) && !r->unpolled;

	if (bounced && !bounce_take(r, io))
		return;
	prepare(r, io, which, bounced);
	r->to_submit[which]++;
	r->polled += which;
}

/* A direct read is done without a worker; page cache and file system may have one do the rest. */
static bool may_punt(const struct raw *r, const struct blk_io *io)
{
	return !r->direct || io->op != BLK_READ;
}

void blk_raw_begin(struct blk_store *s, struct blk_io *io)
{
	static const uint8_t op[] = {[BLK_READ] = IORING_OP_READV,
		[BLK_WRITE] = IORING_OP_WRITEV,
		[BLK_FLUSH] = IORING_OP_FSYNC,
		[BLK_DISCARD] = IORING_OP_FALLOCATE,
		[BLK_ZEROES] = IORING_OP_FALLOCATE};
	struct raw *r = raw_of(s);

	io->step = op[io->op];
	io->at = io->offset;
	io->left = io->bytes;
	io->retries = 0;
	io->bounce = NO_BOUNCE;
	io->mode = FALLOC_FL_KEEP_SIZE | (io->op == BLK_ZEROES && !(io->flags & BLK_IO_UNMAP)
						     ? FALLOC_FL_ZERO_RANGE
						     : FALLOC_FL_PUNCH_HOLE);
	r->busy++;
	r->punted += may_punt(r, io);
	step(r, io);
}

/* The kernel's workers belong to the thread that submits: keep them off the guest cores. */
static void place_workers(struct raw *r)
{
	r->placed = true;
	r->crowded = CPU_COUNT(&r->workers) == 1 && CPU_ISSET(sched_getcpu(), &r->workers);
	for (unsigned i = 0; i < r->rings; i++) {
		unsigned most[2] = {WORKERS, WORKERS};

		/* A kernel before 5.15 has neither: its workers run where they like. */
		(void)io_uring_register_iowq_aff(&r->ring[i], sizeof(r->workers), &r->workers);
		(void)io_uring_register_iowq_max_workers(&r->ring[i], most);
	}
}

static void submit(struct raw *r, unsigned i)
{
	int n = io_uring_submit(&r->ring[i]);

	blk_count(&r->store.counts.submits, 1);
	/* EAGAIN, EBUSY: the entries stay in the ring and go with the next turn. */
	if (n > 0)
		r->to_submit[i] -= (unsigned)n < r->to_submit[i] ? (unsigned)n : r->to_submit[i];
}

bool blk_raw_submit(struct blk_store *s)
{
	struct raw *r = raw_of(s);

	if (!r->to_submit[0] && !r->to_submit[1])
		return false;
	if (sv_unlikely(!r->placed))
		place_workers(r);
	for (unsigned i = 0; i < r->rings; i++)
		if (r->to_submit[i])
			submit(r, i);
	return r->to_submit[0] || r->to_submit[1];
}

/* --- completion ------------------------------------------------------------------------------ */

static void end(struct raw *r, struct blk_io *io, int result)
{
	uint16_t bounce = io->bounce;

	r->busy--;
	r->punted -= may_punt(r, io);
	io->done(io, result);
	if (bounce != NO_BOUNCE)
		bounce_give(r, bounce);
}

static void transferred(struct raw *r, struct blk_io *io, uint64_t n)
{
	bool read = io->step == IORING_OP_READV;

	if (n == 0) { /* the image shrank under us */
		end(r, io, -ENXIO);
		return;
	}
	if (n > io->left)
		n = io->left;
	if (io->bounce != NO_BOUNCE)
		blk_pieces_move(&io->iov, &io->niov, read ? bounce_of(r, io) : NULL, n, BLK_TO_PIECES);
	else if (n < io->left)
		blk_pieces_move(&io->iov, &io->niov, NULL, n, BLK_TO_PIECES);
	io->left -= n;
	io->at += n;
	if (!io->left) {
		end(r, io, 0);
		return;
	}
	blk_count(&r->store.counts.continued, 1);
	step(r, io);
}

static void failed(struct raw *r, struct blk_io *io, int error)
{
	if ((error == EAGAIN || error == EINTR || error == EFAULT) && io->retries++ < RETRIES) {
		step(r, io);
		return;
	}
	/* What cannot give storage back may still write zeroes. */
	if (io->op == BLK_ZEROES && error == EOPNOTSUPP && (io->mode & FALLOC_FL_PUNCH_HOLE)) {
		io->mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE;
		step(r, io);
		return;
	}
	end(r, io, -error);
}

static void came_back(struct raw *r, struct blk_io *io, int res)
{
	if (res < 0) {
		failed(r, io, -res);
	} else if (is_transfer(io)) {
		transferred(r, io, (uint64_t)res);
	} else if (io->step == IORING_OP_FALLOCATE && (io->flags & BLK_IO_FUA)) {
		io->step = IORING_OP_FSYNC;
		step(r, io);
	} else {
		end(r, io, 0);
	}
}

/* The kernel has completions that only a system call of this thread brings into the ring. */
static bool must_enter(const struct raw *r)
{
	return sv_load_relaxed(r->ring[0].sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Polling would keep the workers from what is polled for. */
static void let_work(struct raw *r)
{
	struct __kernel_timespec most = {.tv_nsec = CROWDED_NS};
	struct io_uring_cqe *cqe;

	(void)io_uring_wait_cqe_timeout(&r->ring[0], &cqe, &most);
}

static unsigned reap_interrupting(struct raw *r)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	if (sv_unlikely(must_enter(r)))
		io_uring_get_events(&r->ring[0]);
	io_uring_for_each_cqe(&r->ring[0], head, cqe) {
		came_back(r, io_uring_cqe_get_data(cqe), cqe->res);
		n++;
	}
	if (n)
		io_uring_cq_advance(&r->ring[0], n);
	return n;
}

/* What the first read said of the storage may not hold for all of it. */
static unsigned reap_polled(struct raw *r)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_get_events(&r->ring[1]);
	io_uring_for_each_cqe(&r->ring[1], head, cqe) {
		struct blk_io *io = io_uring_cqe_get_data(cqe);

		r->polled--;
		n++;
		if (cqe->res == -EOPNOTSUPP) {
			if (!r->unpolled) {
				sv_store_relaxed(&r->unpolled, true);
				blk_raw_ask_pin(r);
			}
			step(r, io);
		} else {
			blk_count(&r->store.counts.polled, 1);
			came_back(r, io, cqe->res);
		}
	}
	if (n)
		io_uring_cq_advance(&r->ring[1], n);
	return n;
}

unsigned blk_raw_reap(struct blk_store *s)
{
	struct raw *r = raw_of(s);
	unsigned n;

	if (!r->busy)
		return 0;
	n = reap_interrupting(r);
	if (r->polled)
		n += reap_polled(r);
	if (sv_unlikely(r->crowded) && r->punted && !n)
		let_work(r);
	return n;
}

/*
 * Drained first, looked at afterwards: a completion in between leaves the eventfd readable. Who polls
 * for completions does not sleep.
 */
bool blk_raw_pending(struct blk_store *s)
{
	struct raw *r = raw_of(s);
	uint64_t drain;

	if (read(s->wake_fd[0], &drain, sizeof(drain)) < 0 && errno != EAGAIN)
		return true;
	return r->to_submit[0] || r->polled || io_uring_cq_ready(&r->ring[0]) || must_enter(r);
}
