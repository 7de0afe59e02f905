/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupting a driver through a descriptor of the front end's, which may do with it what it likes.
 *
 * A write to an eventfd blocks when its counter is full and O_NONBLOCK, which the front end shares,
 * was taken away again. The kernel's own signal never blocks: a small io_uring has the eventfd
 * registered, and a completion in that ring is the interrupt. One system call, like a write.
 */
#ifndef IO_CALL_H
#define IO_CALL_H

#include <liburing.h>
#include <stdbool.h>

#include <base/error.h>

struct sv_call {
	int fd; /* the call's own from sv_call_open() to sv_call_close(); -1: none */
	bool socket;
	struct io_uring ring; /* unless a socket */
};

/* @fd: an eventfd or a stream socket. Context: control thread. Return: 0, or -errno, *c untouched. */
int sv_call_open(struct sv_call *c, int fd, bool socket, struct sv_error *err);
/* Context: whoever serves the queue; does not block. */
void sv_call_signal(struct sv_call *c);
void sv_call_close(struct sv_call *c);

#endif
