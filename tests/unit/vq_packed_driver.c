/* SPDX-License-Identifier: BSD-3-Clause */
#include "vq_packed_driver.h"

#include <string.h>

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED (1u << VRING_PACKED_DESC_F_USED)

void vqp_init(struct vqp *q, uint8_t *mem, uint64_t gpa, uint16_t size, bool event_idx)
{
	memset(q, 0, sizeof(*q));
	memset(mem + gpa, 0, 16ull * size + 8);
	q->mem = mem;
	q->ring_gpa = gpa;
	q->driver_gpa = gpa + 16ull * size;
	q->device_gpa = q->driver_gpa + 4;
	q->ring = (void *)(mem + gpa);
	q->driver = (void *)(mem + q->driver_gpa);
	q->device = (void *)(mem + q->device_gpa);
	q->size = q->nfree = size;
	q->wrap = q->used_wrap = true;
	q->event_idx = event_idx;
	q->call_fd = -1;
	for (uint16_t i = 0; i < size; i++)
		q->ids[q->nids++] = i;
}

/* One descriptor at the next position; the first since the last publish keeps its flags back. */
static void append(struct vqp *q, uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	struct vring_packed_desc *d = &q->ring[q->next];

	flags |= q->wrap ? AVAIL : USED;
	d->addr = addr;
	d->len = len;
	d->id = id;
	if (!q->added++) {
		q->first = q->next;
		q->first_wrap = q->wrap;
		q->first_flags = flags;
	} else {
		__atomic_store_n(&d->flags, flags, __ATOMIC_RELAXED);
	}
	if (++q->next == q->size) {
		q->next = 0;
		q->wrap = !q->wrap;
	}
	q->nfree--;
}

static uint16_t flags_of(const struct vqd_buf *b, bool next)
{
	return (uint16_t)((b->writable ? VRING_DESC_F_WRITE : 0) | (next ? VRING_DESC_F_NEXT : 0));
}

int vqp_add(struct vqp *q, const struct vqd_buf *buf, unsigned n, uint64_t indirect_gpa)
{
	unsigned need = indirect_gpa ? 1 : n;
	uint16_t id;

	if (q->nfree < need || !q->nids)
		return -1;
	id = q->ids[--q->nids];
	q->length[id] = (uint16_t)need;
	if (indirect_gpa) {
		struct vring_packed_desc *t = (void *)(q->mem + indirect_gpa);

		for (unsigned k = 0; k < n; k++)
			t[k] = (struct vring_packed_desc){.addr = buf[k].gpa, .len = buf[k].len,
				.flags = flags_of(&buf[k], false)};
		append(q, indirect_gpa, 16 * n, id, VRING_DESC_F_INDIRECT);
		return id;
	}
	/* Only the last descriptor's id counts (2.8.6): the others carry one that must not be used. */
	for (unsigned k = 0; k < n; k++)
		append(q, buf[k].gpa, buf[k].len, k + 1 < n ? 0xffff : id,
			flags_of(&buf[k], k + 1 < n));
	return id;
}

bool vqp_publish(struct vqp *q)
{
	uint16_t flags, event, at, passed, added = q->added;

	if (!added)
		return false;
	__atomic_exchange_n(&q->ring[q->first].flags, q->first_flags, __ATOMIC_SEQ_CST);
	q->added = 0;
	flags = __atomic_load_n(&q->device->flags, __ATOMIC_RELAXED) & 3;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	event = __atomic_load_n(&q->device->off_wrap, __ATOMIC_RELAXED);
	at = event & 0x7fff;
	/* How far behind the first new descriptor the event lies, in positions of two turns. */
	passed = (uint16_t)(at + ((event >> 15) == q->first_wrap ? 0 : q->size));
	return passed >= q->first && passed - q->first < added;
}

int vqp_get(struct vqp *q, uint32_t *len)
{
	struct vring_packed_desc *d = &q->ring[q->used];
	uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE), id;

	if (!!(flags & AVAIL) != q->used_wrap || !!(flags & USED) != q->used_wrap)
		return -1;
	id = __atomic_load_n(&d->id, __ATOMIC_RELAXED);
	if (id >= q->size || !q->length[id])
		return -2;
	if (len)
		*len = __atomic_load_n(&d->len, __ATOMIC_RELAXED);
	q->used = (uint16_t)(q->used + q->length[id]);
	if (q->used >= q->size) {
		q->used = (uint16_t)(q->used - q->size);
		q->used_wrap = !q->used_wrap;
	}
	q->nfree = (uint16_t)(q->nfree + q->length[id]);
	q->length[id] = 0;
	q->ids[q->nids++] = id;
	return id;
}

void vqp_want_call(struct vqp *q, bool want)
{
	uint16_t off = (uint16_t)(q->used | (q->used_wrap ? 0x8000 : 0));

	__atomic_store_n(&q->driver->off_wrap, off, __ATOMIC_RELAXED);
	__atomic_store_n(&q->driver->flags,
		!want ? VRING_PACKED_EVENT_FLAG_DISABLE
		: q->event_idx ? VRING_PACKED_EVENT_FLAG_DESC
			       : VRING_PACKED_EVENT_FLAG_ENABLE,
		__ATOMIC_SEQ_CST);
}
