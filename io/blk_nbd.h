/* SPDX-License-Identifier: BSD-3-Clause */
/* A store on an NBD server, reached through a dialer (base/dial.h). */
#ifndef IO_BLK_NBD_H
#define IO_BLK_NBD_H

#include <base/dial.h>

#include "blk_notice.h"
#include "blk_store.h"

#define BLK_NBD_DEADLINE_MS 30000u

struct blk_nbd_config {
	struct sv_export export;
	uint32_t flags;	      /* BLK_RAW_* */
	uint32_t deadline_ms; /* an operation without an answer fails after it */
	bool trusted;	      /* the dialer is our own child, not a VM process's */
	struct blk_notice *notice; /* NULL: nothing is said */
};

/*
 * @dialer: the store's own on success. The first connection is made when the store is first polled.
 * Context: control thread. Return: 0, or -errno with a sentence.
 */
int blk_nbd_open(struct blk_store **out, int dialer, const struct blk_nbd_config *c,
	struct sv_error *err);

#endif
