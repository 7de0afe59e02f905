/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A raw image or block device behind an io_uring: submission in batches, completion without a system
 * call, bounce buffers for O_DIRECT. All that may block runs in the kernel's workers of the ring.
 */
#include "blk_store.h"

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

#include "blk_raw.h"

#define RETRIES 8u
#define WORKERS 16u
#define BOUNCES 8u
#define BOUNCE_BYTES (128u << 10)
#define CROWDED_NS 100000
#define NO_BOUNCE UINT16_MAX

struct raw {
	struct blk_store store; /* first */
	int fd;
	bool direct;
	bool ring_open, placed;
	bool crowded;	   /* the workers have no CPU but the sidecore's */
	cpu_set_t workers; /* where the kernel's workers for this ring may run */

	/* The polling thread's. */
	struct io_uring ring;
	unsigned busy;	    /* operations begun and not done */
	unsigned punted;    /* of these, what a worker may have to do */
	unsigned to_submit; /* prepared, not yet given to the kernel */
	uint8_t *bounce;    /* BOUNCES buffers, with O_DIRECT only */
	uint32_t bounce_free;
	struct blk_io *wait_head, *wait_tail; /* for a bounce buffer */
};

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
	return r->bounce + (size_t)io->bounce * BOUNCE_BYTES;
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
static void prepare_bounced(struct raw *r, struct blk_io *io, struct io_uring_sqe *sqe)
{
	unsigned n = io->left < BOUNCE_BYTES ? (unsigned)io->left : BOUNCE_BYTES;
	uint8_t *bounce = bounce_of(r, io), *to = bounce;

	if (io->step == IORING_OP_READV) {
		io_uring_prep_read(sqe, r->fd, bounce, n, io->at);
		return;
	}
	for (unsigned i = 0, left = n; left; i++) {
		unsigned k = io->iov[i].iov_len < left ? (unsigned)io->iov[i].iov_len : left;

		memcpy(to, io->iov[i].iov_base, k);
		to += k;
		left -= k;
	}
	io_uring_prep_write(sqe, r->fd, bounce, n, io->at);
}

/* Prepare what the operation has to do next. */
static void step(struct raw *r, struct blk_io *io)
{
	bool bounced = r->direct && is_transfer(io) && (io->bounce != NO_BOUNCE || unaligned(io));
	struct io_uring_sqe *sqe;

	if (bounced && !bounce_take(r, io))
		return;
	sqe = io_uring_get_sqe(&r->ring);
	SV_BUG_ON(!sqe); /* as many entries as operations, and each has one step at a time */
	if (bounced)
		prepare_bounced(r, io, sqe);
	else if (io->step == IORING_OP_READV)
		io_uring_prep_readv(sqe, r->fd, io->iov, io->niov, io->at);
	else if (io->step == IORING_OP_WRITEV)
		io_uring_prep_writev(sqe, r->fd, io->iov, io->niov, io->at);
	else if (io->step == IORING_OP_FSYNC)
		io_uring_prep_fsync(sqe, r->fd, IORING_FSYNC_DATASYNC);
	else
		io_uring_prep_fallocate(sqe, r->fd, io->mode, (off_t)io->at, (off_t)io->left);
	if (io->step == IORING_OP_WRITEV && (io->flags & BLK_IO_FUA))
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, io);
	r->to_submit++;
}

/* A direct read is done without a worker; page cache and file system may have one do the rest. */
static bool may_punt(const struct raw *r, const struct blk_io *io)
{
	return !r->direct || io->op != BLK_READ;
}

static void raw_begin(struct blk_store *s, struct blk_io *io)
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
	unsigned most[2] = {WORKERS, WORKERS};

	r->placed = true;
	r->crowded = CPU_COUNT(&r->workers) == 1 && CPU_ISSET(sched_getcpu(), &r->workers);
	/* A kernel before 5.15 has neither: its workers run where they like. */
	(void)io_uring_register_iowq_aff(&r->ring, sizeof(r->workers), &r->workers);
	(void)io_uring_register_iowq_max_workers(&r->ring, most);
}

static bool raw_submit(struct blk_store *s)
{
	struct raw *r = raw_of(s);
	int n;

	if (!r->to_submit)
		return false;
	if (sv_unlikely(!r->placed))
		place_workers(r);
	n = io_uring_submit(&r->ring);
	blk_count(&s->counts.submits, 1);
	/* EAGAIN, EBUSY: the entries stay in the ring and go with the next turn. */
	if (n > 0)
		r->to_submit -= (unsigned)n < r->to_submit ? (unsigned)n : r->to_submit;
	return r->to_submit;
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
	if ((error == EAGAIN || error == EINTR) && io->retries++ < RETRIES) {
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
	return sv_load_relaxed(r->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Polling would keep the workers from what is polled for. */
static void let_work(struct raw *r)
{
	struct __kernel_timespec most = {.tv_nsec = CROWDED_NS};
	struct io_uring_cqe *cqe;

	(void)io_uring_wait_cqe_timeout(&r->ring, &cqe, &most);
}

static unsigned raw_reap(struct blk_store *s)
{
	struct raw *r = raw_of(s);
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	if (!r->busy)
		return 0;
	if (sv_unlikely(must_enter(r)))
		io_uring_get_events(&r->ring);
	io_uring_for_each_cqe(&r->ring, head, cqe) {
		came_back(r, io_uring_cqe_get_data(cqe), cqe->res);
		n++;
	}
	if (n)
		io_uring_cq_advance(&r->ring, n);
	else if (sv_unlikely(r->crowded) && r->punted)
		let_work(r);
	return n;
}

/* Drained first, looked at afterwards: a completion in between leaves the eventfd readable. */
static bool raw_pending(struct blk_store *s)
{
	struct raw *r = raw_of(s);
	uint64_t drain;

	if (read(s->wake_fd[0], &drain, sizeof(drain)) < 0 && errno != EAGAIN)
		return true;
	return r->to_submit || io_uring_cq_ready(&r->ring) || must_enter(r);
}

/* --- life ------------------------------------------------------------------------------------ */

/*
 * The kernel goes on with direct transfers when this process ends, and holds the ring until the last of
 * them is over, and with the ring this socket. So the front end sees the end of the connection, and
 * lets a successor repeat requests, only when nothing of ours can still reach the disk or the guest.
 */
static int raw_hold(struct blk_store *s, int sock)
{
	struct raw *r = raw_of(s);

	return r->direct ? io_uring_register_files(&r->ring, &sock, 1) : 0;
}

static void raw_close(struct blk_store *s)
{
	struct raw *r = raw_of(s);

	if (r->ring_open)
		io_uring_queue_exit(&r->ring);
	if (s->wake_fd[0] >= 0)
		close(s->wake_fd[0]);
	if (r->bounce && !r->busy) /* else the kernel may still write there */
		munmap(r->bounce, BOUNCES * BOUNCE_BYTES);
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}

static int raw_resize(struct blk_store *s, uint64_t bytes, struct sv_error *err)
{
	return blk_raw_resize(raw_of(s)->fd, &s->geometry, bytes, err);
}

static const struct blk_store_ops raw_ops = {.name = "raw",
	.begin = raw_begin,
	.submit = raw_submit,
	.reap = raw_reap,
	.pending = raw_pending,
	.hold = raw_hold,
	.resize = raw_resize,
	.close = raw_close};

static int open_ring(struct raw *r, struct sv_error *err)
{
	unsigned flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	int rc = io_uring_queue_init(BLK_STORE_DEPTH, &r->ring, flags);

	if (rc == -EINVAL) /* before Linux 5.19: completions interrupt the sidecore now and then */
		rc = io_uring_queue_init(BLK_STORE_DEPTH, &r->ring, 0);
	if (rc < 0)
		return sv_fail(err, -rc, "io_uring cannot be set up: %s%s", strerror(-rc),
			rc == -EPERM ? " (is kernel.io_uring_disabled set?)" : "");
	r->ring_open = true;
	r->store.wake_fd[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->store.wake_fd[0] < 0)
		return sv_fail(err, errno, "eventfd: %s", strerror(errno));
	rc = io_uring_register_eventfd(&r->ring, r->store.wake_fd[0]);
	return rc < 0 ? sv_fail(err, -rc, "io_uring: %s", strerror(-rc)) : 0;
}

static int open_bounces(struct raw *r, struct sv_error *err)
{
	r->bounce = mmap(NULL, BOUNCES * BOUNCE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->bounce == MAP_FAILED) {
		r->bounce = NULL;
		return sv_fail(err, ENOMEM, "no memory for bounce buffers");
	}
	r->bounce_free = (1u << BOUNCES) - 1;
	return 0;
}

int blk_raw_open(struct blk_store **out, int fd, uint32_t flags, const char *name,
	struct sv_error *err)
{
	struct raw *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	r->store.ops = &raw_ops;
	r->store.wake_fd[0] = r->store.wake_fd[1] = -1;
	r->fd = -1;
	r->store.geometry.readonly = flags & BLK_RAW_READONLY;
	r->store.geometry.discard = r->store.geometry.zeroes =
		(flags & BLK_RAW_DISCARD) && !(flags & BLK_RAW_READONLY);
	sched_getaffinity(0, sizeof(r->workers), &r->workers);
	rc = blk_raw_geometry(fd, &r->store.geometry, err);
	if (rc == 0) {
		r->direct = blk_raw_direct_works(fd, name);
		rc = open_ring(r, err);
	}
	if (rc == 0 && r->direct)
		rc = open_bounces(r, err);
	if (rc < 0) {
		raw_close(&r->store);
		return rc;
	}
	r->fd = fd;
	*out = &r->store;
	return 0;
}
