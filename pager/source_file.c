/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A source that is a file or block device, read through io_uring. The file must not change: its size
 * and time of modification are looked at, through the same ring, while it is read and at the end.
 */
#include "private.h"

#include <channels/memory_source.h>

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAT_TAG UINT64_MAX
#define STAT_EVERY 64u /* reads */
#define CLOSE_MS 1000

struct file {
	struct io_uring ring;
	int event;
	unsigned busy;	/* requests in the ring */
	bool stating;
	bool stat_done; /* one that was asked for after the last read */
	unsigned reads; /* since the last stat */
	struct statx now;
};

static struct io_uring_sqe *take_sqe(struct file *s)
{
	return io_uring_get_sqe(&s->ring);
}

static void begin_stat(struct unit *u, struct file *s)
{
	struct io_uring_sqe *sqe = s->stating ? NULL : take_sqe(s);

	if (!sqe)
		return;
	io_uring_prep_statx(sqe, u->source_fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MTIME | STATX_SIZE,
		&s->now);
	sqe->user_data = STAT_TAG;
	s->stating = true;
	s->reads = 0;
	s->busy++;
	io_uring_submit(&s->ring);
}

static int file_begin(struct unit *u, struct fetch *f, struct sv_error *err)
{
	struct file *s = u->source_data;
	struct io_uring_sqe *sqe = take_sqe(s);
	int rc;

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_read(sqe, u->source_fd, f->buffer, (unsigned)(f->pages * PAGE),
		u->offset + f->page * PAGE);
	sqe->user_data = (uint64_t)(f - u->fetch);
	s->stat_done = false;
	s->busy++;
	rc = io_uring_submit(&s->ring);
	if (rc < 0 && rc != -EAGAIN && rc != -EBUSY && rc != -EINTR)
		return sv_fail(err, -rc, "io_uring: %s", strerror(-rc));
	if (++s->reads >= STAT_EVERY)
		begin_stat(u, s);
	return 0;
}

/* As the VM process saw it before the guest started, which may be several sidecore processes ago. */
static int check_same(const struct unit *u, struct file *s, int res, struct sv_error *err)
{
	const struct statx *x = &s->now;

	s->stating = false;
	if (res < 0)
		return sv_fail(err, -res, "its size cannot be found: %s", strerror(-res));
	s->stat_done = s->reads == 0;
	if (u->generation == sv_source_file_generation(x->stx_ino, x->stx_size, x->stx_mtime.tv_sec,
				     x->stx_mtime.tv_nsec))
		return 1;
	return sv_fail(err, ESTALE, "it changed while the guest was reading it");
}

static int read_done(struct unit *u, struct fetch *f, int res, struct sv_error *err)
{
	uint64_t at = u->offset + f->page * PAGE, want = f->pages * PAGE;

	if (res < 0)
		return sv_fail(err, -res, "reading at offset %#llx: %s", (unsigned long long)at,
			strerror(-res));
	/* Without waiting for a disk only a file that became shorter gives less. */
	if ((uint64_t)res < want)
		return sv_fail(err, ENODATA, "it ends at offset %#llx, in the middle of the memory",
			(unsigned long long)(at + (uint64_t)res));
	fetch_arrived(u, f);
	return 1;
}

static int file_look(struct unit *u, struct sv_error *err)
{
	struct file *s = u->source_data;
	struct io_uring_cqe *cqe;
	int did = 0, rc = 0;
	uint64_t drain;

	/* What the kernel would not take when it was asked for. */
	if (io_uring_sq_ready(&s->ring))
		io_uring_submit(&s->ring);
	while (rc >= 0 && io_uring_peek_cqe(&s->ring, &cqe) == 0 && cqe) {
		uint64_t tag = cqe->user_data;
		int res = cqe->res;

		io_uring_cqe_seen(&s->ring, cqe);
		s->busy--;
		rc = tag == STAT_TAG ? check_same(u, s, res, err)
				     : read_done(u, &u->fetch[tag], res, err);
		did++;
	}
	if (did && read(s->event, &drain, sizeof(drain)) < 0)
		return rc < 0 ? rc : did; /* it was not written: nothing to drain */
	return rc < 0 ? rc : did;
}

static int file_same(struct unit *u, struct sv_error *err)
{
	struct file *s = u->source_data;

	(void)err;
	if (s->stat_done)
		return 1;
	begin_stat(u, s);
	return 0;
}

static int file_close(struct unit *u)
{
	struct file *s = u->source_data;
	struct __kernel_timespec slice = {.tv_nsec = 10000000};
	struct io_uring_cqe *cqe;
	bool busy;

	for (int ms = 0; s->busy && ms < CLOSE_MS; ms += 10) {
		if (io_uring_wait_cqe_timeout(&s->ring, &cqe, &slice) < 0)
			continue;
		io_uring_cqe_seen(&s->ring, cqe);
		s->busy--;
	}
	busy = s->busy != 0;
	io_uring_queue_exit(&s->ring);
	close(s->event);
	if (!busy)
		free(s);
	return busy ? -EBUSY : 0;
}

static const struct source_ops file_ops = {
	.begin = file_begin, .look = file_look, .same = file_same, .close = file_close};

int source_file_open(struct unit *u, int fd, struct sv_error *err)
{
	unsigned flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	struct file *s = calloc(1, sizeof(*s));
	int rc;

	(void)fd;
	if (!s)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->event < 0) {
		rc = sv_fail(err, errno, "eventfd: %s", strerror(errno));
		free(s);
		return rc;
	}
	rc = io_uring_queue_init(2 * FETCHES, &s->ring, flags);
	if (rc == -EINVAL) /* before Linux 5.19 */
		rc = io_uring_queue_init(2 * FETCHES, &s->ring, 0);
	if (rc == 0) {
		rc = io_uring_register_eventfd(&s->ring, s->event);
		if (rc < 0)
			io_uring_queue_exit(&s->ring);
	}
	if (rc < 0) {
		close(s->event);
		free(s);
		return sv_fail(err, -rc, "io_uring cannot be set up: %s%s", strerror(-rc),
			rc == -EPERM ? " (is kernel.io_uring_disabled set?)" : "");
	}
	u->source = &file_ops;
	u->source_data = s;
	u->source_wake = s->event;
	begin_stat(u, s);
	return 0;
}
