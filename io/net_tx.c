/* SPDX-License-Identifier: BSD-3-Clause */
/* From a guest into the switch: the header is copied, the frame is a view of the guest's buffers. */
#include "net.h"

#include <string.h>

/* Copy the first @n bytes out of the pieces and drop them. The pieces hold that many. */
static void take_front(struct iovec **iov, unsigned *niov, void *to, size_t n)
{
	uint8_t *at = to;

	while (n) {
		size_t k = (*iov)->iov_len < n ? (*iov)->iov_len : n;

		memcpy(at, (*iov)->iov_base, k);
		at += k;
		n -= k;
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + k;
		(*iov)->iov_len -= k;
		if (!(*iov)->iov_len) {
			(*iov)++;
			(*niov)--;
		}
	}
}

/* Return: the work it was: frames that others took, segments counted one by one. */
static unsigned send_one(struct net *n, unsigned pair)
{
	struct sv_virtq_chain *c = &n->tx_chain;
	struct iovec *iov = c->iov;
	unsigned niov = c->readable;
	struct sv_frame f = {.len = c->readable_bytes - n->hdr_bytes};

	take_front(&iov, &niov, &f.hdr, n->hdr_bytes);
	f.hdr.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM; /* the rest is for the other direction */
	f.hdr.num_buffers = 0;
	f.iov = iov;
	f.niov = niov;
	net_count(&n->counts.tx_frames, 1);
	net_count(&n->counts.tx_bytes, f.len);
	if (n->active > 1)
		net_steer_learn(&n->steer, &f, pair);
	return sv_switch_work(sv_switch_input(n->sw, &n->port, &f));
}

/*
 * The next frames, as many as count for one request: admitted and reckoned together. Return: their
 * work in frames; 0: there was none.
 */
static unsigned send_group(struct net *n, unsigned pair)
{
	struct sv_vhost_queue *q = net_tx(n, pair);
	struct sv_virtq_chain *c = &n->tx_chain;
	struct sv_qos_ticket ticket;
	unsigned frames = 0, work = 0;
	uint64_t bytes = 0;

	do {
		if (sv_virtq_take(&q->vq, c) != SV_VIRTQ_ONE)
			break;
		if (c->writable || c->readable_bytes < n->hdr_bytes) {
			sv_virtq_reject(&q->vq);
			break;
		}
		bytes += c->readable_bytes - n->hdr_bytes;
		work += send_one(n, pair);
		sv_virtq_put(&q->vq, c->head, 0);
		frames++;
	} while (bytes + work * SV_QOS_COST_FRAME < SV_QOS_COST_REQUEST);
	if (frames) {
		sv_qos_taken(n->qos.flow, &ticket, SV_QOS_WRITE, frames, bytes);
		sv_qos_charge(n->qos.flow, (work - frames) * (uint64_t)SV_QOS_COST_FRAME);
		sv_qos_done(n->qos.flow, &ticket);
	}
	return work;
}

unsigned net_transmit(struct net *n, unsigned pair, unsigned budget)
{
	const struct sv_vhost_queue *q = net_tx(n, pair);
	unsigned sent = 0, work;

	while (sent < budget && sv_vhost_serving(q) && sv_virtq_waiting(&q->vq)) {
		if (!sv_virtq_agains(&q->vq) && !sv_qos_admit(n->qos.flow))
			break;
		work = send_group(n, pair);
		if (!work)
			break;
		sent += work;
	}
	return sent;
}
