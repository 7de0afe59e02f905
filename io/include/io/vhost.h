/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user back end: one connection, one virtio device, up to SV_VHOST_QUEUES virtqueues.
 *
 * Messages are handled in the control thread; the queues belong to the polling thread while the
 * device's poller is attached. Whatever a message changes in a queue, it changes between a detach
 * and an attach. A queue is stopped by letting the polling thread finish what is in flight, so that
 * the position reported to the front end has nothing outstanding behind it.
 *
 * The front end is not trusted either: every message is bounded and checked, its memory must be as
 * large as it says, its eventfds are never read and never written where that could block. What is
 * wrong ends this connection with one sentence and touches nobody else.
 */
#ifndef IO_VHOST_H
#define IO_VHOST_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <base/gmem.h>
#include <channels/poller.h>
#include <io/virtq.h>

/* The fuzzer says as few as it uses: bounds checks then see an index beyond them. */
#ifndef SV_VHOST_QUEUES
#define SV_VHOST_QUEUES 16u
#endif
#define SV_VHOST_STATE 184u /* bytes that a device may keep beyond our end */
#define SV_VHOST_DRAIN_MS 10000 /* how long a queue may take to finish what is in flight */

/* epoll data of a kick descriptor in the session's epoll set; the device's own have another. */
#define SV_VHOST_KICK 1u

struct sv_call;
struct sv_vhost;

/* What a device type gives. All of it is called in the control thread. */
struct sv_vhost_device {
	const char *name;
	/* Virtqueues that GET_QUEUE_NUM counts as one: 2 where they come in pairs. 0: each counts. */
	unsigned queue_group;
	/* Feature bits of the device type; those of the transport are added. */
	uint64_t (*features)(void *dev);
	/* The driver's choice, a subset of what was offered; queues are not polled. 0: reset. */
	void (*set_features)(void *dev, uint64_t features);
	/* Configuration space: bytes of it; fill all of it; take a write. NULL: read-only or none. */
	unsigned config_bytes;
	void (*get_config)(void *dev, uint8_t *config);
	int (*set_config)(void *dev, uint32_t offset, const uint8_t *bytes, uint32_t n);
	/*
	 * What a successor of this process must know besides the front end's messages; may be NULL. Each
	 * byte stands for itself, and set_state believes none of them. Queues are not polled.
	 */
	void (*get_state)(void *dev, uint8_t state[SV_VHOST_STATE]);
	void (*set_state)(void *dev, const uint8_t state[SV_VHOST_STATE]);
	/* Every available chain is taken at once: a stop also waits for those of a predecessor. */
	bool takes_all;
};

/* Who polls: the reactor of the sidecore, or a test. */
struct sv_vhost_host {
	int (*attach)(void *ctx, struct sv_poller *p);
	void (*detach)(void *ctx, struct sv_poller *p); /* returns when no op runs any more */
	void *ctx;
};

struct sv_vhost_queue {
	struct sv_virtq vq;
	uint64_t desc_user, avail_user, used_user; /* front-end addresses, from SET_VRING_ADDR */
	uint32_t size;
	uint32_t base; /* sv_virtq_start() */
	bool have_addr, enabled, started; /* started: the front end gave the kick descriptor */
	bool running;			  /* polled: changes only while the poller is detached */
	uint32_t stopping;		  /* take nothing new (relaxed; control thread to poller) */
	int kick_fd, err_fd;
	struct sv_call *call; /* NULL: the driver polls */
	/* What is out, in the format of v->inflight.packed; NULL: the front end keeps none. */
	struct sv_inflight *record;
	struct sv_inflight_packed *packed_record;
	struct sv_virtq_log logged; /* vq.log, while writes are logged */
};

struct sv_vhost {
	/* Constant after sv_vhost_open(). */
	int sock;
	const struct sv_vhost_device *type;
	void *dev;
	struct sv_vhost_host host;
	struct sv_poller *poller;
	unsigned queues;
	bool sealed_only; /* accept only memory that its owner cannot shrink */
	int epoll_fd;	  /* kicks (edge-triggered) and the device's own descriptors */
	bool calls_missed; /* some driver may sleep through an interrupt; changed while nobody polls */

	/* Control thread. */
	bool attached, stuck;
	uint64_t features, protocol;
	int backend_req_fd; /* where requests of ours would go; -1: none */
	struct sv_gmem gmem;
	uint64_t memory_changes; /* of gmem */
	struct {
		void *base;
		uint64_t bytes;
		int trap; /* base/memtrap.h */
	} map[SV_GMEM_REGIONS];
	struct {
		void *base; /* NULL: none */
		uint64_t bytes;
		void *state; /* in it; NULL: no room for one */
		int trap;
		bool packed;
		uint16_t room; /* entries of each record */
	} inflight;
	struct { /* dirty log of the front end (vhost_log.c) */
		void *base; /* NULL: there is none */
		uint64_t bytes;
		int trap;
	} log;
	int reply_fd; /* goes with the next reply; -1: none */
	unsigned have; /* bytes of the message received so far */
	unsigned nfds;
	int fds[8];
	uint8_t message[12 + 268];

	uint64_t kicks; /* seen while armed: written by the polling thread, read by anyone (relaxed) */

	struct sv_vhost_queue queue[SV_VHOST_QUEUES];
};

/*
 * Begin to serve @sock (connected, Unix stream), which becomes the session's own. @poller is
 * attached while at least one queue runs; its ops read v->queue[]. Context: control thread.
 * Return: 0, or -errno with a sentence; the socket stays the caller's on failure.
 */
int sv_vhost_open(struct sv_vhost *v, int sock, const struct sv_vhost_device *type, void *dev,
	unsigned queues, struct sv_poller *poller, const struct sv_vhost_host *host,
	struct sv_error *err);

/*
 * The device's state changed beside the messages: remember it for a successor. Context: polling thread
 * of an attached device, or control thread when it is not polled.
 */
void sv_vhost_state_store(struct sv_vhost *v);

/*
 * The socket is readable: handle what has arrived, at most a bounded number of messages.
 * Context: control thread; may wait for requests in flight (SV_VHOST_DRAIN_MS).
 * Return: 0; -ECONNRESET at end of file; -errno with a sentence: drop this device.
 */
int sv_vhost_input(struct sv_vhost *v, struct sv_error *err);

/*
 * End the session: queues drained and stopped, memory unmapped, descriptors closed.
 * Context: control thread. Return: 0, or -ETIMEDOUT: requests are stuck in the host's storage, so
 * that memory and device state must stay as they are (the caller frees nothing).
 */
int sv_vhost_close(struct sv_vhost *v);

/* The configuration space changed: the front end is told, if it listens. Context: control thread. */
void sv_vhost_config_changed(struct sv_vhost *v);

/* For the device's poller ops: all kicks consumed. Context: polling thread; does not block. */
void sv_vhost_drain_kicks(struct sv_vhost *v);
/*
 * Repeat interrupts after which nothing came. A front end that is called through a socket is a
 * process that gets a signal (User-mode Linux): one that comes between its last look for work and
 * its sleep ends no sleep, and the driver goes on at its next timer tick, 10 ms later. A second
 * one, a little later, does. For pollers whose drivers wait for what was completed, in each turn;
 * cheap where there is no such front end. Context: polling thread.
 */
void sv_vhost_call_again(struct sv_vhost *v);
/* Suppress notifications of all running queues, or arm them. Return of arm: work is pending. */
void sv_vhost_suppress(struct sv_vhost *v);
bool sv_vhost_arm(struct sv_vhost *v);
/* Counters of all queues together. Context: any. */
struct sv_virtq_stats sv_vhost_stats(const struct sv_vhost *v);
/* Is this queue to be served now? Context: polling thread. */
bool sv_vhost_serving(const struct sv_vhost_queue *q);

#endif
