/* SPDX-License-Identifier: BSD-3-Clause */
/* Unix sockets that carry descriptors. */
#ifndef BASE_FDPASS_H
#define BASE_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

#define SV_FDPASS_MAX 64u

/*
 * Send one message with descriptors. Context: control threads; waits at most @timeout_ms for room.
 * The descriptors stay the caller's. Return: bytes sent, -ETIMEDOUT, or -errno.
 */
ssize_t sv_fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfds,
	int timeout_ms);

/*
 * Receive one message (SOCK_SEQPACKET) or some bytes (SOCK_STREAM) and up to *nfds descriptors,
 * close-on-exec, the caller's to close; more than *nfds are closed and -EMSGSIZE returned.
 * Waits at most @timeout_ms (-1: for ever). Return: bytes, 0 at end of file, -ETIMEDOUT, -errno.
 */
ssize_t sv_fd_recv(int sock, void *buf, size_t len, int *fds, unsigned *nfds, int timeout_ms);

#endif
