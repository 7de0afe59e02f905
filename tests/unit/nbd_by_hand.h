/* SPDX-License-Identifier: BSD-3-Clause */
/* An NBD server that tests start, stop, kill and start again; a store on it, stepped by hand. */
#ifndef TESTS_NBD_BY_HAND_H
#define TESTS_NBD_BY_HAND_H

#include <sys/types.h>

#include "blk_nbd.h"

#define NH_BYTES (4u << 20)
#define NH_DEADLINE_MS 4000u

struct nh {
	char dir[40], image[64], socket[64], address[128];
	pid_t server, dialer;
	struct blk_store *store;
	struct sv_dial_ready ready;
};

/* A directory with an image of zeroes. Skips the test when nbdkit is missing. */
void nh_up(struct nh *h);
void nh_down(struct nh *h);
/* nbdkit with @arguments behind its socket; a %s in them is the image. Waits until it listens. */
void nh_serve(struct nh *h, const char *arguments);
void nh_kill(struct nh *h, int sig);
/* A dialer of @spec in a process of its own. Return: the socket to it; h->ready is what it said. */
int nh_dial(struct nh *h, const struct sv_dial_spec *spec);
/* A store on h->address. */
void nh_open(struct nh *h, bool trusted, unsigned deadline_ms, uint32_t flags);
void nh_close(struct nh *h);

struct nh_io {
	struct blk_io io; /* first */
	struct iovec iov[64], as_given[64];
	bool done;
	int result;
};

/* Begin it; @data in @pieces of odd sizes. */
void nh_begin(struct nh *h, struct nh_io *x, enum blk_op op, uint64_t at, void *data, uint32_t bytes,
	unsigned pieces, uint32_t flags);
void nh_step(struct nh *h);
/* Step until it is done; fails the test after 20 s. Return: its result. */
int nh_wait(struct nh *h, struct nh_io *x);
/* All of it at once. */
int nh_do(struct nh *h, enum blk_op op, uint64_t at, void *data, uint32_t bytes);

#endif
