/* SPDX-License-Identifier: BSD-3-Clause */
#include "call.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRIES 8u

int sv_call_open(struct sv_call *c, int fd, bool socket, struct sv_error *err)
{
	struct sv_call opened = {.fd = fd, .socket = socket};
	int rc;

	if (!socket) {
		rc = io_uring_queue_init(2, &opened.ring, 0);
		if (rc < 0)
			return sv_fail(err, -rc, "vhost-user: io_uring cannot be set up: %s",
				strerror(-rc));
		rc = io_uring_register_eventfd(&opened.ring, fd);
		if (rc < 0) {
			io_uring_queue_exit(&opened.ring);
			return sv_fail(err, -rc, "vhost-user: a call descriptor is not an eventfd: %s",
				strerror(-rc));
		}
	}
	*c = opened;
	return 0;
}

void sv_call_signal(struct sv_call *c)
{
	static const uint64_t one = 1;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;

	if (c->socket) {
		/* A full socket holds interrupts that the front end has yet to see. */
		(void)!send(c->fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL);
		return;
	}
	sqe = io_uring_get_sqe(&c->ring);
	if (sqe)
		io_uring_prep_nop(sqe);
	for (unsigned i = 0; i < TRIES && io_uring_submit(&c->ring) <= 0; i++)
		;
	while (io_uring_peek_cqe(&c->ring, &cqe) == 0)
		io_uring_cqe_seen(&c->ring, cqe);
}

void sv_call_close(struct sv_call *c)
{
	if (c->fd < 0)
		return;
	if (!c->socket)
		io_uring_queue_exit(&c->ring);
	close(c->fd);
	c->fd = -1;
}
