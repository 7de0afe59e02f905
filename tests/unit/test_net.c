/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net: frames between guests, what drivers ask, what hostile ones do. */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include <io/devices.h>
#include <io/net_export.h>

#include "net_guest.h"

#define F(bit) (1ull << (bit))
#define MODERN (F(VIRTIO_F_VERSION_1) | F(VIRTIO_RING_F_EVENT_IDX))
#define MERGE (MODERN | F(VIRTIO_NET_F_MRG_RXBUF))
#define PLAIN_CSUM (F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_GUEST_CSUM))
#define TSO (PLAIN_CSUM | F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO4))
#define CONTROL F(VIRTIO_NET_F_CTRL_VQ)

static struct guest a, b, c;
static struct received got;
static uint8_t frame[GUEST_FRAME];

static void open_two(unsigned pairs, uint64_t want_a, uint64_t want_b, uint16_t size)
{
	struct sv_control_device d = guest_device("a", 1, pairs);

	guest_open(&a, NULL, &d, want_a, size);
	d = guest_device("b", 2, pairs);
	guest_open(&b, &a, &d, want_b, size);
}

static void close_two(void)
{
	guest_close(&b);
	guest_close(&a);
}

static void turns(unsigned n)
{
	while (n--)
		sv_reactor_turn(a.fe.reactor);
}

TestSuite(net, .timeout = 120);

/* --- frames ---------------------------------------------------------------------------------- */

/* Every size from the smallest to the largest of an MTU, in pieces, both ways. */
Test(net, a_frame_arrives_as_it_was_sent)
{
	open_two(1, MERGE, MERGE, 64);
	for (uint32_t payload = 0; payload <= 1472; payload += 61) {
		bool back = payload & 1;
		struct guest *from = back ? &b : &a, *to = back ? &a : &b;
		uint32_t len = udp_frame(frame, from, to->mac, 1000 + payload, 7, payload);

		guest_fill(to, 0, 2, 1536);
		guest_send(from, 0, NULL, frame, len, 1 + payload % 5);
		turns(2);
		cr_assert_eq(guest_sent(from, 0), 1);
		cr_assert(guest_receive(to, 0, &got), "%u bytes", len);
		cr_assert_eq(got.len, len);
		cr_assert_arr_eq(got.bytes, frame, len);
		cr_assert_eq(got.hdr.num_buffers, 1);
		cr_assert(!got.hdr.flags && !got.hdr.gso_type);
		cr_assert(!guest_receive(to, 0, &got) && !guest_receive(from, 0, &got));
	}
	close_two();
}

Test(net, without_mergeable_buffers_or_version_1_the_header_has_ten_bytes)
{
	uint32_t len;

	open_two(1, 0, MODERN, 16);
	cr_assert_eq(a.hdr, 10);
	cr_assert_eq(b.hdr, 12);
	guest_fill(&a, 0, 1, 1524);
	guest_fill(&b, 0, 1, 1526);
	len = udp_frame(frame, &a, b.mac, 1, 2, 100);
	guest_send(&a, 0, NULL, frame, len, 2);
	turns(2);
	cr_assert(guest_receive(&b, 0, &got));
	cr_assert(got.len == len && !memcmp(got.bytes, frame, len));
	len = udp_frame(frame, &b, a.mac, 1, 2, 200);
	guest_send(&b, 0, NULL, frame, len, 2);
	turns(2);
	cr_assert(guest_receive(&a, 0, &got));
	cr_assert(got.len == len && !memcmp(got.bytes, frame, len));
	close_two();
}

/* b receives nothing to port 7 and sends nothing to port 9. */
Test(net, a_packet_filter_decides_what_passes)
{
	struct sv_control_device d = guest_device("a", 1, 1);
	static const struct {
		bool back;
		unsigned port;
		bool passes;
	} frames[] = {{false, 7, false}, {false, 9, true}, {true, 7, true}, {true, 9, false},
		{false, 8, true}};
	char *stats;

	guest_open(&a, NULL, &d, MERGE, 64);
	d = guest_device("b", 2, 1);
	strcpy(d.net.filter, "pcap-to:not udp dst port 7;pcap-from:not udp dst port 9;count:");
	guest_open(&b, &a, &d, MERGE, 64);
	guest_fill(&a, 0, 8, 1536);
	guest_fill(&b, 0, 8, 1536);
	for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct guest *from = frames[i].back ? &b : &a, *to = frames[i].back ? &a : &b;
		uint32_t len = udp_frame(frame, from, to->mac, 1, frames[i].port, 100);

		guest_send(from, 0, NULL, frame, len, 1);
		turns(2);
		cr_assert_eq(guest_sent(from, 0), 1);
		cr_assert_eq(guest_receive(to, 0, &got), frames[i].passes, "frame %u", i);
	}
	stats = sv_net_class.stats(b.fe.handle);
	cr_assert(strstr(stats, "pcap-to"), "%s", stats);
	free(stats);
	close_two();
}

/* A frame of 64 KiB that neither side has to cut, over as many buffers as it needs. */
Test(net, a_large_segment_is_merged_over_receive_buffers)
{
	struct virtio_net_hdr_v1 hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1448,
		.csum_start = 34,
		.csum_offset = 16};
	uint32_t len = 54 + 64000;

	open_two(1, MERGE | TSO, MERGE | TSO, 64);
	udp_frame(frame, &a, b.mac, 1, 2, len - 42);
	frame[14 + 9] = 6;    /* TCP */
	frame[34 + 12] = 0x50; /* 20 bytes of header */
	guest_fill(&b, 0, 40, 2048);
	guest_send(&a, 0, &hdr, frame, len, 17);
	turns(2);
	cr_assert_eq(guest_sent(&a, 0), 1);
	cr_assert(guest_receive(&b, 0, &got));
	cr_assert_eq(got.len, len);
	cr_assert_arr_eq(got.bytes + 54, frame + 54, len - 54);
	cr_assert_eq(got.buffers, (len + 12 + 2047) / 2048);
	cr_assert_eq(got.hdr.gso_size, 1448);
	cr_assert_eq(got.hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	cr_assert_eq(got.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	cr_assert_eq(guest_stat(&b, "rx_buffers"), got.buffers);
	close_two();
}

/* Too few buffers: the frame is dropped, and the buffers are there for the next one. */
Test(net, buffers_that_are_too_few_are_not_lost)
{
	uint32_t large, small;

	open_two(1, MERGE, MERGE, 64);
	guest_fill(&b, 0, 3, 256);
	for (unsigned i = 0; i < 300; i++) {
		large = udp_frame(frame, &a, b.mac, 1, i, 1000);
		guest_send(&a, 0, NULL, frame, large, 2);
		turns(2);
		cr_assert_eq(guest_sent(&a, 0), 1, "the sender is not held up");
		cr_assert(!guest_receive(&b, 0, &got));
		small = udp_frame(frame, &a, b.mac, 1, i, 300);
		guest_send(&a, 0, NULL, frame, small, 2);
		turns(2);
		cr_assert_eq(guest_sent(&a, 0), 1);
		cr_assert(guest_receive(&b, 0, &got));
		cr_assert_eq(got.len, small);
		cr_assert_arr_eq(got.bytes, frame, small);
		cr_assert_eq(got.buffers, 2);
		guest_fill(&b, 0, 2, 256);
	}
	cr_assert_eq(guest_stat(&b, "rx_full"), 300);
	cr_assert_eq(guest_stat(&b, "defects"), 0);
	close_two();
}

/* --- no kicks -------------------------------------------------------------------------------- */

static void hundred_thousand(uint64_t want)
{
	uint32_t len;
	unsigned received = 0, sent = 0;

	open_two(1, want, want, 64);
	guest_fill(&b, 0, 48, 1536);
	turns(1);
	a.fe.q[1].kicks = b.fe.q[0].kicks = 0;
	len = udp_frame(frame, &a, b.mac, 1, 2, 64);
	while (received < 100000) {
		for (unsigned i = 0; i < 16; i++)
			guest_send(&a, 0, NULL, frame, len, 1);
		turns(1);
		sent += guest_sent(&a, 0);
		for (unsigned i = 0; i < 16 && guest_receive(&b, 0, &got); i++) {
			received++;
			guest_fill(&b, 0, 1, 1536);
		}
	}
	cr_assert_eq(received, 100000);
	cr_assert_eq(sent, 100000);
	cr_assert_eq(a.fe.q[1].kicks, 0);
	cr_assert_eq(b.fe.q[0].kicks, 0);
	cr_assert_eq(guest_stat(&a, "kicks") + guest_stat(&b, "kicks"), 0);
	close_two();
}

Test(net, no_kick_in_a_hundred_thousand_packets)
{
	hundred_thousand(MERGE);
}

Test(net, no_kick_without_event_idx_either)
{
	hundred_thousand(F(VIRTIO_F_VERSION_1) | F(VIRTIO_NET_F_MRG_RXBUF));
}

/* Asleep, a sender kicks once, and a receiver's new buffers never do. */
Test(net, only_a_sender_kicks_when_the_sidecore_sleeps)
{
	uint32_t len;

	open_two(1, MERGE, MERGE, 64);
	for (unsigned i = 0; i < 50; i++) {
		turns(2);
		a.fe.q[1].kicks = b.fe.q[0].kicks = 0;
		cr_assert(sv_reactor_sleep(a.fe.reactor, 0));
		len = udp_frame(frame, &a, b.mac, 1, 2, 64);
		guest_fill(&b, 0, 1, 1536);
		cr_assert_eq(b.fe.q[0].kicks, 0);
		guest_send(&a, 0, NULL, frame, len, 1);
		turns(2);
		cr_assert(guest_sent(&a, 0) == 1 && guest_receive(&b, 0, &got));
	}
	close_two();
}

/* --- what drivers ask ------------------------------------------------------------------------ */

Test(net, configuration_space_tells_address_mtu_and_pairs)
{
	struct sv_control_device d = guest_device("a", 1, 3);
	struct vu_config ask = {.size = sizeof(struct virtio_net_config)};
	struct virtio_net_config config;
	union vu_payload reply;

	d.net.mtu = 9000;
	guest_open(&a, NULL, &d, MERGE, 16);
	cr_assert_eq(fe_call(&a.fe, VU_GET_CONFIG, 0, &ask, VU_CONFIG_HEADER + ask.size, NULL, 0,
			     &reply), (int)(VU_CONFIG_HEADER + ask.size));
	memcpy(&config, reply.config.bytes, sizeof(config));
	cr_assert_arr_eq(config.mac, d.net.mac, 6);
	cr_assert_eq(config.status, VIRTIO_NET_S_LINK_UP);
	cr_assert_eq(config.max_virtqueue_pairs, 3);
	cr_assert_eq(config.mtu, 9000);
	cr_assert_eq(fe_call(&a.fe, VU_GET_QUEUE_NUM, 0, NULL, 0, NULL, 0, &reply), 8);
	cr_assert_eq(reply.u64, 3, "QEMU counts pairs");
	guest_close(&a);
}

Test(net, an_address_that_was_not_given_is_derived_and_stays)
{
	struct sv_control_device d = guest_device("a", 0, 1);
	struct vu_config ask = {.size = 6};
	union vu_payload reply;
	uint8_t mac[3][6];

	memset(d.net.mac, 0, 6);
	for (unsigned i = 0; i < 3; i++) {
		if (i == 2)
			strcpy(d.name, "other");
		guest_open(&a, NULL, &d, MERGE, 0);
		fe_call(&a.fe, VU_GET_PROTOCOL_FEATURES, 0, NULL, 0, NULL, 0, &reply);
		fe_call(&a.fe, VU_SET_PROTOCOL_FEATURES, 0, &reply.u64, 8, NULL, 0, NULL);
		fe_call(&a.fe, VU_GET_CONFIG, 0, &ask, VU_CONFIG_HEADER + 6, NULL, 0, &reply);
		memcpy(mac[i], reply.config.bytes, 6);
		guest_close(&a);
	}
	cr_assert_arr_eq(mac[0], mac[1], 6);
	cr_assert(memcmp(mac[0], mac[2], 6));
	cr_assert_eq(mac[0][0], 2);
}

Test(net, control_commands_are_checked)
{
	uint16_t pairs;
	uint64_t offloads = F(VIRTIO_NET_F_GUEST_CSUM);
	uint8_t other[6] = {2, 0, 0, 0, 0, 9}, on = 1, junk[900] = {0};

	open_two(3, FE_ALL & ~F(VIRTIO_F_RING_PACKED), MERGE, 16);
#define MQ_SET(n) \
	(pairs = (n), guest_command(&a, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2))
	cr_assert_eq(MQ_SET(3), VIRTIO_NET_OK);
	cr_assert_eq(guest_stat(&a, "active_pairs"), 3);
	cr_assert_eq(MQ_SET(0), VIRTIO_NET_ERR);
	cr_assert_eq(MQ_SET(4), VIRTIO_NET_ERR);
	cr_assert_eq(MQ_SET(0xffff), VIRTIO_NET_ERR);
	cr_assert_eq(MQ_SET(1), VIRTIO_NET_OK);
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_MQ, 0, &pairs, 1), VIRTIO_NET_ERR);
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, a.mac, 6),
		VIRTIO_NET_OK);
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6),
		VIRTIO_NET_ERR, "the address is the operator's");
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, junk,
			     sizeof(junk)), VIRTIO_NET_OK);
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1),
		VIRTIO_NET_OK);
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
			     VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &offloads, 8), VIRTIO_NET_OK);
	offloads = F(VIRTIO_NET_F_MQ);
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
			     VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &offloads, 8), VIRTIO_NET_ERR);
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_ERR);
	cr_assert_eq(guest_command(&a, 77, 1, junk, 5), VIRTIO_NET_ERR);
	cr_assert_eq(guest_stat(&a, "control_refused"), 8);
	close_two();
}

Test(net, a_driver_without_mq_has_its_control_queue_behind_one_pair)
{
	uint8_t on = 1;
	uint32_t len;

	open_two(2, MERGE | CONTROL, MERGE, 16);
	cr_assert_eq(guest_control_queue(&a), 2);
	cr_assert_eq(guest_command(&a, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1),
		VIRTIO_NET_OK);
	guest_fill(&a, 0, 4, 1536);
	for (unsigned i = 0; i < 4; i++) {
		len = udp_frame(frame, &b, a.mac, i, 2, 64);
		guest_send(&b, 0, NULL, frame, len, 1);
		turns(2);
		cr_assert(guest_receive(&a, 0, &got), "the control queue is no receive queue");
	}
	close_two();
}

/* --- steering -------------------------------------------------------------------------------- */

static int arrived_on(struct guest *g)
{
	int on = -1;

	for (unsigned pair = 0; pair < g->pairs; pair++)
		while (guest_receive(g, pair, &got)) {
			cr_assert_eq(on, -1, "one frame, one queue");
			on = (int)pair;
		}
	return on;
}

Test(net, a_flow_comes_back_on_the_pair_it_was_sent_from)
{
	uint64_t want = MERGE | CONTROL | F(VIRTIO_NET_F_MQ);
	unsigned used = 0;
	uint16_t pairs = 4;
	uint32_t len;

	open_two(4, want, want, 64);
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, 0, &pairs, 2), VIRTIO_NET_OK);
	for (unsigned pair = 0; pair < 4; pair++)
		guest_fill(&b, pair, 60, 1536);
	for (unsigned flow = 0; flow < 40; flow++) {
		unsigned pair = flow * 7 % 4;

		guest_fill(&a, 0, 1, 1536);
		len = udp_frame(frame, &b, a.mac, 500 + flow, 80, 10);
		guest_send(&b, pair, NULL, frame, len, 1);
		turns(2);
		cr_assert(guest_receive(&a, 0, &got));
		guest_sent(&b, pair);
		len = udp_frame(frame, &a, b.mac, 80, 500 + flow, 10);
		guest_send(&a, 0, NULL, frame, len, 1);
		turns(2);
		guest_sent(&a, 0);
		cr_assert_eq(arrived_on(&b), (int)pair, "flow %u", flow);
	}
	/* Flows that were never sent are spread, each always to the same. */
	for (unsigned flow = 0; flow < 40; flow++) {
		int on = -1;

		for (unsigned i = 0; i < 2; i++) {
			len = udp_frame(frame, &a, b.mac, 9000 + flow, 81, 10);
			guest_send(&a, 0, NULL, frame, len, 1);
			turns(2);
			guest_sent(&a, 0);
			cr_assert(i == 0 || on == arrived_on(&b));
			if (i == 0)
				on = arrived_on(&b);
			cr_assert_geq(on, 0);
		}
		used |= 1u << on;
	}
	cr_assert_eq(used, 0xf);
	close_two();
}

/* The example of the specification of RSS for UDP and TCP over IPv4. */
Test(net, rss_follows_the_guests_key_and_table)
{
	static const uint8_t key[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
		0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4,
		0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
		0x01, 0xfa};
	/* 66.9.149.187:2794 to 161.142.100.80:1766 hashes to 0x51ccc178. */
	static const uint8_t tuple[12] = {66, 9, 149, 187, 161, 142, 100, 80, 2794 >> 8, 2794 & 255,
		1766 >> 8, 1766 & 255};
	uint8_t rss[8 + 2 * 128 + 3 + 40 + 1] = {0};
	uint64_t want = MERGE | CONTROL | F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS);
	uint32_t len;

	open_two(4, want, want, 64);
	rss[0] = 0x3f;
	rss[4] = 127;
	rss[6] = 3; /* unclassified */
	rss[8 + 2 * (0x51ccc178 & 127)] = 2;
	rss[8 + 256] = 4;
	rss[8 + 258] = 40;
	memcpy(rss + 8 + 259, key, 40);
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, rss,
			     sizeof(rss)), VIRTIO_NET_OK);
	for (unsigned pair = 0; pair < 4; pair++)
		guest_fill(&b, pair, 8, 1536);
	len = udp_frame(frame, &a, b.mac, 1, 2, 10);
	memcpy(frame + 26, tuple, 12);
	guest_send(&a, 0, NULL, frame, len, 1);
	turns(2);
	cr_assert_eq(arrived_on(&b), 2);
	frame[12] = 0x99; /* not IP */
	guest_send(&a, 0, NULL, frame, len, 1);
	turns(2);
	cr_assert_eq(arrived_on(&b), 3);
	/* What does not fit is refused as a whole. */
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, 1, rss, sizeof(rss) - 1), VIRTIO_NET_OK);
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, 1, rss, sizeof(rss) - 2), VIRTIO_NET_ERR);
	rss[8] = 4; /* no such pair */
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, 1, rss, sizeof(rss)), VIRTIO_NET_ERR);
	rss[8] = 0;
	rss[4] = 126;
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, 1, rss, sizeof(rss)), VIRTIO_NET_ERR);
	rss[4] = rss[5] = 0xff;
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, 1, rss, sizeof(rss)), VIRTIO_NET_ERR);
	close_two();
}

/* --- queues that stop ------------------------------------------------------------------------ */

Test(net, a_stopped_guest_gets_nothing_and_goes_on_where_it_was)
{
	uint32_t len;

	open_two(1, MERGE, MERGE, 64);
	for (unsigned round = 0; round < 20; round++) {
		struct vu_state s = {.index = 0};
		unsigned base;

		guest_fill(&b, 0, 2, 1536);
		base = fe_stop_queue(&b.fe, 0);
		len = udp_frame(frame, &a, b.mac, 1, round, 64);
		guest_send(&a, 0, NULL, frame, len, 1);
		turns(2);
		cr_assert_eq(guest_sent(&a, 0), 1, "the sender is not held up");
		cr_assert(!guest_receive(&b, 0, &got));
		s.num = base;
		fe_call(&b.fe, VU_SET_VRING_BASE, 0, &s, sizeof(s), NULL, 0, NULL);
		fe_call(&b.fe, VU_SET_VRING_KICK, 0, &(uint64_t){0}, 8, &b.fe.q[0].kick_fd, 1, NULL);
		for (unsigned i = 0; i < 2; i++) {
			guest_send(&a, 0, NULL, frame, len, 1);
			turns(2);
			cr_assert_eq(guest_sent(&a, 0), 1);
			cr_assert(guest_receive(&b, 0, &got), "round %u", round);
			cr_assert_eq(got.len, len);
		}
	}
	close_two();
}

Test(net, a_guest_that_goes_takes_nobody_along)
{
	struct sv_control_device d;
	uint32_t len;

	open_two(1, MERGE, MERGE, 64);
	for (unsigned i = 0; i < 10; i++) {
		len = udp_frame(frame, &a, b.mac, 1, i, 64);
		guest_send(&a, 0, NULL, frame, len, 1);
		guest_close(&b);
		turns(2);
		cr_assert_eq(guest_sent(&a, 0), 1);
		d = guest_device("b", 2, 1);
		guest_open(&b, &a, &d, MERGE, 64);
		guest_fill(&b, 0, 1, 1536);
		guest_send(&a, 0, NULL, frame, len, 1);
		turns(2);
		cr_assert(guest_sent(&a, 0) == 1 && guest_receive(&b, 0, &got));
	}
	close_two();
}

/* --- hostile --------------------------------------------------------------------------------- */

struct attack {
	const char *name;
	unsigned queue; /* 0: receive, 1: transmit */
	struct vqd_buf buf[3];
	unsigned n;
};

static const struct attack attacks[] = {
	{"a frame shorter than its header", 1, {{FE_DATA, 11, false}}, 1},
	{"a writable buffer to send", 1, {{FE_DATA, 12, false}, {FE_DATA, 64, true}}, 2},
	{"to send from outside memory", 1, {{FE_MEM - 8, 64, false}}, 1},
	{"to send four gigabytes", 1,
		{{FE_DATA, 12, false}, {0, 0xffffffff, false}, {0, 0xffffffff, false}}, 3},
	{"to send nothing", 1, {{FE_DATA, 0, false}}, 1},
	{"a receive buffer that is to be read", 0, {{FE_DATA, 2048, false}}, 1},
	{"a receive buffer shorter than the header", 0, {{FE_DATA, 11, true}}, 1},
	{"a receive buffer outside memory", 0, {{FE_MEM, 2048, true}}, 1},
	{"a receive buffer of both kinds", 0, {{FE_DATA, 12, false}, {FE_DATA, 2048, true}}, 2},
	{"a receive buffer whose address wraps", 0, {{UINT64_MAX - 4, 2048, true}}, 1},
};

/* The hostile guest's queue breaks, and two others go on. */
Test(net, hostile_chains_break_their_own_queue_only)
{
	struct sv_control_device d = guest_device("c", 3, 1);
	uint32_t len;

	open_two(1, MERGE, MERGE, 64);
	for (unsigned i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		const struct attack *t = &attacks[i];

		guest_open(&c, &a, &d, MERGE, 64);
		cr_assert_geq(vqd_add(&c.fe.q[t->queue], t->buf, t->n, 0), 0);
		vqd_kick(&c.fe.q[t->queue]);
		len = udp_frame(frame, &a, c.mac, 1, 2, 300);
		guest_send(&a, 0, NULL, frame, len, 1);
		turns(2);
		cr_assert_eq(guest_sent(&a, 0), 1);
		cr_assert_eq(guest_stat(&c, "defects"), 1, "%s", t->name);
		guest_fill(&b, 0, 1, 1536);
		len = udp_frame(frame, &a, b.mac, 1, 2, 300);
		guest_send(&a, 0, NULL, frame, len, 1);
		turns(2);
		cr_assert(guest_sent(&a, 0) == 1 && guest_receive(&b, 0, &got), "%s", t->name);
		guest_close(&c);
	}
	cr_assert_eq(guest_stat(&a, "defects") + guest_stat(&b, "defects"), 0);
	close_two();
}

/* A thousand buffers of one byte behind a good one: bounded, given back, and still usable. */
Test(net, a_frame_is_not_spread_over_any_number_of_buffers)
{
	uint32_t len;

	open_two(1, MERGE, MERGE, 512);
	guest_fill(&b, 0, 1, 64);
	guest_fill(&b, 0, 400, 1);
	len = udp_frame(frame, &a, b.mac, 1, 2, 1000);
	guest_send(&a, 0, NULL, frame, len, 1);
	turns(2);
	cr_assert_eq(guest_sent(&a, 0), 1);
	cr_assert_eq(guest_stat(&b, "rx_full"), 1);
	len = udp_frame(frame, &a, b.mac, 1, 2, 40);
	guest_send(&a, 0, NULL, frame, len, 1);
	turns(2);
	cr_assert(guest_receive(&b, 0, &got));
	cr_assert(got.len == len && !memcmp(got.bytes, frame, len));
	close_two();
}

/* --- bad input ------------------------------------------------------------------------------- */

static int refused(struct sv_control_device d)
{
	int rc = fe_open_with(&b.fe, &a.fe, &sv_net_class, &d, NULL, 0);

	fe_close(&b.fe);
	return rc;
}

Test(net, what_cannot_be_is_refused_with_a_sentence)
{
	struct sv_control_device d = guest_device("a", 1, 1);

	guest_open(&a, NULL, &d, MERGE, 16);
	cr_assert_eq(refused(d), -EADDRINUSE);
	cr_assert(*b.fe.err.text);
	d = guest_device("b", 2, 8);
	cr_assert_eq(refused(d), -EINVAL);
	d = guest_device("b", 2, 0);
	cr_assert_eq(refused(d), -EINVAL);
	d = guest_device("b", 2, 1);
	d.net.mtu = 67;
	cr_assert_eq(refused(d), -EINVAL);
	d = guest_device("b", 2, 1);
	d.net.vlan = 4095;
	cr_assert_eq(refused(d), -EINVAL);
	d = guest_device("b", 2, 1);
	d.net.sw[0] = 0;
	cr_assert_eq(refused(d), -EINVAL);
	d = guest_device("b", 2, 1);
	memset(d.net.sw, 'x', sizeof(d.net.sw));
	cr_assert_eq(refused(d), -EINVAL);
	strcpy(d.net.sw, "a\"b"); /* it goes into JSON as it is */
	cr_assert_eq(refused(d), -EINVAL);
	d = guest_device("b", 2, 1);
	d.net.mac[0] = 3;
	cr_assert_eq(refused(d), -EINVAL, "a group address");
	guest_close(&a);
}

static int parse(const char *text, struct sv_net_export_config *config)
{
	static char copy[128];
	struct sv_error err = {""};
	int rc;

	strcpy(copy, text);
	rc = sv_net_export_parse(copy, config, &err);
	cr_assert(rc == 0 || *err.text, "%s: a sentence", text);
	return rc;
}

Test(net, the_argument_of_serve)
{
	static const char *const bad[] = {"", "path=/s", "switch=lan", "path=/s,switch=",
		"path=/s,switch=a/b", "path=/s,switch=abcdefghijklmnop", "path=/s,switch=a,mac=1:2",
		"path=/s,switch=a,mac=01:00:00:00:00:01", "path=/s,switch=a,vlan=0",
		"path=/s,switch=a,vlan=4095", "path=/s,switch=a,mtu=67", "path=/s,switch=a,mtu=65536",
		"path=/s,switch=a,queues=8", "path=/s,switch=a,queues=0", "path=/s,switch=a,spoof=1",
		"path=/s,switch=a,what", "path,switch=a", "path=/s,switch=a,filter=pcap:port smtp",
		"path=/s,switch=a,filter=pcap:host localhost"};
	struct sv_net_export_config config;

	cr_assert_eq(parse("path=/s,switch=lan,mac=52:54:00:AB:cd:ef,vlan=4094,mtu=65535,queues=7,"
			   "spoof,trunk", &config), 0);
	cr_assert_str_eq(config.socket, "/s");
	cr_assert_str_eq(config.net.sw, "lan");
	cr_assert_arr_eq(config.net.mac, ((uint8_t[]){0x52, 0x54, 0, 0xab, 0xcd, 0xef}), 6);
	cr_assert(config.net.vlan == 4094 && config.net.mtu == 65535 && config.pairs == 7);
	cr_assert_eq(config.flags, SV_DEVICE_F_SPOOF | SV_DEVICE_F_TRUNK);
	cr_assert_eq(parse("path=/s,switch=lan,filter=pcap:tcp port 25 and host 10.0.0.1", &config), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(parse(bad[i], &config), -EINVAL, "%s", bad[i]);
}
