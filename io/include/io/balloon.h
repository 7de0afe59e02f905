/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-balloon (virtio 1.2, section 5.5) with reports of free pages, over vhost-user. It knows what
 * the guest says; what is done about it is its owner's.
 */
#ifndef IO_BALLOON_H
#define IO_BALLOON_H

#include <channels/device_class.h>

struct sv_balloon_device;

/* Context of every call: the polling thread. */
struct sv_balloon_ops {
	void (*inflate)(void *ctx, uint64_t gpa); /* 4 KiB */
	void (*deflate)(void *ctx, uint64_t gpa);
	void (*report)(void *ctx, uint64_t gpa, uint64_t bytes);
	void (*settle)(void *ctx); /* what was told is about to be answered */
};

/* As sv_device_class.attach; @req->device->queues is 3. */
int sv_balloon_open(const struct sv_device_request *req, const struct sv_balloon_ops *ops, void *ctx,
	struct sv_balloon_device **out, struct sv_error *err);
void sv_balloon_close(struct sv_balloon_device *d);

/* Bytes that the guest shall give back: what its configuration says from now on. Context: any. */
void sv_balloon_set_target(struct sv_balloon_device *d, uint64_t bytes);
/* Bytes that it says it has given. Context: any. */
uint64_t sv_balloon_actual(const struct sv_balloon_device *d);

#endif
