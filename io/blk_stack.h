/* SPDX-License-Identifier: BSD-3-Clause */
/* Filters (io/filter.h) over a store, as a store. */
#ifndef IO_BLK_STACK_H
#define IO_BLK_STACK_H

#include <io/filter.h>

#include "blk_notice.h"
#include "blk_store.h"

/*
 * Put the filters of @names (`first+second`, next to the guest first) over *store, which then is the
 * stack's. @files: one for each filter; what is taken over is set to -1. On failure *store stays the
 * caller's. Context: control thread. Return: 0, or -errno with a sentence.
 */
int blk_stack_open(struct blk_store **store, const char *names, int *files, unsigned nfiles,
	struct blk_notice *notice, struct sv_error *err);

/* What its filters count, as a JSON array text the caller frees; NULL: @s is no stack, or no memory. */
char *blk_stack_json(const struct blk_store *s);

#endif
