/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtio driver by hand: finds a device on the bus of a rig, sets it up, and moves buffers. */
#ifndef TESTS_VIRTIO_DRIVER_H
#define TESTS_VIRTIO_DRIVER_H

#include "rig.h"

struct driver {
	struct rig *r;
	unsigned slot;
	uint64_t bar, common, isr, config, notify, msix_table, msix_pba;
	unsigned cfg_access; /* offset of the capability */
	uint32_t notify_multiplier;
	unsigned next_desc, next_avail, next_used; /* of the one ring that driver_ring() made */
	uint64_t ring_gpa;
	uint16_t ring_size;
};

/* Read the capabilities of slot @slot; enables memory, bus mastering and MSI-X. */
struct driver driver_probe(struct rig *r, unsigned slot);

uint64_t driver_get(struct driver *d, unsigned off, unsigned len); /* common configuration */
void driver_set(struct driver *d, unsigned off, uint64_t value, unsigned len);
uint64_t driver_offered(struct driver *d);
/* Reset, acknowledge, choose @features. Return: were they accepted? */
bool driver_negotiate(struct driver *d, uint64_t features);
/* Rings of queue @queue at @gpa (needs 16 KiB), with MSI-X vector @vector; enabled. */
void driver_ring(struct driver *d, unsigned queue, uint64_t gpa, uint16_t size, uint16_t vector);
/* Unmask a vector with a message of its own. */
void driver_unmask(struct driver *d, unsigned vector);
void driver_ok(struct driver *d);

struct piece {
	uint64_t gpa;
	uint32_t len;
	bool device_writes;
};
/* Make a chain available, without a kick. Return: its head. */
unsigned driver_put(struct driver *d, const struct piece *pieces, unsigned n);
/* Wait for one used chain, at most five seconds. *written: bytes. Return: its head. */
unsigned driver_take(struct driver *d, uint32_t *written);
/* Kick as KVM would: the ioeventfd of the queue. */
void driver_kick(struct driver *d, unsigned queue);

#endif
