/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq_private.h"

#include <string.h>

#define LOG_PAGE 4096u

static void mark_page(const struct sv_virtq_log *log, uint64_t page)
{
	if (page / 8 < log->bytes)
		__atomic_fetch_or(&log->bits[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
}

/* The pages of @n bytes at @host, which lie in one region of guest memory; elsewhere is no guest's. */
static void mark(const struct sv_virtq *vq, const void *host, uint64_t n)
{
	for (unsigned i = 0; n && i < vq->gmem->n; i++) {
		const struct sv_gmem_region *r = &vq->gmem->region[i];
		uint64_t off = (uint64_t)((uintptr_t)host - (uintptr_t)r->host);

		if (off >= r->size)
			continue;
		for (uint64_t page = (r->gpa + off) / LOG_PAGE; page <= (r->gpa + off + n - 1) / LOG_PAGE;
			page++)
			mark_page(vq->log, page);
		return;
	}
}

void virtq_log_taken(struct sv_virtq *vq, const struct sv_virtq_chain *c)
{
	struct sv_virtq_written *w = &vq->log->written[c->head];

	w->n = c->writable;
	memcpy(w->piece, &c->iov[c->readable], c->writable * sizeof(w->piece[0]));
}

void virtq_log_put(struct sv_virtq *vq, uint16_t head)
{
	struct sv_virtq_written *w = &vq->log->written[head];

	for (unsigned i = 0; i < w->n; i++)
		mark(vq, w->piece[i].iov_base, w->piece[i].iov_len);
	w->n = 0;
}

void virtq_log_ring(const struct sv_virtq *vq)
{
	mark(vq, vq->used, sv_virtq_used_bytes(vq->size, vq->packed));
	if (vq->packed)
		mark(vq, vq->desc, sv_virtq_desc_bytes(vq->size));
}
