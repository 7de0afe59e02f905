/* SPDX-License-Identifier: BSD-3-Clause */
#include "switch_by_hand.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool deliver(struct sv_port *to, const struct sv_frame *f)
{
	struct hand_port *p = (struct hand_port *)(void *)to;
	struct got *g = &p->got[p->n];

	if (p->full || p->n == GOT_FRAMES)
		return false;
	g->len = f->len;
	g->hdr = f->hdr;
	g->bytes = malloc(f->len);
	cr_assert(sv_frame_read(f, 0, g->bytes, f->len), "a frame shorter than it says");
	p->n++;
	return true;
}

static void flush(struct sv_port *to)
{
	((struct hand_port *)(void *)to)->flushes++;
}

static const struct sv_port_ops ops = {.deliver = deliver, .flush = flush};

void mac_of(unsigned id, uint8_t mac[6])
{
	memset(mac, id == 0xff ? 0xff : 0, 6);
	if (id == 0xff)
		return;
	mac[0] = 2;
	mac[4] = (uint8_t)(id >> 8);
	mac[5] = (uint8_t)id;
}

struct hand_port *port_make(unsigned id, uint16_t vlan, uint32_t flags)
{
	struct hand_port *p = calloc(1, sizeof(*p));

	p->port.ops = &ops;
	p->port.vlan = vlan;
	p->port.flags = flags;
	p->port.offloads = SV_OFFLOAD_ALL;
	snprintf(p->port.name, sizeof(p->port.name), "port%u", id);
	if (id)
		mac_of(id, p->port.mac);
	return p;
}

struct hand_port *port_new(struct sv_switch *sw, unsigned id, uint16_t vlan, uint32_t flags)
{
	struct hand_port *p = port_make(id, vlan, flags);
	struct sv_error err = {""};

	cr_assert_eq(sv_switch_attach(sw, &p->port, &err), 0, "%s", err.text);
	return p;
}

void port_forget(struct hand_port *p)
{
	for (unsigned i = 0; i < p->n; i++)
		free(p->got[i].bytes);
	p->n = p->flushes = 0;
}

void port_free(struct hand_port *p)
{
	if (p->port.sw)
		sv_switch_detach(p->port.sw, &p->port);
	port_forget(p);
	free(p);
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Byte by byte: slow, plain, and written independently of what is tested. */
static unsigned slow_sum(unsigned sum, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (unsigned)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

void make_ether(uint8_t *to, uint32_t len, unsigned dst, unsigned src, unsigned type)
{
	mac_of(dst, to);
	mac_of(src, to + 6);
	put16(to + 12, type);
	for (uint32_t i = 14; i < len; i++)
		to[i] = (uint8_t)(i * 7 + (i >> 8));
}

static uint32_t ip_header(uint8_t *ip, bool ipv6, unsigned protocol, uint32_t behind)
{
	if (ipv6) {
		memset(ip, 0, 40);
		ip[0] = 0x60;
		put16(ip + 4, behind);
		ip[6] = (uint8_t)protocol;
		ip[7] = 64;
		ip[8] = 0xfd;
		ip[23] = 1;
		ip[24] = 0xfd;
		ip[39] = 2;
		return 40;
	}
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, 20 + behind);
	put16(ip + 4, 0x1234);
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = (uint8_t)protocol;
	memcpy(ip + 12, "\x0a\0\0\x01\x0a\0\0\x02", 8);
	put16(ip + 10, ~slow_sum(0, ip, 20) & 0xffff);
	return 20;
}

static unsigned pseudo(const uint8_t *ip, bool ipv6, unsigned protocol, uint32_t behind)
{
	unsigned sum = protocol + behind;

	return ipv6 ? slow_sum(sum, ip + 8, 32) : slow_sum(sum, ip + 12, 8);
}

static uint32_t transport(uint8_t *to, unsigned dst, unsigned src, bool ipv6, unsigned protocol,
	uint32_t header, uint32_t payload, struct virtio_net_hdr_v1 *hdr)
{
	uint32_t l4 = 14 + (ipv6 ? 40u : 20u), at = protocol == 6 ? 16 : 6;

	make_ether(to, l4 + header + payload, dst, src, ipv6 ? 0x86dd : 0x0800);
	ip_header(to + 14, ipv6, protocol, header + payload);
	memset(to + l4, 0, header);
	put16(to + l4, 1000);
	put16(to + l4 + 2, 2000);
	put16(to + l4 + at, pseudo(to + 14, ipv6, protocol, header + payload));
	*hdr = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = htole16((uint16_t)l4),
		.csum_offset = htole16((uint16_t)at)};
	return l4 + header + payload;
}

uint32_t make_tcp(uint8_t *to, unsigned dst, unsigned src, bool ipv6, uint32_t payload,
	struct virtio_net_hdr_v1 *hdr)
{
	uint32_t len = transport(to, dst, src, ipv6, 6, 32, payload, hdr);
	uint8_t *tcp = to + len - payload - 32;

	put16(tcp + 6, 0xfff0); /* the sequence number wraps soon */
	put16(tcp + 4, 0xffff);
	tcp[12] = 0x80;
	tcp[13] = 0x19; /* FIN, PSH, ACK */
	memset(tcp + 20, 1, 12);
	return len;
}

uint32_t make_udp(uint8_t *to, unsigned dst, unsigned src, bool ipv6, uint32_t payload,
	struct virtio_net_hdr_v1 *hdr)
{
	uint32_t len = transport(to, dst, src, ipv6, 17, 8, payload, hdr);

	put16(to + len - payload - 4, 8 + payload);
	return len;
}

bool checksums_hold(const uint8_t *frame, uint32_t len)
{
	const uint8_t *ip = frame + 14;
	bool ipv6 = get16(frame + 12) == 0x86dd;
	uint32_t header = ipv6 ? 40 : 20, behind = len - 14 - header;
	unsigned protocol = ipv6 ? ip[6] : ip[9];

	if (get16(ip + (ipv6 ? 4 : 2)) != behind + (ipv6 ? 0 : 20))
		return false;
	if (!ipv6 && slow_sum(0, ip, 20) != 0xffff)
		return false;
	if (protocol == 17 && get16(ip + header + 4) != behind)
		return false;
	return slow_sum(pseudo(ip, ipv6, protocol, behind), ip + header, behind) == 0xffff;
}

unsigned send_bytes(struct hand_port *from, const uint8_t *bytes, uint32_t len, uint32_t piece,
	const struct virtio_net_hdr_v1 *hdr)
{
	static struct iovec iov[65536];
	uint8_t *copy = malloc(len + 1);
	struct sv_frame f = {.iov = iov, .len = len};
	unsigned taken;

	memcpy(copy, bytes, len);
	if (hdr)
		f.hdr = *hdr;
	for (uint32_t at = 0, n; at < len; at += n) {
		n = piece && piece < len - at ? piece : len - at;
		iov[f.niov++] = (struct iovec){copy + at, n};
	}
	taken = sv_switch_input(from->port.sw, &from->port, &f);
	sv_switch_flush(from->port.sw);
	free(copy);
	return taken;
}

unsigned send_plain(struct hand_port *from, unsigned dst, unsigned src)
{
	uint8_t bytes[60];

	make_ether(bytes, sizeof(bytes), dst, src, 0x88b5);
	return send_bytes(from, bytes, sizeof(bytes), 0, NULL);
}
