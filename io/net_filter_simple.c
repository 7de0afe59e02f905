/* SPDX-License-Identifier: BSD-3-Clause */
/* Two packet filters that are also examples: one counts, one changes. */
#include <errno.h>
#include <jansson.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <channels/atomics.h>

#include "net_filters.h"

#define L2 14u

static unsigned type_of(const struct sv_net_packet *p)
{
	return p->have < L2 ? 0 : (unsigned)p->head[12] << 8 | p->head[13];
}

/* --- count: ---------------------------------------------------------------------------------- */

enum { ARP, IPV4_TCP, IPV4_UDP, IPV4_ICMP, IPV4_OTHER, IPV6_TCP, IPV6_UDP, IPV6_ICMP, IPV6_OTHER, OTHER,
	KINDS };
static const char *const kind_name[KINDS] = {"arp", "ipv4_tcp", "ipv4_udp", "ipv4_icmp", "ipv4_other",
	"ipv6_tcp", "ipv6_udp", "ipv6_icmp", "ipv6_other", "other"};

struct counting {
	struct sv_net_filter filter;
	uint64_t frames[KINDS], bytes[KINDS]; /* read relaxed by others */
};

static int create_count(struct sv_net_filter **out, const char *config, struct sv_error *err)
{
	struct counting *c;

	if (*config)
		return sv_fail(err, EINVAL, "packet filter count:%s: nothing stands behind `count:`", config);
	c = calloc(1, sizeof(*c));
	if (!c)
		return sv_fail(err, ENOMEM, "out of memory");
	*out = &c->filter;
	return 0;
}

static void destroy(struct sv_net_filter *f)
{
	free(f);
}

static unsigned kind_of(const struct sv_net_packet *p)
{
	unsigned type = type_of(p);

	if (type == ETHERTYPE_ARP)
		return ARP;
	if (type == ETHERTYPE_IP && p->have >= L2 + 20) {
		uint8_t proto = p->head[L2 + 9];

		return proto == IPPROTO_TCP ? IPV4_TCP : proto == IPPROTO_UDP ? IPV4_UDP
			: proto == IPPROTO_ICMP ? IPV4_ICMP : IPV4_OTHER;
	}
	if (type == ETHERTYPE_IPV6 && p->have >= L2 + 40) {
		uint8_t next = p->head[L2 + 6];

		return next == IPPROTO_TCP ? IPV6_TCP : next == IPPROTO_UDP ? IPV6_UDP
			: next == IPPROTO_ICMPV6 ? IPV6_ICMP : IPV6_OTHER;
	}
	return OTHER;
}

static enum sv_net_verdict count_packet(struct sv_net_filter *f, struct sv_net_packet *p)
{
	struct counting *c = (struct counting *)f;
	unsigned kind = kind_of(p);

	sv_store_relaxed(&c->frames[kind], c->frames[kind] + 1);
	sv_store_relaxed(&c->bytes[kind], c->bytes[kind] + p->len);
	return SV_NET_PASS;
}

static char *count_stats(struct sv_net_filter *f)
{
	struct counting *c = (struct counting *)f;
	json_t *o = json_object();
	char *text;

	for (unsigned i = 0; i < KINDS; i++)
		if (sv_load_relaxed(&c->frames[i]))
			json_object_set_new(o, kind_name[i],
				json_pack("{s:I, s:I}", "frames", (json_int_t)sv_load_relaxed(&c->frames[i]), "bytes",
					(json_int_t)sv_load_relaxed(&c->bytes[i])));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

const struct sv_net_filter_class sv_net_count_class = {.name = "count",
	.usage = "count:",
	.create = create_count,
	.destroy = destroy,
	.packet = count_packet,
	.stats = count_stats};

/* --- dscp:N ---------------------------------------------------------------------------------- */

struct dscp {
	struct sv_net_filter filter;
	uint8_t value;
};

static int create_dscp(struct sv_net_filter **out, const char *config, struct sv_error *err)
{
	char *end;
	unsigned long n = strtoul(config, &end, 10);
	struct dscp *d;

	if (*config < '0' || *config > '9' || *end || n > 63)
		return sv_fail(err, EINVAL, "packet filter dscp:%s: a number from 0 to 63", config);
	d = calloc(1, sizeof(*d));
	if (!d)
		return sv_fail(err, ENOMEM, "out of memory");
	d->value = (uint8_t)n;
	*out = &d->filter;
	return 0;
}

/* The IPv4 header checksum after one 16-bit word of the header changed. */
static void patch_checksum(uint8_t *at, unsigned was, unsigned is)
{
	uint32_t sum = (~((unsigned)at[0] << 8 | at[1]) & 0xffff) + (~was & 0xffff) + is;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	at[0] = (uint8_t)(~sum >> 8);
	at[1] = (uint8_t)~sum;
}

static enum sv_net_verdict dscp_packet(struct sv_net_filter *f, struct sv_net_packet *p)
{
	const struct dscp *d = (const struct dscp *)f;
	uint8_t *ip = p->head + L2;
	unsigned was;

	if (p->have >= L2 + 20 && type_of(p) == ETHERTYPE_IP) {
		was = (unsigned)ip[0] << 8 | ip[1];
		ip[1] = (uint8_t)(d->value << 2 | (ip[1] & 3));
		patch_checksum(ip + 10, was, (unsigned)ip[0] << 8 | ip[1]);
		p->changed = true;
	} else if (p->have >= L2 + 40 && type_of(p) == ETHERTYPE_IPV6) {
		ip[0] = (uint8_t)((ip[0] & 0xf0) | d->value >> 2);
		ip[1] = (uint8_t)((d->value & 3) << 6 | (ip[1] & 0x3f));
		p->changed = true;
	}
	return SV_NET_PASS;
}

const struct sv_net_filter_class sv_net_dscp_class = {.name = "dscp",
	.usage = "dscp:0..63",
	.create = create_dscp,
	.destroy = destroy,
	.packet = dscp_packet};
