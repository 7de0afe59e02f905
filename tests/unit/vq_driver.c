/* SPDX-License-Identifier: BSD-3-Clause */
#include "vq_driver.h"

#include <string.h>
#include <unistd.h>

static uint16_t *used_event(struct vqd *q)
{
	return &q->avail->ring[q->size];
}

static uint16_t *avail_event(struct vqd *q)
{
	return (uint16_t *)(void *)&q->used->ring[q->size];
}

uint64_t vqd_init(struct vqd *q, uint8_t *mem, uint64_t gpa, uint16_t size, bool event_idx)
{
	uint64_t avail = gpa + 16ull * size, used = (avail + 6 + 2ull * size + 63) & ~63ull;
	uint64_t end = used + 6 + 8ull * size;

	memset(q, 0, sizeof(*q));
	memset(mem + gpa, 0, end - gpa);
	q->mem = mem;
	q->desc_gpa = gpa;
	q->avail_gpa = avail;
	q->used_gpa = used;
	q->desc = (void *)(mem + gpa);
	q->avail = (void *)(mem + avail);
	q->used = (void *)(mem + used);
	q->size = q->nfree = size;
	q->event_idx = event_idx;
	q->kick_fd = q->call_fd = -1;
	for (uint16_t i = 0; i < size; i++)
		q->desc[i].next = (uint16_t)(i + 1);
	return end - gpa;
}

static void fill(struct vring_desc *d, const struct vqd_buf *b, bool next)
{
	d->addr = b->gpa;
	d->len = b->len;
	d->flags = (uint16_t)((b->writable ? VRING_DESC_F_WRITE : 0) | (next ? VRING_DESC_F_NEXT : 0));
}

int vqd_add(struct vqd *q, const struct vqd_buf *buf, unsigned n, uint64_t indirect_gpa)
{
	uint16_t need = indirect_gpa ? 1 : (uint16_t)n, head = q->free_head, i = head;

	if (q->nfree < need)
		return -1;
	if (indirect_gpa) {
		struct vring_desc *t = (void *)(q->mem + indirect_gpa);

		for (unsigned k = 0; k < n; k++) {
			fill(&t[k], &buf[k], k + 1 < n);
			t[k].next = (uint16_t)(k + 1);
		}
		q->free_head = q->desc[i].next;
		q->desc[i].addr = indirect_gpa;
		q->desc[i].len = n * 16u;
		q->desc[i].flags = VRING_DESC_F_INDIRECT;
	} else {
		for (unsigned k = 0; k < n; k++) {
			uint16_t next = q->desc[i].next;

			fill(&q->desc[i], &buf[k], k + 1 < n);
			i = next;
		}
		q->free_head = i;
	}
	q->nfree = (uint16_t)(q->nfree - need);
	q->chain_len[head] = need;
	q->avail->ring[q->avail_idx++ % q->size] = head;
	return head;
}

bool vqd_publish(struct vqd *q)
{
	uint16_t old = q->published, now = q->avail_idx;

	__atomic_exchange_n(&q->avail->idx, now, __ATOMIC_SEQ_CST);
	q->published = now;
	if (!q->event_idx)
		return !(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(__atomic_load_n(avail_event(q), __ATOMIC_RELAXED), now, old);
}

void vqd_kick(struct vqd *q)
{
	uint64_t one = 1;

	if (!vqd_publish(q))
		return;
	q->kicks++;
	if (q->kick_fd >= 0 && write(q->kick_fd, &one, sizeof(one)) < 0)
		q->kicks--;
}

int vqd_get(struct vqd *q, uint32_t *len)
{
	const struct vring_used_elem *e = &q->used->ring[q->used_seen % q->size];
	uint16_t head, last;

	if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->used_seen)
		return -1;
	head = (uint16_t)__atomic_load_n(&e->id, __ATOMIC_RELAXED);
	if (len)
		*len = __atomic_load_n(&e->len, __ATOMIC_RELAXED);
	q->used_seen++;
	last = head;
	for (uint16_t k = 1; k < q->chain_len[head]; k++)
		last = q->desc[last].next;
	q->desc[last].next = q->free_head;
	q->free_head = head;
	q->nfree = (uint16_t)(q->nfree + q->chain_len[head]);
	return head;
}

void vqd_want_call(struct vqd *q, bool want)
{
	if (q->event_idx)
		__atomic_store_n(used_event(q), (uint16_t)(want ? q->used_seen : q->used_seen - 1),
			__ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&q->avail->flags, want ? 0 : VRING_AVAIL_F_NO_INTERRUPT,
			__ATOMIC_SEQ_CST);
}

uint64_t vqd_calls(struct vqd *q)
{
	uint64_t n = 0;

	return q->call_fd >= 0 && read(q->call_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}
