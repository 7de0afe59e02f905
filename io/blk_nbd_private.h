/* SPDX-License-Identifier: BSD-3-Clause */
/* The store on an NBD server: what its two files share. Context of all: polling thread. */
#ifndef IO_BLK_NBD_PRIVATE_H
#define IO_BLK_NBD_PRIVATE_H

#include "blk_nbd.h"
#include "nbd_link.h"

#define NBD_BOUNCES 32u
#define NBD_BOUNCE_BYTES (128u << 10)
#define NBD_NO_BOUNCE UINT16_MAX

enum { STEP_DATA, STEP_FLUSH }; /* STEP_FLUSH: the change is made, now it becomes durable */

struct nbd_list {
	struct blk_io *head, *tail;
};

struct nbd_command {
	struct nbd *nbd;
	struct blk_io *io; /* NULL: free */
};

struct nbd {
	struct blk_store store; /* first */
	struct nbd_link link;
	uint64_t deadline_ms, now_ms, last_answer_ms, looked_ms;
	struct nbd_list waiting, ended; /* to be sent; to be told, blk_io.mode is the result */
	struct nbd_command sent[BLK_STORE_DEPTH];
	unsigned nsent;
	uint64_t changes, flushed; /* done without FUA; of these, covered by a flush */
	bool lost_cache; /* such a change was not covered when its connection ended */
	bool said; /* that it is dead */
	bool shut_down; /* the server said that it is about to end */
	uint8_t *bounce;
	uint32_t bounce_free;
};

/* blk_nbd_send.c */
void nbd_list_append(struct nbd_list *l, struct blk_io *io);
struct blk_io *nbd_list_pop(struct nbd_list *l);
/* It is told with the next reap. */
void nbd_end(struct nbd *n, struct blk_io *io, int result);
/* It was not answered: once more, on another connection. */
void nbd_again(struct nbd *n, struct blk_io *io);
/* Send what waits, as far as it goes. */
void nbd_send_all(struct nbd *n);

#endif
