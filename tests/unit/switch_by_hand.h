/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports of a switch that keep what they got, and frames made by hand. */
#ifndef TESTS_SWITCH_BY_HAND_H
#define TESTS_SWITCH_BY_HAND_H

#include <io/switch.h>

#define GOT_FRAMES 2048u

struct got {
	uint32_t len;
	struct virtio_net_hdr_v1 hdr;
	uint8_t *bytes;
};

struct hand_port {
	struct sv_port port; /* first */
	bool full;	     /* deliver says no */
	unsigned flushes, n;
	struct got got[GOT_FRAMES];
};

/* A port with address 02:00:00:00:00:@id (0: none). Free it with port_free(), which detaches. */
struct hand_port *port_new(struct sv_switch *sw, unsigned id, uint16_t vlan, uint32_t flags);
/* The same, not attached yet. */
struct hand_port *port_make(unsigned id, uint16_t vlan, uint32_t flags);
void port_free(struct hand_port *p);
void port_forget(struct hand_port *p);

/* 02:00:00:00:00:@id; 0xff: broadcast. */
void mac_of(unsigned id, uint8_t mac[6]);
/* An Ethernet frame of @len bytes at @to; payload bytes are a pattern. */
void make_ether(uint8_t *to, uint32_t len, unsigned dst, unsigned src, unsigned type);
/* TCP over IPv4 or IPv6 with @payload bytes, checksum left partial. Return: bytes. */
uint32_t make_tcp(uint8_t *to, unsigned dst, unsigned src, bool ipv6, uint32_t payload,
	struct virtio_net_hdr_v1 *hdr);
uint32_t make_udp(uint8_t *to, unsigned dst, unsigned src, bool ipv6, uint32_t payload,
	struct virtio_net_hdr_v1 *hdr);
/* Are IP and TCP or UDP checksums and lengths of an untagged frame right? */
bool checksums_hold(const uint8_t *frame, uint32_t len);

/* Send @len bytes as pieces of at most @piece bytes (0: one piece) and flush. Return: taken. */
unsigned send_bytes(struct hand_port *from, const uint8_t *bytes, uint32_t len, uint32_t piece,
	const struct virtio_net_hdr_v1 *hdr);
/* A plain frame of 60 bytes. */
unsigned send_plain(struct hand_port *from, unsigned dst, unsigned src);

#endif
