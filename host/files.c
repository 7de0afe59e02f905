/* SPDX-License-Identifier: BSD-3-Clause */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int (*sv_file_seam)(const char *what, const char *path, bool done);

int sv_file_ask(const char *what, const char *path)
{
	return sv_file_seam ? sv_file_seam(what, path, false) : 0;
}

void sv_file_told(const char *what, const char *path)
{
	if (sv_file_seam)
		sv_file_seam(what, path, true);
}

/* The root itself may be reached through links (a temporary directory), what is below it may not. */
static int open_root(const char *root)
{
	return open(*root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int sv_file_open(const char *root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	int at, fd;

	if (path[0] != '/' || !path[1] || strlen(path) >= SV_PATH_MAX)
		return -EINVAL;
	at = open_root(root);
	if (at < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, at, path + 1, &how, sizeof(how));
	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) /* before 5.6, or a container's filter */
		fd = openat(at, path + 1, flags | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		fd = -errno;
	close(at);
	return fd;
}

ssize_t sv_file_read(const char *root, const char *path, char *text, size_t bytes)
{
	int fd = sv_file_open(root, path, O_RDONLY | O_NONBLOCK, 0);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = read(fd, text + len, bytes - len)) > 0) {
		len += (size_t)n;
		if (len == bytes) {
			close(fd);
			return -EFBIG;
		}
	}
	if (n < 0)
		n = -errno;
	close(fd);
	text[len] = 0;
	return n < 0 ? n : (ssize_t)len;
}

int sv_file_write(const char *root, const char *path, const char *text)
{
	int rc = sv_file_ask("write", path), fd;
	ssize_t n;

	if (rc)
		return rc < 0 ? rc : 0;
	fd = sv_file_open(root, path, O_WRONLY | O_TRUNC, 0);
	if (fd < 0)
		return fd;
	n = write(fd, text, strlen(text));
	rc = n < 0 ? -errno : 0;
	close(fd);
	if (rc == 0)
		sv_file_told("write", path);
	return rc;
}

/* Split a path into its directory, opened, and the last name. */
static int open_parent(const char *root, const char *path, const char **name)
{
	char dir[SV_PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash || !slash[1] || (size_t)(slash - path) >= sizeof(dir))
		return -EINVAL;
	*name = slash + 1;
	if (slash == path) {
		int fd = open_root(root);

		return fd < 0 ? -errno : fd;
	}
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = 0;
	return sv_file_open(root, dir, O_PATH | O_DIRECTORY, 0);
}

bool sv_file_is_there(const char *root, const char *path)
{
	const char *name;
	int at = open_parent(root, path, &name);
	struct stat st;
	bool there;

	if (at < 0)
		return false;
	there = fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	close(at);
	return there;
}

int sv_file_mkdir(const char *root, const char *path)
{
	int rc = sv_file_ask("mkdir", path), at;
	const char *name;

	if (rc)
		return rc < 0 ? rc : 0;
	at = open_parent(root, path, &name);
	if (at < 0)
		return at;
	rc = mkdirat(at, name, 0755) < 0 ? -errno : 0;
	close(at);
	if (rc == 0)
		sv_file_told("mkdir", path);
	return rc;
}

int sv_file_rmdir(const char *root, const char *path)
{
	int rc = sv_file_ask("rmdir", path), at;
	const char *name;

	if (rc)
		return rc < 0 ? rc : 0;
	at = open_parent(root, path, &name);
	if (at < 0)
		return at;
	rc = unlinkat(at, name, AT_REMOVEDIR) < 0 ? -errno : 0;
	close(at);
	if (rc == 0)
		sv_file_told("rmdir", path);
	return rc;
}

int sv_process_start(const char *root, pid_t pid, unsigned long long *start)
{
	char path[64], text[1024], state;
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || sv_file_read(root, path, text, sizeof(text)) <= 0)
		return -ESRCH;
	at = strrchr(text, ')'); /* the name may hold anything */
	if (!at || sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			"%*d %*d %llu", &state, start) != 2 || state == 'Z' || state == 'X')
		return -ESRCH;
	return 0;
}

bool sv_process_lives(const char *root, pid_t pid, unsigned long long start)
{
	unsigned long long now;

	return sv_process_start(root, pid, &now) == 0 && now == start;
}
