/* SPDX-License-Identifier: BSD-3-Clause */
#include "blk_pinned.h"

#include <errno.h>
#include <sys/mman.h>

#include <channels/atomics.h>

#define SWEEP 16u /* pieces at a time */

static unsigned pieces_of(uint64_t bytes)
{
	return (unsigned)((bytes + BLK_PINNED_PIECE - 1) / BLK_PINNED_PIECE);
}

/* --- which regions there are ----------------------------------------------------------------- */

/* It may be other memory at the same place: the number tells. */
static bool same(const struct blk_pinned_region *r, const struct sv_gmem_region *g)
{
	return r->id == g->id && r->base == (uintptr_t)g->host && r->bytes == g->size;
}

static bool has(const struct blk_pinned *p, const struct sv_gmem_region *g)
{
	for (unsigned i = 0; i < p->n; i++)
		if (same(&p->region[i], g))
			return true;
	return false;
}

static void forget_others(struct blk_pinned *p, const struct sv_gmem *gmem)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->n; i++)
		for (unsigned k = 0; k < gmem->n; k++)
			if (same(&p->region[i], &gmem->region[k])) {
				p->region[kept++] = p->region[i];
				break;
			}
	if (kept < p->n)
		p->swept = 0;
	p->n = kept;
}

/* The first @pieces in a row that no region has; BLK_PINNED_PIECES: there are none. */
static unsigned find_room(const struct blk_pinned *p, unsigned pieces)
{
	unsigned first = 0;

	for (unsigned i = 0; i < p->n; i++) {
		const struct blk_pinned_region *r = &p->region[i];
		unsigned end = r->first + pieces_of(r->bytes);

		if (first < end && r->first < first + pieces) {
			first = end;
			i = UINT32_MAX; /* from the beginning: one looked at before may be there */
		}
	}
	return first <= BLK_PINNED_PIECES - pieces ? first : BLK_PINNED_PIECES;
}

static int add(struct blk_pinned *p, const struct sv_gmem_region *g)
{
	unsigned first;

	if (g->size > (uint64_t)BLK_PINNED_PIECE * BLK_PINNED_PIECES)
		return -E2BIG;
	first = find_room(p, pieces_of(g->size));
	if (first == BLK_PINNED_PIECES)
		return -E2BIG;
	p->region[p->n++] = (struct blk_pinned_region){
		.base = (uintptr_t)g->host, .bytes = g->size, .id = g->id, .first = first};
	return 0;
}

int blk_pinned_set(struct blk_pinned *p, const struct sv_gmem *gmem)
{
	int rc = 0;

	forget_others(p, gmem);
	for (unsigned i = 0; i < gmem->n && rc == 0; i++)
		if (!has(p, &gmem->region[i]))
			rc = add(p, &gmem->region[i]);
	if (rc < 0)
		p->n = p->swept = 0;
	return rc;
}

/* --- what the kernel knows of them ----------------------------------------------------------- */

static int update(struct io_uring *ring, unsigned piece, void *base, size_t bytes)
{
	static const __u64 tag[1];
	struct iovec v = {.iov_base = base, .iov_len = bytes};
	int rc = io_uring_register_buffers_update_tag(ring, piece, &v, tag, 1);

	return rc < 0 ? rc : 0;
}

static bool is_found(const struct blk_pinned *p, unsigned piece)
{
	for (unsigned i = 0; i < p->n; i++)
		if (piece - p->region[i].first < pieces_of(p->region[i].done))
			return true;
	return false;
}

int blk_pinned_sweep(struct blk_pinned *p, struct io_uring *ring)
{
	for (unsigned n = 0; n < SWEEP && p->swept < p->pieces; p->swept++)
		if (!is_found(p, p->swept)) {
			(void)update(ring, p->swept, NULL, 0);
			n++;
		}
	if (p->swept < p->pieces)
		return 1;
	while (p->pieces && !is_found(p, p->pieces - 1))
		p->pieces--;
	p->swept = p->pieces;
	return 0;
}

/* While it is registered the ring is the caller's alone: its pages are made beforehand. */
static int add_piece(struct blk_pinned *p, struct io_uring *ring, struct blk_pinned_region *r)
{
	uint64_t left = r->bytes - r->done, bytes = left < BLK_PINNED_PIECE ? left : BLK_PINNED_PIECE;
	unsigned piece = r->first + (unsigned)(r->done / BLK_PINNED_PIECE);
	uintptr_t at = r->base + r->done, start = at & ~(uintptr_t)4095;
	int rc;

	(void)madvise((void *)start, bytes + (at - start), MADV_POPULATE_WRITE);
	rc = update(ring, piece, (void *)at, bytes);
	if (rc < 0)
		return rc;
	if (piece >= p->pieces)
		p->pieces = p->swept = piece + 1;
	/* Order: PINNED, release side: the piece is the ring's before the polling thread finds it. */
	sv_store_release(&r->done, r->done + bytes);
	return 1;
}

int blk_pinned_more(struct blk_pinned *p, struct io_uring *ring)
{
	int rc;

	if (!p->table) {
		rc = io_uring_register_buffers_sparse(ring, BLK_PINNED_PIECES);
		if (rc < 0)
			return rc;
		p->table = true;
	}
	if (blk_pinned_sweep(p, ring))
		return 1;
	for (unsigned i = 0; i < p->n; i++)
		if (p->region[i].done < p->region[i].bytes)
			return add_piece(p, ring, &p->region[i]);
	return 0;
}

void blk_pinned_drop(struct blk_pinned *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->region[i].done) {
			sv_store_release(&p->region[i].done, 0);
			p->swept = 0;
		}
}

int blk_pinned_find(const struct blk_pinned *p, const struct iovec *piece)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct blk_pinned_region *r = &p->region[i];
		uint64_t off = (uint64_t)((uintptr_t)piece->iov_base - r->base), done;

		if (off >= r->bytes)
			continue;
		done = sv_load_acquire(&r->done); /* Order: PINNED */
		if (off >= done || piece->iov_len > done - off ||
			off / BLK_PINNED_PIECE != (off + piece->iov_len - 1) / BLK_PINNED_PIECE)
			return -1;
		return (int)(r->first + off / BLK_PINNED_PIECE);
	}
	return -1;
}
