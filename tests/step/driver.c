/* SPDX-License-Identifier: BSD-3-Clause */
#include "driver.h"

#include <string.h>

#include <channels/atomics.h>
#include <io/virtq.h>

static uint64_t avail_offset(uint16_t size)
{
	return sv_virtq_desc_bytes(size);
}

static uint64_t used_offset(uint16_t size)
{
	return (avail_offset(size) + sv_virtq_avail_bytes(size) + 3) & ~3ull;
}

uint64_t driver_bytes(uint16_t size)
{
	return used_offset(size) + sv_virtq_used_bytes(size);
}

uint64_t driver_avail_gpa(const struct driver *d)
{
	return d->at + avail_offset(d->size);
}

uint64_t driver_used_gpa(const struct driver *d)
{
	return d->at + used_offset(d->size);
}

void driver_init(struct driver *d, uint8_t *mem, uint64_t at, uint16_t size, bool event_idx)
{
	*d = (struct driver){.mem = mem, .at = at, .size = size, .event_idx = event_idx};
	memset(mem + at, 0, driver_bytes(size));
	d->desc = (void *)(mem + at);
	d->avail = (void *)(mem + driver_avail_gpa(d));
	d->used = (void *)(mem + driver_used_gpa(d));
}

static void fill(struct vring_desc *desc, const struct driver_buffer *b, bool more, uint16_t next)
{
	desc->addr = b->gpa;
	desc->len = b->len;
	desc->flags = (uint16_t)((b->writable ? VRING_DESC_F_WRITE : 0) |
				 (more ? VRING_DESC_F_NEXT : 0));
	desc->next = next;
}

uint16_t driver_chain(struct driver *d, const struct driver_buffer *b, unsigned n)
{
	uint16_t head = d->free_desc;

	for (unsigned i = 0; i < n; i++) {
		uint16_t next = (uint16_t)((d->free_desc + 1) & (d->size - 1));

		fill(&d->desc[d->free_desc], &b[i], i + 1 < n, next);
		d->free_desc = next;
	}
	return head;
}

uint16_t driver_indirect(struct driver *d, uint64_t table, const struct driver_buffer *b, unsigned n)
{
	struct vring_desc *inner = (void *)(d->mem + table);
	uint16_t head = d->free_desc;

	for (unsigned i = 0; i < n; i++)
		fill(&inner[i], &b[i], i + 1 < n, (uint16_t)(i + 1));
	d->desc[head] = (struct vring_desc){.addr = table,
		.len = (uint32_t)(n * sizeof(*inner)),
		.flags = VRING_DESC_F_INDIRECT};
	d->free_desc = (uint16_t)((head + 1) & (d->size - 1));
	return head;
}

void driver_offer(struct driver *d, uint16_t head)
{
	d->avail->ring[d->idx & (d->size - 1)] = head;
	d->idx++;
	sv_store_release(&d->avail->idx, d->idx);
}

bool driver_would_kick(const struct driver *d, uint16_t old)
{
	const uint16_t *event = (const void *)&d->used->ring[d->size];

	if (!d->event_idx)
		return !(sv_load_relaxed(&d->used->flags) & VRING_USED_F_NO_NOTIFY);
	return (uint16_t)(d->idx - sv_load_relaxed(event) - 1) < (uint16_t)(d->idx - old);
}

bool driver_used(struct driver *d, uint32_t *id, uint32_t *len)
{
	const struct vring_used_elem *e = &d->used->ring[d->seen_used & (d->size - 1)];

	if (sv_load_acquire(&d->used->idx) == d->seen_used)
		return false;
	*id = e->id;
	*len = e->len;
	d->seen_used++;
	return true;
}

void driver_want_call(struct driver *d, bool want)
{
	if (d->event_idx)
		d->avail->ring[d->size] = (uint16_t)(want ? d->seen_used : d->seen_used - 1);
	else
		d->avail->flags = want ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
}
