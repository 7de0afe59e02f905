/* SPDX-License-Identifier: BSD-3-Clause */
#include "offload.h"

#include <endian.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

#include <io/switch.h>

#define L2 14u
#define TCP_CSUM 16u
#define UDP_CSUM 6u
#define EXTENSIONS 8u /* IPv6 headers between IP and TCP that are followed */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

uint64_t offload_sum(uint64_t sum, const uint8_t *bytes, uint32_t n)
{
	uint32_t word;

	/* In the byte order of the machine: the sum comes out swapped as a whole, see fold. */
	for (; n >= 4; n -= 4, bytes += 4) {
		memcpy(&word, bytes, 4);
		sum += word;
	}
	if (n) {
		word = 0;
		memcpy(&word, bytes, n);
		sum += word;
	}
	return sum;
}

uint16_t offload_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return be16toh((uint16_t)sum);
}

/* --- the check ------------------------------------------------------------------------------- */

static bool check_ipv4(const uint8_t *head, uint32_t have, uint8_t protocol, struct offload *o)
{
	uint32_t ihl;

	if (have < L2 + 20 || get16(head + 12) != ETHERTYPE_IP || head[L2] >> 4 != 4)
		return false;
	ihl = (head[L2] & 15u) * 4;
	/* Not a fragment, and as long as the frame. */
	if (ihl < 20 || get16(head + L2 + 6) & 0x3fff || head[L2 + 9] != protocol ||
		get16(head + L2 + 2) != o->len - L2)
		return false;
	o->l4 = (uint16_t)(L2 + ihl);
	return true;
}

static bool check_ipv6(const uint8_t *head, uint32_t have, uint8_t protocol, struct offload *o)
{
	uint32_t at = L2 + 40;
	uint8_t next;

	if (have < at || get16(head + 12) != ETHERTYPE_IPV6 || head[L2] >> 4 != 6 ||
		get16(head + L2 + 4) != o->len - at)
		return false;
	next = head[L2 + 6];
	for (unsigned i = 0; i < EXTENSIONS && next != protocol; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS && next != IPPROTO_ROUTING)
			return false;
		if (at + 8 > have)
			return false;
		next = head[at];
		at += (head[at + 1] + 1u) * 8;
	}
	o->l4 = (uint16_t)at;
	o->ipv6 = true;
	return next == protocol && at < have;
}

static bool check_segments(const uint8_t *head, uint32_t have, uint8_t type, struct offload *o)
{
	uint32_t payload, size = o->segment;
	bool ok;

	o->l3 = L2;
	o->udp = type == VIRTIO_NET_HDR_GSO_UDP_L4;
	if (o->udp)
		ok = check_ipv4(head, have, IPPROTO_UDP, o) || check_ipv6(head, have, IPPROTO_UDP, o);
	else if (type == VIRTIO_NET_HDR_GSO_TCPV4)
		ok = check_ipv4(head, have, IPPROTO_TCP, o);
	else
		ok = check_ipv6(head, have, IPPROTO_TCP, o);
	if (!ok || o->l4 + (o->udp ? 8u : 20u) > have)
		return false;
	o->headers = (uint16_t)(o->l4 + (o->udp ? 8u : (head[o->l4 + 12] >> 4) * 4u));
	if (o->headers < o->l4 + (o->udp ? 8u : 20u) || o->headers > have || o->headers >= o->len)
		return false;
	if (o->udp && get16(head + o->l4 + 4) != o->len - o->l4)
		return false;
	if (o->csum_from != o->l4 || o->csum_at != o->l4 + (o->udp ? UDP_CSUM : TCP_CSUM))
		return false;
	payload = o->len - o->headers;
	if (!size || (!o->udp && size < OFFLOAD_TCP_SEGMENT_MIN))
		return false;
	o->segments = (payload + size - 1) / size;
	return !o->udp || o->segments <= OFFLOAD_UDP_SEGMENTS;
}

static uint32_t need_of(uint8_t type, bool ecn)
{
	switch (type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return SV_OFFLOAD_TSO4 | (ecn ? SV_OFFLOAD_ECN : 0);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return SV_OFFLOAD_TSO6 | (ecn ? SV_OFFLOAD_ECN : 0);
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return ecn ? 0 : SV_OFFLOAD_USO;
	default:
		return 0;
	}
}

static bool check_checksum(uint32_t have, const struct virtio_net_hdr_v1 *hdr, struct offload *o)
{
	uint32_t from = le16toh(hdr->csum_start), at = from + le16toh(hdr->csum_offset);

	if (from < L2 || from >= o->len || at + 2 > have)
		return false;
	o->need |= SV_OFFLOAD_CSUM;
	o->csum_from = (uint16_t)from;
	o->csum_at = (uint16_t)at;
	return true;
}

bool offload_check(const uint8_t *head, uint32_t have, uint32_t len, bool trusted,
	struct virtio_net_hdr_v1 *hdr, struct offload *o)
{
	uint8_t type = hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN, flags = hdr->flags;
	bool ecn = hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	struct virtio_net_hdr_v1 clean = {.flags = flags & VIRTIO_NET_HDR_F_NEEDS_CSUM};

	*o = (struct offload){.len = len, .segments = 1};
	if (!flags && hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE) { /* most are finished */
		memset(hdr, 0, sizeof(*hdr));
		return true;
	}
	if (trusted && !clean.flags)
		clean.flags = flags & VIRTIO_NET_HDR_F_DATA_VALID;
	if (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (!check_checksum(have, hdr, o))
			return false;
		clean.csum_start = hdr->csum_start;
		clean.csum_offset = hdr->csum_offset;
	}
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		o->need |= need_of(type, ecn);
		o->segment = le16toh(hdr->gso_size);
		if (!(o->need & ~SV_OFFLOAD_CSUM) || !(o->need & SV_OFFLOAD_CSUM) ||
			!check_segments(head, have, type, o))
			return false;
		clean.gso_type = hdr->gso_type;
		clean.gso_size = hdr->gso_size;
		clean.hdr_len = htole16(o->headers);
	}
	*hdr = clean;
	return true;
}

/* --- the work -------------------------------------------------------------------------------- */

void offload_checksum(uint8_t *frame, const struct offload *o)
{
	uint16_t sum = (uint16_t)~offload_fold(
		offload_sum(0, frame + o->csum_from, o->len - o->csum_from));

	put16(frame + o->csum_at, sum ? sum : 0xffff); /* 0 would say: none */
}

uint32_t offload_payload(const struct offload *o, uint32_t i, uint32_t *at)
{
	uint32_t left;

	*at = o->headers + i * o->segment;
	left = o->len - *at;
	return left < o->segment ? left : o->segment;
}

/* a + b - c in ones' complement. */
static uint32_t adjust(uint32_t a, uint32_t b, uint32_t c)
{
	uint32_t sum = a + b + (c ^ 0xffff);

	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static void segment_ip(uint8_t *to, const struct offload *o, uint32_t len, uint32_t i)
{
	uint8_t *ip = to + o->l3;

	if (o->ipv6) {
		put16(ip + 4, len - o->l3 - 40);
		return;
	}
	put16(ip + 2, len - o->l3);
	put16(ip + 4, get16(ip + 4) + i);
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~offload_fold(offload_sum(0, ip, (uint32_t)(o->l4 - o->l3))));
}

#define TCP_FIN_PSH 0x09
#define TCP_CWR 0x80

uint32_t offload_segment(uint8_t *to, const uint8_t *head, const struct offload *o, uint32_t i)
{
	uint32_t at, len = o->headers + offload_payload(o, i, &at);
	struct offload one = *o;
	uint8_t *l4 = to + o->l4;

	memcpy(to, head, o->headers);
	segment_ip(to, o, len, i);
	/* What the sender left there is the sum of the pseudo-header, with the length of the whole. */
	put16(to + o->csum_at, adjust(get16(to + o->csum_at), len - o->l4,
				      (o->len - o->l4) & 0xffff));
	if (o->udp) {
		put16(l4 + 4, len - o->l4);
	} else {
		put32(l4 + 4, get32(l4 + 4) + i * o->segment);
		if (i + 1 < o->segments)
			l4[13] &= (uint8_t)~TCP_FIN_PSH;
		if (i)
			l4[13] &= (uint8_t)~TCP_CWR;
	}
	one.len = len;
	offload_checksum(to, &one);
	return len;
}
