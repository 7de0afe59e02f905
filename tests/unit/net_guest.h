/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest with a network interface, by hand: its buffers, frames and control commands. */
#ifndef TESTS_NET_GUEST_H
#define TESTS_NET_GUEST_H

#include <linux/virtio_net.h>

#include "front_end.h"

#define GUEST_RX_BYTES 4096u /* of one receive buffer */
#define GUEST_FRAME 70000u   /* bytes of memory for a frame to send */

struct guest {
	struct fe fe; /* first */
	unsigned pairs;
	unsigned hdr; /* bytes of the virtio-net header */
	uint8_t mac[6];
	uint64_t rx_at[FE_QUEUES][VQD_SIZE_MAX]; /* by head: where the buffer is */
	uint32_t rx_len[FE_QUEUES][VQD_SIZE_MAX];
	unsigned rx_next[FE_QUEUES], tx_next;
};

/* What came out of a receive queue. */
struct received {
	struct virtio_net_hdr_v1 hdr;
	uint32_t len;
	unsigned buffers;
	uint8_t bytes[GUEST_FRAME];
};

struct sv_control_device guest_device(const char *name, unsigned id, unsigned pairs);
/* Open, negotiate features & @want, start the queues. @with: a guest on the same node, or NULL. */
void guest_open(struct guest *g, struct guest *with, const struct sv_control_device *dev,
	uint64_t want, uint16_t size);
void guest_close(struct guest *g);

/* Make @n receive buffers of @bytes available to pair @pair; kicks if that is asked for. */
void guest_fill(struct guest *g, unsigned pair, unsigned n, uint32_t bytes);
/* Send @len bytes as one frame, in @pieces descriptors behind the header's; does not turn. */
void guest_send(struct guest *g, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
	const void *frame, uint32_t len, unsigned pieces);
/* Take back what was sent. Return: how many frames. */
unsigned guest_sent(struct guest *g, unsigned pair);
/* One frame, if there is one. */
bool guest_receive(struct guest *g, unsigned pair, struct received *r);
/* A control command. Return: the answer, or -1: none came. */
int guest_command(struct guest *g, unsigned class, unsigned cmd, const void *data, uint32_t bytes);
unsigned guest_control_queue(const struct guest *g);

/* A UDP frame over IPv4 with right header checksum; ports tell flows apart. Return: bytes. */
uint32_t udp_frame(uint8_t *to, const struct guest *from, const uint8_t *mac_to, unsigned sport,
	unsigned dport, uint32_t payload);

unsigned long long guest_stat(struct guest *g, const char *key);

#endif
