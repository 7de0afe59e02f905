/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int attach(void *ctx, struct sv_poller *p)
{
	struct sv_session *s = ctx;
	int rc;

	if (s->prepare)
		s->prepare(s);
	rc = s->host->attach(s->host, p);
	if (rc == 0 && s->gate)
		s->gate(s, true);
	return rc;
}

static void detach(void *ctx, struct sv_poller *p)
{
	struct sv_session *s = ctx;

	if (s->gate)
		s->gate(s, false);
	s->host->detach(s->host, p);
}

/* The front end said something, or went. What ends a session ends this device alone. */
static void ready(void *ctx)
{
	struct sv_session *s = ctx;
	struct sv_error err = {""};
	int rc = sv_vhost_input(&s->vhost, &err);

	if (rc >= 0)
		return;
	if (rc != -ECONNRESET)
		sv_warn("%s of %s: %s", s->name, s->poller.vm, err.text);
	sv_session_close(s);
}

int sv_session_open(struct sv_session *s, const struct sv_device_request *req,
	const struct sv_vhost_device *type, void *dev, const struct sv_poller_ops *ops,
	unsigned queues, struct sv_error *err)
{
	struct sv_vhost_host host = {.attach = attach, .detach = detach, .ctx = s};
	int rc;

	s->host = req->host;
	s->poller.ops = ops;
	strncpy(s->poller.vm, req->vm, sizeof(s->poller.vm) - 1);
	memcpy(s->name, req->device->name, sizeof(s->name));
	rc = sv_vhost_open(&s->vhost, req->fds[0], type, dev, queues, &s->poller, &host, err);
	if (rc < 0)
		return rc;
	s->vhost.sealed_only = true;
	s->vhost.gmem.residency = req->gmem ? req->gmem->residency : NULL;
	s->open = true;
	rc = req->host->add_fd(req->host, req->fds[0], ready, s);
	if (rc < 0) {
		/* The caller closes the socket: keep it out of the session's way. */
		s->vhost.sock = -1;
		s->open = false;
		sv_vhost_close(&s->vhost);
		return sv_fail(err, -rc, "%s: cannot watch its connection: %s", s->name, strerror(-rc));
	}
	return 0;
}

int sv_session_close(struct sv_session *s)
{
	int rc;

	if (!s->open)
		return s->vhost.stuck ? -ETIMEDOUT : 0;
	s->open = false;
	s->host->del_fd(s->host, s->vhost.sock);
	rc = sv_vhost_close(&s->vhost);
	if (rc < 0)
		sv_warn("%s of %s: requests do not come back from the host's storage; its memory stays "
			"mapped", s->name, s->poller.vm);
	return rc;
}
