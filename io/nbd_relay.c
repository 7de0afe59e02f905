/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd_relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Return: bytes moved, 0: nothing now; -1: that side is at its end. */
static int carry(struct nbd_pipe *p, int from, int to)
{
	ssize_t n;
	int moved = 0;

	if (p->at == p->end && !p->eof) {
		n = recv(from, p->bytes, NBD_RELAY_BYTES, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			p->eof = true;
		p->at = 0;
		p->end = n > 0 ? (uint32_t)n : 0;
	}
	if (p->at == p->end)
		return p->eof ? -1 : 0;
	n = send(to, p->bytes + p->at, p->end - p->at, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0) {
		p->at += (uint32_t)n;
		moved = 1;
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		p->eof = true;
		p->at = p->end = 0;
		return -1;
	}
	return moved;
}

/* Return: something moved. */
bool nbd_relay_carry(struct nbd_link *l)
{
	int out, in;

	if (!l->relayed || l->inner < 0)
		return false;
	out = carry(&l->out, l->inner, l->outer);
	in = carry(&l->in, l->outer, l->inner);
	if (in < 0 || out < 0) /* libnbd sees the end once it has read what came before it */
		shutdown(l->inner, SHUT_RDWR);
	return out > 0 || in > 0;
}

int nbd_relay_open(struct nbd_link *l, int sock)
{
	int pair[2], bytes = NBD_RELAY_BYTES;

	if (!l->relayed)
		return sock;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		close(sock);
		return -errno;
	}
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	l->outer = sock;
	l->inner = pair[1];
	l->out.at = l->out.end = l->in.at = l->in.end = 0;
	l->out.eof = l->in.eof = false;
	return pair[0];
}

void nbd_relay_close(struct nbd_link *l)
{
	if (l->inner >= 0)
		close(l->inner);
	if (l->outer >= 0)
		close(l->outer);
	l->inner = l->outer = -1;
}

int nbd_relay_alloc(struct nbd_link *l)
{
	l->out.bytes = malloc(NBD_RELAY_BYTES);
	l->in.bytes = malloc(NBD_RELAY_BYTES);
	return l->out.bytes && l->in.bytes ? 0 : -ENOMEM;
}

void nbd_relay_free(struct nbd_link *l)
{
	nbd_relay_close(l);
	free(l->out.bytes);
	free(l->in.bytes);
}
