/* SPDX-License-Identifier: BSD-3-Clause */
#include "disk_filters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_MAX 4096

/* A lock on all of it, as an image has (disk.c). */
static int open_side_file(const char *path, bool readonly, struct sv_error *err)
{
	struct flock all = {.l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(path, (readonly ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC | O_NONBLOCK, 0600), rc;

	if (fd < 0)
		return sv_fail(err, errno, "filter: the side file %s cannot be opened: %s", path,
			strerror(errno));
	if (fcntl(fd, F_OFD_SETLK, &all) == 0)
		return fd;
	rc = errno == EAGAIN || errno == EACCES
		     ? sv_fail(err, EBUSY, "filter: the side file %s is in use by another disk", path)
		     : sv_fail(err, errno, "filter: the side file %s: %s", path, strerror(errno));
	close(fd);
	return rc;
}

static int check_key(const char *path, int fd, struct sv_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return sv_fail(err, EINVAL, "filter: the key %s is no regular file", path);
	if (st.st_mode & 077)
		return sv_fail(err, EPERM, "filter: others may read the key %s; `chmod 600` it", path);
	return 0;
}

/* A copy in memory: whoever reads it cannot be kept waiting by the file system it came from. */
static int open_key(const char *path, bool readonly, struct sv_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), copy, rc;
	char text[KEY_MAX];
	ssize_t n;

	(void)readonly;
	if (fd < 0)
		return sv_fail(err, errno, "filter: the key %s cannot be opened: %s", path,
			strerror(errno));
	rc = check_key(path, fd, err);
	n = rc < 0 ? 0 : read(fd, text, sizeof(text));
	close(fd);
	if (rc < 0)
		return rc;
	copy = n < 0 ? -1 : memfd_create("key", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (copy >= 0 && write(copy, text, (size_t)n) == n)
		fcntl(copy, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	else
		rc = sv_fail(err, errno, "filter: the key %s cannot be read: %s", path, strerror(errno));
	explicit_bzero(text, sizeof(text));
	if (rc < 0 && copy >= 0)
		close(copy);
	return rc < 0 ? rc : copy;
}

static const struct {
	const char *name;
	int (*open)(const char *path, bool readonly, struct sv_error *err);
} known[] = {{"integrity", open_side_file}, {"xts", open_key}};

static int open_one(const struct sv_disk_spec *spec, char *text, int *fd, struct sv_error *err)
{
	char *file = strchr(text, ':');

	if (file)
		*file++ = 0;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, text) != 0)
			continue;
		if (!file || !*file)
			return sv_fail(err, EINVAL, "disk %s: the filter %s needs a file: %s:FILE",
				spec->path, text, text);
		*fd = known[i].open(file, spec->readonly, err);
		return *fd < 0 ? *fd : 0;
	}
	return sv_fail(err, EINVAL, "disk %s: no filter is called '%.40s'; integrity:FILE and xts:KEYFILE are",
		spec->path, text);
}

int sv_disk_filters_open(const struct sv_disk_spec *spec, struct sv_disk *disk, struct sv_error *err)
{
	char text[4096], *save = NULL;
	unsigned n = 0;

	if (!spec->filters || !*spec->filters)
		return 0;
	if (strlen(spec->filters) >= sizeof(text))
		return sv_fail(err, EINVAL, "disk %s: its filters take more than %zu characters", spec->path,
			sizeof(text) - 1);
	strcpy(text, spec->filters);
	for (char *one = strtok_r(text, "+", &save); one; one = strtok_r(NULL, "+", &save), n++) {
		size_t at = strlen(disk->filters);
		int rc;

		if (n == SV_DISK_FILTERS)
			return sv_fail(err, EINVAL, "disk %s: at most %u filters", spec->path,
				SV_DISK_FILTERS);
		rc = open_one(spec, one, &disk->filter_fd[n], err);
		if (rc < 0)
			return rc;
		snprintf(disk->filters + at, sizeof(disk->filters) - at, "%s%s", n ? "+" : "", one);
	}
	return 0;
}
