/* SPDX-License-Identifier: BSD-3-Clause */
/* docs.qemu.org, interop/vhost-user: "Header", "Communication". */
#include "vu_mask.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <channels/vhost_user.h>

#define PAYLOAD_MAX 4096u
#define FDS_MAX 16u
#define DEADLINE_MS 5000

struct vu_mask {
	int listener, stop; /* stop: an event */
	struct sockaddr_un back;
	uint64_t without;
	pthread_t thread;
};

struct message {
	struct vu_header head;
	uint8_t payload[PAYLOAD_MAX];
	int fds[FDS_MAX];
	unsigned nfds;
};

/* --- one message ----------------------------------------------------------------------------- */

/* Return: 0, or < 0: the connection is of no use any more. */
static int take_bytes(int sock, void *to, size_t n, struct message *m)
{
	for (size_t have = 0; have < n;) {
		unsigned room = FDS_MAX - m->nfds;
		ssize_t got = sv_fd_recv(
			sock, (char *)to + have, n - have, m->fds + m->nfds, &room, DEADLINE_MS);

		if (got <= 0)
			return got < 0 ? (int)got : -ECONNRESET;
		m->nfds += room;
		have += (size_t)got;
	}
	return 0;
}

static int take(int sock, struct message *m)
{
	int rc = take_bytes(sock, &m->head, sizeof(m->head), m);

	if (rc < 0)
		return rc;
	return m->head.size > PAYLOAD_MAX ? -EMSGSIZE
					  : take_bytes(sock, m->payload, m->head.size, m);
}

static int give(int sock, const struct message *m)
{
	char all[sizeof(m->head) + PAYLOAD_MAX];
	size_t n = sizeof(m->head) + m->head.size;
	ssize_t sent;

	memcpy(all, &m->head, sizeof(m->head));
	memcpy(all + sizeof(m->head), m->payload, m->head.size);
	sent = sv_fd_send(sock, all, n, m->fds, m->nfds, DEADLINE_MS);
	return sent == (ssize_t)n ? 0 : -EIO;
}

static void mask(const struct vu_mask *v, struct message *m)
{
	uint64_t features;

	if (m->head.request != VU_GET_FEATURES || !(m->head.flags & VU_FLAG_REPLY) ||
		m->head.size != sizeof(features))
		return;
	memcpy(&features, m->payload, sizeof(features));
	features &= ~v->without;
	memcpy(m->payload, &features, sizeof(features));
}

static int pass(const struct vu_mask *v, int from, int to)
{
	struct message m = {.nfds = 0};
	int rc = take(from, &m);

	mask(v, &m);
	rc = rc < 0 ? rc : give(to, &m);
	while (m.nfds)
		close(m.fds[--m.nfds]);
	return rc;
}

/* --- the connection -------------------------------------------------------------------------- */

static void pass_all(const struct vu_mask *v, int front, int back)
{
	for (;;) {
		struct pollfd p[] = {{.fd = front, .events = POLLIN},
			{.fd = back, .events = POLLIN}, {.fd = v->stop, .events = POLLIN}};

		if ((poll(p, 3, -1) < 0 && errno != EINTR) || p[2].revents)
			return;
		if ((p[0].revents && pass(v, front, back) < 0) ||
			(p[1].revents && pass(v, back, front) < 0))
			return;
	}
}

static void *run(void *arg)
{
	struct vu_mask *v = arg;
	struct pollfd p[] = {
		{.fd = v->listener, .events = POLLIN}, {.fd = v->stop, .events = POLLIN}};
	int front, back;

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[1].revents)
		return NULL;
	front = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC);
	back = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (front >= 0 && back >= 0 &&
		connect(back, (struct sockaddr *)&v->back, sizeof(v->back)) == 0)
		pass_all(v, front, back);
	if (front >= 0)
		close(front);
	if (back >= 0)
		close(back);
	return NULL;
}

static void let_go(struct vu_mask *v)
{
	if (v->listener >= 0)
		close(v->listener);
	if (v->stop >= 0)
		close(v->stop);
	free(v);
}

int vu_mask_start(struct vu_mask **out, const char *front, const char *back, uint64_t without,
	struct sv_error *err)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct vu_mask *v = calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return sv_fail(err, ENOMEM, "%s: out of memory", front);
	*v = (struct vu_mask){.back = {.sun_family = AF_UNIX},
		.without = without,
		.stop = eventfd(0, EFD_CLOEXEC),
		.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	if (snprintf(at.sun_path, sizeof(at.sun_path), "%s", front) >= (int)sizeof(at.sun_path) ||
		snprintf(v->back.sun_path, sizeof(v->back.sun_path), "%s", back) >=
			(int)sizeof(v->back.sun_path))
		rc = -ENAMETOOLONG;
	else if (v->stop < 0 || v->listener < 0 ||
		 bind(v->listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
		 listen(v->listener, 1) < 0)
		rc = -errno;
	else
		rc = -pthread_create(&v->thread, NULL, run, v);
	if (rc < 0) {
		let_go(v);
		return sv_fail(err, -rc, "%s: %s", front, strerror(-rc));
	}
	*out = v;
	return 0;
}

void vu_mask_stop(struct vu_mask *v)
{
	if (!v)
		return;
	eventfd_write(v->stop, 1);
	pthread_join(v->thread, NULL);
	let_go(v);
}
