/* SPDX-License-Identifier: BSD-3-Clause */
#include "export.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <io/qos.h>

#include "qos_device.h"

void export_name(struct sv_control_device *device, const char *socket)
{
	const char *slash = strrchr(socket, '/');

	strncpy(device->name, slash ? slash + 1 : socket, sizeof(device->name) - 1);
}

static void on_front_end(void *ctx)
{
	struct export *e = ctx;
	int sock = sv_listen_accept(&e->at);
	struct sv_error err = {""};

	if (sock < 0)
		return;
	if (e->session && e->session->open) {
		sv_warn("%s: a second front end was turned away", e->at.at.sun_path);
		close(sock);
		return;
	}
	if (e->session)
		e->type->close(e->session);
	e->session = e->type->open(e, sock, &err);
	if (!e->session) {
		sv_warn("%s: %s", e->at.at.sun_path, err.text);
		close(sock);
	}
}

int export_open(struct export *e, const char *socket, struct sv_error *err)
{
	int rc = sv_listen_open(&e->at, socket, err);

	if (rc < 0)
		return rc;
	rc = e->host->add_fd(e->host, e->at.fd, on_front_end, e);
	if (rc == 0)
		return 0;
	sv_listen_close(&e->at);
	return sv_fail(err, -rc, "%s: %s", socket, strerror(-rc));
}

void export_close(struct export *e)
{
	if (e->session)
		e->type->close(e->session);
	e->host->del_fd(e->host, e->at.fd);
	sv_listen_close(&e->at);
}

char *export_stats(void *handle)
{
	struct export *e = handle;

	return e->session && e->session->open ? e->type->stats(e->session)
					      : qos_wish_json(&e->device.qos);
}

/* For the front end that is there, and for those that come; what cannot be kept for these needs that one. */
int export_set(void *handle, const char *key, const char *value, struct sv_error *err)
{
	struct export *e = handle;
	struct sv_control_device later = e->device;
	int kept = sv_qos_wish(&later.qos, key, value, err), rc = 0;

	if (kept == 0)
		kept = sv_qos_check_wish(&later.qos, err);
	else if (kept == -ENOENT && e->type->keep)
		kept = e->type->keep(&later, key, value, err);
	if (kept < 0 && kept != -ENOENT)
		return kept;
	if (e->session && e->session->open)
		rc = e->type->set(e->session, key, value, err);
	else if (kept < 0)
		rc = sv_fail(err, ENOTCONN, "%s: no front end is there", e->device.name);
	if (rc == 0)
		e->device = later;
	return rc;
}
