/* SPDX-License-Identifier: BSD-3-Clause */
/* A listening Unix socket for front ends that are not ours. */
#ifndef IO_LISTEN_H
#define IO_LISTEN_H

#include <sys/un.h>

#include <base/error.h>

struct sv_listen {
	int fd;
	struct sockaddr_un at;
};

/*
 * Listen at @path, for the owner alone; a stale socket there is replaced, any other file respected.
 * Context: control thread. Return: 0, or -errno with a sentence and nothing left behind.
 */
int sv_listen_open(struct sv_listen *l, const char *path, struct sv_error *err);
/* Return: a connection, or -errno: there is none. */
int sv_listen_accept(struct sv_listen *l);
/* Also removes the socket. */
void sv_listen_close(struct sv_listen *l);

#endif
