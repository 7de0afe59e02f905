/* SPDX-License-Identifier: BSD-3-Clause */
/* blk_image.c: what the raw store asks of its file outside the ring. Control thread; may block. */
#ifndef IO_BLK_RAW_H
#define IO_BLK_RAW_H

#include "blk_store.h"

/* Fill in all but readonly, discard and zeroes. Return: 0, or -errno with a sentence. */
int blk_raw_geometry(int fd, struct blk_geometry *g, struct sv_error *err);
/* Opened O_DIRECT, and a sector can be read so? If not, O_DIRECT is taken away with a warning. */
bool blk_raw_direct_works(int fd, const char *name);
/* As the store's resize(). */
int blk_raw_resize(int fd, struct blk_geometry *g, uint64_t bytes, struct sv_error *err);

#endif
