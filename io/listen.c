/* SPDX-License-Identifier: BSD-3-Clause */
#include "listen.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 4

static int unix_socket(struct sv_error *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 ? fd : sv_fail(err, errno, "socket: %s", strerror(errno));
}

/* Remove a socket that nobody listens on. Return: 0 when the place is free. */
static int clear_place(const struct sockaddr_un *a, struct sv_error *err)
{
	struct stat st;
	int fd, rc;

	if (lstat(a->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return sv_fail(err, EEXIST, "%s: is there and is no socket; choose another place",
			a->sun_path);
	fd = unix_socket(err);
	if (fd < 0)
		return fd;
	rc = connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 ? 0 : errno;
	close(fd);
	if (rc != ECONNREFUSED)
		return sv_fail(err, EADDRINUSE, "%s: is somebody's already; choose another place",
			a->sun_path);
	unlink(a->sun_path);
	return 0;
}

int sv_listen_open(struct sv_listen *l, const char *path, struct sv_error *err)
{
	int fd, rc;

	l->fd = -1;
	l->at = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof(l->at.sun_path))
		return sv_fail(err, ENAMETOOLONG, "'%s': a socket's path has 1 to %zu bytes", path,
			sizeof(l->at.sun_path) - 1);
	strcpy(l->at.sun_path, path);
	rc = clear_place(&l->at, err);
	if (rc < 0)
		return rc;
	fd = unix_socket(err);
	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)&l->at, sizeof(l->at)) < 0) {
		rc = sv_fail(err, errno, "%s: cannot listen there: %s", path, strerror(errno));
		close(fd);
		return rc;
	}
	if (chmod(path, 0600) < 0 || listen(fd, BACKLOG) < 0) {
		rc = sv_fail(err, errno, "%s: cannot listen there: %s", path, strerror(errno));
		unlink(path);
		close(fd);
		return rc;
	}
	l->fd = fd;
	return 0;
}

int sv_listen_accept(struct sv_listen *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void sv_listen_close(struct sv_listen *l)
{
	if (l->fd < 0)
		return;
	unlink(l->at.sun_path);
	close(l->fd);
	l->fd = -1;
}
