/* SPDX-License-Identifier: BSD-3-Clause */
#include "node.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The directory of the socket, when it is only the last one that is missing. */
static void make_directory(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	strcpy(dir, path);
	slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = 0;
		mkdir(dir, 0755);
	}
}

/* What is there already: nothing, a socket nobody listens on (removed), or something to respect. */
static int clear_place(const struct sockaddr_un *a, struct sv_error *err)
{
	struct stat st;
	int fd, rc;

	if (lstat(a->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return sv_fail(err, EEXIST, "%s: is there and is no socket; move it, or choose "
			"another place with --socket", a->sun_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return sv_fail(err, errno, "socket: %s", strerror(errno));
	rc = connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 ? 0 : errno;
	if (rc == 0 || rc == EAGAIN) {
		struct ucred peer = {0};
		socklen_t len = sizeof(peer);

		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
		close(fd);
		return sv_fail(err, EADDRINUSE, "%s: a node service runs already (pid %d)",
			a->sun_path, (int)peer.pid);
	}
	close(fd);
	if (rc != ECONNREFUSED)
		return sv_fail(err, rc, "%s: belongs to something else (%s); choose another place "
			"with --socket", a->sun_path, strerror(rc));
	unlink(a->sun_path);
	return 0;
}

int sv_node_listen(const char *path, struct sv_error *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, rc;

	if (strlen(path) >= sizeof(a.sun_path))
		return sv_fail(err, EINVAL, "--socket %s: a socket path has at most %zu characters",
			path, sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	make_directory(path);
	rc = clear_place(&a, err);
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return sv_fail(err, errno, "socket: %s", strerror(errno));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(path, 0660) < 0 ||
		listen(fd, 64) < 0) {
		rc = sv_fail(err, errno, "%s: cannot listen there: %s", path, strerror(errno));
		close(fd);
		return rc;
	}
	return fd;
}
