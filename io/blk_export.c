/* SPDX-License-Identifier: BSD-3-Clause */
#include <io/blk_export.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <base/disk.h>

#include <io/qos.h>

#include "blk.h"
#include "export.h"
#include "number.h"

#define LOCK_TRIES 200u /* 10 ms each */

struct sv_blk_export {
	struct export export; /* first */
	struct sv_disk image;
};

/* --- front ends ------------------------------------------------------------------------------ */

static struct sv_session *open_one(struct export *x, int sock, struct sv_error *err)
{
	struct sv_blk_export *e = (struct sv_blk_export *)x;
	int mine[SV_DISK_FDS], fds[1 + SV_DISK_FDS] = {sock}, rc = 0;
	unsigned n = sv_disk_fds(&e->image, mine);
	struct sv_device_request req = {.device = &x->device,
		.fds = fds,
		.nfds = 1 + n,
		.vm = x->device.name,
		.host = x->host};
	struct blk *b;

	for (unsigned i = 0; i < n; i++) {
		fds[1 + i] = fcntl(mine[i], F_DUPFD_CLOEXEC, 0);
		if (fds[1 + i] < 0)
			rc = sv_fail(err, errno, "%s", strerror(errno));
	}
	if (rc == 0 && blk_open(&req, true, &b, err) == 0)
		return &b->session;
	for (unsigned i = 1; i < req.nfds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return NULL;
}

static void close_one(struct sv_session *s)
{
	blk_close((struct blk *)s);
}

static const struct export_type type = {
	.open = open_one, .close = close_one, .stats = blk_stats, .set = blk_set};

/* --- life ------------------------------------------------------------------------------------ */

/*
 * A predecessor that was killed holds its lock on the image until the kernel is done with its last
 * transfer; nothing may be repeated before that.
 */
static int open_image(struct sv_blk_export *e, const struct sv_blk_export_config *c,
	struct sv_error *err)
{
	static const struct timespec nap = {.tv_nsec = 10000000};
	struct sv_disk_spec spec = {.path = c->image,
		.format = c->format,
		.readonly = c->flags & SV_DEVICE_F_READONLY,
		.direct = c->flags & SV_DEVICE_F_DIRECT,
		.filters = c->filters};
	int rc;

	for (unsigned tries = 0;; tries++) {
		rc = sv_disk_attach(&spec, &e->image, err);
		if (rc != -EBUSY || tries == LOCK_TRIES)
			break;
		nanosleep(&nap, NULL);
	}
	if (rc < 0)
		return rc;
	e->export.device.blk = (struct sv_control_blk){.bytes = e->image.export.bytes,
		.preferred = e->image.export.preferred,
		.export_flags = e->image.export.flags,
		.deadline_ms = c->deadline_s * 1000};
	memcpy(e->export.device.blk.filters, e->image.filters, sizeof(e->export.device.blk.filters));
	rc = blk_check(&e->export.device, err);
	if (rc == 0 && c->flags & SV_DEVICE_F_IOPOLL && sv_disk_unpolled(&e->image, e->export.device.name))
		e->export.device.flags &= ~SV_DEVICE_F_IOPOLL;
	return rc;
}

static void describe(struct sv_control_device *d, const struct sv_blk_export_config *c)
{
	*d = (struct sv_control_device){.kind = SV_DEVICE_BLK,
		.flags = c->flags,
		.queues = c->queues ? c->queues : 1,
		.qos = c->qos};
	export_name(d, c->socket);
	if (c->serial)
		memcpy(d->serial, c->serial, strnlen(c->serial, sizeof(d->serial)));
}

int sv_blk_export_open(struct sv_blk_export **out, const struct sv_blk_export_config *config,
	struct sv_poller_host *host, struct sv_error *err)
{
	struct sv_blk_export *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return sv_fail(err, ENOMEM, "out of memory");
	e->export.type = &type;
	e->export.host = host;
	e->image.fd = -1;
	memset(e->image.filter_fd, 0xff, sizeof(e->image.filter_fd));
	describe(&e->export.device, config);
	rc = open_image(e, config, err);
	if (rc == 0)
		rc = export_open(&e->export, config->socket, err);
	if (rc < 0) {
		sv_disk_detach(&e->image);
		free(e);
		return rc;
	}
	*out = e;
	return 0;
}

void sv_blk_export_close(struct sv_blk_export *e)
{
	export_close(&e->export);
	sv_disk_detach(&e->image);
	free(e);
}

const char *sv_blk_export_name(const struct sv_blk_export *e)
{
	return e->export.device.name;
}

const struct sv_device_class sv_blk_export_class = {
	.kind = SV_DEVICE_BLK, .name = "blk", .stats = export_stats, .set = export_set};

static int take_number(const char *key, const char *text, unsigned most, unsigned *value,
	struct sv_error *err)
{
	unsigned long n;
	int rc = number_parse("--blk", key, text, 1, most, &n, err);

	if (rc == 0)
		*value = (unsigned)n;
	return rc;
}

int sv_blk_export_parse(char *text, struct sv_blk_export_config *config, struct sv_error *err)
{
	enum { PATH, SOCKET, READONLY, DIRECT, DISCARD, WRITETHROUGH, IN_ORDER, PINNED, IOPOLL,
		QUEUES, SERIAL, FORMAT, DEADLINE, FILTERS };
	static char *const key[] = {"path", "socket", "readonly", "direct", "discard", "writethrough",
		"in-order", "pinned", "iopoll", "queues", "serial", "format", "deadline", "filters",
		NULL};
	static const uint32_t flag[] = {[READONLY] = SV_DEVICE_F_READONLY,
		[DIRECT] = SV_DEVICE_F_DIRECT,
		[DISCARD] = SV_DEVICE_F_DISCARD,
		[WRITETHROUGH] = SV_DEVICE_F_WRITETHROUGH,
		[IN_ORDER] = SV_DEVICE_F_IN_ORDER,
		[PINNED] = SV_DEVICE_F_PINNED,
		[IOPOLL] = SV_DEVICE_F_IOPOLL};
	char *value;

	*config = (struct sv_blk_export_config){.queues = 1};
	while (*text) {
		int k = getsubopt(&text, key, &value), rc = 0;
		bool is_flag = k >= READONLY && k <= IOPOLL;

		if (k < 0) {
			rc = sv_qos_wish_text(&config->qos, value, err);
			if (rc == 0)
				continue;
			if (rc != -ENOENT)
				return rc;
		}
		if (is_flag && value)
			return sv_fail(err, EINVAL, "--blk: %s=%s: %s takes no value: write it alone, or "
				"leave it out", key[k], value, key[k]);
		if (k < 0 || (!is_flag && !value))
			return sv_fail(err, EINVAL,
				"--blk: '%s': path=, socket=, readonly, direct, discard, writethrough, "
				"in-order, pinned, iopoll, queues=, serial=, format=, deadline=, filters= "
				"and those of quality of service are known",
				value ? value : key[k]);
		if (is_flag)
			config->flags |= flag[k];
		else if (k == QUEUES)
			rc = take_number("queues", value, SV_VHOST_QUEUES, &config->queues, err);
		else if (k == DEADLINE)
			rc = take_number("deadline", value, 3600, &config->deadline_s, err);
		else
			*(k == PATH	? &config->image
				: k == SOCKET ? &config->socket
				: k == FORMAT ? &config->format
				: k == FILTERS ? &config->filters
					      : &config->serial) = value;
		if (rc < 0)
			return rc;
	}
	if (!config->image || !config->socket)
		return sv_fail(err, EINVAL, "--blk: path= and socket= are needed");
	return sv_qos_check_wish(&config->qos, err);
}
