/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_guest.h"

#include <criterion/criterion.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <io/devices.h>

#define RX_AT(q, i) (FE_DATA + 0x40000ull * (q) + GUEST_RX_BYTES * ((i) % 64u))
#define TX_AT(i) (FE_DATA + 0x600000ull + 0x12000ull * ((i) % 64u))
#define COMMAND_AT (FE_DATA + 0xb00000ull)

struct sv_control_device guest_device(const char *name, unsigned id, unsigned pairs)
{
	struct sv_control_device d = {.kind = SV_DEVICE_NET, .queues = pairs, .net = {.sw = "test"}};

	snprintf(d.name, sizeof(d.name), "%s", name);
	d.net.mac[0] = 0x02;
	d.net.mac[5] = (uint8_t)id;
	return d;
}

unsigned guest_control_queue(const struct guest *g)
{
	bool mq = g->fe.features & (1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_RSS);

	return mq ? 2 * g->pairs : 2;
}

void guest_open(struct guest *g, struct guest *with, const struct sv_control_device *dev,
	uint64_t want, uint16_t size)
{
	int rc;

	memset(g, 0, sizeof(*g));
	g->pairs = dev->queues;
	memcpy(g->mac, dev->net.mac, sizeof(g->mac));
	rc = with ? fe_open_with(&g->fe, &with->fe, &sv_net_class, dev, NULL, 0)
		  : fe_open(&g->fe, &sv_net_class, dev, NULL, 0, false, 0);
	cr_assert_eq(rc, 0, "%s", g->fe.err.text);
	if (!size)
		return;
	fe_start(&g->fe, want, 0, 0);
	g->hdr = g->fe.features & (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_NET_F_MRG_RXBUF) ? 12
												: 10;
	for (unsigned q = 0; q < 2 * g->pairs; q++)
		fe_start_queue(&g->fe, q, size);
	if (g->fe.features & 1ull << VIRTIO_NET_F_CTRL_VQ)
		fe_start_queue(&g->fe, guest_control_queue(g), 16);
}

void guest_close(struct guest *g)
{
	fe_close(&g->fe);
}

void guest_fill(struct guest *g, unsigned pair, unsigned n, uint32_t bytes)
{
	unsigned q = 2 * pair;

	while (n--) {
		struct vqd_buf b = {RX_AT(q, g->rx_next[q]++), bytes, true};
		int head = vqd_add(&g->fe.q[q], &b, 1, 0);

		cr_assert_geq(head, 0);
		g->rx_at[q][head] = b.gpa;
		g->rx_len[q][head] = bytes;
	}
	vqd_kick(&g->fe.q[q]);
}

void guest_send(struct guest *g, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
	const void *frame, uint32_t len, unsigned pieces)
{
	uint64_t at = TX_AT(g->tx_next++);
	struct vqd_buf b[64] = {{at, g->hdr, false}};
	uint32_t done = 0;
	unsigned n = 1;

	memset(g->fe.mem + at, 0, g->hdr);
	if (hdr)
		memcpy(g->fe.mem + at, hdr, g->hdr);
	memcpy(g->fe.mem + at + 64, frame, len);
	while (done < len) {
		uint32_t k = n < pieces ? (len - done) / 2 + 1 : len - done;

		b[n++] = (struct vqd_buf){at + 64 + done, k, false};
		done += k;
	}
	cr_assert_geq(vqd_add(&g->fe.q[2 * pair + 1], b, n, 0), 0);
	vqd_kick(&g->fe.q[2 * pair + 1]);
}

unsigned guest_sent(struct guest *g, unsigned pair)
{
	unsigned n = 0;

	while (vqd_get(&g->fe.q[2 * pair + 1], NULL) >= 0)
		n++;
	return n;
}

static uint32_t append(struct guest *g, unsigned q, int head, uint32_t used, uint32_t skip,
	struct received *r)
{
	cr_assert_leq(used, g->rx_len[q][head]);
	cr_assert_leq(r->len + used - skip, GUEST_FRAME);
	memcpy(r->bytes + r->len, g->fe.mem + g->rx_at[q][head] + skip, used - skip);
	return used - skip;
}

bool guest_receive(struct guest *g, unsigned pair, struct received *r)
{
	unsigned q = 2 * pair, left;
	uint32_t used;
	int head = vqd_get(&g->fe.q[q], &used);

	if (head < 0)
		return false;
	memset(&r->hdr, 0, sizeof(r->hdr));
	memcpy(&r->hdr, g->fe.mem + g->rx_at[q][head], g->hdr);
	r->buffers = g->fe.features & 1ull << VIRTIO_NET_F_MRG_RXBUF ? r->hdr.num_buffers : 1;
	r->len = 0;
	r->len += append(g, q, head, used, g->hdr, r);
	for (left = r->buffers - 1; left; left--) {
		head = vqd_get(&g->fe.q[q], &used);
		cr_assert_geq(head, 0, "all buffers of a frame become visible at once");
		r->len += append(g, q, head, used, 0, r);
	}
	return true;
}

int guest_command(struct guest *g, unsigned class, unsigned cmd, const void *data, uint32_t bytes)
{
	uint8_t *at = g->fe.mem + COMMAND_AT;
	struct vqd_buf b[3] = {{COMMAND_AT, 2, false}, {COMMAND_AT + 64, bytes, false},
		{COMMAND_AT + 32, 1, true}};
	unsigned q = guest_control_queue(g);

	at[0] = (uint8_t)class;
	at[1] = (uint8_t)cmd;
	at[32] = 0xee;
	if (bytes)
		memcpy(at + 64, data, bytes);
	else
		b[1] = b[2];
	cr_assert_geq(vqd_add(&g->fe.q[q], b, bytes ? 3 : 2, 0), 0);
	vqd_kick(&g->fe.q[q]);
	for (unsigned i = 0; i < 10; i++)
		sv_reactor_turn(g->fe.reactor);
	return vqd_get(&g->fe.q[q], NULL) < 0 ? -1 : at[32];
}

uint32_t udp_frame(uint8_t *to, const struct guest *from, const uint8_t *mac_to, unsigned sport,
	unsigned dport, uint32_t payload)
{
	uint8_t *ip = to + 14, *udp = ip + 20;
	uint32_t sum = 0, len = 42 + payload;

	memset(to, 0, 42);
	memcpy(to, mac_to, 6);
	memcpy(to + 6, from->mac, 6);
	to[12] = 0x08;
	ip[0] = 0x45;
	ip[2] = (uint8_t)((28 + payload) >> 8);
	ip[3] = (uint8_t)(28 + payload);
	ip[8] = 64;
	ip[9] = 17;
	ip[12] = ip[16] = 10;
	ip[15] = from->mac[5];
	ip[19] = mac_to[5];
	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = ~((sum & 0xffff) + (sum >> 16));
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	udp[0] = (uint8_t)(sport >> 8);
	udp[1] = (uint8_t)sport;
	udp[2] = (uint8_t)(dport >> 8);
	udp[3] = (uint8_t)dport;
	udp[4] = (uint8_t)((8 + payload) >> 8);
	udp[5] = (uint8_t)(8 + payload);
	for (uint32_t i = 0; i < payload; i++)
		to[42 + i] = (uint8_t)(i * 7 + sport);
	return len;
}

unsigned long long guest_stat(struct guest *g, const char *key)
{
	return fe_stat(&g->fe, key);
}
