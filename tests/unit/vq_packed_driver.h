/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's side of a packed virtqueue, written independently of the device side under test. */
#ifndef TESTS_VQ_PACKED_DRIVER_H
#define TESTS_VQ_PACKED_DRIVER_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "vq_driver.h"

struct vqp {
	uint8_t *mem; /* host address of guest-physical 0 */
	uint64_t ring_gpa, driver_gpa, device_gpa;
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver, *device;
	uint16_t size, next, used, nfree;
	bool wrap, used_wrap, event_idx;
	/* What vqp_add() did and vqp_publish() has not: flags of the first go last. */
	uint16_t added, first, first_flags;
	bool first_wrap;
	uint16_t ids[VQD_SIZE_MAX], nids; /* free buffer ids */
	uint16_t length[VQD_SIZE_MAX];	  /* positions of the chain with this id */
	int call_fd;
};

/* Lay the areas out at @gpa (4 KiB aligned) and clear them. */
void vqp_init(struct vqp *q, uint8_t *mem, uint64_t gpa, uint16_t size, bool event_idx);
/* Add a chain; with @indirect_gpa nonzero the table lies there. Return: buffer id, or -1: no room. */
int vqp_add(struct vqp *q, const struct vqd_buf *buf, unsigned n, uint64_t indirect_gpa);
/* Make what was added visible. Return: the device wants a kick. */
bool vqp_publish(struct vqp *q);
/* Take a used element. Return: buffer id, or -1: none. */
int vqp_get(struct vqp *q, uint32_t *len);
/* Ask for an interrupt for the next used element, or for none. */
void vqp_want_call(struct vqp *q, bool want);

#endif
