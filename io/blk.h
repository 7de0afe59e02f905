/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-blk (virtio 1.2, section 5.2) over a store (blk_store.h): what the device's files share.
 *
 * A flush is begun after the guest asked for it: every write that the guest saw completed is durable
 * when the flush completes. Without a negotiated flush, or with the write cache switched off, every
 * change of the disk is durable when it completes.
 *
 * Nothing is allocated per request, but by libnbd: a command for each of a remote disk.
 */
#ifndef IO_BLK_H
#define IO_BLK_H

#include <linux/virtio_blk.h>

#include "blk_notice.h"
#include "blk_store.h"
#include "moderate.h"
#include "qos_device.h"
#include "session.h"

#define BLK_SLOTS 256u /* requests in flight, all queues together; see BLK_STORE_DEPTH */
#define BLK_SEG_MAX 126u /* data segments of a request; header and status come on top */
#define BLK_RANGE_SECTORS 0x400000u /* of one discard or write-zeroes: 2 GiB */
#define BLK_NONE UINT16_MAX

/* One request in flight: taken from a list, never allocated. */
struct blk_slot {
	struct blk_io io; /* first */
	struct blk *blk;
	struct sv_virtq_chain chain;
	struct sv_qos_ticket ticket;
	uint8_t *status;
	uint32_t type;	  /* VIRTIO_BLK_T_* */
	uint32_t written; /* bytes the driver finds written when it succeeds */
	uint16_t queue;
	uint16_t next; /* free list */
};

/* Written by the polling thread, read by anyone (relaxed). */
struct blk_counters {
	uint64_t reads, writes, flushes, discards, read_bytes, write_bytes;
	uint64_t errors, unsupported;
};

struct blk {
	struct sv_session session; /* first */
	struct blk_store *store;
	struct blk_notice notice; /* open if its store may have something to say */
	struct qos_device qos;
	bool wce, wce_wish; /* write cache on; what the driver wishes if it can flush */
	bool in_order;	    /* VIRTIO_F_IN_ORDER is offered */
	bool pinned;	    /* the guest's memory is to be */
	uint64_t memory_seen; /* sv_vhost.memory_changes when the store was told */
	struct sv_poller_host *pin_host; /* that watches the store's pin_fd; NULL: none does */
	char serial[VIRTIO_BLK_ID_BYTES];
	unsigned queues;

	/* The polling thread's. */
	struct blk_slot *slot;
	uint16_t free_head;
	unsigned first_queue; /* where the next round begins */
	unsigned busy;	    /* slots in use */
	bool held;	    /* an interrupt waits for its time */
	struct sv_moderate moderate[SV_VHOST_QUEUES];
	bool unsubmitted;	    /* the kernel did not take all that was begun */
	/* What ended while the control thread stood in: the scheduler hears of it at the next poll. */
	bool stood_in;
	unsigned nlate;
	struct sv_qos_ticket late[BLK_SLOTS];
	struct blk_counters counts;
};

/* blk.c: as the class's attach and detach; a @foreign front end's memory may lack seals. */
int blk_open(const struct sv_device_request *req, bool foreign, struct blk **out,
	struct sv_error *err);
void blk_close(struct blk *b);
/*
 * What the flags ask for must be possible with this kind of disk: pinned and iopoll are about what
 * O_DIRECT does with the guest's memory and one storage. Return: 0, or -EINVAL with a sentence.
 */
int blk_check(const struct sv_control_device *d, struct sv_error *err);
char *blk_stats(void *handle);
int blk_set(void *handle, const char *key, const char *value, struct sv_error *err);

/* blk_pin.c. Context: control thread. */
/* As the session's prepare(): what there is to pin is noted, and done later. */
void blk_pin_prepare(struct sv_session *session);
/* From now on, piece by piece, for a disk that is to. Return: 0, or -errno with a sentence. */
int blk_pin_watch(struct blk *b, const struct sv_device_request *req, struct sv_error *err);
/* What is pinned stays so until its store is closed. */
void blk_pin_unwatch(struct blk *b);

/* blk_slot.c. Context: polling thread, but for init. */
void blk_slots_init(struct blk *b);
struct blk_slot *blk_slot_take(struct blk *b);
void blk_slot_give(struct blk *b, struct blk_slot *s);
/* Begin what the slot's io describes; it completes some time. */
void blk_begin(struct blk *b, struct blk_slot *s);
/* Answer the driver; not published yet. */
void blk_complete(struct blk *b, struct blk_slot *s, uint8_t status);

/* blk_request.c: take at most @budget requests from a queue. Return: how many. */
unsigned blk_take(struct blk *b, unsigned queue, unsigned budget);

#endif
