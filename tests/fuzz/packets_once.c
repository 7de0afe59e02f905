/* SPDX-License-Identifier: BSD-3-Clause */
#include "packets_once.h"

#include <endian.h>

#include <io/net_filter.h>
#include <io/switch.h>

#include "fuzz_input.h"

#define PORTS 5u
#define FRAMES 8u
#define SHORT 512u

struct end {
	struct sv_port port; /* first */
	uint64_t delivered, bytes;
};

/* The sender's: a frame ends at the wall. */
#define ROOM (SV_FRAME_MAX + 119u)
_Static_assert(ROOM % 8 == 0, "poison is laid in steps of 8 bytes");
static uint8_t memory[ROOM + WALL] __attribute__((aligned(64)));

static struct packets_fuzz {
	struct fuzz_input in;
	struct sv_switch *sw;
	struct end end[PORTS];
	struct sv_net_filter *filter;
	uint8_t *sent;
	uint32_t sent_bytes;
	uint64_t now_ns;
	bool attached, scribble, full;
	uint64_t kind;
} fuzz;

/* What every receiver may rely on. */
static bool deliver(struct sv_port *to, const struct sv_frame *f)
{
	static uint8_t bytes[SV_FRAME_MAX + 4];
	struct end *e = (struct end *)(void *)to;
	uint16_t flags = f->hdr.flags;
	uint32_t sum = 0;

	CHECK(f->len >= SV_FRAME_MIN && f->len <= SV_FRAME_MAX + 4);
	CHECK(f->niov && f->niov <= SV_FRAME_PIECES + 1);
	for (unsigned i = 0; i < f->niov; i++)
		sum += (uint32_t)f->iov[i].iov_len;
	CHECK(sum == f->len);
	CHECK(sv_frame_read(f, 0, bytes, f->len) && !sv_frame_read(f, 1, bytes, f->len));
	if (!(to->offloads & SV_OFFLOAD_CSUM))
		CHECK(!flags && f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE);
	if (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		CHECK(le16toh(f->hdr.csum_start) + le16toh(f->hdr.csum_offset) + 2u <= f->len);
	if (f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE)
		CHECK(f->len <= to->max_frame);
	else
		CHECK(le16toh(f->hdr.gso_size) && le16toh(f->hdr.hdr_len) < f->len);
	/* A sender that changes its memory while the switch delivers. */
	if (fuzz.scribble && fuzz.sent_bytes)
		for (unsigned i = 0; i < 8; i++)
			fuzz.sent[fuzz_take(&fuzz.in, 2) % fuzz.sent_bytes] =
				(uint8_t)fuzz_take(&fuzz.in, 1);
	if (fuzz.full)
		return false;
	e->delivered++;
	e->bytes += f->len;
	return true;
}

static void flush(struct sv_port *to)
{
	(void)to;
}

static const struct sv_port_ops ops = {.deliver = deliver, .flush = flush};

static void attach(
	struct packets_fuzz *f, unsigned i, uint16_t vlan, uint32_t flags, uint32_t offloads)
{
	struct end *e = &f->end[i];
	struct sv_error err;

	*e = (struct end){.port = {.ops = &ops,
				  .name = "fuzz",
				  .vlan = vlan,
				  .flags = flags,
				  .offloads = offloads,
				  .max_frame = i == 1 ? 1518 : 0,
				  .filter = i == 2 ? f->filter : NULL}};
	if (!(flags & SV_PORT_UPLINK))
		memcpy(e->port.mac, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(i + 1)}, 6);
	CHECK(sv_switch_attach(f->sw, &e->port, &err) == 0);
}

/* Attaching is dear: ports of the same kind go on with new counters and a full bucket. */
static void forget(struct packets_fuzz *f)
{
	for (unsigned i = 0; i < PORTS; i++) {
		struct end *e = &f->end[i];

		e->delivered = e->bytes = 0;
		memset(&e->port.counters, 0, sizeof(e->port.counters));
		e->port.flood_tokens = e->port.flood_burst * 1000000000ull;
	}
}

static void set_up(struct packets_fuzz *f, const uint8_t *bytes, size_t n)
{
	struct sv_switch_config config = {.name = "fuzz"};
	struct sv_error err;
	uint64_t kind;

	f->in = (struct fuzz_input){bytes, bytes + n};
	if (!f->sw)
		CHECK(sv_switch_create(&f->sw, &config, &err) == 0);
	if (!f->filter)
		CHECK(sv_net_filter_open(&f->filter,
			      "count:;dscp:46;pcap-to:not (tcp port 7 or ip6 protochain 6 and "
			      "greater 500);"
			      "pcap-from:not udp[4:2] = 9 and (not vlan or ip)",
			      &err) == 0);
	kind = fuzz_take(&f->in, 1);
	if (f->attached && f->kind == kind) {
		forget(f);
		return;
	}
	for (unsigned i = 0; i < PORTS && f->attached; i++)
		sv_switch_detach(f->sw, &f->end[i].port);
	f->attached = true;
	f->kind = kind;
	attach(f, 0, kind & 1, 0, SV_OFFLOAD_ALL);
	attach(f, 1, kind >> 1 & 1, 0, 0);
	attach(f, 2, kind >> 2 & 1, kind & 64 ? SV_PORT_LEARN : 0,
		(uint32_t)(kind & 32 ? SV_OFFLOAD_CSUM : 31));
	attach(f, 3, kind >> 3 & 1, SV_PORT_LEARN | SV_PORT_UPLINK,
		SV_OFFLOAD_CSUM | SV_OFFLOAD_TSO4);
	attach(f, 4, kind >> 4 & 1, SV_PORT_LEARN, (uint32_t)(kind & 128 ? 31 : 0));
}

static void tear_down(struct packets_fuzz *f)
{
	for (unsigned i = 0; i < PORTS; i++) {
		struct end *e = &f->end[i];

		CHECK(e->port.counters.out_frames == e->delivered);
		CHECK(e->port.counters.out_bytes == e->bytes);
	}
}

/* --- frames ------------------------------------------------------------------------------------
 */

static uint32_t any_length(struct fuzz_input *in)
{
	uint64_t kind = fuzz_take(in, 1);

	switch (kind & 7) {
	case 0:
		return (uint32_t)(kind >> 3);
	case 1:
		return SV_FRAME_HEAD - 8 + (uint32_t)(kind >> 3);
	case 2:
		return kind > 240 ? (uint32_t)fuzz_take(in, 3) % (ROOM + 1) : 1514;
	default:
		return (uint32_t)fuzz_take(in, 2) % SHORT;
	}
}

static void put16(uint8_t *p, uint64_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_mac(uint8_t *to, uint64_t kind)
{
	memset(to, kind == 15 ? 0xff : 0, 6);
	if (kind == 15)
		return;
	to[0] = (uint8_t)(kind == 14 ? 1 : 2);
	to[5] = (uint8_t)kind;
}

/* Ethernet, perhaps a tag, IPv4 or IPv6, TCP or UDP, as far as there is room. Return: where L4 is.
 */
static uint32_t template(struct fuzz_input *in, uint8_t *b, uint32_t len, bool *udp)
{
	uint64_t kind = fuzz_take(in, 1), macs = fuzz_take(in, 1);
	uint32_t l3 = 14, l4;

	put_mac(b, macs & 15);
	put_mac(b + 6, macs >> 4);
	if (kind & 1) {
		put16(b + 12, 0x8100);
		put16(b + 14, kind & 2 ? 1 : fuzz_take(in, 2));
		l3 = 18;
	}
	*udp = kind & 8;
	if (kind & 4) {
		put16(b + l3 - 2, 0x86dd);
		b[l3] = 0x60;
		put16(b + l3 + 4, len - l3 - 40);
		b[l3 + 6] = *udp ? 17 : 6;
		l4 = l3 + 40;
	} else {
		put16(b + l3 - 2, 0x0800);
		b[l3] = (uint8_t)(kind & 16 ? 0x46 : 0x45);
		put16(b + l3 + 2, len - l3);
		b[l3 + 9] = *udp ? 17 : 6;
		l4 = l3 + (kind & 16 ? 24 : 20);
	}
	if (*udp)
		put16(b + l4 + 4, len - l4);
	else
		b[l4 + 12] = (uint8_t)(kind & 32 ? 0x80 : 0x50);
	return l4;
}

static struct virtio_net_hdr_v1 any_header(struct fuzz_input *in, uint32_t l4, bool udp)
{
	uint64_t kind = fuzz_take(in, 1);
	struct virtio_net_hdr_v1 h = {0};

	if (kind & 1) { /* one in order */
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = htole16((uint16_t)l4);
		h.csum_offset = htole16(udp ? 6 : 16);
	}
	if (kind & 2) {
		h.gso_type = (uint8_t)(udp        ? 5
				       : kind & 4 ? VIRTIO_NET_HDR_GSO_TCPV6
						  : VIRTIO_NET_HDR_GSO_TCPV4);
		h.gso_type |= (uint8_t)(kind & 8 ? VIRTIO_NET_HDR_GSO_ECN : 0);
		h.gso_size = htole16((uint16_t)(kind & 16 ? 1400 : fuzz_take(in, 2)));
		h.hdr_len = htole16((uint16_t)(l4 + (udp ? 8u : 20u)));
	}
	if (kind & 32)
		((uint8_t *)&h)[fuzz_take(in, 1) % sizeof(h)] = (uint8_t)fuzz_take(in, 1);
	if ((kind & 192) == 192)
		for (unsigned i = 0; i < sizeof(h); i++)
			((uint8_t *)&h)[i] = (uint8_t)fuzz_take(in, 1);
	return h;
}

static unsigned cut(struct fuzz_input *in, struct iovec *iov, uint8_t *bytes, uint32_t len)
{
	uint64_t piece = fuzz_take(in, 1);
	unsigned n = 0;

	if (piece < 64 || (uint64_t)len / piece > SV_FRAME_PIECES)
		piece = len ? len : 1;
	for (uint32_t at = 0; at < len; at += (uint32_t)piece)
		iov[n++] = (struct iovec){bytes + at, len - at < piece ? len - at : piece};
	return n;
}

static void send_one(struct packets_fuzz *f)
{
	static struct iovec iov[SV_FRAME_PIECES + 2];
	uint64_t what = fuzz_take(&f->in, 1);
	uint32_t len = any_length(&f->in), l4 = 0;
	struct end *from = &f->end[what % PORTS];
	uint64_t taken = 0, before = 0;
	struct sv_frame frame;
	bool udp = false;

	wall_up(memory + ROOM);
	f->sent = memory + ROOM - len;
	memset(f->sent, (int)(what >> 3), len);
	f->sent_bytes = len;
	if (len >= 100)
		l4 = template(&f->in, f->sent, len, &udp);
	for (uint64_t i = what >> 3 & 7; i && len; i--)
		f->sent[fuzz_take(&f->in, 1) % len] = (uint8_t)fuzz_take(&f->in, 1);
	f->scribble = what & 64;
	f->full = (what & 0x87) == 0x87;
	frame = (struct sv_frame){.iov = iov, .hdr = any_header(&f->in, l4, udp), .len = len};
	frame.niov = cut(&f->in, iov, f->sent, len);
	for (unsigned i = 0; i < PORTS; i++)
		before += f->end[i].delivered;
	taken = sv_switch_input(f->sw, &from->port, &frame);
	for (unsigned i = 0; i < PORTS; i++)
		before -= f->end[i].delivered;
	CHECK(taken == 0 - before);
	sv_switch_flush(f->sw);
	wall_check(memory + ROOM);
	f->sent_bytes = 0;
}

void packets_once(const uint8_t *bytes, size_t n)
{
	struct packets_fuzz *f = &fuzz;

	set_up(f, bytes, n);
	for (unsigned i = 0; i < FRAMES && fuzz_left(&f->in); i++) {
		uint64_t pass = fuzz_take(&f->in, 1);

		if (pass > 240)
			sv_switch_age(f->sw, f->now_ns += pass << 26);
		send_one(f);
	}
	tear_down(f);
}
