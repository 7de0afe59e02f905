/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest on the switch of two honest ones, from fixed seeds, so that a failure can be had
 * again: SEED=n runs one seed, ROUNDS=n that many from it, each named before it runs.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net_guest.h"

#define ROUNDS 300u
#define STEPS 300u
#define ENTRIES 64u
#define RX_HELD 32u
#define F(bit) (1ull << (bit))

static struct guest a, b, bad;
static struct received got;
static uint8_t frame[GUEST_FRAME];
static uint64_t state;
static unsigned long exchanged;

/* xorshift: the same everywhere. */
static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 11;
}

static uint64_t any_gpa(void)
{
	switch (any() % 8) {
	case 0:
		return FE_MEM - any() % 64;
	case 1:
		return any() << any() % 40;
	case 2:
		return UINT64_MAX - any() % 64;
	case 3: /* a ring */
		return any() % FE_DATA;
	default:
		return FE_DATA + any() % (FE_MEM - FE_DATA);
	}
}

static uint32_t any_len(void)
{
	static const uint32_t some[] = {0, 1, 10, 11, 12, 13, 26, 54, 60, 1514, 1526, 4096, 65536,
		UINT32_MAX};
	uint64_t n = any();

	return n & 16 ? (uint32_t)(n >> 8) % 3000 : some[(n >> 8) % (sizeof(some) / sizeof(some[0]))];
}

static void make_available(struct vqd *q, unsigned head)
{
	q->avail->ring[q->avail->idx % q->size] = (uint16_t)head;
	__atomic_store_n(&q->avail->idx, (uint16_t)(q->avail->idx + 1), __ATOMIC_RELEASE);
}

/* Any descriptors, and one of them as a head. */
static void any_chain(struct vqd *q)
{
	for (uint64_t n = any() % 6; n; n--)
		q->desc[any() % q->size] = (struct vring_desc){.addr = any_gpa(),
			.len = any_len(),
			.flags = (uint16_t)(any() % 8),
			.next = (uint16_t)(any() % (q->size + 2u))};
	make_available(q, (unsigned)(any() % (q->size + 1u)));
}

/* @n buffers of kinds that are in order, most of the time. */
static void good_chain(struct vqd *q, const struct vqd_buf *buf, unsigned n)
{
	unsigned first = (unsigned)(any() % (q->size - 8u));

	for (unsigned i = 0; i < n; i++)
		q->desc[first + i] = (struct vring_desc){.addr = buf[i].gpa,
			.len = buf[i].len,
			.flags = (uint16_t)((i + 1 < n ? VRING_DESC_F_NEXT : 0) |
					    (buf[i].writable ? VRING_DESC_F_WRITE : 0)),
			.next = (uint16_t)(first + i + 1)};
	make_available(q, first);
}

/* A frame that is nearly one, to anybody, with any header. */
static void send_frame(void)
{
	const uint8_t all[6] = {255, 255, 255, 255, 255, 255};
	const uint8_t *to = any() % 8 == 0 ? all : any() & 1 ? a.mac : b.mac;
	uint64_t at = FE_DATA + any() % (FE_MEM / 2);
	uint32_t payload = (uint32_t)(any() % 8 ? any() % 1500 : any() % 65000);
	struct virtio_net_hdr_v1 hdr = {.flags = (uint8_t)(any() & 3),
		.gso_type = (uint8_t)(any() % 8),
		.gso_size = (uint16_t)(any() % 3000),
		.hdr_len = (uint16_t)(any() % 128),
		.csum_start = (uint16_t)(any() & 1 ? 34 : any() % 3000),
		.csum_offset = (uint16_t)(any() & 1 ? 6 : any() % 64)};
	struct vqd_buf buf[3] = {{at, bad.hdr, false}, {at + 16, 60, false}};
	uint32_t len = udp_frame(bad.fe.mem + at + 16, &bad, to, (unsigned)any() & 7, 9, payload);

	if (any() % 4) /* a checksum to be made, or nothing */
		hdr = (struct virtio_net_hdr_v1){
			.flags = any() & 1, .csum_start = 34, .csum_offset = 6};
	if (any() % 8 == 0)
		bad.fe.mem[at + 16 + any() % 60] = (uint8_t)any();
	if (any() % 4 == 0)
		bad.fe.mem[at + 16 + 23] = 6; /* TCP */
	memcpy(bad.fe.mem + at, &hdr, bad.hdr);
	if (len < 60)
		buf[1].len = len;
	buf[2] = (struct vqd_buf){at + 76, len - buf[1].len, false};
	good_chain(&bad.fe.q[2 * (any() % bad.pairs) + 1], buf, len > 60 ? 3 : 2);
}

static void send_command(void)
{
	uint64_t at = FE_DATA + any() % (FE_MEM / 2);
	struct vqd_buf buf[3] = {{at, 2, false}, {at + 64, any_len() % 1000, false}, {at + 32, 1, true}};
	uint8_t *p = bad.fe.mem + at;

	p[0] = (uint8_t)(any() % 6);
	p[1] = (uint8_t)(any() % 3);
	for (unsigned i = 0; i < 320; i++)
		p[64 + i] = (uint8_t)(any() % 8 ? 0 : any());
	if (any() & 1) { /* nearly a table for receive-side scaling */
		p[0] = VIRTIO_NET_CTRL_MQ;
		p[1] = VIRTIO_NET_CTRL_MQ_RSS_CONFIG;
		memset(p + 68, 0, 4);
		p[68] = (uint8_t)((1u << any() % 9) - 1);
		buf[1].len = 8 + 2 * (p[68] + 1u) + 3 + (any() & 1 ? 40 : 0);
	} else if (any() & 1) {
		buf[1].len = 1u << any() % 4;
	}
	good_chain(&bad.fe.q[guest_control_queue(&bad)], buf, 3);
}

static void post_buffers(void)
{
	struct vqd_buf buf[2] = {{FE_DATA + any() % FE_DATA, 12 + (uint32_t)any() % 4096, true},
		{FE_DATA + any() % FE_DATA, any_len() % 70000, true}};

	if (any() % 16 == 0)
		buf[0] = (struct vqd_buf){any_gpa(), any_len(), true};

	good_chain(&bad.fe.q[2 * (any() % bad.pairs)], buf, 1 + (any() & 1));
}

/* What came is taken, whatever it is, and its buffers are there again. */
static void drain(struct guest *g)
{
	while (guest_receive(g, 0, &got))
		guest_fill(g, 0, got.buffers, 2048);
}

static void honest(struct guest *from, struct guest *to, const uint8_t *mac)
{
	uint32_t len = udp_frame(frame, from, mac, (unsigned)(any() & 31), 7, (uint32_t)(any() % 1400));
	bool arrived = false;

	drain(to);
	guest_send(from, 0, NULL, frame, len, 1 + (unsigned)(any() % 3));
	sv_reactor_turn(a.fe.reactor);
	cr_assert_eq(guest_sent(from, 0), 1, "an honest guest is not held up");
	if (mac != to->mac)
		return;
	while (guest_receive(to, 0, &got)) {
		arrived |= got.len == len && !memcmp(got.bytes, frame, len);
		guest_fill(to, 0, got.buffers, 2048);
	}
	cr_assert(arrived, "honest guests reach each other");
	exchanged++;
}

static void step(void)
{
	unsigned queues = 2 * bad.pairs + 1, q = (unsigned)(any() % queues);

	switch (any() % 32) {
	case 0:
		any_chain(&bad.fe.q[q]);
		break;
	case 1:
		if (any() & 1)
			bad.fe.q[q].avail->idx = (uint16_t)any();
		break;
	case 2:
		bad.fe.mem[any_gpa() % FE_MEM] = (uint8_t)any();
		break;
	case 3:
	case 4:
	case 5: /* a queue begins anew */
		fe_stop_queue(&bad.fe, q);
		fe_start_queue(&bad.fe, q, ENTRIES);
		break;
	case 6:
	case 7:
		honest(any() & 1 ? &a : &b, &a, bad.mac);
		break;
	case 8:
		honest(&b, &a, a.mac);
		break;
	case 9:
		if (sv_reactor_sleep(a.fe.reactor, 0))
			sv_reactor_turn(a.fe.reactor);
		break;
	case 10:
	case 11:
		send_command();
		break;
	case 12:
	case 13:
	case 14:
	case 15:
	case 16:
		post_buffers();
		break;
	default:
		send_frame();
		sv_reactor_turn(a.fe.reactor);
		drain(&a);
		drain(&b);
	}
}

static void one(const struct sv_control_device *d)
{
	uint64_t want = F(VIRTIO_F_VERSION_1) | F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_MQ) |
			F(VIRTIO_NET_F_RSS) | F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);

	if (any() & 1)
		want |= F(VIRTIO_RING_F_EVENT_IDX) | F(VIRTIO_NET_F_MRG_RXBUF);
	if (any() & 1)
		want |= F(VIRTIO_RING_F_INDIRECT_DESC) | F(VIRTIO_NET_F_GUEST_CSUM) |
			F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_HOST_TSO4);
	guest_open(&bad, &a, d, want, ENTRIES);
	for (unsigned i = 0; i < STEPS; i++)
		step();
	guest_close(&bad);
	honest(&a, &b, b.mac);
}

static unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned long setting(const char *name, unsigned long usual)
{
	const char *s = getenv(name);

	return s ? strtoul(s, NULL, 0) : usual;
}

Test(net_mutants, a_hostile_guest_breaks_its_queues_and_nothing_else, .timeout = 300)
{
	uint64_t usual = F(VIRTIO_F_VERSION_1) | F(VIRTIO_RING_F_EVENT_IDX) | F(VIRTIO_NET_F_MRG_RXBUF);
	unsigned long seed = setting("SEED", 1);
	unsigned long n = setting("ROUNDS", getenv("SEED") ? 1 : ROUNDS);
	struct sv_control_device d = guest_device("a", 1, 1);
	unsigned before;

	guest_open(&a, NULL, &d, usual, ENTRIES);
	d = guest_device("b", 2, 1);
	guest_open(&b, &a, &d, usual, ENTRIES);
	guest_fill(&a, 0, RX_HELD, 2048);
	guest_fill(&b, 0, RX_HELD, 2048);
	before = open_descriptors();
	for (unsigned long s = seed; s < seed + n; s++) {
		state = s * 0x9e3779b97f4a7c15u | 1;
		if (getenv("SEED"))
			printf("seed %lu\n", s); /* also for what ends without a word */
		d = guest_device("bad", 3, 1 + (unsigned)(s % 3));
		one(&d);
		cr_assert_eq(open_descriptors(), before, "seed %lu leaves descriptors open", s);
	}
	cr_assert_gt(exchanged, n);
	cr_assert_eq(guest_stat(&a, "defects") + guest_stat(&b, "defects"), 0);
	guest_close(&b);
	guest_close(&a);
}
