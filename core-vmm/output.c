/* SPDX-License-Identifier: BSD-3-Clause */
#include "platform.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_BYTES 65536u
#define OUTPUT_FIFO 16u	     /* what a driver may write after one look at the line status */
#define OUTPUT_PIECE 1024u   /* a pipe that says it is writable takes this much at once */
#define OUTPUT_WAIT_MS 10    /* for a reader that is slow: the control thread has other work */
#define OUTPUT_DRAIN_MS 2000 /* at the end, for a reader that does not read at all */
#define OUTPUT_PATIENCE_S 1  /* of a vCPU with a byte that does not fit */

struct sv_output {
	int fd, event;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t room;
	bool stuck; /* a wait was in vain, and nothing was read since */
	unsigned head, len;
	uint64_t lost;
	char bytes[OUTPUT_BYTES];
};

struct sv_output *sv_output_create(int fd, struct sv_error *err)
{
	struct sv_output *o = calloc(1, sizeof(*o));
	pthread_condattr_t monotonic;

	if (!o) {
		sv_fail(err, ENOMEM, "out of memory");
		return NULL;
	}
	o->fd = fd;
	o->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (o->event < 0) {
		sv_fail(err, errno, "eventfd: %s", strerror(errno));
		free(o);
		return NULL;
	}
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&o->room, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return o;
}

void sv_output_wait(struct sv_output *o)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += OUTPUT_PATIENCE_S;
	pthread_mutex_lock(&o->lock);
	while (o->len == OUTPUT_BYTES && !o->stuck)
		if (pthread_cond_timedwait(&o->room, &o->lock, &until) == ETIMEDOUT)
			o->stuck = o->len == OUTPUT_BYTES;
	pthread_mutex_unlock(&o->lock);
}

unsigned sv_output_put(struct sv_output *o, const void *bytes, unsigned n)
{
	uint64_t one = 1;
	bool first;

	pthread_mutex_lock(&o->lock);
	if (o->fd < 0) {
		pthread_mutex_unlock(&o->lock);
		return n;
	}
	if (n > OUTPUT_BYTES - o->len) {
		o->lost += n - (OUTPUT_BYTES - o->len);
		n = OUTPUT_BYTES - o->len;
	}
	first = n && !o->len;
	for (unsigned i = 0; i < n; i++)
		o->bytes[(o->head + o->len + i) % OUTPUT_BYTES] = ((const char *)bytes)[i];
	o->len += n;
	pthread_mutex_unlock(&o->lock);
	if (first && write(o->event, &one, sizeof(one)) < 0)
		return n; /* the counter is full: it is readable already */
	return n;
}

bool sv_output_has_room(struct sv_output *o)
{
	bool room;

	pthread_mutex_lock(&o->lock);
	room = OUTPUT_BYTES - o->len >= OUTPUT_FIFO;
	pthread_mutex_unlock(&o->lock);
	return room;
}

int sv_output_poll_fd(const struct sv_output *o)
{
	return o->event;
}

/* Copy out a piece; it is taken off the buffer only once it was written. */
static unsigned peek(struct sv_output *o, char *piece)
{
	unsigned n;

	pthread_mutex_lock(&o->lock);
	n = o->len < OUTPUT_PIECE ? o->len : OUTPUT_PIECE;
	for (unsigned i = 0; i < n; i++)
		piece[i] = o->bytes[(o->head + i) % OUTPUT_BYTES];
	pthread_mutex_unlock(&o->lock);
	return n;
}

static void drop(struct sv_output *o, unsigned n, bool close_down)
{
	pthread_mutex_lock(&o->lock);
	o->head = (o->head + n) % OUTPUT_BYTES;
	o->len -= n;
	if (close_down) {
		o->fd = -1;
		o->len = 0;
	}
	o->stuck = false;
	pthread_cond_broadcast(&o->room);
	pthread_mutex_unlock(&o->lock);
}

/* Return: bytes written, 0 if there are none or @wait_ms was too short, or -EAGAIN: once more. */
static ssize_t write_some(struct sv_output *o, int wait_ms)
{
	struct pollfd p = {.fd = o->fd, .events = POLLOUT};
	char piece[OUTPUT_PIECE];
	unsigned n = peek(o, piece);
	ssize_t done;

	if (!n || poll(&p, 1, wait_ms) <= 0)
		return 0;
	done = write(o->fd, piece, n);
	if (done > 0) {
		drop(o, (unsigned)done, false);
		return done;
	}
	if (done < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN; /* writable for less than a piece, or somebody else was quicker */
	drop(o, 0, true); /* nobody reads any more */
	return 0;
}

void sv_output_flush(struct sv_output *o)
{
	uint64_t n;
	bool left;

	for (unsigned i = 0; i < OUTPUT_BYTES / OUTPUT_PIECE && write_some(o, OUTPUT_WAIT_MS) > 0; i++)
		;
	pthread_mutex_lock(&o->lock);
	left = o->len;
	/* Under the lock: whoever puts the first byte after this signals again. */
	if (!left && read(o->event, &n, sizeof(n)) < 0)
		n = 0;
	pthread_mutex_unlock(&o->lock);
}

/* All that is left, as long as somebody reads: the wait starts anew with each piece. */
static void drain(struct sv_output *o)
{
	struct timespec pause = {.tv_nsec = 1000000};
	unsigned refused = 0;

	while (refused < OUTPUT_DRAIN_MS) {
		ssize_t done = write_some(o, OUTPUT_DRAIN_MS);

		if (done == 0)
			return;
		refused = done < 0 ? refused + 1 : 0;
		if (refused)
			nanosleep(&pause, NULL);
	}
}

void sv_output_destroy(struct sv_output *o)
{
	drain(o);
	if (o->lost + o->len)
		sv_warn("%llu bytes of the guest's console are lost: nobody read standard output in time",
			(unsigned long long)(o->lost + o->len));
	close(o->event);
	pthread_cond_destroy(&o->room);
	pthread_mutex_destroy(&o->lock);
	free(o);
}
