/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How io/ and sidecore/ meet without seeing each other: the node offers a host for pollers and
 * descriptors, a device class makes devices on it. Whoever composes them (cli/) registers classes.
 */
#ifndef CHANNELS_DEVICE_CLASS_H
#define CHANNELS_DEVICE_CLASS_H

#include <base/error.h>
#include <base/gmem.h>
#include <channels/control.h>
#include <channels/poller.h>

/* What a device may ask of the node. Context of every call: the control thread. */
struct sv_poller_host {
	/* Poll it on the sidecore from now on. Return: 0 or -errno. */
	int (*attach)(struct sv_poller_host *host, struct sv_poller *p);
	/* Returns when no op of it runs any more. */
	void (*detach)(struct sv_poller_host *host, struct sv_poller *p);
	/* Call @ready in the control thread whenever @fd is readable or at its end. */
	int (*add_fd)(struct sv_poller_host *host, int fd, void (*ready)(void *ctx), void *ctx);
	void (*del_fd)(struct sv_poller_host *host, int fd);
	/*
	 * Returns when every op that runs on this sidecore now has ended, and what was published before is
	 * seen by all later ones. NULL: nothing runs beside the control thread (tests).
	 */
	void (*sync)(struct sv_poller_host *host);
};

struct sv_device_request {
	const struct sv_control_device *device; /* a checked copy: strings are terminated */
	/* fds[0]: our end of the vhost-user connection, then what the kind needs. attach() owns them. */
	const int *fds;
	unsigned nfds;
	const struct sv_gmem *gmem; /* the VM's memory as the control protocol told it */
	const char *vm;
	struct sv_poller_host *host; /* of the sidecore that serves this VM */
};

struct sv_device_class {
	uint32_t kind; /* SV_DEVICE_* */
	const char *name;
	/*
	 * Make a device. On success *handle is its own and all descriptors are the device's; on
	 * failure it has closed none of them. Return: 0, or -errno with a sentence.
	 */
	int (*attach)(const struct sv_device_request *req, void **handle, struct sv_error *err);
	void (*detach)(void *handle);
	/* Counters as a JSON object text the caller frees, or NULL. */
	char *(*stats)(void *handle);
	/*
	 * Change one setting of a device that runs: what docs/qos.md lists, and what the class adds (size
	 * of a disk, link of an interface). Context: control thread. Return: 0; -ENOENT: it has no such
	 * key (no sentence); else -errno with a sentence, and nothing has changed. NULL: it has none.
	 */
	int (*set)(void *handle, const char *key, const char *value, struct sv_error *err);
};

#endif
