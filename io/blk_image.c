/* SPDX-License-Identifier: BSD-3-Clause */
#include "blk_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u

static int find_bytes(int fd, const struct stat *st, uint64_t *bytes, struct sv_error *err)
{
	if (S_ISBLK(st->st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, bytes) < 0)
			return sv_fail(err, errno, "disk device: %s", strerror(errno));
	} else if (S_ISREG(st->st_mode)) {
		*bytes = (uint64_t)st->st_size;
	} else {
		return sv_fail(err, EINVAL, "a disk is a regular file or a block device");
	}
	*bytes &= ~(uint64_t)(BLK_SECTOR - 1);
	return *bytes ? 0 : sv_fail(err, EINVAL, "the disk image is empty");
}

/* A power of two from a sector to 1 MiB, else @other. */
static uint32_t plausible(uint32_t bytes, uint32_t other)
{
	return bytes >= BLK_SECTOR && bytes <= 1u << 20 && !(bytes & (bytes - 1)) ? bytes : other;
}

static void ask_device(int fd, struct blk_geometry *g)
{
	unsigned physical = 0, least = 0, best = 0;

	if (ioctl(fd, BLKPBSZGET, &physical) == 0)
		g->physical = plausible(physical, BLK_SECTOR);
	if (ioctl(fd, BLKIOMIN, &least) == 0 && least % BLK_SECTOR == 0)
		g->min_io = least;
	if (ioctl(fd, BLKIOOPT, &best) == 0 && best % BLK_SECTOR == 0)
		g->opt_io = best;
	g->discard_align = g->physical;
}

int blk_raw_geometry(int fd, struct blk_geometry *g, struct sv_error *err)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return sv_fail(err, errno, "disk image: %s", strerror(errno));
	rc = find_bytes(fd, &st, &g->bytes, err);
	if (rc < 0)
		return rc;
	g->physical = g->min_io = g->discard_align = PAGE;
	if (S_ISBLK(st.st_mode))
		ask_device(fd, g);
	else
		g->discard_align = plausible((uint32_t)st.st_blksize, PAGE);
	return 0;
}

/*
 * The guest's sectors are 512 bytes. Storage that transfers only larger units directly is used
 * through the page cache instead.
 */
bool blk_raw_direct_works(int fd, const char *name)
{
	int flags = fcntl(fd, F_GETFL);
	void *sector;
	ssize_t n;

	if (flags < 0 || !(flags & O_DIRECT) || posix_memalign(&sector, BLK_SECTOR, BLK_SECTOR))
		return false;
	n = pread(fd, sector, BLK_SECTOR, 0);
	free(sector);
	if (n == BLK_SECTOR)
		return true;
	sv_warn("disk %s: this storage has no direct transfers of 512 bytes; the host's page cache is "
		"used", name);
	fcntl(fd, F_SETFL, flags & ~O_DIRECT);
	return false;
}

int blk_raw_resize(int fd, struct blk_geometry *g, uint64_t bytes, struct sv_error *err)
{
	uint64_t have;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return sv_fail(err, errno, "disk image: %s", strerror(errno));
	rc = find_bytes(fd, &st, &have, err);
	if (rc < 0)
		return rc;
	if (!bytes)
		bytes = have;
	if (bytes % BLK_SECTOR || bytes > INT64_MAX)
		return sv_fail(err, EINVAL, "a disk is a whole number of 512-byte sectors, not %llu bytes",
			(unsigned long long)bytes);
	if (bytes < g->bytes)
		return sv_fail(err, EINVAL,
			"the disk has %llu bytes for its guest and cannot shrink to %llu while it is used",
			(unsigned long long)g->bytes, (unsigned long long)bytes);
	if (bytes > have && (!S_ISREG(st.st_mode) || g->readonly))
		return sv_fail(err, ENOSPC, "the disk's storage has %llu bytes; let that grow first",
			(unsigned long long)have);
	if (bytes > have && ftruncate(fd, (off_t)bytes) < 0)
		return sv_fail(err, errno, "the disk image cannot grow to %llu bytes: %s",
			(unsigned long long)bytes, strerror(errno));
	g->bytes = bytes;
	return 0;
}
