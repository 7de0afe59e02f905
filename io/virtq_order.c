/* SPDX-License-Identifier: BSD-3-Clause */
/* VIRTIO_F_IN_ORDER (virtio 1.2, 2.7.9, 2.8.9): buffers are used in the order they were available. */
#include "virtq_private.h"

#include <string.h>

enum { NOT_OUT = 0, OUT, DONE };

void virtq_order_start(struct sv_virtq *vq)
{
	vq->order_first = vq->order_n = 0;
	memset(vq->order_state, NOT_OUT, sizeof(vq->order_state));
}

static uint16_t *order_at(struct sv_virtq *vq, unsigned i)
{
	return &vq->order[(vq->order_first + i) & (vq->size - 1u)];
}

enum sv_virtq_defect virtq_order_take(struct sv_virtq *vq, uint16_t head)
{
	if (vq->order_state[head] != NOT_OUT)
		return SV_VIRTQ_BAD_HEAD;
	vq->order_state[head] = OUT;
	*order_at(vq, vq->order_n++) = head;
	return SV_VIRTQ_OK;
}

void virtq_order_untake(struct sv_virtq *vq, uint16_t head)
{
	if (vq->broken)
		return; /* it keeps no order any more */
	vq->order_state[head] = NOT_OUT;
	vq->order_n--;
}

static void pass_on(struct sv_virtq *vq, uint16_t head)
{
	vq->order_state[head] = NOT_OUT;
	virtq_put_now(vq, head, vq->order_bytes[head]);
}

void virtq_order_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes)
{
	if (vq->broken) {
		virtq_put_now(vq, head, bytes);
		return;
	}
	vq->order_state[head] = DONE;
	vq->order_bytes[head] = bytes;
	while (vq->order_n && vq->order_state[*order_at(vq, 0)] == DONE) {
		pass_on(vq, *order_at(vq, 0));
		vq->order_first++;
		vq->order_n--;
	}
}

void virtq_order_void(struct sv_virtq *vq)
{
	for (unsigned i = 0; i < vq->order_n; i++)
		if (vq->order_state[*order_at(vq, i)] == DONE)
			pass_on(vq, *order_at(vq, i));
	vq->order_n = 0;
	sv_virtq_publish(vq);
}
