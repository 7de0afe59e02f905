/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq_private.h"

#include <linux/virtio_ring.h>

#include "inflight.h"
#include "inflight_packed.h"

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
		virtq_split_start(vq, (uint16_t)base);
	vq->armed = true;
	sv_virtq_suppress(vq);
}

void sv_virtq_start(struct sv_virtq *vq, uint32_t base)
{
	sv_store_relaxed(&vq->broken, SV_VIRTQ_OK);
	sv_store_relaxed(&vq->inflight, 0);
	virtq_order_start(vq);
	/* While it is late it has nothing to publish, whatever format it had before. */
	vq->next_used = vq->published_used = vq->batch = 0;
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

enum sv_virtq_take sv_virtq_take(struct sv_virtq *vq, struct sv_virtq_chain *chain)
{
	enum sv_virtq_take took;

	/* It may be its late start that finds it broken. */
	if (sv_unlikely(vq->late) && still_late(vq))
		return SV_VIRTQ_EMPTY;
	if (sv_unlikely(vq->broken))
		return SV_VIRTQ_BROKEN;
	took = vq->packed ? virtq_packed_take(vq, chain) : virtq_split_take(vq, chain);
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
	if (sv_unlikely(sv_virtq_agains(vq)))
		return true;
	return vq->packed ? virtq_packed_waiting(vq) : virtq_split_waiting(vq);
}

void sv_virtq_untake(struct sv_virtq *vq, uint16_t head)
{
	if (vq->in_order)
		virtq_order_untake(vq, head);
	if (vq->packed)
		virtq_packed_untake(vq, head);
	else
		virtq_split_untake(vq, head);
	sv_store_relaxed(&vq->stats.requests, vq->stats.requests - 1);
	sv_store_release(&vq->inflight, vq->inflight - 1);
}

void virtq_put_now(struct sv_virtq *vq, uint16_t head, uint32_t bytes)
{
	if (sv_unlikely(vq->log))
		virtq_log_put(vq, head, bytes);
	if (vq->packed)
		virtq_packed_put(vq, head, bytes);
	else
		virtq_split_put(vq, head, bytes);
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

void sv_virtq_call_again(struct sv_virtq *vq, uint64_t now_ns)
{
	if (!vq->unheeded)
		return;
	if (!vq->called_ns)
		vq->called_ns = now_ns;
	/* One that is owed will be the second. */
	if (!vq->call || vq->owed || vq->next_avail != vq->called_at || sv_virtq_waiting(vq)) {
		vq->unheeded = false;
	} else if (now_ns - vq->called_ns >= SV_VIRTQ_AGAIN_NS) {
		virtq_count(&vq->stats.calls_again);
		sv_virtq_signal(vq);
		vq->unheeded = false;
	}
}

void sv_virtq_signal(struct sv_virtq *vq)
{
	vq->owed = false;
	vq->unseen = 0;
	if (!vq->call)
		return;
	vq->unheeded = vq->calls_missed;
	vq->called_at = vq->next_avail;
	vq->called_ns = 0;
	virtq_count(&vq->stats.calls);
	vq->call(vq->call_ctx);
}

void sv_virtq_publish(struct sv_virtq *vq)
{
	if (vq->packed)
		virtq_packed_publish(vq);
	else
		virtq_split_publish(vq);
}

bool sv_virtq_arm(struct sv_virtq *vq)
{
	bool pending;

	if (vq->broken || vq->late)
		return !vq->broken;
	if (sv_unlikely(sv_virtq_agains(vq)))
		return true;
	pending = vq->packed ? virtq_packed_arm(vq) : virtq_split_arm(vq);
	if (sv_unlikely(vq->log))
		virtq_log_ring(vq);
	return pending;
}

void sv_virtq_suppress(struct sv_virtq *vq)
{
	bool wrote;

	if (sv_unlikely(vq->late))
		return;
	wrote = vq->packed ? virtq_packed_suppress(vq) : virtq_split_suppress(vq);
	if (sv_unlikely(vq->log) && wrote)
		virtq_log_ring(vq);
	vq->armed = false;
}
