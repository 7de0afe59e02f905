/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq_private.h"

#include <linux/virtio_ring.h>

#include "inflight.h"
#include "inflight_packed.h"

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

const char *sv_virtq_defect_name(enum sv_virtq_defect kind)
{
	static const char *const name[SV_VIRTQ_DEFECTS] = {
		[SV_VIRTQ_OK] = "none",
		[SV_VIRTQ_BAD_AVAIL] = "available index out of range",
		[SV_VIRTQ_BAD_HEAD] = "descriptor index out of range",
		[SV_VIRTQ_TOO_LONG] = "descriptor chain too long or looped",
		[SV_VIRTQ_BAD_ADDRESS] = "buffer outside guest memory",
		[SV_VIRTQ_BAD_ORDER] = "readable buffer after a writable one",
		[SV_VIRTQ_BAD_INDIRECT] = "invalid indirect table",
		[SV_VIRTQ_BAD_LENGTH] = "invalid buffer length",
		[SV_VIRTQ_BAD_REQUEST] = "buffers without room for a request",
		[SV_VIRTQ_BAD_RECORD] = "in-flight record that contradicts the ring",
	};

	return (unsigned)kind < SV_VIRTQ_DEFECTS ? name[kind] : "unknown";
}

/* Where the queue stands. After a predecessor's end nothing but the used ring says how far it came. */
static void split_start(struct sv_virtq *vq, uint16_t base)
{
	uint16_t used = base, avail = base;

	if (vq->record && !inflight_start(vq->record, vq->size, base,
			sv_load_relaxed(&((struct vring_used *)vq->used)->idx), &used, &avail))
		virtq_break(vq, SV_VIRTQ_BAD_RECORD);
	vq->next_avail = vq->seen_avail = avail;
	vq->next_used = vq->published_used = used;
}

unsigned sv_virtq_agains(const struct sv_virtq *vq)
{
	if (vq->late)
		return 0;
	if (vq->packed_record)
		return inflight_packed_agains(vq->packed_record);
	return vq->record ? inflight_agains(vq->record) : 0;
}

static void start(struct sv_virtq *vq, uint32_t base)
{
	if (vq->packed)
		virtq_packed_start(vq, base);
	else
		split_start(vq, (uint16_t)base);
	vq->armed = true;
	sv_virtq_suppress(vq);
}

void sv_virtq_start(struct sv_virtq *vq, uint32_t base)
{
	sv_store_relaxed(&vq->broken, SV_VIRTQ_OK);
	sv_store_relaxed(&vq->inflight, 0);
	virtq_order_start(vq);
	vq->late_base = base;
	vq->late = !virtq_rings_resident(vq);
	if (!vq->late)
		start(vq, base);
}

static bool still_late(struct sv_virtq *vq)
{
	if (!virtq_rings_resident(vq))
		return true;
	vq->late = false;
	start(vq, vq->late_base);
	return false;
}

uint32_t sv_virtq_position(const struct sv_virtq *vq)
{
	if (vq->late)
		return vq->late_base;
	if (!vq->packed)
		return vq->next_avail;
	return vq->next_avail | (vq->avail_wrap ? 0x8000u : 0) | (uint32_t)vq->next_used << 16 |
	       (vq->used_wrap ? 0x80000000u : 0);
}

void virtq_break(struct sv_virtq *vq, enum sv_virtq_defect kind)
{
	virtq_count(&vq->stats.defects[kind]);
	sv_store_relaxed(&vq->broken, (uint32_t)kind);
	if (vq->in_order)
		virtq_order_void(vq);
}

void virtq_chain_begin(struct sv_virtq_chain *c)
{
	c->readable = c->writable = 0;
	c->readable_bytes = c->writable_bytes = 0;
	c->absent = false;
}

void virtq_taken(struct sv_virtq *vq)
{
	sv_store_relaxed(&vq->inflight, vq->inflight + 1);
	virtq_count(&vq->stats.requests);
}

void virtq_published(struct sv_virtq *vq, unsigned chains, bool wanted)
{
	if (sv_unlikely(vq->log))
		virtq_log_ring(vq);
	vq->unseen += chains;
	if (wanted && vq->calls_held) {
		if (vq->owed)
			virtq_count(&vq->stats.calls_saved);
		vq->owed = true;
	} else if (wanted) {
		sv_virtq_signal(vq);
	} else {
		vq->unseen = vq->owed ? vq->unseen : 0; /* the driver looks by itself */
		virtq_count(&vq->stats.calls_saved);
	}
	sv_store_release(&vq->inflight, vq->inflight - chains);
}

void sv_virtq_reject(struct sv_virtq *vq)
{
	virtq_break(vq, SV_VIRTQ_BAD_REQUEST);
	sv_store_release(&vq->inflight, vq->inflight - 1);
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

enum sv_virtq_defect virtq_chain_add(const struct sv_virtq *vq, struct sv_virtq_chain *c,
	const struct virtq_desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;
	uint32_t *bytes = writable ? &c->writable_bytes : &c->readable_bytes;
	uint64_t addr = d->addr, left = d->len;

	if (!writable && c->writable)
		return SV_VIRTQ_BAD_ORDER;
	if (!left || left > UINT32_MAX - *bytes)
		return SV_VIRTQ_BAD_LENGTH;
	if (addr + left < addr)
		return SV_VIRTQ_BAD_ADDRESS;
	*bytes += d->len;
	while (left) {
		uint64_t piece = left;
		void *host = sv_gmem_span(vq->gmem, sv_gpa(addr), &piece);

		if (!host)
			return SV_VIRTQ_BAD_ADDRESS;
		if (c->readable + c->writable == SV_VIRTQ_CHAIN_MAX)
			return SV_VIRTQ_TOO_LONG;
		c->iov[c->readable + c->writable] =
			(struct iovec){.iov_base = host, .iov_len = piece};
		*(writable ? &c->writable : &c->readable) += 1;
		addr += piece;
		left -= piece;
	}
	return SV_VIRTQ_OK;
}

unsigned virtq_indirect_table(const struct sv_virtq *vq, struct sv_virtq_chain *c,
	const struct virtq_desc *d, const void **table)
{
	uint32_t entries = d->len / sizeof(struct vring_desc);

	if (!vq->indirect || (d->flags & VRING_DESC_F_NEXT) || d->addr % sizeof(uint64_t) ||
		d->len % sizeof(struct vring_desc) || entries > SV_VIRTQ_INDIRECT_MAX)
		return 0;
	*table = sv_gmem_ptr(vq->gmem, sv_gpa(d->addr), d->len);
	c->absent = *table && !sv_gmem_resident(vq->gmem, sv_gpa(d->addr), d->len);
	return *table ? entries : 0;
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

static enum sv_virtq_take split_take(struct sv_virtq *vq, struct sv_virtq_chain *chain)
{
	enum sv_virtq_defect defect;
	enum sv_virtq_take any;
	bool again;

	any = next_head(vq, &chain->head, &again);
	if (any != SV_VIRTQ_ONE)
		return any;
	virtq_chain_begin(chain);
	defect = chain_walk(vq, chain);
	if (sv_unlikely(defect)) {
		virtq_break(vq, defect);
		return SV_VIRTQ_BROKEN;
	}
	if (virtq_must_wait(vq, chain))
		return SV_VIRTQ_EMPTY;
	if (!again) {
		if (vq->record)
			inflight_take(vq->record, chain->head);
		vq->next_avail++;
	}
	virtq_taken(vq);
	return SV_VIRTQ_ONE;
}

enum sv_virtq_take sv_virtq_take(struct sv_virtq *vq, struct sv_virtq_chain *chain)
{
	enum sv_virtq_take took;

	if (sv_unlikely(vq->broken))
		return SV_VIRTQ_BROKEN;
	if (sv_unlikely(vq->late) && still_late(vq))
		return SV_VIRTQ_EMPTY;
	took = vq->packed ? virtq_packed_take(vq, chain) : split_take(vq, chain);
	if (took != SV_VIRTQ_ONE)
		return took;
	if (vq->in_order && virtq_order_take(vq, chain->head)) {
		sv_store_release(&vq->inflight, vq->inflight - 1);
		virtq_break(vq, SV_VIRTQ_BAD_HEAD);
		return SV_VIRTQ_BROKEN;
	}
	if (sv_unlikely(vq->log))
		virtq_log_taken(vq, chain);
	return SV_VIRTQ_ONE;
}

bool sv_virtq_waiting(const struct sv_virtq *vq)
{
	if (vq->broken || vq->late)
		return !vq->broken;
	if (vq->packed)
		return virtq_packed_waiting(vq);
	return vq->seen_avail != vq->next_avail || sv_virtq_agains(vq) ||
	       sv_load_acquire(avail_idx(vq)) != vq->next_avail;
}

void sv_virtq_untake(struct sv_virtq *vq, uint16_t head)
{
	if (vq->in_order)
		virtq_order_untake(vq, head);
	if (vq->packed)
		virtq_packed_untake(vq, head);
	else if (!vq->record || inflight_untake(vq->record, head))
		vq->next_avail--;
	sv_store_relaxed(&vq->stats.requests, vq->stats.requests - 1);
	sv_store_release(&vq->inflight, vq->inflight - 1);
}

static void split_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes)
{
	struct vring_used_elem *e =
		&((struct vring_used *)vq->used)->ring[vq->next_used & (vq->size - 1)];

	sv_store_relaxed(&e->id, head);
	sv_store_relaxed(&e->len, bytes);
	vq->next_used++;
	if (vq->record)
		inflight_put(vq->record, head);
}

void virtq_put_now(struct sv_virtq *vq, uint16_t head, uint32_t bytes)
{
	if (sv_unlikely(vq->log))
		virtq_log_put(vq, head);
	if (vq->packed)
		virtq_packed_put(vq, head, bytes);
	else
		split_put(vq, head, bytes);
}

void sv_virtq_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes)
{
	if (vq->in_order)
		virtq_order_put(vq, head, bytes);
	else
		virtq_put_now(vq, head, bytes);
}

void sv_virtq_call_owed(struct sv_virtq *vq)
{
	if (vq->owed)
		sv_virtq_signal(vq);
}

void sv_virtq_signal(struct sv_virtq *vq)
{
	vq->owed = false;
	vq->unseen = 0;
	if (!vq->call)
		return;
	virtq_count(&vq->stats.calls);
	vq->call(vq->call_ctx);
}

static void split_publish(struct sv_virtq *vq)
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

void sv_virtq_publish(struct sv_virtq *vq)
{
	if (vq->packed)
		virtq_packed_publish(vq);
	else
		split_publish(vq);
}

static bool split_arm(struct sv_virtq *vq)
{
	struct vring_used *used = vq->used;

	if (vq->seen_avail != vq->next_avail || sv_virtq_agains(vq))
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

bool sv_virtq_arm(struct sv_virtq *vq)
{
	bool pending;

	if (vq->broken || vq->late)
		return !vq->broken;
	pending = vq->packed ? virtq_packed_arm(vq) : split_arm(vq);
	if (sv_unlikely(vq->log))
		virtq_log_ring(vq);
	return pending;
}

void sv_virtq_suppress(struct sv_virtq *vq)
{
	struct vring_used *used = vq->used;

	if (sv_unlikely(vq->late))
		return;
	if (vq->packed) {
		virtq_packed_suppress(vq);
	} else if (vq->event_idx) {
		uint16_t distance = (uint16_t)(vq->event_written - vq->next_avail);

		if (!vq->armed && distance >= EVENT_FAR - EVENT_REFRESH)
			return;
		vq->event_written = (uint16_t)(vq->next_avail + EVENT_FAR);
		sv_store_relaxed(avail_event(vq), vq->event_written);
	} else if (vq->armed) {
		sv_store_relaxed(&used->flags, VRING_USED_F_NO_NOTIFY);
	}
	if (sv_unlikely(vq->log) && vq->armed)
		virtq_log_ring(vq);
	vq->armed = false;
}
