/* SPDX-License-Identifier: BSD-3-Clause */
#include "blk_tags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_AT 4096
#define MAP_BYTES (BLK_TAGS_REGIONS / 8)
#define REGION_LEAST (1u << 20)
#define OLD 4u	     /* flushes without a change after which a region is taken off the map */
#define LOOK 1024u /* regions that one flush looks at */

static bool bit(const uint8_t *map, uint64_t i)
{
	return map[i / 8] >> i % 8 & 1;
}

static void set(uint8_t *map, uint64_t i, bool on)
{
	if (on)
		map[i / 8] |= (uint8_t)(1u << i % 8);
	else
		map[i / 8] &= (uint8_t)~(1u << i % 8);
}

/* --- the map --------------------------------------------------------------------------------- */

static void map_written(struct blk_io *io, int result);

static void write_map(struct blk_tags *t)
{
	if (t->writing || t->readonly || !memcmp(t->wanted, t->marked, MAP_BYTES))
		return;
	t->writing = true;
	memcpy(t->map, t->wanted, MAP_BYTES);
	t->iov = (struct iovec){.iov_base = t->map, .iov_len = MAP_BYTES};
	t->io = (struct blk_io){.op = BLK_WRITE,
		.flags = BLK_IO_FUA,
		.offset = MAP_AT,
		.bytes = MAP_BYTES,
		.iov = &t->iov,
		.niov = 1,
		.done = map_written,
		.priv = NULL};
	t->side->ops->begin(t->side, &t->io);
}

static bool is_marked(const struct blk_tags *t, uint64_t offset, uint64_t bytes)
{
	uint64_t last = (offset + bytes - 1) / t->header.region;

	for (uint64_t r = offset / t->header.region; r <= last; r++)
		if (!bit(t->marked, r) || !bit(t->wanted, r) || (t->writing && !bit(t->map, r)))
			return false;
	return true;
}

/* A write comes, or ended: while there is one, its regions stay wanted. */
static void count(struct blk_tags *t, uint64_t offset, uint64_t bytes, bool comes)
{
	uint64_t last = (offset + bytes - 1) / t->header.region;

	for (uint64_t r = offset / t->header.region; r <= last; r++) {
		t->active[r] = (uint16_t)(comes ? t->active[r] + 1 : t->active[r] - 1);
		t->changed[r] = t->flushes;
	}
}

static void map_written(struct blk_io *io, int result)
{
	struct blk_tags *t = (struct blk_tags *)(void *)((char *)io - offsetof(struct blk_tags, io));
	struct blk_tags_wait *w = t->waiting;

	t->writing = false;
	/* Of a write that failed, any part may be in the file: marked is what was and was to stay so. */
	for (unsigned i = 0; i < MAP_BYTES; i++)
		t->marked[i] = (uint8_t)(t->map[i] & (result ? t->marked[i] : 0xff));
	t->waiting = NULL;
	while (w) {
		struct blk_tags_wait *next = w->next;

		if (result || is_marked(t, w->offset, w->bytes)) {
			if (result)
				count(t, w->offset, w->bytes, false);
			w->ready(w, result);
		} else {
			w->next = t->waiting;
			t->waiting = w;
		}
		w = next;
	}
	if (!result)
		write_map(t);
	else
		memcpy(t->wanted, t->marked, MAP_BYTES);
}

bool blk_tags_mark(struct blk_tags *t, struct blk_tags_wait *w)
{
	uint64_t last = (w->offset + w->bytes - 1) / t->header.region;

	count(t, w->offset, w->bytes, true);
	if (is_marked(t, w->offset, w->bytes))
		return true;
	for (uint64_t r = w->offset / t->header.region; r <= last; r++)
		set(t->wanted, r, true);
	w->next = t->waiting;
	t->waiting = w;
	write_map(t);
	return false;
}

static void suspect(struct blk_tags *t, uint64_t region)
{
	t->suspects += !bit(t->suspect, region);
	set(t->suspect, region, true);
}

void blk_tags_written(struct blk_tags *t, uint64_t offset, uint64_t bytes, bool failed)
{
	uint64_t last = (offset + bytes - 1) / t->header.region;

	count(t, offset, bytes, false);
	for (uint64_t r = offset / t->header.region; failed && r <= last; r++)
		suspect(t, r); /* one of data and tags may be there */
}

uint32_t blk_tags_flush_begun(struct blk_tags *t)
{
	return ++t->flushes;
}

void blk_tags_flushed(struct blk_tags *t, uint32_t flush)
{
	for (unsigned i = 0; i < LOOK && i < t->regions; i++) {
		uint64_t r = t->aged;

		t->aged = (r + 1) % t->regions;
		if (bit(t->wanted, r) && !t->active[r] && !bit(t->suspect, r) &&
			flush - t->changed[r] > OLD && flush - t->changed[r] < UINT32_MAX / 2)
			set(t->wanted, r, false);
	}
	write_map(t);
}

/* --- suspects -------------------------------------------------------------------------------- */

bool blk_tags_is_suspect(const struct blk_tags *t, uint64_t offset)
{
	return bit(t->suspect, offset / t->header.region);
}

uint64_t blk_tags_next_suspect(struct blk_tags *t, uint64_t *offset)
{
	uint64_t left;

	if (!t->suspects || t->readonly)
		return 0;
	for (uint64_t i = 0; i < t->regions && !bit(t->suspect, t->scrub); i++)
		t->scrub = (t->scrub + 1) % t->regions;
	*offset = t->scrub * t->header.region;
	left = t->header.bytes - *offset;
	return left < t->header.region ? left : t->header.region;
}

void blk_tags_cleared(struct blk_tags *t, uint64_t offset)
{
	uint64_t r = offset / t->header.region;

	t->suspects -= bit(t->suspect, r);
	set(t->suspect, r, false);
	t->changed[r] = t->flushes;
}

/* --- life ------------------------------------------------------------------------------------ */

static int file_failed(struct sv_error *err, const char *what)
{
	return sv_fail(err, errno, "the side file of its checksums cannot be %s: %s", what,
		strerror(errno));
}

static int make(struct blk_tags *t, const char *filter, uint64_t bytes, struct sv_error *err)
{
	struct blk_tags_header *h = &t->header;

	*h = (struct blk_tags_header){.magic = BLK_TAGS_MAGIC, .bytes = bytes, .region = REGION_LEAST};
	strncpy(h->filter, filter, sizeof(h->filter) - 1);
	while (bytes / h->region >= BLK_TAGS_REGIONS / 2) /* room to grow */
		h->region *= 2;
	if (ftruncate(t->fd, (off_t)blk_tags_at(bytes)) < 0)
		return file_failed(err, "made as large as it has to be");
	if (pwrite(t->fd, &t->header, sizeof(t->header), 0) != sizeof(t->header) || fdatasync(t->fd) < 0)
		return file_failed(err, "written");
	return 0;
}

int blk_tags_fit(const struct blk_tags *t, uint64_t bytes, struct sv_error *err)
{
	if ((bytes - 1) / t->header.region < BLK_TAGS_REGIONS)
		return 0;
	return sv_fail(err, EFBIG, "the side file was made for disks of at most %llu bytes",
		(unsigned long long)(t->header.region * BLK_TAGS_REGIONS));
}

int blk_tags_grow(struct blk_tags *t, uint64_t bytes, struct sv_error *err)
{
	struct blk_tags_header h = t->header;
	int rc = blk_tags_fit(t, bytes, err);

	h.bytes = bytes;
	if (rc < 0)
		return rc;
	if (ftruncate(t->fd, (off_t)blk_tags_at(bytes)) < 0)
		return file_failed(err, "made larger");
	if (pwrite(t->fd, &h, sizeof(h), 0) != sizeof(h) || fdatasync(t->fd) < 0)
		return file_failed(err, "written");
	t->header = h;
	t->regions = (bytes - 1) / h.region + 1;
	return 0;
}

static int check(struct blk_tags *t, const char *filter, uint64_t bytes, struct sv_error *err)
{
	struct blk_tags_header *h = &t->header;
	struct stat st;

	if (pread(t->fd, h, sizeof(*h), 0) != sizeof(*h) || memcmp(h->magic, BLK_TAGS_MAGIC, 8) != 0)
		return sv_fail(err, EINVAL, "the file named with %s is no side file of it; name another, or "
			       "one that does not exist yet", filter);
	if (strncmp(h->filter, filter, sizeof(h->filter)) != 0)
		return sv_fail(err, EINVAL, "the side file is of the filter %.23s, not of %s", h->filter,
			filter);
	if (h->bytes > bytes || (h->bytes != bytes && t->readonly))
		return sv_fail(err, EINVAL, "the side file is of a disk of %llu bytes, this one has %llu%s",
			(unsigned long long)h->bytes, (unsigned long long)bytes,
			h->bytes < bytes ? "; it grows when the disk is opened for writing" : "");
	if (!h->bytes || h->region < REGION_LEAST || h->region & (h->region - 1) ||
		(h->bytes - 1) / h->region >= BLK_TAGS_REGIONS || fstat(t->fd, &st) < 0 ||
		(uint64_t)st.st_size < blk_tags_at(h->bytes))
		return sv_fail(err, EINVAL, "the side file is damaged or cut off");
	return h->bytes < bytes ? blk_tags_grow(t, bytes, err) : 0;
}

static int read_map(struct blk_tags *t, struct sv_error *err)
{
	if (pread(t->fd, t->marked, MAP_BYTES, MAP_AT) != MAP_BYTES)
		return sv_fail(err, EIO, "the side file of its checksums cannot be read");
	memcpy(t->wanted, t->marked, MAP_BYTES);
	for (uint64_t r = 0; r < t->regions; r++)
		if (bit(t->marked, r))
			suspect(t, r);
	return 0;
}

static void free_all(struct blk_tags *t)
{
	free(t->marked);
	free(t->wanted);
	free(t->suspect);
	free(t->changed);
	free(t->active);
	free(t->map);
}

int blk_tags_open(struct blk_tags *t, int fd, const char *filter, uint64_t bytes, bool readonly,
	struct sv_error *err)
{
	struct stat st;
	int rc;

	*t = (struct blk_tags){.fd = fd, .readonly = readonly};
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return sv_fail(err, EINVAL, "the side file of %s is no regular file", filter);
	if (!st.st_size && readonly)
		return sv_fail(err, EINVAL, "the side file of %s is empty, and the disk read-only", filter);
	rc = st.st_size ? check(t, filter, bytes, err) : make(t, filter, bytes, err);
	if (rc < 0)
		return rc;
	t->regions = (bytes - 1) / t->header.region + 1;
	t->marked = calloc(1, MAP_BYTES);
	t->wanted = calloc(1, MAP_BYTES);
	t->suspect = calloc(1, MAP_BYTES);
	t->map = calloc(1, MAP_BYTES);
	t->changed = calloc(BLK_TAGS_REGIONS, sizeof(*t->changed));
	t->active = calloc(BLK_TAGS_REGIONS, sizeof(*t->active));
	if (!t->marked || !t->wanted || !t->suspect || !t->map || !t->changed || !t->active)
		rc = sv_fail(err, ENOMEM, "the node is out of memory");
	if (rc == 0)
		rc = read_map(t, err);
	if (rc == 0)
		rc = blk_raw_open(&t->side, fd, readonly ? BLK_RAW_READONLY : BLK_RAW_DISCARD, filter, err);
	if (rc < 0)
		free_all(t);
	return rc;
}

void blk_tags_close(struct blk_tags *t, bool covered)
{
	/* What is suspect stays so; all else is known to fit once it is durable. */
	if (!t->readonly && covered && fdatasync(t->fd) == 0 &&
		memcmp(t->marked, t->suspect, MAP_BYTES) != 0 &&
		pwrite(t->fd, t->suspect, MAP_BYTES, MAP_AT) == MAP_BYTES)
		fdatasync(t->fd);
	t->side->ops->close(t->side);
	if (t->writing) /* the kernel may still read it */
		t->map = NULL;
	free_all(t);
}
