/* SPDX-License-Identifier: BSD-3-Clause */
/* When a disk's store pins what of the guest's memory. Context: control thread. */
#include "blk.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void say_not_pinned(const struct sv_session *session, int rc)
{
	sv_warn("%s of %s: the guest's memory cannot be pinned (%s)%s; transfers go without", session->name,
		session->poller.vm, rc == -EBUSY ? "it arrives while the guest runs" : strerror(-rc),
		rc == -ENOMEM ? ": ulimit -l, or LimitMEMLOCK=, has to allow it" : "");
}

void blk_pin_prepare(struct sv_session *session)
{
	struct blk *b = (struct blk *)session;
	struct sv_vhost *v = &session->vhost;
	int rc;

	if (!b->pinned || b->memory_seen == v->memory_changes)
		return;
	b->memory_seen = v->memory_changes;
	rc = b->store->ops->memory(b->store, &v->gmem);
	if (rc < 0)
		say_not_pinned(session, rc);
}

/* A piece at a time: the control thread has others to answer. */
static void pin(void *ctx)
{
	struct blk *b = ctx;
	uint64_t drain;
	int rc;

	/* What the store was told may be unmapped by now; blk_pin_prepare() tells it the rest. */
	if (!b->session.open || b->memory_seen != b->session.vhost.memory_changes) {
		(void)!read(b->store->pin_fd, &drain, sizeof(drain));
		return;
	}
	rc = b->store->ops->pin(b->store);
	if (rc < 0)
		say_not_pinned(&b->session, rc);
}

int blk_pin_watch(struct blk *b, const struct sv_device_request *req, struct sv_error *err)
{
	int rc;

	if (!b->pinned)
		return 0;
	rc = req->host->add_fd(req->host, b->store->pin_fd, pin, b);
	if (rc < 0)
		return sv_fail(err, -rc, "disk %s: %s", req->device->name, strerror(-rc));
	b->pin_host = req->host;
	return 0;
}

void blk_pin_unwatch(struct blk *b)
{
	if (b->pin_host)
		b->pin_host->del_fd(b->pin_host, b->store->pin_fd);
	b->pin_host = NULL;
}
