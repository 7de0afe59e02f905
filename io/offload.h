/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtio-net header of a frame (virtio 1.2, section 5.1.6): checked against the frame, and what
 * it asks for done in software. Pure functions over memory that is the caller's own: a copy, never
 * what a sender can still change.
 */
#ifndef IO_OFFLOAD_H
#define IO_OFFLOAD_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* kernel headers before 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define OFFLOAD_TCP_SEGMENT_MIN 48u /* bytes: no TCP has smaller ones */
#define OFFLOAD_UDP_SEGMENTS 128u   /* of a UDP frame */

/* What a header asks for, checked. Offsets in bytes from the start of the untagged frame. */
struct offload {
	uint32_t need;	    /* SV_OFFLOAD_*: all of them, or the receiver gets it in software */
	uint32_t len;	    /* of the frame */
	uint16_t l3, l4;    /* with segments: the IP header, the TCP or UDP header */
	uint16_t headers;   /* with segments: where the payload begins */
	uint16_t segment;   /* bytes of payload in each but the last; 0: no segmentation */
	uint16_t csum_at, csum_from; /* with SV_OFFLOAD_CSUM: where it goes, what it covers */
	uint32_t segments;  /* 1: no segmentation */
	bool ipv6, udp;
};

/*
 * Check @hdr against a frame of @len bytes without VLAN tag, whose first @have are @head. @trusted:
 * flags that only a device may set are kept. Effect: *hdr is left with what was understood, in
 * canonical form. Return: false: it contradicts the frame.
 */
bool offload_check(const uint8_t *head, uint32_t have, uint32_t len, bool trusted,
	struct virtio_net_hdr_v1 *hdr, struct offload *o);

/* The Internet checksum of @n bytes, added to @sum: not folded, not inverted. */
uint64_t offload_sum(uint64_t sum, const uint8_t *bytes, uint32_t n);
uint16_t offload_fold(uint64_t sum);

/* Fill the checksum into the whole frame at @frame. */
void offload_checksum(uint8_t *frame, const struct offload *o);

/*
 * Make the headers of segment @i of a frame whose first o->headers bytes are @head, at @to, with the
 * payload of this segment already behind them; checksums are filled in.
 * Return: bytes of the segment, headers and payload.
 */
uint32_t offload_segment(uint8_t *to, const uint8_t *head, const struct offload *o, uint32_t i);
/* Where the payload of segment @i is, from the start of the frame. Return: its bytes. */
uint32_t offload_payload(const struct offload *o, uint32_t i, uint32_t *at);

#endif
