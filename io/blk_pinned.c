/* SPDX-License-Identifier: BSD-3-Clause */
#include "blk_pinned.h"

#include <errno.h>

static void clear(struct blk_pinned *p, struct io_uring *ring)
{
	static const struct iovec none[BLK_PINNED_PIECES];
	static const __u64 tag[BLK_PINNED_PIECES];

	if (p->pieces)
		(void)io_uring_register_buffers_update_tag(ring, 0, none, tag, p->pieces);
	p->n = p->pieces = 0;
}

static int add(struct blk_pinned *p, struct io_uring *ring, const struct sv_gmem_region *r)
{
	static const __u64 tag[1];
	unsigned first = p->pieces;

	for (uint64_t at = 0; at < r->size; at += BLK_PINNED_PIECE) {
		uint64_t left = r->size - at;
		struct iovec piece = {.iov_base = r->host + at,
			.iov_len = left < BLK_PINNED_PIECE ? left : BLK_PINNED_PIECE};
		int rc;

		if (p->pieces == BLK_PINNED_PIECES)
			return -E2BIG;
		rc = io_uring_register_buffers_update_tag(ring, p->pieces, &piece, tag, 1);
		if (rc < 0)
			return rc;
		p->pieces++;
	}
	p->region[p->n].base = (uintptr_t)r->host;
	p->region[p->n].bytes = r->size;
	p->region[p->n++].first = first;
	return 0;
}

int blk_pinned_set(struct blk_pinned *p, struct io_uring *ring, const struct sv_gmem *gmem)
{
	int rc = p->table ? 0 : io_uring_register_buffers_sparse(ring, BLK_PINNED_PIECES);

	if (rc < 0)
		return rc;
	p->table = true;
	clear(p, ring);
	for (unsigned i = 0; i < gmem->n && rc == 0; i++)
		rc = add(p, ring, &gmem->region[i]);
	if (rc < 0)
		clear(p, ring);
	return rc;
}

int blk_pinned_find(const struct blk_pinned *p, const struct iovec *piece)
{
	for (unsigned i = 0; i < p->n; i++) {
		uint64_t off = (uint64_t)((uintptr_t)piece->iov_base - p->region[i].base);

		if (off >= p->region[i].bytes)
			continue;
		if (piece->iov_len > p->region[i].bytes - off ||
			off / BLK_PINNED_PIECE != (off + piece->iov_len - 1) / BLK_PINNED_PIECE)
			return -1;
		return (int)(p->region[i].first + off / BLK_PINNED_PIECE);
	}
	return -1;
}
