/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-console (virtio 1.2, section 5.3), one port: bytes between the guest and two descriptors.
 * Neither side can make the sidecore wait: what does not fit stays where it is. The descriptors are
 * sockets and told per call not to block, since O_NONBLOCK is shared with whoever gave them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <io/devices.h>

#include "session.h"

#define RX 0u /* to the driver */
#define TX 1u /* from the driver */
#define QUEUES 2u
#define LOOK_EVERY 8192u      /* polls between two looks at the input: each is a system call */
#define RETRY_EVERY 256u      /* polls between two tries to write to a reader that was full */
#define BYTES_PER_TURN 16384u /* in either direction */

struct console {
	struct sv_session session; /* first */
	int in, out;
	bool in_open;

	/* The polling thread's. */
	unsigned polls;
	bool more;                    /* there may be input: look in every poll */
	bool holding;                 /* a chain of the driver's is partly written */
	struct sv_virtq_chain chain;  /* that chain */
	unsigned piece;               /* where in it */
	uint64_t in_bytes, out_bytes; /* read relaxed by others */
};

static struct console *console_of(struct sv_poller *p)
{
	return (struct console *)(void *)sv_session_of(p);
}

/* The first @most bytes of what the chain has room for. */
static struct msghdr room_of(struct sv_virtq_chain *chain, size_t most)
{
	struct msghdr m = {.msg_iov = chain->iov + chain->readable};

	while (m.msg_iovlen < chain->writable && most) {
		struct iovec *iov = &m.msg_iov[m.msg_iovlen++];

		if (iov->iov_len > most)
			iov->iov_len = most;
		most -= iov->iov_len;
	}
	return m;
}

/*
 * Input to the driver, one of its buffers. It leaves the socket for guest memory only: what the
 * driver has no room for is still there for the next sidecore process. Return: did something.
 */
static bool give_input(struct console *c)
{
	struct sv_vhost_queue *q = &c->session.vhost.queue[RX];
	struct sv_virtq_chain chain;
	struct msghdr m;
	ssize_t n;

	if (!sv_vhost_serving(q) || sv_virtq_take(&q->vq, &chain) != SV_VIRTQ_ONE)
		return false;
	if (!chain.writable) {
		sv_virtq_reject(&q->vq);
		return false;
	}
	m = room_of(&chain, BYTES_PER_TURN);
	n = recvmsg(c->in, &m, MSG_DONTWAIT);
	c->more = n > 0;
	if (n <= 0) {
		c->in_open = n < 0;
		sv_virtq_untake(&q->vq, chain.head);
		return false;
	}
	sv_store_relaxed(&c->in_bytes, c->in_bytes + (uint64_t)n);
	sv_virtq_put(&q->vq, chain.head, (uint32_t)n);
	sv_virtq_publish(&q->vq);
	return true;
}

/* Looks, and leaves it where it is. */
static bool input_waits(struct console *c)
{
	char byte;
	ssize_t n = c->in_open ? recv(c->in, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : -1;

	if (n == 0)
		c->in_open = false;
	return n > 0;
}

/* Write what is left of the chain that is held, a bounded part of it. Return: done with it. */
static bool write_chain(struct console *c)
{
	size_t room = BYTES_PER_TURN;

	while (c->piece < c->chain.readable) {
		struct iovec *iov = &c->chain.iov[c->piece];
		size_t want = iov->iov_len < room ? iov->iov_len : room;
		ssize_t n =
			want ? send(c->out, iov->iov_base, want, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n < 0) /* a reader that is gone takes everything */
			n = (ssize_t)want;
		iov->iov_base = (uint8_t *)iov->iov_base + n;
		iov->iov_len -= (size_t)n;
		room -= (size_t)n;
		sv_store_relaxed(&c->out_bytes, c->out_bytes + (uint64_t)n);
		if (iov->iov_len)
			return false;
		c->piece++;
	}
	return true;
}

static bool take_output(struct console *c, unsigned budget)
{
	struct sv_vhost_queue *q = &c->session.vhost.queue[TX];
	bool did = false;

	for (unsigned n = 0; n < budget; n++) {
		if (!c->holding) {
			if (!sv_vhost_serving(q) ||
				sv_virtq_take(&q->vq, &c->chain) != SV_VIRTQ_ONE)
				break;
			c->holding = true;
			c->piece = 0;
		}
		/* A queue that stops does not wait for a slow reader. */
		if (!write_chain(c) && !sv_load_relaxed(&q->stopping))
			break;
		sv_virtq_put(&q->vq, c->chain.head, 0);
		c->holding = false;
		did = true;
	}
	if (did)
		sv_virtq_publish(&q->vq);
	return did;
}

static enum sv_poll console_poll(struct sv_poller *p, unsigned budget)
{
	struct console *c = console_of(p);
	bool did = false;

	if ((c->polls++ % LOOK_EVERY == 0 || c->more) && c->in_open)
		did |= give_input(c);
	/* What is held was refused: do not ask again in every turn. */
	if (!c->holding || c->polls % RETRY_EVERY == 0 ||
		sv_load_relaxed(&c->session.vhost.queue[TX].stopping))
		did |= take_output(c, budget < 8 ? budget : 8);
	if (did)
		sv_vhost_suppress(&c->session.vhost);
	return did ? SV_POLL_BUSY : SV_POLL_IDLE;
}

/*
 * Both descriptors are edge-triggered in the session's epoll set: they are tried once more here,
 * and what changes after that ends the sleep.
 */
static bool console_arm(struct sv_poller *p)
{
	struct console *c = console_of(p);
	struct sv_vhost_queue *rx = &c->session.vhost.queue[RX], *tx = &c->session.vhost.queue[TX];
	bool pending = false;

	/* Either of buffers and input without the other is a normal state. */
	if (sv_vhost_serving(rx) && sv_virtq_arm(&rx->vq))
		pending |= input_waits(c);
	if (c->holding)
		pending |= take_output(c, 1);
	else if (sv_vhost_serving(tx))
		pending |= sv_virtq_arm(&tx->vq);
	return pending;
}

static void console_disarm(struct sv_poller *p)
{
	struct console *c = console_of(p);

	c->polls = 0; /* look at the input and retry the output first */
	sv_vhost_drain_kicks(&c->session.vhost);
	sv_vhost_suppress(&c->session.vhost);
}

static const struct sv_poller_ops console_ops = {
	.service = "console", .poll = console_poll, .arm = console_arm, .disarm = console_disarm};

static uint64_t console_features(void *dev)
{
	(void)dev;
	return 0;
}

static void console_set_features(void *dev, uint64_t features)
{
	(void)dev;
	(void)features;
}

static const struct sv_vhost_device console_type = {.name = "virtio-console",
	.features = console_features,
	.set_features = console_set_features};

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static void watch(struct console *c, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events | EPOLLET};

	if (epoll_ctl(c->session.vhost.epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		sv_warn("console %s: cannot be watched: %s", c->session.name, strerror(errno));
}

static int console_attach(const struct sv_device_request *req, void **handle, struct sv_error *err)
{
	struct console *c;
	int rc;

	if (req->nfds != 3 || req->device->queues != QUEUES)
		return sv_fail(err, EINVAL,
			"console %s: %u descriptors, %u queues (3 and 2 are right)",
			req->device->name, req->nfds, req->device->queues);
	if (!is_socket(req->fds[1]) || !is_socket(req->fds[2]))
		return sv_fail(err, ENOTSOCK,
			"console %s: its input and output must be stream sockets",
			req->device->name);
	c = calloc(1, sizeof(*c));
	if (!c)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	c->in = req->fds[1];
	c->out = req->fds[2];
	c->in_open = true;
	rc = sv_session_open(&c->session, req, &console_type, c, &console_ops, QUEUES, err);
	if (rc < 0) {
		free(c);
		return rc;
	}
	watch(c, c->in, EPOLLIN);
	watch(c, c->out, EPOLLOUT);
	*handle = c;
	return 0;
}

static void console_detach(void *handle)
{
	struct console *c = handle;

	if (sv_session_close(&c->session) < 0)
		return;
	close(c->in);
	close(c->out);
	free(c);
}

static char *console_stats(void *handle)
{
	const struct console *c = handle;
	char *text;

	if (asprintf(&text, "{\"in_bytes\": %llu, \"out_bytes\": %llu}",
		    (unsigned long long)sv_load_relaxed(&c->in_bytes),
		    (unsigned long long)sv_load_relaxed(&c->out_bytes)) < 0)
		return NULL;
	return text;
}

const struct sv_device_class sv_console_class = {.kind = SV_DEVICE_CONSOLE,
	.name = "console",
	.attach = console_attach,
	.detach = console_detach,
	.stats = console_stats};
