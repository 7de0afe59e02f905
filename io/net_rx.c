/* SPDX-License-Identifier: BSD-3-Clause */
/* From the switch into a guest: the one copy. */
#include "net.h"

#include <string.h>

#include <channels/atomics.h>

/* How far the frame has been copied. */
struct source {
	const struct iovec *iov;
	size_t at; /* in *iov */
	uint32_t left;
};

/* The places of the virtio-net header in the first buffer: its bytes are known last. */
struct header {
	struct iovec piece[NET_HDR_V1];
	unsigned n;
};

/* Fill one piece of the receiver. Return: bytes. */
static size_t fill(struct source *s, uint8_t *to, size_t room)
{
	size_t done = 0;

	while (done < room && s->left) {
		size_t k = s->iov->iov_len - s->at;

		if (k > room - done)
			k = room - done;
		if (k > s->left)
			k = s->left;
		memcpy(to + done, (const uint8_t *)s->iov->iov_base + s->at, k);
		done += k;
		s->left -= (uint32_t)k;
		s->at += k;
		if (s->at == s->iov->iov_len) {
			s->iov++;
			s->at = 0;
		}
	}
	return done;
}

/* Leave the first bytes of a buffer for the header. */
static void reserve(struct iovec *iov, unsigned niov, unsigned bytes, struct header *h)
{
	for (unsigned i = 0; i < niov && bytes; i++) {
		size_t k = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;

		h->piece[h->n++] = (struct iovec){.iov_base = iov[i].iov_base, .iov_len = k};
		iov[i].iov_base = (uint8_t *)iov[i].iov_base + k;
		iov[i].iov_len -= k;
		bytes -= (unsigned)k;
	}
}

static void write_header(const struct header *h, const struct virtio_net_hdr_v1 *hdr)
{
	const uint8_t *from = (const void *)hdr;

	for (unsigned i = 0; i < h->n; i++) {
		memcpy(h->piece[i].iov_base, from, h->piece[i].iov_len);
		from += h->piece[i].iov_len;
	}
}

/* Give the buffers taken so far back: the guest did not make enough of them available. */
static void give_back(struct net *n, struct sv_virtq *vq, unsigned taken)
{
	while (taken)
		sv_virtq_untake(vq, n->rx_taken[--taken].head);
}

/*
 * Copy the frame into buffers of this queue. Return: how many it took; 0: there are not enough, or
 * the queue is broken, and none was used.
 */
static unsigned copy(struct net *n, struct sv_virtq *vq, const struct sv_frame *f, struct header *h)
{
	struct source s = {.iov = f->iov, .left = f->len};
	unsigned most = n->mergeable ? NET_RX_CHAINS : 1, taken = 0;

	do {
		struct sv_virtq_chain *c = &n->rx_chain;
		uint32_t bytes = 0;

		if (taken == most || sv_virtq_take(vq, c) != SV_VIRTQ_ONE) {
			give_back(n, vq, taken);
			return 0;
		}
		if (c->readable || (!taken && c->writable_bytes < n->hdr_bytes)) {
			sv_virtq_reject(vq);
			give_back(n, vq, taken);
			return 0;
		}
		if (!taken) {
			reserve(c->iov, c->writable, n->hdr_bytes, h);
			bytes = n->hdr_bytes;
		}
		for (unsigned i = 0; i < c->writable && s.left; i++)
			bytes += (uint32_t)fill(&s, c->iov[i].iov_base, c->iov[i].iov_len);
		n->rx_taken[taken].head = c->head;
		n->rx_taken[taken++].bytes = bytes;
	} while (s.left);
	return taken;
}

static bool deliver(struct sv_port *to, const struct sv_frame *f)
{
	struct net *n = net_of_port(to);
	struct virtio_net_hdr_v1 hdr = f->hdr;
	struct header h = {.n = 0};
	struct sv_vhost_queue *q;
	unsigned pair, taken;

	if (!sv_load_acquire(&n->open))
		return false;
	pair = n->active > 1 ? net_steer_pick(&n->steer, f, n->active) : 0;
	q = net_rx(n, pair);
	if (sv_unlikely(!sv_vhost_serving(q))) {
		pair = 0;
		q = net_rx(n, 0);
		if (!sv_vhost_serving(q))
			return false;
	}
	taken = copy(n, &q->vq, f, &h);
	if (!taken) {
		net_count(&n->counts.rx_full, 1);
		return false;
	}
	hdr.num_buffers = (uint16_t)taken;
	write_header(&h, &hdr);
	for (unsigned i = 0; i < taken; i++)
		sv_virtq_put(&q->vq, n->rx_taken[i].head, n->rx_taken[i].bytes);
	n->touched |= 1u << pair;
	net_count(&n->counts.rx_frames, 1);
	net_count(&n->counts.rx_bytes, f->len);
	net_count(&n->counts.rx_buffers, taken);
	return true;
}

static void flush(struct sv_port *to)
{
	struct net *n = net_of_port(to);

	for (unsigned pair = 0; n->touched; pair++) {
		struct sv_virtq *vq = &net_rx(n, pair)->vq;

		if (!(n->touched & 1u << pair))
			continue;
		n->touched &= ~(1u << pair);
		sv_virtq_publish(vq);
		sv_virtq_suppress(vq);
	}
}

const struct sv_port_ops net_port_ops = {.deliver = deliver, .flush = flush};
