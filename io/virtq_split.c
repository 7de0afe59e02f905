/* SPDX-License-Identifier: BSD-3-Clause */
/* The device side of a split virtqueue (virtio 1.2, section 2.7); words and edges: io/virtq.h. */
#include "virtq_private.h"

#include <linux/virtio_ring.h>

#include "inflight.h"

/*
 * How far from next_avail the avail event is kept while polling. The driver kicks when its index
 * passes the event; at half the number space away it never does within a queue's length.
 */
#define EVENT_FAR 0x8000u
#define EVENT_REFRESH 0x2000u

_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.2, 2.7.5");
_Static_assert(SV_VIRTQ_MAX_SIZE <= EVENT_REFRESH, "suppression holds for every queue size");

static uint16_t *avail_idx(const struct sv_virtq *vq)
{
	return &((struct vring_avail *)vq->avail)->idx;
}

static uint16_t *used_event(const struct sv_virtq *vq)
{
	return &((struct vring_avail *)vq->avail)->ring[vq->size];
}

static uint16_t *avail_event(const struct sv_virtq *vq)
{
	return (uint16_t *)(void *)&((struct vring_used *)vq->used)->ring[vq->size];
}

/* Where the queue stands. After a predecessor's end nothing but the used ring says how far it came. */
void virtq_split_start(struct sv_virtq *vq, uint16_t base)
{
	uint16_t used = base, avail = base;

	if (vq->record && !inflight_start(vq->record, vq->size, base,
			sv_load_relaxed(&((struct vring_used *)vq->used)->idx), &used, &avail))
		virtq_break(vq, SV_VIRTQ_BAD_RECORD);
	vq->next_avail = vq->seen_avail = avail;
	vq->next_used = vq->published_used = used;
}

/* One load per word of a descriptor. @table is 8-byte aligned. */
static struct virtq_desc desc_load(const void *table, unsigned i)
{
	const uint64_t *word = (const uint64_t *)table + 2ul * i;
	uint64_t rest = sv_load_relaxed(&word[1]);

	return (struct virtq_desc){
		.addr = sv_load_relaxed(&word[0]),
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

static enum sv_virtq_defect chain_walk(const struct sv_virtq *vq, struct sv_virtq_chain *c)
{
	const void *table = vq->desc;
	unsigned entries = vq->size, i = c->head;
	bool inside = false;

	for (unsigned steps = 0; steps < SV_VIRTQ_CHAIN_MAX; steps++) {
		enum sv_virtq_defect defect;
		struct virtq_desc d;

		if (i >= entries)
			return SV_VIRTQ_BAD_HEAD;
		d = desc_load(table, i);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			entries = inside ? 0 : virtq_indirect_table(vq, c, &d, &table);
			if (!entries || c->absent)
				return entries ? SV_VIRTQ_OK : SV_VIRTQ_BAD_INDIRECT;
			inside = true;
			i = 0;
			continue;
		}
		defect = virtq_chain_add(vq, c, &d);
		if (defect)
			return defect;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return SV_VIRTQ_OK;
		i = d.next;
	}
	return SV_VIRTQ_TOO_LONG;
}

/* Load avail idx and believe it only if the driver can have that many buffers out. */
static bool avail_look(struct sv_virtq *vq)
{
	uint16_t idx = sv_load_acquire(avail_idx(vq));

	uint16_t out = (uint16_t)(idx - vq->published_used);

	if (sv_unlikely(out > vq->size ||
			out < (uint16_t)(vq->next_avail - vq->published_used))) {
		virtq_break(vq, SV_VIRTQ_BAD_AVAIL);
		return false;
	}
	vq->seen_avail = idx;
	return true;
}

/* The head of the next chain: one of a predecessor's, or from the avail ring. */
static enum sv_virtq_take next_head(struct sv_virtq *vq, uint16_t *head, bool *again)
{
	const struct vring_avail *avail = vq->avail;

	*again = vq->record && inflight_again(vq->record, head);
	if (*again)
		return SV_VIRTQ_ONE;
	if (vq->seen_avail == vq->next_avail) {
		if (!avail_look(vq))
			return SV_VIRTQ_BROKEN;
		if (vq->seen_avail == vq->next_avail)
			return SV_VIRTQ_EMPTY;
	}
	*head = sv_load_relaxed(&avail->ring[vq->next_avail & (vq->size - 1)]);
	return SV_VIRTQ_ONE;
}

/*
 * Bring the first lines of the buffers that are taken next, and the descriptors after those, so that the
 * misses of several chains overlap. A hint: what is read here decides nothing, and the same words are read again when the chain
 * is taken.
 */
static void look_ahead(struct sv_virtq *vq)
{
	const struct vring_avail *avail = vq->avail;
	unsigned known = (uint16_t)(vq->seen_avail - vq->next_avail), mask = vq->size - 1u;
	unsigned ahead = (uint16_t)(vq->ahead - vq->next_avail);

	if (ahead > known) /* it was overtaken, or chains were given back */
		ahead = 0;
	for (; ahead < known && ahead < VIRTQ_AHEAD; ahead++) {
		unsigned at = vq->next_avail + ahead, far = at + 2 * VIRTQ_AHEAD;
		const struct vring_desc *desc = vq->desc;

		__builtin_prefetch(&desc[sv_load_relaxed(&avail->ring[far & mask]) & mask]);
		virtq_prefetch(vq, desc_load(vq->desc, sv_load_relaxed(&avail->ring[at & mask]) & mask));
	}
	vq->ahead = (uint16_t)(vq->next_avail + ahead);
}

enum sv_virtq_take virtq_split_take(struct sv_virtq *vq, struct sv_virtq_chain *chain)
{
	enum sv_virtq_defect defect;
	enum sv_virtq_take any;
	bool again;

	any = next_head(vq, &chain->head, &again);
	if (any != SV_VIRTQ_ONE)
		return any;
	look_ahead(vq);
	virtq_chain_begin(chain);
	defect = chain_walk(vq, chain);
	if (sv_unlikely(defect)) {
		virtq_break(vq, defect);
		return SV_VIRTQ_BROKEN;
	}
	if (virtq_must_wait(vq, chain))
		return SV_VIRTQ_EMPTY;
	if (sv_unlikely(again)) {
		inflight_again_taken(vq->record);
	} else {
		if (vq->record)
			inflight_take(vq->record, chain->head);
		vq->next_avail++;
	}
	virtq_taken(vq);
	return SV_VIRTQ_ONE;
}

void virtq_split_untake(struct sv_virtq *vq, uint16_t head)
{
	if (!vq->record || inflight_untake(vq->record, head))
		vq->next_avail--;
}

void virtq_split_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes)
{
	struct vring_used_elem *e =
		&((struct vring_used *)vq->used)->ring[vq->next_used & (vq->size - 1)];

	sv_store_relaxed(&e->id, head);
	sv_store_relaxed(&e->len, bytes);
	vq->next_used++;
	if (vq->record)
		inflight_put(vq->record, head);
}

void virtq_split_publish(struct sv_virtq *vq)
{
	struct vring_used *used = vq->used;
	const struct vring_avail *avail = vq->avail;
	uint16_t old = vq->published_used, now = vq->next_used;
	bool wanted;

	if (now == old)
		return;
	sv_exchange_full(&used->idx, now);
	if (vq->record)
		inflight_published(vq->record, now);
	vq->published_used = now;
	if (vq->event_idx)
		wanted = (uint16_t)(now - sv_load_relaxed(used_event(vq)) - 1) <
			 (uint16_t)(now - old);
	else
		wanted = !(sv_load_relaxed(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	virtq_published(vq, (uint16_t)(now - old), wanted);
}

bool virtq_split_arm(struct sv_virtq *vq)
{
	struct vring_used *used = vq->used;

	if (vq->seen_avail != vq->next_avail)
		return true;
	vq->armed = true;
	if (vq->event_idx) {
		vq->event_written = vq->next_avail;
		sv_exchange_full(avail_event(vq), vq->next_avail);
	} else {
		sv_exchange_full(&used->flags, 0);
	}
	return sv_load_acquire(avail_idx(vq)) != vq->next_avail;
}

bool virtq_split_waiting(const struct sv_virtq *vq)
{
	return vq->seen_avail != vq->next_avail ||
	       sv_load_acquire(avail_idx(vq)) != vq->next_avail;
}

bool virtq_split_suppress(struct sv_virtq *vq)
{
	struct vring_used *used = vq->used;
	uint16_t distance = (uint16_t)(vq->event_written - vq->next_avail);

	if (vq->event_idx) {
		if (!vq->armed && distance >= EVENT_FAR - EVENT_REFRESH)
			return false;
		vq->event_written = (uint16_t)(vq->next_avail + EVENT_FAR);
		sv_store_relaxed(avail_event(vq), vq->event_written);
		return true;
	}
	if (vq->armed)
		sv_store_relaxed(&used->flags, VRING_USED_F_NO_NOTIFY);
	return vq->armed;
}
