/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user front end by hand, and a reactor under the device: stepped in the caller's thread, or
 * with a thread of its own. The caller's thread is the control thread.
 */
#ifndef TESTS_FRONT_END_H
#define TESTS_FRONT_END_H

#include <linux/virtio_config.h>

#include <channels/device_class.h>
#include <channels/vhost_user.h>
#include <sidecore/reactor.h>

#include "vq_driver.h"

#define FE_MEM (16u << 20)
#define FE_QUEUES 15u
#define FE_WATCHES 8u
#define FE_RINGS 0x10000u  /* of queue q: at FE_RINGS * (q + 1) */
#define FE_DATA 0x100000u
#define FE_USER 0x7f0000000000ull /* front-end address of guest-physical 0 */
/* All but what its driver does not do: other formats of queues, in-order use, logging. */
#define FE_ALL (~(1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_F_IN_ORDER | VU_F_LOG_ALL))

struct fe {
	struct sv_poller_host host; /* first */
	struct sv_reactor *reactor;
	struct fe *shared; /* whose host and reactor are used; NULL: its own */
	struct {
		int fd; /* -1: unused */
		void (*ready)(void *ctx);
		void *ctx;
	} watch[FE_WATCHES];
	int served; /* the device's end of the connection */
	const struct sv_device_class *class;
	void *handle;
	int sock, memfd;
	int reply_fd; /* that came with the last reply, the caller's; -1: none */
	uint8_t *mem;
	uint64_t features;
	struct vqd q[FE_QUEUES];
	struct sv_error err;
};

/*
 * Attach a device of @class with @fds (it takes them over). @threaded: the reactor has a thread and
 * sleeps after @idle_us. Return: what attach returned.
 */
int fe_open(struct fe *fe, const struct sv_device_class *class, const struct sv_control_device *dev,
	const int *fds, unsigned nfds, bool threaded, uint64_t idle_us);
/* The same on the reactor of @with, which is closed after it. */
int fe_open_with(struct fe *fe, struct fe *with, const struct sv_device_class *class,
	const struct sv_control_device *dev, const int *fds, unsigned nfds);
void fe_close(struct fe *fe);

/* One message; *reply (may be NULL) is what came back. Return: bytes of the reply, -1: none. */
int fe_call(struct fe *fe, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
	const int *fds, unsigned nfds, union vu_payload *reply);
/* Let the device handle what is in its socket. */
void fe_pump(struct fe *fe);
/* One turn for each other descriptor of the node that is readable. Return: how many were. */
unsigned fe_events(struct fe *fe);
/* One of the device's statistics, a number; the test fails if it is not among them. */
unsigned long long fe_stat(const struct fe *fe, const char *key);
/* Has the device dropped the connection? */
bool fe_dropped(struct fe *fe);

/* Negotiate features & @want, share memory, start @queues of @size entries. */
void fe_start(struct fe *fe, uint64_t want, unsigned queues, uint16_t size);
/* Only the queue: its size, rings, base 0, call, kick, enable. */
void fe_start_queue(struct fe *fe, unsigned queue, uint16_t size);
/* GET_VRING_BASE. Return: the position. */
unsigned fe_stop_queue(struct fe *fe, unsigned queue);

/* Wait for a used element: turns of the reactor, or time. Return: head; fails the test after 10 s. */
int fe_wait(struct fe *fe, unsigned queue, uint32_t *len);

#endif
