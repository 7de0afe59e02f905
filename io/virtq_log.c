/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq_private.h"

#include <string.h>

#define LOG_PAGE 4096u

#define WORD_PAGES 64u

/* Pages [page, end): whole words at once where they are covered. */
static void mark_pages(const struct sv_virtq_log *log, uint64_t page, uint64_t end)
{
	if (end > log->bytes * 8)
		end = log->bytes * 8;
	while (page < end) {
		uint8_t *at = &log->bits[page / 8];

		if (page % 8 == 0 && (uintptr_t)at % sizeof(uint64_t) == 0 && end - page >= WORD_PAGES) {
			__atomic_fetch_or((uint64_t *)(void *)at, UINT64_MAX, __ATOMIC_SEQ_CST);
			page += WORD_PAGES;
		} else {
			__atomic_fetch_or(at, (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
			page++;
		}
	}
}

/* The pages of @n bytes at @host, which lie in one region of guest memory; elsewhere is no guest's. */
static void mark(const struct sv_virtq *vq, const void *host, uint64_t n)
{
	uint64_t off;
	const struct sv_gmem_region *r = sv_gmem_region_of(vq->gmem, host, &off);

	if (n && r)
		mark_pages(vq->log, (r->gpa + off) / LOG_PAGE, (r->gpa + off + n - 1) / LOG_PAGE + 1);
}

void virtq_log_taken(struct sv_virtq *vq, const struct sv_virtq_chain *c)
{
	struct sv_virtq_written *w = &vq->log->written[c->head];

	w->n = c->writable;
	memcpy(w->piece, &c->iov[c->readable], c->writable * sizeof(w->piece[0]));
}

/* What was written lies at the front of the chain, but for a status, which is its last byte. */
void virtq_log_put(struct sv_virtq *vq, uint16_t head, uint32_t bytes)
{
	struct sv_virtq_written *w = &vq->log->written[head];
	uint64_t left = bytes;

	for (unsigned i = 0; i < w->n && left; i++) {
		uint64_t n = w->piece[i].iov_len < left ? w->piece[i].iov_len : left;

		mark(vq, w->piece[i].iov_base, n);
		left -= n;
	}
	if (w->n && bytes) {
		const struct iovec *last = &w->piece[w->n - 1];

		mark(vq, (const uint8_t *)last->iov_base + last->iov_len - 1, 1);
	}
	w->n = 0;
}

void virtq_log_ring(const struct sv_virtq *vq)
{
	mark(vq, vq->used, sv_virtq_used_bytes(vq->size, vq->packed));
	if (vq->packed)
		mark(vq, vq->desc, sv_virtq_desc_bytes(vq->size));
}
