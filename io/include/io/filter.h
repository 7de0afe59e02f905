/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Code on the data path of a disk, between the guest's driver and the storage: it accounts, refuses,
 * changes or checks what passes. (For a network interface: io/net_filter.h.)
 *
 * Filters of a disk form a stack. The first is next to the guest, the last next to the storage: a
 * write passes them first to last, a read last to first. What they see is a private copy that no guest
 * can change meanwhile.
 *
 * A class is a table of functions, each of which may be NULL. They run on the sidecore, in the budget
 * of the disk: they must not block, allocate, or loop over anything a guest wrote without a bound.
 * Requests overlap in time; of one filter only one function runs at a time.
 */
#ifndef IO_FILTER_H
#define IO_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>

#define SV_FILTER_SECTOR 512u
#define SV_FILTER_PIECE (64u << 10) /* bytes that pass at a time, at most */
#define SV_FILTER_STACK 4u

enum sv_filter_op {
	SV_FILTER_READ,
	SV_FILTER_WRITE,
	SV_FILTER_FLUSH,
	SV_FILTER_DISCARD,
	SV_FILTER_ZEROES,
};

/* A request, or a piece of one: whole sectors. */
struct sv_filter_request {
	enum sv_filter_op op;
	uint64_t sector; /* the first */
	uint64_t sectors;
	uint8_t *data;	/* of a piece of a read or write; else NULL */
	uint64_t *tags; /* one for each sector of @data, of classes that keep tags; else NULL */
	uint64_t bad;	/* check() sets it: the sector whose tag is wrong */
};

/* Embedded first in the filter's own struct. */
struct sv_blk_filter {
	const struct sv_blk_filter_class *class;
	/* Kept by the stack: written by the polling thread, read by anyone (relaxed). */
	uint64_t requests, refused, errors;
};

struct sv_blk_filter_class {
	const char *name;
	/*
	 * The side file keeps a 64-bit tag for each sector of the disk, 0 where nothing is known: a new
	 * file, and what the guest discarded. The stack reads and writes it beside the data; what was
	 * written shortly before a crash may have a tag that does not fit, and is believed once.
	 */
	bool tags;
	bool opaque; /* zeroes below are no zeroes above: the guest cannot ask for a range of zeroes */
	/*
	 * @file: what the user named with the filter, open: for reading, or with `tags` the side file,
	 * which is the stack's. It is closed afterwards. @bytes: of the disk. Context: control thread.
	 * Return: 0, or -errno with a sentence.
	 */
	int (*create)(struct sv_blk_filter **out, int file, uint64_t bytes, struct sv_error *err);
	/* No request is in it any more. Context: control thread. */
	void (*destroy)(struct sv_blk_filter *f);

	/* Context of these: polling thread. Return, unless void: 0, or -errno and the request fails. */
	/* A request comes, as a whole. */
	int (*admit)(struct sv_blk_filter *f, const struct sv_filter_request *r);
	/* A piece of a write on its way down: change r->data. */
	int (*encode)(struct sv_blk_filter *f, struct sv_filter_request *r);
	/* With `tags`: r->tags for r->data, which passed the filter. Never 0. */
	void (*tag)(struct sv_blk_filter *f, struct sv_filter_request *r);
	/* With `tags`: do they fit? -EBADMSG and r->bad: no. A tag of 0 always does. */
	int (*check)(struct sv_blk_filter *f, struct sv_filter_request *r);
	/* A piece of a read on its way up, checked: change r->data. */
	int (*decode)(struct sv_blk_filter *f, struct sv_filter_request *r);
	/* A request ended, as a whole. @result: 0 or -errno */
	void (*done)(struct sv_blk_filter *f, const struct sv_filter_request *r, int result);
};

/* The class of that name; NULL: there is none. */
const struct sv_blk_filter_class *sv_blk_filter_find(const char *name);
/* Load the libraries that some filters need: before the process is confined. */
void sv_blk_filter_preload(void);

#endif
