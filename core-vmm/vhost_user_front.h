/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front end of a vhost-user connection: the VM process tells a back end, which may be a
 * sidecore or any other that speaks the protocol, where memory and rings are. The back end is not
 * trusted to answer: every wait has a deadline, every reply is checked.
 *
 * Context: one caller at a time (the device's lock); vCPU threads and the control thread. A call
 * blocks until the back end answered, at most VHOST_FRONT_DEADLINE_MS (stopping a ring:
 * VHOST_FRONT_STOP_MS, as requests in flight are finished first).
 */
#ifndef CORE_VMM_VHOST_USER_FRONT_H
#define CORE_VMM_VHOST_USER_FRONT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <base/gmem.h>

#define VHOST_FRONT_DEADLINE_MS 5000
#define VHOST_FRONT_STOP_MS 15000

/* Tests divide the deadlines by this. */
extern int sv_vhost_front_hurry;

struct sv_vhost_front {
	int sock;
	int events; /* what the back end says by itself; -1: it does not */
	uint64_t features; /* offered by the back end, without what is vhost-user's own */
	uint64_t protocol; /* protocol features in use */
	bool has_protocol; /* the back end knows protocol features */
	unsigned queues;   /* the back end has; 0: it does not say */
	bool kernel;	   /* it is in the kernel: vhost_kernel.h */
	unsigned started;  /* rings of such a one */
};

/*
 * Where a back end records what is in flight. It makes the file, we keep it, and give it to whoever
 * serves the device after it. What is in it is the back ends' business.
 */
struct sv_vhost_inflight {
	int fd; /* -1: none yet */
	uint64_t bytes, offset;
	uint16_t queues, queue_size;
};

struct sv_vhost_ring {
	uint16_t size, base;
	const void *desc, *avail, *used; /* in guest memory that the back end was told */
	int kick_fd;
	int call_fd; /* -1: the driver polls */
};

/*
 * Greet the back end and give it memory. @gm: at most 8 regions with descriptors; their host
 * pointers are the user addresses of the protocol. The socket becomes the front end's own on
 * success. Return: 0, or -errno with a sentence.
 */
int sv_vhost_front_open(struct sv_vhost_front *v, int sock, const struct sv_gmem *gm,
	struct sv_error *err);
void sv_vhost_front_close(struct sv_vhost_front *v);

/* The driver's choice, a subset of v->features. */
int sv_vhost_front_set_features(struct sv_vhost_front *v, uint64_t features,
	struct sv_error *err);
/* Can it say which pages it writes? Then: from now on into @fd, a bit for each 4 KiB from 0. */
bool sv_vhost_front_can_log(const struct sv_vhost_front *v);
int sv_vhost_front_log(struct sv_vhost_front *v, int fd, uint64_t bytes, struct sv_error *err);
/* Device configuration space: fills [0, bytes). -ENOTSUP: the back end has none. */
int sv_vhost_front_get_config(struct sv_vhost_front *v, void *bytes, uint32_t n,
	struct sv_error *err);
int sv_vhost_front_set_config(struct sv_vhost_front *v, uint32_t offset, const void *bytes,
	uint32_t n, struct sv_error *err);

/*
 * Before a ring starts: have what is in flight recorded in *i, of at most @queues rings of @size. A
 * back end that does not know how gets nothing, and i->fd stays -1.
 */
int sv_vhost_front_inflight(struct sv_vhost_front *v, struct sv_vhost_inflight *i, uint16_t queues,
	uint16_t size, struct sv_error *err);
void sv_vhost_inflight_close(struct sv_vhost_inflight *i);

/* What all of these return when the back end is gone: it may come back. */
static inline bool sv_vhost_front_gone(int rc)
{
	return rc == -ECONNRESET || rc == -EPIPE;
}

int sv_vhost_front_start(struct sv_vhost_front *v, unsigned queue,
	const struct sv_vhost_ring *ring, struct sv_error *err);
/* Change the interrupt of a ring that runs. */
int sv_vhost_front_set_call(struct sv_vhost_front *v, unsigned queue, int call_fd,
	struct sv_error *err);
/* Finish what is in flight and stop. *base: where to go on. */
int sv_vhost_front_stop(struct sv_vhost_front *v, unsigned queue, uint16_t *base,
	struct sv_error *err);

/*
 * The socket is readable although nobody asked anything. Does not block.
 * Return: 0, or -errno with a sentence: the back end is gone, or does not keep to the protocol.
 */
int sv_vhost_front_check(struct sv_vhost_front *v, struct sv_error *err);

/*
 * v->events is readable. Does not block. Return: 1: the configuration space changed; 0: nothing of
 * interest; -1: it ends, and v->events was closed.
 */
int sv_vhost_front_event(struct sv_vhost_front *v);
/* Close v->events alone. */
void sv_vhost_front_deafen(struct sv_vhost_front *v);

#endif
