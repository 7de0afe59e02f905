/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's side of a split virtqueue, written independently of the device side under test. */
#ifndef TESTS_VQ_DRIVER_H
#define TESTS_VQ_DRIVER_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define VQD_SIZE_MAX 1024u

struct vqd_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

struct vqd {
	uint8_t *mem; /* host address of guest-physical 0 */
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size, avail_idx, published, used_seen;
	uint16_t free_head, nfree;
	uint16_t chain_len[VQD_SIZE_MAX];
	bool event_idx;
	int kick_fd, call_fd;
	uint64_t kicks;
};

/* Lay the rings out at @gpa (4 KiB aligned) and clear them. Return: bytes used. */
uint64_t vqd_init(struct vqd *q, uint8_t *mem, uint64_t gpa, uint16_t size, bool event_idx);
/* Add a chain; with @indirect_gpa nonzero the table lies there. Return: head, or -1: no room. */
int vqd_add(struct vqd *q, const struct vqd_buf *buf, unsigned n, uint64_t indirect_gpa);
/* Make what was added visible. Return: the device wants a kick. */
bool vqd_publish(struct vqd *q);
/* Publish, and kick if asked for. */
void vqd_kick(struct vqd *q);
/* Take a used element. Return: head, or -1: none. */
int vqd_get(struct vqd *q, uint32_t *len);
/* Ask for an interrupt for the next used element, or for none. */
void vqd_want_call(struct vqd *q, bool want);
/* Interrupts since the last call of this. */
uint64_t vqd_calls(struct vqd *q);

#endif
