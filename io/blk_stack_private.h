/* SPDX-License-Identifier: BSD-3-Clause */
/* The stack of filters: what its two files share. */
#ifndef IO_BLK_STACK_PRIVATE_H
#define IO_BLK_STACK_PRIVATE_H

#include "blk_stack.h"
#include "blk_tags.h"

#define STACK_TASKS (BLK_STORE_DEPTH - 1) /* each asks one thing of a store; the map is not a task's */

struct layer {
	struct sv_blk_filter *f;
	bool tagged;
	struct blk_tags tags;
};

enum stage { STAGE_READ, STAGE_WRITE, STAGE_HEAL, STAGE_RANGE_TAGS, STAGE_RANGE, STAGE_FLUSH };

/* What a task asks of the base, or of one side file. */
struct part {
	struct blk_io io; /* first */
	struct task *task;
	struct iovec iov;
};

/* An operation under way, a piece at a time. */
struct task {
	struct stack *stack;
	struct task *next; /* free */
	struct blk_io *upper; /* NULL: our own reading of a suspect region */
	bool busy;
	uint64_t offset, bytes; /* the piece; the region while it is looked at */
	uint64_t from, length; /* what nobody else may touch meanwhile */
	enum stage stage;
	unsigned pending;
	int result;
	uint32_t flush[SV_FILTER_STACK];
	unsigned marking; /* the layer whose regions are being marked */
	struct blk_tags_wait wait;
	struct part base, side[SV_FILTER_STACK];
	uint8_t *data; /* SV_FILTER_PIECE bytes */
	uint64_t *tags[SV_FILTER_STACK];
};

struct stack {
	struct blk_store store; /* first */
	struct blk_store *base;
	struct blk_notice *notice;
	struct layer layer[SV_FILTER_STACK];
	unsigned layers;
	bool tagged; /* some layer keeps tags: operations that overlap go one after the other */
	int epoll_fd;
	struct task *task, *free;
	struct blk_io *wait_head, *wait_tail, *ended_head, *ended_tail;
	bool scrubbing, closing;
	bool ended; /* a task has, since those that wait were looked at */
	uint64_t replaced, said; /* tags of suspect regions that did not fit */
	uint8_t *memory;
	size_t memory_bytes;
};

/* blk_stack_task.c. Context: polling thread. */
void stack_begin(struct stack *s, struct blk_io *io);
/* What waited for others, and suspect regions. */
void stack_continue(struct stack *s);
void stack_end(struct stack *s, struct blk_io *io, int result);

#endif
