/* SPDX-License-Identifier: BSD-3-Clause */
/* A device class's side of a vhost-user session: its socket in the control thread, its poller. */
#ifndef IO_SESSION_H
#define IO_SESSION_H

#include <channels/device_class.h>
#include <io/vhost.h>

struct sv_session {
	struct sv_vhost vhost;
	struct sv_poller poller; /* ops are the device's */
	struct sv_poller_host *host;
	/* Called before the poller is attached: nobody else is at the device. NULL: nothing to do. */
	void (*prepare)(struct sv_session *s);
	/*
	 * Called right after the poller is attached, and right before it is detached: for a device that
	 * others on its sidecore reach, too. NULL: none does. Context: control thread.
	 */
	void (*gate)(struct sv_session *s, bool open);
	bool open;
	char name[SV_CONTROL_NAME];
};

/*
 * Serve @req->fds[0] as a device of @type. @dev: the type's own pointer. Return: 0, or -errno with a
 * sentence and the socket still the caller's. Context: control thread.
 */
int sv_session_open(struct sv_session *s, const struct sv_device_request *req,
	const struct sv_vhost_device *type, void *dev, const struct sv_poller_ops *ops,
	unsigned queues, struct sv_error *err);
/* Return: 0, or -ETIMEDOUT: requests are stuck, nothing of the device may be freed. */
int sv_session_close(struct sv_session *s);

static inline struct sv_session *sv_session_of(struct sv_poller *p)
{
	return (struct sv_session *)(void *)((char *)p - offsetof(struct sv_session, poller));
}

#endif
