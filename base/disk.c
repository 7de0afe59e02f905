/* SPDX-License-Identifier: BSD-3-Clause */
#include <base/disk.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "disk_filters.h"

static int open_failed(const char *path, bool readonly, bool direct, struct sv_error *err)
{
	switch (errno) {
	case ENOENT:
		return sv_fail(err, ENOENT, "disk %s: no such file; check the path", path);
	case EISDIR:
		return sv_fail(err, EISDIR, "disk %s: a directory; name an image or a block device",
			path);
	case EACCES:
	case EPERM:
	case EROFS:
		return sv_fail(err, errno,
			"disk %s: cannot be opened for %s: %s; change its permissions%s", path,
			readonly ? "reading" : "writing", strerror(errno),
			readonly ? "" : ", or add `readonly` to the disk");
	default:
		break;
	}
	if (errno == EINVAL && direct)
		return sv_fail(err, EINVAL,
			"disk %s: its file system has no direct access; leave out `direct`", path);
	return sv_fail(err, errno, "disk %s: %s", path, strerror(errno));
}

static int find_size(const char *path, int fd, uint64_t *bytes, struct sv_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return sv_fail(err, errno, "disk %s: %s", path, strerror(errno));
	if (S_ISREG(st.st_mode)) {
		*bytes = (uint64_t)st.st_size;
	} else if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, bytes) < 0)
			return sv_fail(err, errno, "disk %s: its size cannot be found: %s", path,
				strerror(errno));
	} else {
		return sv_fail(err, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
			"disk %s: %s; name an image or a block device", path,
			S_ISDIR(st.st_mode) ? "a directory" : "neither a file nor a block device");
	}
	if (*bytes == 0)
		return sv_fail(err, EINVAL, "disk %s: empty; give it a size with `truncate -s`", path);
	if (*bytes % SV_DISK_SECTOR)
		return sv_fail(err, EINVAL,
			"disk %s: %llu bytes are no whole number of 512-byte sectors; it is not a raw "
			"image, or it is truncated", path, (unsigned long long)*bytes);
	return 0;
}

static int lock(const char *path, int fd, bool readonly, struct sv_error *err)
{
	struct flock all = {.l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &all) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return sv_fail(err, EBUSY,
			"disk %s: in use by another VM; stop that one, or let both have it read-only",
			path);
	return sv_fail(err, errno, "disk %s: cannot be locked: %s", path, strerror(errno));
}

int sv_disk_open(const char *path, bool readonly, bool direct, int *fd, uint64_t *bytes,
	struct sv_error *err)
{
	/* Without O_NONBLOCK a FIFO would make this wait for a peer. */
	int flags = (readonly ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | O_CLOEXEC | O_NONBLOCK;
	int f = open(path, flags), rc;
	uint64_t size = 0;

	if (f < 0)
		return open_failed(path, readonly, direct, err);
	rc = find_size(path, f, &size, err);
	if (rc == 0)
		rc = lock(path, f, readonly, err);
	if (rc < 0) {
		close(f);
		return rc;
	}
	*fd = f;
	*bytes = size;
	return 0;
}

static int attach_remote(const struct sv_disk_spec *spec, struct sv_disk *disk, struct sv_error *err)
{
	struct sv_dial_spec dial = {.image = spec->path,
		.format = spec->format,
		.readonly = spec->readonly,
		.direct = spec->direct};

	disk->remote = true;
	return sv_dial_spawn(&dial, &disk->fd, &disk->export, err);
}

/*
 * A guest that may write its raw disk could make it look like another format and have the next start
 * open files of the host by it: what an image is decides the user, not its content.
 */
static int check_raw(const struct sv_disk_spec *spec, struct sv_error *err)
{
	static const char magic[4] = {'Q', 'F', 'I', (char)0xfb};
	int fd = spec->format ? -1 : open(spec->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char head[sizeof(magic)] = "";

	if (fd < 0)
		return 0; /* whoever opens it says why */
	if (pread(fd, head, sizeof(head), 0) < 0)
		head[0] = 0;
	close(fd);
	if (memcmp(head, magic, sizeof(magic)) != 0)
		return 0;
	return sv_fail(err, EINVAL,
		"disk %s: looks like a qcow2 image; say format=qcow2, or format=raw if the guest is to "
		"have these bytes as they are", spec->path);
}

bool sv_disk_is_remote(const char *path, const char *format)
{
	return sv_dial_is_address(path) || (format && strcmp(format, "raw") != 0);
}

static int attach_image(const struct sv_disk_spec *spec, struct sv_disk *disk, struct sv_error *err)
{
	bool raw = !spec->format || !strcmp(spec->format, "raw");
	uint64_t bytes;
	int rc;

	if (sv_dial_is_address(spec->path))
		return spec->format && !raw
			       ? sv_fail(err, EINVAL,
					 "disk %s: the format of an export is its server's matter; leave out "
					 "format=", spec->path)
			       : attach_remote(&(struct sv_disk_spec){.path = spec->path,
						       .readonly = spec->readonly}, disk, err);
	if (!raw)
		return attach_remote(spec, disk, err);
	rc = check_raw(spec, err);
	return rc < 0 ? rc : sv_disk_open(spec->path, spec->readonly, spec->direct, &disk->fd, &bytes,
				     err);
}

int sv_disk_attach(const struct sv_disk_spec *spec, struct sv_disk *disk, struct sv_error *err)
{
	int rc;

	*disk = (struct sv_disk){.fd = -1};
	memset(disk->filter_fd, 0xff, sizeof(disk->filter_fd));
	rc = sv_disk_filters_open(spec, disk, err);
	if (rc == 0)
		rc = attach_image(spec, disk, err);
	if (rc < 0)
		sv_disk_detach(disk);
	return rc;
}

void sv_disk_say_unpolled(const char *name, const char *why)
{
	sv_warn("disk %s: completions of its storage cannot be polled for (%s), they interrupt; that takes a "
		"block device with poll queues (such as nvme.poll_queues=N gives), or a file system right "
		"on one", name, why);
}

/* A partition's queue is its disk's. */
static int open_io_poll(dev_t dev)
{
	static const char *const queue[] = {"queue", "../queue"};
	int fd = -1;

	for (unsigned i = 0; i < 2 && fd < 0; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/io_poll", major(dev), minor(dev),
			queue[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	return fd;
}

bool sv_disk_unpolled(const struct sv_disk *disk, const char *name)
{
	struct stat st;
	char said = '1';
	int fd;

	if (disk->remote || disk->filters[0] || fstat(disk->fd, &st) < 0)
		return false;
	fd = open_io_poll(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev);
	if (fd < 0)
		return false;
	if (read(fd, &said, 1) < 0)
		said = '1';
	close(fd);
	if (said == '0')
		sv_disk_say_unpolled(name, "queue/io_poll is 0");
	return said == '0';
}

unsigned sv_disk_fds(const struct sv_disk *disk, int *fds)
{
	unsigned n = 0;

	fds[n++] = disk->fd;
	for (unsigned i = 0; i < SV_DISK_FILTERS && disk->filter_fd[i] >= 0; i++)
		fds[n++] = disk->filter_fd[i];
	return n;
}

void sv_disk_detach(struct sv_disk *disk)
{
	for (unsigned i = 0; i < SV_DISK_FILTERS; i++)
		if (disk->filter_fd[i] >= 0)
			close(disk->filter_fd[i]);
	memset(disk->filter_fd, 0xff, sizeof(disk->filter_fd));
	if (disk->fd < 0)
		return;
	if (disk->remote)
		sv_dial_close(disk->fd);
	else
		close(disk->fd);
	disk->fd = -1;
}
