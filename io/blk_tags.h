/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A tag for each sector of a disk, in a file beside it.
 *
 *   bytes 0     header (struct blk_tags_header)
 *   bytes 4096  a bit for each region of the disk: written to lately (BLK_TAGS_REGIONS bits)
 *   bytes 16384 the tags, 8 bytes for each sector
 *
 * Data and tags are two writes, and a crash may leave one of them. So before the first write to a
 * region its bit is made durable; it is cleared when later flushes covered all of it, or at the end. Regions
 * whose bit is found set at the start are *suspect*: there a tag that does not fit is replaced.
 */
#ifndef IO_BLK_TAGS_H
#define IO_BLK_TAGS_H

#include "blk_store.h"

#define BLK_TAGS_REGIONS 65536u
#define BLK_TAGS_MAGIC "SVTAGS1"

struct blk_tags_header {
	char magic[8];
	char filter[24];
	uint64_t bytes;	 /* of the disk */
	uint64_t region; /* bytes of one: a power of two */
};

/* Who waits until a region may be written to. */
struct blk_tags_wait {
	struct blk_tags_wait *next;
	uint64_t offset, bytes;
	void (*ready)(struct blk_tags_wait *w, int result);
};

struct blk_tags {
	struct blk_store *side; /* whoever owns the tags submits and reaps it */
	int fd;
	bool readonly;
	struct blk_tags_header header;
	uint64_t regions;

	/* The polling thread's. */
	uint8_t *marked;  /* bits: in the file for certain */
	uint8_t *wanted;  /* bits: as they are to be */
	uint8_t *suspect; /* bits */
	uint32_t *changed; /* the flush before which a region was last changed */
	uint16_t *active;  /* writes under way, or waiting for the map */
	uint32_t flushes;
	uint64_t suspects, scrub; /* suspect regions; where to look for the next */
	uint64_t aged; /* where the next flush looks for regions to clear */
	bool writing;  /* the map is on its way */
	uint8_t *map;  /* what is on its way */
	struct blk_io io;
	struct iovec iov;
	struct blk_tags_wait *waiting;
};

/*
 * @fd: the side file, locked; the tags' own on success. A file of no bytes is made one, that of a
 * disk that has grown grows. Context: control thread. Return: 0, or -errno with a sentence.
 */
int blk_tags_open(struct blk_tags *t, int fd, const char *filter, uint64_t bytes, bool readonly,
	struct sv_error *err);
/* Can a disk have @bytes? Return: 0, or -EFBIG with a sentence. */
int blk_tags_fit(const struct blk_tags *t, uint64_t bytes, struct sv_error *err);
/* The disk has @bytes now, not less than before. Return: 0, or -errno with a sentence. */
int blk_tags_grow(struct blk_tags *t, uint64_t bytes, struct sv_error *err);
/* @covered: the disk's data is durable. */
void blk_tags_close(struct blk_tags *t, bool covered);

/* Where in the file the tags of a range are. */
static inline uint64_t blk_tags_at(uint64_t offset)
{
	return 16384 + offset / BLK_SECTOR * 8;
}

/* Context of these: polling thread. */
/* May the range be written to? If not, w->ready is called some time, from the side's reap(). */
bool blk_tags_mark(struct blk_tags *t, struct blk_tags_wait *w);
void blk_tags_written(struct blk_tags *t, uint64_t offset, uint64_t bytes, bool failed);
bool blk_tags_is_suspect(const struct blk_tags *t, uint64_t offset);
/* A flush of data and tags begins; ends. */
uint32_t blk_tags_flush_begun(struct blk_tags *t);
void blk_tags_flushed(struct blk_tags *t, uint32_t flush);
/* The next piece to be looked at for tags that do not fit. Return: bytes, 0: there is none. */
uint64_t blk_tags_next_suspect(struct blk_tags *t, uint64_t *offset);
/* All of this region was looked at. */
void blk_tags_cleared(struct blk_tags *t, uint64_t offset);

#endif
