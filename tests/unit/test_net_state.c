/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest said by its control queue is known to a back end that is given its in-flight region. */
#include <criterion/criterion.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <io/devices.h>
#include <io/vhost.h>

#include "net_guest.h"

#define F(bit) (1ull << (bit))
#define CSUM (F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_GUEST_CSUM))
#define TSO (CSUM | F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
#define MQ (F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_MQ))
#define BASE (F(VIRTIO_F_VERSION_1) | F(VIRTIO_NET_F_MRG_RXBUF) | MQ)
#define PAIRS 4u
#define SIZE 64u
#define STATE_AT ((2 * PAIRS + 1) * ((16 + 16 * SIZE + 63) & ~63u) + 8)

static struct guest a, b, next;
static struct vu_inflight region;
static int region_fd;
static struct received got;
static uint8_t frame[GUEST_FRAME];

/* As guest_open(), with a region: the one of a predecessor, if there was one. */
static void open_recorded(struct guest *g, struct guest *with, unsigned id, uint64_t want)
{
	struct sv_control_device d = guest_device("net", id, PAIRS);
	union vu_payload reply;

	guest_open(g, with, &d, want, 0);
	fe_start(&g->fe, want, 0, 0);
	g->hdr = 12;
	if (region_fd < 0) {
		region = (struct vu_inflight){.queues = 2 * PAIRS + 1, .queue_size = SIZE};
		cr_assert_eq(fe_call(&g->fe, VU_GET_INFLIGHT_FD, 0, &region, sizeof(region), NULL, 0,
				     &reply), sizeof(region));
		region = reply.inflight;
		region_fd = g->fe.reply_fd;
	}
	fe_call(&g->fe, VU_SET_INFLIGHT_FD, 0, &region, sizeof(region), &region_fd, 1, NULL);
	for (unsigned q = 0; q < 2 * PAIRS + 1; q++)
		fe_start_queue(&g->fe, q, q < 2 * PAIRS ? SIZE : 16);
	cr_assert_not(fe_dropped(&g->fe));
}

static void up(void)
{
	struct sv_control_device d = guest_device("peer", 9, 1);

	region_fd = -1;
	guest_open(&a, NULL, &d, F(VIRTIO_F_VERSION_1) | F(VIRTIO_NET_F_MRG_RXBUF) | CSUM | F(VIRTIO_NET_F_HOST_TSO4),
		SIZE);
}

static void down(void)
{
	close(region_fd);
	guest_close(&a);
}

TestSuite(net_state, .init = up, .fini = down, .timeout = 60);

static int arrives_on(struct guest *g, unsigned flow)
{
	uint32_t len = udp_frame(frame, &a, g->mac, 1000 + flow, 7, 20);
	int on = -1;

	guest_send(&a, 0, NULL, frame, len, 1);
	for (unsigned i = 0; i < 4; i++)
		sv_reactor_turn(a.fe.reactor);
	guest_sent(&a, 0);
	for (unsigned pair = 0; pair < PAIRS; pair++)
		if (guest_receive(g, pair, &got))
			on = (int)pair;
	cr_assert_geq(on, 0, "it did not arrive");
	return on;
}

/* Every pair has buffers; return a bit for each that one of 40 flows arrived on. */
static unsigned pairs_used(struct guest *g)
{
	unsigned used = 0;

	for (unsigned pair = 0; pair < PAIRS; pair++)
		guest_fill(g, pair, 50, 1536);
	for (unsigned flow = 0; flow < 40; flow++)
		used |= 1u << arrives_on(g, flow);
	return used;
}

Test(net_state, pairs_that_the_guest_uses)
{
	uint8_t three[2] = {3, 0};

	open_recorded(&b, &a, 1, BASE);
	cr_assert_eq(pairs_used(&b), 1);
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, 0, three, 2), VIRTIO_NET_OK);
	guest_close(&b);
	open_recorded(&next, &a, 1, BASE);
	cr_assert_eq(pairs_used(&next), 7);
	guest_close(&next);
}

Test(net_state, offloads_that_the_guest_switched_off)
{
	uint64_t none = 0;

	open_recorded(&b, &a, 1, BASE | TSO);
	guest_fill(&b, 0, 4, 1536);
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &none, 8), VIRTIO_NET_OK);
	guest_close(&b);
	open_recorded(&next, &a, 1, BASE | TSO);
	guest_fill(&next, 0, 4, 1536);

	struct virtio_net_hdr_v1 hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = 34,
		.csum_offset = 6};
	uint32_t len = udp_frame(frame, &a, next.mac, 1, 2, 100);

	guest_send(&a, 0, &hdr, frame, len, 1);
	for (unsigned i = 0; i < 4; i++)
		sv_reactor_turn(a.fe.reactor);
	cr_assert(guest_receive(&next, 0, &got));
	cr_assert_eq(got.hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, "the switch had to do it");
	guest_close(&next);
}

Test(net_state, rss)
{
	uint64_t want = BASE | F(VIRTIO_NET_F_RSS);
	uint8_t rss[8 + 2 * 2 + 3 + 40] = {0x3f, 0, 0, 0, 1, 0, 3, 0, 2, 0, 3, 0, 4, 0, 40};

	for (unsigned i = 0; i < 40; i++)
		rss[15 + i] = (uint8_t)(17 * i + 1);
	open_recorded(&b, &a, 1, want);
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, rss,
			     sizeof(rss)), VIRTIO_NET_OK);
	cr_assert_eq(pairs_used(&b), 1u << 2 | 1u << 3);
	guest_close(&b);
	open_recorded(&next, &a, 1, want);
	cr_assert_eq(pairs_used(&next), 1u << 2 | 1u << 3);
	guest_close(&next);
}

/* The front end can write anything there. */
Test(net_state, rubbish_is_bounded)
{
	uint64_t want = BASE | TSO | F(VIRTIO_NET_F_RSS);
	uint8_t *bytes;
	unsigned seed = 1;

	open_recorded(&b, &a, 1, want);
	guest_close(&b);
	bytes = mmap(NULL, region.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, region_fd, 0);
	cr_assert_neq(bytes, MAP_FAILED);
	cr_assert_eq(bytes[STATE_AT], 1, "the test knows where the state is");
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < SV_VHOST_STATE; i++)
			bytes[STATE_AT + i] = (uint8_t)((seed = seed * 1103515245u + 12345u) >> 16);
		open_recorded(&next, &a, 1, want);
		for (unsigned pair = 0; pair < PAIRS; pair++)
			guest_fill(&next, pair, 4, 1536);
		for (unsigned flow = 0; flow < 4; flow++)
			arrives_on(&next, flow);
		guest_close(&next);
	}
	munmap(bytes, region.mmap_size);
}

/* A driver that begins anew with features of its own has said nothing. */
Test(net_state, new_features_forget_what_was_said)
{
	uint8_t three[2] = {3, 0};
	uint64_t features;

	open_recorded(&b, &a, 1, BASE);
	cr_assert_eq(guest_command(&b, VIRTIO_NET_CTRL_MQ, 0, three, 2), VIRTIO_NET_OK);
	features = b.fe.features;
	for (unsigned q = 0; q < 2 * PAIRS + 1; q++)
		fe_stop_queue(&b.fe, q);
	fe_call(&b.fe, VU_SET_FEATURES, 0, &features, 8, NULL, 0, NULL);
	for (unsigned q = 0; q < 2 * PAIRS + 1; q++)
		fe_start_queue(&b.fe, q, q < 2 * PAIRS ? SIZE : 16);
	memset(b.rx_next, 0, sizeof(b.rx_next));
	cr_assert_eq(pairs_used(&b), 1);
	guest_close(&b);
	open_recorded(&next, &a, 1, BASE);
	cr_assert_eq(pairs_used(&next), 1, "and so knows its successor");
	guest_close(&next);
}
