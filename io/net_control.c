/* SPDX-License-Identifier: BSD-3-Clause */
/* The control queue: each command is copied once, checked, then done; the answer is one byte. */
#include "net.h"

#include <endian.h>
#include <string.h>

#include <channels/atomics.h>

#define COMMAND_BYTES 512u /* the longest that is looked at */
#define HEAD_BYTES sizeof(struct virtio_net_ctrl_hdr)
#define RSS_HEAD 8u /* hash types, table mask, unclassified */

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

/* The address is the operator's choice, not the guest's; saying it again is no harm. */
static bool set_mac(struct net *n, const uint8_t *data, uint32_t bytes)
{
	if (bytes != sizeof(n->port.mac))
		return false;
	return !memcmp(data, n->port.mac, bytes) || (n->port.flags & SV_PORT_LEARN);
}

static bool set_pairs(struct net *n, const uint8_t *data, uint32_t bytes)
{
	unsigned pairs = bytes == 2 ? get16(data) : 0;

	if (!(n->features & 1ull << VIRTIO_NET_F_MQ) || !pairs || pairs > n->pairs)
		return false;
	n->active = pairs;
	n->steer.rss = false;
	return true;
}

static bool set_rss(struct net *n, const uint8_t *data, uint32_t bytes)
{
	struct net_steer *s = &n->steer;
	uint32_t types, entries, tail;
	uint16_t table[NET_RSS_TABLE], unclassified;

	if (!(n->features & 1ull << VIRTIO_NET_F_RSS) || bytes < RSS_HEAD)
		return false;
	types = get32(data);
	entries = get16(data + 4) + 1u;
	unclassified = get16(data + 6);
	tail = RSS_HEAD + 2 * entries;
	if ((types & ~NET_HASH_TYPES) || entries > NET_RSS_TABLE || (entries & (entries - 1)) ||
		unclassified >= n->pairs || bytes < tail + 3 || data[tail + 2] > NET_RSS_KEY ||
		bytes < tail + 3 + data[tail + 2])
		return false; /* bytes may follow: Linux 6.12 sends its structure's padding */
	for (unsigned i = 0; i < entries; i++) {
		table[i] = get16(data + RSS_HEAD + 2 * i);
		if (table[i] >= n->pairs)
			return false;
	}
	/* POINT OF NO RETURN */
	memcpy(s->table, table, sizeof(table[0]) * entries);
	s->table_mask = (uint16_t)(entries - 1);
	s->hash_types = types;
	s->unclassified = unclassified;
	net_steer_key(s, data + tail + 3, data[tail + 2]);
	s->rss = true;
	n->active = n->pairs;
	return true;
}

static bool set_offloads(struct net *n, const uint8_t *data, uint32_t bytes)
{
	uint64_t wanted;

	if (!(n->features & 1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || bytes != sizeof(wanted))
		return false;
	memcpy(&wanted, data, sizeof(wanted));
	wanted = le64toh(wanted);
	if (wanted & ~(n->features & NET_GUEST_OFFLOADS))
		return false;
	net_set_offloads(n, wanted);
	return true;
}

/* @have: bytes of the data in @data; @bytes: how many the guest sent. */
static bool command(struct net *n, unsigned class, unsigned cmd, const uint8_t *data, uint32_t have,
	uint32_t bytes)
{
	switch (class) {
	case VIRTIO_NET_CTRL_RX:
		/* What a port receives is the switch's decision; a guest filters by itself. */
		return cmd <= VIRTIO_NET_CTRL_RX_NOBCAST && bytes == 1;
	case VIRTIO_NET_CTRL_MAC:
		if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
			return true;
		return cmd == VIRTIO_NET_CTRL_MAC_ADDR_SET && set_mac(n, data, bytes);
	case VIRTIO_NET_CTRL_MQ:
		if (cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
			return set_pairs(n, data, bytes);
		return cmd == VIRTIO_NET_CTRL_MQ_RSS_CONFIG && have == bytes && set_rss(n, data, bytes);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return cmd == VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET && set_offloads(n, data, bytes);
	default:
		return false;
	}
}

/* Copy what there is, at most @most bytes. Return: bytes. */
static uint32_t flatten(const struct sv_virtq_chain *c, uint8_t *to, uint32_t most)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < c->readable && at < most; i++) {
		size_t k = c->iov[i].iov_len < most - at ? c->iov[i].iov_len : most - at;

		memcpy(to + at, c->iov[i].iov_base, k);
		at += (uint32_t)k;
	}
	return at;
}

unsigned net_serve_control(struct net *n, unsigned budget)
{
	struct sv_vhost_queue *q = net_control(n);
	struct sv_virtq_chain *c = &n->tx_chain;
	uint8_t bytes[COMMAND_BYTES];
	unsigned done = 0;

	while (q && done < budget && sv_vhost_serving(q) &&
		sv_virtq_take(&q->vq, c) == SV_VIRTQ_ONE) {
		uint32_t have = flatten(c, bytes, sizeof(bytes));
		bool good;

		if (have < HEAD_BYTES || !c->writable) {
			sv_virtq_reject(&q->vq);
			break;
		}
		good = command(n, bytes[0], bytes[1], bytes + HEAD_BYTES, have - (uint32_t)HEAD_BYTES,
			c->readable_bytes - (uint32_t)HEAD_BYTES);
		*(uint8_t *)c->iov[c->readable].iov_base = good ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		if (good)
			sv_vhost_state_store(&n->session.vhost);
		net_count(&n->counts.control, 1);
		net_count(&n->counts.control_refused, !good);
		sv_virtq_put(&q->vq, c->head, 1);
		done++;
	}
	if (done)
		sv_virtq_publish(&q->vq);
	return done;
}
