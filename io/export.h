/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device for front ends that are not ours: a listening Unix socket, one front end at a time; when it
 * goes the next may come. What the device is, its type knows. Context of everything: control thread.
 */
#ifndef IO_EXPORT_H
#define IO_EXPORT_H

#include <channels/device_class.h>

#include "listen.h"
#include "session.h"

struct export;

struct export_type {
	/*
	 * Serve @sock: a device that begins with its session, or NULL with a sentence. The socket is
	 * taken over only on success.
	 */
	struct sv_session *(*open)(struct export *e, int sock, struct sv_error *err);
	void (*close)(struct sv_session *s);
	/* As in struct sv_device_class, with the session for a handle. */
	char *(*stats)(void *session);
	int (*set)(void *session, const char *key, const char *value, struct sv_error *err);
	/*
	 * The same into the description that later sessions begin with, for what is not in its qos.
	 * Return: 0; -ENOENT: no such key, or not to be kept; else -errno with a sentence. NULL: none.
	 */
	int (*keep)(struct sv_control_device *device, const char *key, const char *value,
		struct sv_error *err);
};

struct export {
	const struct export_type *type;
	struct sv_poller_host *host;
	struct sv_control_device device;
	struct sv_listen at;
	struct sv_session *session; /* of the front end that is there, or that was there last */
};

/* The device is called like the last part of @socket. */
void export_name(struct sv_control_device *device, const char *socket);
/* Listen at @socket; the other fields are filled in. Return: 0, or -errno with a sentence, nothing left. */
int export_open(struct export *e, const char *socket, struct sv_error *err);
/* End the session there is, remove the socket. */
void export_close(struct export *e);

/* Ops of a struct sv_device_class; the handle is the export. */
char *export_stats(void *handle);
int export_set(void *handle, const char *key, const char *value, struct sv_error *err);

#endif
