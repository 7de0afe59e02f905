/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which receive queue a frame goes to. Without a rule of the guest's, a flow comes back on the pair
 * that the guest sends it from, which is where its reader runs; a flow it has not sent anything of is
 * spread by its hash. With one (RSS), the guest's Toeplitz key and table decide.
 */
#include "net.h"

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

#include <channels/atomics.h>

#define HEAD_BYTES (ETH_HLEN + 4u + 40u + 4u) /* Ethernet, a tag, IPv6, ports */
#define HASH_IPV4 (1u << 0)
#define HASH_TCPV4 (1u << 1)
#define HASH_UDPV4 (1u << 2)
#define HASH_IPV6 (1u << 3)
#define HASH_TCPV6 (1u << 4)
#define HASH_UDPV6 (1u << 5)

/* Source and destination addresses, then ports: the input of a Toeplitz hash. */
struct flow {
	uint8_t tuple[36];
	unsigned addresses; /* bytes of both; 0: not IP */
	bool ports;
	uint32_t address_type, port_type; /* HASH_*; port_type 0: neither TCP nor UDP */
};

static void take_ports(struct flow *w, uint8_t protocol, const uint8_t *at, uint32_t left,
	uint32_t tcp, uint32_t udp)
{
	w->port_type = protocol == IPPROTO_TCP ? tcp : protocol == IPPROTO_UDP ? udp : 0;
	w->ports = w->port_type && left >= 4;
	if (w->ports)
		memcpy(w->tuple + w->addresses, at, 4);
}

static void parse_ipv4(struct flow *w, const uint8_t *ip, uint32_t left)
{
	unsigned bytes = left >= 20 ? (ip[0] & 15u) * 4u : 0;

	if (bytes < 20 || ip[0] >> 4 != 4)
		return;
	memcpy(w->tuple, ip + 12, 8);
	w->addresses = 8;
	w->address_type = HASH_IPV4;
	/* A fragment has no ports, but for the first. They all go the same way. */
	if (bytes <= left && !(ip[6] & 0x3f) && !ip[7])
		take_ports(w, ip[9], ip + bytes, left - bytes, HASH_TCPV4, HASH_UDPV4);
}

static void parse_ipv6(struct flow *w, const uint8_t *ip, uint32_t left)
{
	if (left < 40 || ip[0] >> 4 != 6)
		return;
	memcpy(w->tuple, ip + 8, 32);
	w->addresses = 32;
	w->address_type = HASH_IPV6;
	take_ports(w, ip[6], ip + 40, left - 40, HASH_TCPV6, HASH_UDPV6);
}

static struct flow parse(const struct sv_frame *f)
{
	struct flow w = {.addresses = 0};
	uint8_t head[HEAD_BYTES];
	uint32_t n = f->len < sizeof(head) ? f->len : (uint32_t)sizeof(head), at = 12;
	unsigned type;

	if (n < ETH_HLEN || !sv_frame_read(f, 0, head, n))
		return w;
	if (head[12] == 0x81 && head[13] == 0 && n >= ETH_HLEN + 4)
		at += 4;
	type = (unsigned)head[at] << 8 | head[at + 1];
	at += 2;
	if (type == ETH_P_IP)
		parse_ipv4(&w, head + at, n - at);
	else if (type == ETH_P_IPV6)
		parse_ipv6(&w, head + at, n - at);
	return w;
}

/* The same for both directions of a flow. */
static unsigned flow_hash(const struct flow *w)
{
	unsigned half = w->addresses / 2;
	uint32_t h = 0;

	for (unsigned i = 0; i < half; i += 4) {
		uint32_t a, b;

		memcpy(&a, w->tuple + i, sizeof(a));
		memcpy(&b, w->tuple + half + i, sizeof(b));
		h = (h ^ a ^ b) * 0x9e3779b1u;
	}
	if (w->ports) {
		uint16_t a, b;

		memcpy(&a, w->tuple + w->addresses, sizeof(a));
		memcpy(&b, w->tuple + w->addresses + 2, sizeof(b));
		h = (h ^ (uint32_t)(a ^ b) ^ (uint32_t)(a + b) << 16) * 0x9e3779b1u;
	}
	return h >> 16;
}

static uint32_t toeplitz(const struct net_steer *s, const uint8_t *bytes, unsigned n)
{
	uint32_t h = 0;

	for (unsigned i = 0; i < n; i++)
		h ^= s->toeplitz[2 * i][bytes[i] >> 4] ^ s->toeplitz[2 * i + 1][bytes[i] & 15];
	return h;
}

void net_steer_key(struct net_steer *s, const uint8_t *key, unsigned bytes)
{
	uint8_t whole[NET_RSS_KEY + 4] = {0};

	memcpy(whole, key, bytes);
	memcpy(s->key, whole, NET_RSS_KEY);
	memset(s->toeplitz, 0, sizeof(s->toeplitz));
	for (unsigned bit = 0; bit < 8 * (NET_RSS_KEY - 4); bit++) {
		const uint8_t *at = whole + bit / 8;
		uint64_t five = (uint64_t)at[0] << 32 | (uint64_t)at[1] << 24 | (uint64_t)at[2] << 16 |
				(uint64_t)at[3] << 8 | at[4];
		uint32_t window = (uint32_t)(five >> (8 - bit % 8));

		for (unsigned v = 0; v < 16; v++)
			if (v & 8u >> bit % 4)
				s->toeplitz[bit / 4][v] ^= window;
	}
}

void net_steer_reset(struct net_steer *s)
{
	memset(s, 0, sizeof(*s));
}

void net_steer_learn(struct net_steer *s, const struct sv_frame *f, unsigned pair)
{
	struct flow w = parse(f);

	if (w.addresses)
		s->flow[flow_hash(&w) % NET_FLOWS] = (uint8_t)(pair + 1);
}

static unsigned pick_rss(const struct net_steer *s, const struct flow *w)
{
	unsigned n = 0;

	if (w->ports && (s->hash_types & w->port_type))
		n = w->addresses + 4;
	else if (s->hash_types & w->address_type)
		n = w->addresses;
	if (!n)
		return s->unclassified;
	return s->table[toeplitz(s, w->tuple, n) & s->table_mask];
}

unsigned net_steer_pick(const struct net_steer *s, const struct sv_frame *f, unsigned active)
{
	struct flow w = parse(f);
	unsigned hash, pair;

	if (s->rss)
		return pick_rss(s, &w);
	if (!w.addresses)
		return 0;
	hash = flow_hash(&w);
	pair = s->flow[hash % NET_FLOWS];
	return pair && pair <= active ? pair - 1 : hash % active;
}
