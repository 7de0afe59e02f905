/* SPDX-License-Identifier: BSD-3-Clause */
/* The raw store's life: its rings, what is registered with them, its end. Context: control thread. */
#include "blk_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/disk.h>
#include <channels/atomics.h>

static struct raw *raw_of(struct blk_store *s)
{
	return (struct raw *)s;
}

/*
 * The kernel goes on with direct transfers when this process ends, and holds the ring until the last of
 * them is over, and with the ring this socket. So the front end sees the end of the connection, and
 * lets a successor repeat requests, only when nothing of ours can still reach the disk or the guest.
 */
static int raw_hold(struct blk_store *s, int sock)
{
	struct raw *r = raw_of(s);
	const int files[] = {sock, [BLK_RAW_IMAGE] = r->fd};
	int rc = 0;

	for (unsigned i = 0; r->direct && i < r->rings && rc == 0; i++)
		rc = io_uring_register_files(&r->ring[i], files, sizeof(files) / sizeof(files[0]));
	r->fixed = r->direct && rc == 0;
	return rc;
}

void blk_raw_ask_pin(const struct raw *r)
{
	const uint64_t one = 1;

	if (r->store.pin_fd >= 0 && write(r->store.pin_fd, &one, sizeof(one)) < 0)
		return; /* it is readable */
}

static int raw_memory(struct blk_store *s, const struct sv_gmem *gmem)
{
	static const struct sv_gmem none;
	struct raw *r = raw_of(s);
	int rc = gmem->residency ? -EBUSY : 0;

	for (unsigned i = 0; i < 2 && rc == 0; i++)
		rc = blk_pinned_set(&r->pinned[i], gmem);
	for (unsigned i = 0; rc < 0 && i < 2; i++)
		(void)blk_pinned_set(&r->pinned[i], &none);
	r->pin_refused = rc < 0;
	if (r->direct)
		blk_raw_ask_pin(r);
	return rc;
}

/* What the ring has that transfers no longer use. Return: 1: there is more; 0. */
static int unpin(struct raw *r, unsigned ring)
{
	if (ring >= r->rings)
		return 0;
	blk_pinned_drop(&r->pinned[ring]);
	return blk_pinned_sweep(&r->pinned[ring], &r->ring[ring]);
}

static int raw_pin(struct blk_store *s)
{
	struct raw *r = raw_of(s);
	uint64_t drain;
	unsigned used;
	int rc;

	/* Drained first: a change of the ring from here on makes it readable again. */
	if (read(s->pin_fd, &drain, sizeof(drain)) < 0)
		return 0;
	used = sv_load_relaxed(&r->unpolled) ? 0 : r->rings - 1;
	rc = unpin(r, !used);
	if (rc == 0)
		rc = r->pin_refused ? unpin(r, used) : blk_pinned_more(&r->pinned[used], &r->ring[used]);
	r->pin_refused |= rc < 0;
	if (rc)
		blk_raw_ask_pin(r);
	return rc < 0 ? rc : 0;
}

static void close_ring(struct raw *r, struct io_uring *ring)
{
	/* The end of a ring is not waited for: the lock on the image is to be gone before it. */
	if (r->fixed && !r->busy)
		(void)io_uring_unregister_files(ring);
	io_uring_queue_exit(ring);
}

static void raw_close(struct blk_store *s)
{
	struct raw *r = raw_of(s);

	for (unsigned i = 0; i < r->rings; i++)
		close_ring(r, &r->ring[i]);
	if (s->wake_fd[0] >= 0)
		close(s->wake_fd[0]);
	if (s->pin_fd >= 0)
		close(s->pin_fd);
	if (r->bounce && !r->busy) /* else the kernel may still write there */
		munmap(r->bounce, BLK_RAW_BOUNCES * BLK_RAW_BOUNCE_BYTES);
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}

static int raw_resize(struct blk_store *s, uint64_t bytes, struct sv_error *err)
{
	return blk_raw_resize(raw_of(s)->fd, &s->geometry, bytes, err);
}

static const struct blk_store_ops raw_ops = {.name = "raw",
	.begin = blk_raw_begin,
	.submit = blk_raw_submit,
	.reap = blk_raw_reap,
	.pending = blk_raw_pending,
	.memory = raw_memory,
	.pin = raw_pin,
	.hold = raw_hold,
	.resize = raw_resize,
	.close = raw_close};

/*
 * Not for one thread alone (SINGLE_ISSUER, DEFER_TASKRUN): the control thread stands in for the polling
 * one when the write cache is switched, and at the end.
 */
static int make_ring(struct raw *r, unsigned flags)
{
	struct io_uring *ring = &r->ring[r->rings];
	int rc = io_uring_queue_init(BLK_STORE_DEPTH, ring,
		flags | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);

	if (rc == -EINVAL) /* before Linux 5.19: completions interrupt the sidecore now and then */
		rc = io_uring_queue_init(BLK_STORE_DEPTH, ring, flags);
	r->rings += rc == 0;
	return rc;
}

static int open_ring(struct raw *r, struct sv_error *err)
{
	int rc = make_ring(r, 0);

	if (rc < 0)
		return sv_fail(err, -rc, "io_uring cannot be set up: %s%s", strerror(-rc),
			rc == -EPERM ? " (is kernel.io_uring_disabled set?)" : "");
	r->store.wake_fd[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->store.wake_fd[0] < 0)
		return sv_fail(err, errno, "eventfd: %s", strerror(errno));
	rc = io_uring_register_eventfd(&r->ring[0], r->store.wake_fd[0]);
	return rc < 0 ? sv_fail(err, -rc, "io_uring: %s", strerror(-rc)) : 0;
}

static int open_pin_fd(struct raw *r, struct sv_error *err)
{
	r->store.pin_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return r->store.pin_fd < 0 ? sv_fail(err, errno, "eventfd: %s", strerror(errno)) : 0;
}

static int open_bounces(struct raw *r, struct sv_error *err)
{
	r->bounce = mmap(NULL, BLK_RAW_BOUNCES * BLK_RAW_BOUNCE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->bounce == MAP_FAILED) {
		r->bounce = NULL;
		return sv_fail(err, ENOMEM, "no memory for bounce buffers");
	}
	r->bounce_free = (1u << BLK_RAW_BOUNCES) - 1;
	return 0;
}

/* One read through it, of something that is stored. Return: 0, or -errno. */
static int try_polled(struct raw *r, int fd)
{
	off_t at = lseek(fd, 0, SEEK_DATA);
	struct io_uring *ring = &r->ring[1];
	struct io_uring_cqe *cqe;
	int rc;

	io_uring_prep_read(io_uring_get_sqe(ring), fd, r->bounce, BLK_SECTOR,
		at > 0 ? (uint64_t)at & ~(uint64_t)(BLK_SECTOR - 1) : 0);
	rc = io_uring_submit(ring);
	if (rc >= 0)
		rc = io_uring_wait_cqe(ring, &cqe);
	if (rc < 0)
		return rc;
	rc = cqe->res < 0 ? cqe->res : 0;
	io_uring_cqe_seen(ring, cqe);
	return rc;
}

/* A second ring, for storage whose completions can be polled for; without one they interrupt. */
static void open_polled(struct raw *r, int fd, const char *name)
{
	int rc = make_ring(r, IORING_SETUP_IOPOLL);

	if (rc == 0) {
		rc = try_polled(r, fd);
		if (rc < 0)
			io_uring_queue_exit(&r->ring[--r->rings]);
	}
	if (rc < 0)
		sv_disk_say_unpolled(name, strerror(-rc));
}

int blk_raw_open(struct blk_store **out, int fd, uint32_t flags, const char *name,
	struct sv_error *err)
{
	struct raw *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	r->store.ops = &raw_ops;
	r->store.wake_fd[0] = r->store.wake_fd[1] = r->store.pin_fd = -1;
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
	if (rc == 0 && flags & BLK_RAW_PINNED)
		rc = open_pin_fd(r, err);
	if (rc == 0 && r->direct && flags & BLK_RAW_IOPOLL)
		open_polled(r, fd, name);
	if (rc < 0) {
		raw_close(&r->store);
		return rc;
	}
	r->fd = fd;
	*out = &r->store;
	return 0;
}
