/* SPDX-License-Identifier: BSD-3-Clause */
#include <io/blk_export.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/disk.h>

#include "blk.h"

struct sv_blk_export {
	struct sv_poller_host *host;
	struct sv_control_device device;
	struct sockaddr_un at;
	int listener, image;
	struct blk *blk; /* of the front end that is there, or that was there last */
};

/* --- the socket ------------------------------------------------------------------------------ */

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
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return sv_fail(err, errno, "socket: %s", strerror(errno));
	rc = connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 ? 0 : errno;
	close(fd);
	if (rc != ECONNREFUSED)
		return sv_fail(err, EADDRINUSE, "%s: is somebody's already; choose another place",
			a->sun_path);
	unlink(a->sun_path);
	return 0;
}

static int listen_at(struct sv_blk_export *e, const char *path, struct sv_error *err)
{
	int fd, rc;

	e->at = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof(e->at.sun_path))
		return sv_fail(err, ENAMETOOLONG, "'%s': a socket's path has 1 to %zu bytes", path,
			sizeof(e->at.sun_path) - 1);
	strcpy(e->at.sun_path, path);
	rc = clear_place(&e->at, err);
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return sv_fail(err, errno, "socket: %s", strerror(errno));
	if (bind(fd, (const struct sockaddr *)&e->at, sizeof(e->at)) < 0) {
		rc = sv_fail(err, errno, "%s: cannot listen there: %s", path, strerror(errno));
		close(fd);
		return rc;
	}
	if (chmod(path, 0600) < 0 || listen(fd, 4) < 0) {
		rc = sv_fail(err, errno, "%s: cannot listen there: %s", path, strerror(errno));
		unlink(path);
		close(fd);
		return rc;
	}
	e->listener = fd;
	return 0;
}

/* --- front ends ------------------------------------------------------------------------------ */

static void serve(struct sv_blk_export *e, int sock)
{
	int fds[2] = {sock, fcntl(e->image, F_DUPFD_CLOEXEC, 0)};
	struct sv_device_request req = {.device = &e->device,
		.fds = fds,
		.nfds = 2,
		.vm = e->device.name,
		.host = e->host};
	struct sv_error err = {""};

	if (fds[1] < 0)
		sv_fail(&err, errno, "%s", strerror(errno));
	else if (blk_open(&req, true, &e->blk, &err) == 0)
		return;
	e->blk = NULL;
	sv_warn("%s: %s", e->at.sun_path, err.text);
	close(sock);
	if (fds[1] >= 0)
		close(fds[1]);
}

static void on_front_end(void *ctx)
{
	struct sv_blk_export *e = ctx;
	int sock = accept4(e->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (sock < 0)
		return;
	if (e->blk && e->blk->session.open) {
		sv_warn("%s: a second front end was turned away", e->at.sun_path);
		close(sock);
		return;
	}
	if (e->blk)
		blk_close(e->blk);
	e->blk = NULL;
	serve(e, sock);
}

/* --- life ------------------------------------------------------------------------------------ */

static void name_device(struct sv_blk_export *e, const struct sv_blk_export_config *c)
{
	const char *slash = strrchr(c->socket, '/');

	e->device = (struct sv_control_device){
		.kind = SV_DEVICE_BLK, .flags = c->flags, .queues = c->queues ? c->queues : 1};
	strncpy(e->device.name, slash ? slash + 1 : c->socket, sizeof(e->device.name) - 1);
	if (c->serial)
		memcpy(e->device.serial, c->serial,
			strnlen(c->serial, sizeof(e->device.serial)));
}

int sv_blk_export_open(struct sv_blk_export **out, const struct sv_blk_export_config *config,
	struct sv_poller_host *host, struct sv_error *err)
{
	struct sv_blk_export *e = calloc(1, sizeof(*e));
	uint64_t bytes;
	int rc;

	if (!e)
		return sv_fail(err, ENOMEM, "out of memory");
	e->host = host;
	e->listener = e->image = -1;
	name_device(e, config);
	rc = sv_disk_open(config->image, config->flags & SV_DEVICE_F_READONLY,
		config->flags & SV_DEVICE_F_DIRECT, &e->image, &bytes, err);
	if (rc == 0)
		rc = listen_at(e, config->socket, err);
	if (rc == 0) {
		rc = host->add_fd(host, e->listener, on_front_end, e);
		if (rc < 0) {
			unlink(e->at.sun_path);
			sv_fail(err, -rc, "%s: %s", config->socket, strerror(-rc));
		}
	}
	if (rc < 0) {
		if (e->listener >= 0)
			close(e->listener);
		if (e->image >= 0)
			close(e->image);
		free(e);
		return rc;
	}
	*out = e;
	return 0;
}

void sv_blk_export_close(struct sv_blk_export *e)
{
	if (e->blk)
		blk_close(e->blk);
	e->host->del_fd(e->host, e->listener);
	unlink(e->at.sun_path);
	close(e->listener);
	close(e->image);
	free(e);
}

static int parse_queues(const char *text, unsigned *queues, struct sv_error *err)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || !n || n > SV_VHOST_QUEUES)
		return sv_fail(err, EINVAL, "--blk: queues=%s: a number from 1 to %u", text,
			SV_VHOST_QUEUES);
	*queues = (unsigned)n;
	return 0;
}

int sv_blk_export_parse(char *text, struct sv_blk_export_config *config, struct sv_error *err)
{
	enum { PATH, SOCKET, READONLY, DIRECT, DISCARD, WRITETHROUGH, QUEUES, SERIAL };
	static char *const key[] = {"path", "socket", "readonly", "direct", "discard", "writethrough",
		"queues", "serial", NULL};
	static const uint32_t flag[] = {[READONLY] = SV_DEVICE_F_READONLY,
		[DIRECT] = SV_DEVICE_F_DIRECT,
		[DISCARD] = SV_DEVICE_F_DISCARD,
		[WRITETHROUGH] = SV_DEVICE_F_WRITETHROUGH};
	char *value;

	*config = (struct sv_blk_export_config){.queues = 1};
	while (*text) {
		int k = getsubopt(&text, key, &value), rc = 0;
		bool is_flag = k >= READONLY && k <= WRITETHROUGH;

		if (k < 0 || is_flag != !value)
			return sv_fail(err, EINVAL,
				"--blk: '%s': path=, socket=, readonly, direct, discard, writethrough, "
				"queues=, serial= are known", value ? value : key[k]);
		if (is_flag)
			config->flags |= flag[k];
		else if (k == QUEUES)
			rc = parse_queues(value, &config->queues, err);
		else
			*(k == PATH ? &config->image : k == SOCKET ? &config->socket : &config->serial) =
				value;
		if (rc < 0)
			return rc;
	}
	if (!config->image || !config->socket)
		return sv_fail(err, EINVAL, "--blk: path= and socket= are needed");
	return 0;
}
