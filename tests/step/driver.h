/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A virtio driver played by hand: it lays rings out in memory that stands for the guest's, adds
 * chains, and looks at what comes back. It can lie in every way a driver can.
 */
#ifndef TESTS_STEP_DRIVER_H
#define TESTS_STEP_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_ring.h>

/* One buffer of a chain. */
struct driver_buffer {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

struct driver {
	uint8_t *mem; /* host address of guest-physical 0 */
	uint64_t at;  /* guest-physical address of the rings */
	uint16_t size;
	bool event_idx;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t free_desc; /* the next descriptor, round and round */
	uint16_t idx;	    /* avail idx */
	uint16_t seen_used;
};

/* Bytes from @at that the rings take, and where they lie. */
uint64_t driver_bytes(uint16_t size);
uint64_t driver_avail_gpa(const struct driver *d);
uint64_t driver_used_gpa(const struct driver *d);

void driver_init(struct driver *d, uint8_t *mem, uint64_t at, uint16_t size, bool event_idx);
/* Write a chain into the table. Return: its head. Not available before driver_offer(). */
uint16_t driver_chain(struct driver *d, const struct driver_buffer *b, unsigned n);
/* The same as an indirect table at @table. */
uint16_t driver_indirect(struct driver *d, uint64_t table, const struct driver_buffer *b, unsigned n);
void driver_offer(struct driver *d, uint16_t head);
/* Would a driver kick after going from @old to idx? */
bool driver_would_kick(const struct driver *d, uint16_t old);
/* The next used element. Return: there is one. */
bool driver_used(struct driver *d, uint32_t *id, uint32_t *len);
/* Ask for an interrupt at the next used buffer, or for none. */
void driver_want_call(struct driver *d, bool want);

#endif
