/* SPDX-License-Identifier: BSD-3-Clause */
#include "reclaim.h"

#include <stdlib.h>
#include <string.h>

#include <channels/atomics.h>

#define PAGES 512u /* of a block */
#define NONE UINT32_MAX
#define HEAD_LOOKS 8u	/* of the holes that are next, each tick */
#define ROUND_LOOKS 32u /* of all others, in turn */
#define BUSY_MS 5
#define CALM_MS 100
#define CALM_AFTER_MS 1000u

enum { HOLE = 1, LISTED = 2, SPLIT = 4 };

struct block {
	uint16_t ballooned; /* pages of it */
	uint8_t state;
	uint32_t prev, next; /* of the list of holes */
};

struct sv_reclaim {
	const struct sv_reclaim_ops *ops;
	void *ctx;
	uint64_t bytes;
	bool small;
	uint32_t blocks, first, last, look; /* look: where the round of all holes stands */
	uint32_t listed;
	uint8_t *page; /* a bit for each that is in the balloon */
	struct block *block;
	/* A run of pages that are to be released, or made, at the next settle. */
	uint64_t run_at, run_bytes;
	bool run_make;
	unsigned window;
	uint64_t active_ms, inflated_ms, now_ms;
	bool unsplit; /* blocks that are partly in the balloon may have to be split */
	struct sv_reclaim_stats stats;
};

static void count(uint64_t *to, uint64_t n)
{
	sv_store_relaxed(to, *to + n);
}

struct sv_reclaim_stats sv_reclaim_stats(const struct sv_reclaim *r)
{
	const struct sv_reclaim_stats *from = &r->stats;
	struct sv_reclaim_stats s = {
		.balloon_bytes = sv_load_relaxed(&from->balloon_bytes),
		.hole_bytes = sv_load_relaxed(&from->hole_bytes),
		.reported_bytes = sv_load_relaxed(&from->reported_bytes),
		.again_bytes = sv_load_relaxed(&from->again_bytes),
		.ahead_bytes = sv_load_relaxed(&from->ahead_bytes),
		.splits = sv_load_relaxed(&from->splits),
		.merges = sv_load_relaxed(&from->merges),
		.ignored = sv_load_relaxed(&from->ignored),
		.failed = sv_load_relaxed(&from->failed),
	};

	return s;
}

/* --- the list of holes, oldest first ----------------------------------------------------------- */

static void list_add(struct sv_reclaim *r, uint32_t i)
{
	struct block *b = &r->block[i];

	b->prev = r->last;
	b->next = NONE;
	if (r->last != NONE)
		r->block[r->last].next = i;
	else
		r->first = i;
	r->last = i;
	b->state |= LISTED;
	r->listed++;
}

static void list_del(struct sv_reclaim *r, uint32_t i)
{
	struct block *b = &r->block[i];

	if (!(b->state & LISTED))
		return;
	if (r->look == i)
		r->look = b->next;
	if (b->prev != NONE)
		r->block[b->prev].next = b->next;
	else
		r->first = b->next;
	if (b->next != NONE)
		r->block[b->next].prev = b->prev;
	else
		r->last = b->prev;
	b->state &= (uint8_t)~LISTED;
	r->listed--;
}

/* --- what the guest says ----------------------------------------------------------------------- */

static bool get_page(const struct sv_reclaim *r, uint64_t n)
{
	return r->page[n / 8] & 1u << n % 8;
}

static void flip_page(struct sv_reclaim *r, uint64_t n)
{
	r->page[n / 8] ^= (uint8_t)(1u << n % 8);
}

void sv_reclaim_settle(struct sv_reclaim *r)
{
	int (*op)(void *, uint64_t, uint64_t) = r->run_make ? r->ops->ensure : r->ops->release;

	if (r->run_bytes && op(r->ctx, r->run_at, r->run_bytes) < 0)
		count(&r->stats.failed, 1);
	r->run_bytes = 0;
}

/* Pages come one by one, up or down: neighbours go together. */
static void run_add(struct sv_reclaim *r, uint64_t offset, uint64_t bytes, bool make)
{
	if (r->run_bytes && r->run_make == make && offset == r->run_at + r->run_bytes) {
		r->run_bytes += bytes;
		return;
	}
	if (r->run_bytes && r->run_make == make && offset + bytes == r->run_at) {
		r->run_at = offset;
		r->run_bytes += bytes;
		return;
	}
	sv_reclaim_settle(r);
	r->run_at = offset;
	r->run_bytes = bytes;
	r->run_make = make;
}

static void release(struct sv_reclaim *r, uint64_t offset, uint64_t bytes)
{
	run_add(r, offset, bytes, false);
	count(&r->stats.hole_bytes, bytes);
}

/* Of a hole that may have been used meanwhile without our noticing. */
static void release_again(struct sv_reclaim *r, uint64_t offset, uint64_t bytes)
{
	run_add(r, offset, bytes, false);
}

static void ensure(struct sv_reclaim *r, uint64_t offset, uint64_t bytes)
{
	run_add(r, offset, bytes, true);
	count(&r->stats.hole_bytes, (uint64_t)-bytes);
	count(&r->stats.again_bytes, bytes);
}

static void release_ballooned(struct sv_reclaim *r, uint64_t block)
{
	for (uint64_t p = block * PAGES; p < (block + 1) * PAGES; p++)
		if (get_page(r, p))
			release(r, p * RECLAIM_PAGE, RECLAIM_PAGE);
}

void sv_reclaim_inflate(struct sv_reclaim *r, uint64_t offset)
{
	uint64_t start = offset / RECLAIM_BLOCK * RECLAIM_BLOCK;
	struct block *b;

	if (offset % RECLAIM_PAGE || offset >= r->bytes || get_page(r, offset / RECLAIM_PAGE)) {
		count(&r->stats.ignored, 1);
		return;
	}
	b = &r->block[offset / RECLAIM_BLOCK];
	flip_page(r, offset / RECLAIM_PAGE);
	count(&r->stats.balloon_bytes, RECLAIM_PAGE);
	b->ballooned++;
	r->inflated_ms = r->now_ms;
	list_del(r, (uint32_t)(offset / RECLAIM_BLOCK));
	if (b->state & HOLE) {
		if (r->small)
			release_again(r, offset, RECLAIM_PAGE);
		else if (b->ballooned == PAGES)
			release_again(r, start, RECLAIM_BLOCK);
	} else if (r->small || (b->state & SPLIT)) {
		release(r, offset, RECLAIM_PAGE);
	} else if (b->ballooned == PAGES) {
		b->state |= HOLE;
		release(r, start, RECLAIM_BLOCK);
	} else {
		r->unsplit = true;
	}
}

void sv_reclaim_deflate(struct sv_reclaim *r, uint64_t offset)
{
	struct block *b;
	uint64_t start = offset / RECLAIM_BLOCK * RECLAIM_BLOCK;

	if (offset % RECLAIM_PAGE || offset >= r->bytes || !get_page(r, offset / RECLAIM_PAGE)) {
		count(&r->stats.ignored, 1);
		return;
	}
	b = &r->block[offset / RECLAIM_BLOCK];
	flip_page(r, offset / RECLAIM_PAGE);
	count(&r->stats.balloon_bytes, (uint64_t)-RECLAIM_PAGE);
	b->ballooned--;
	if (b->state & HOLE) {
		/* Whole again, with what is still in the balloon: a huge page would not stay one. */
		b->state &= (uint8_t)~HOLE;
		ensure(r, start, RECLAIM_BLOCK);
		if (r->small)
			release_ballooned(r, start / RECLAIM_BLOCK);
		r->unsplit |= !r->small;
		r->inflated_ms = r->now_ms;
	} else if (r->small || (b->state & SPLIT)) {
		ensure(r, offset, RECLAIM_PAGE);
		if (!b->ballooned && (b->state & SPLIT)) {
			sv_reclaim_settle(r);
			b->state &= (uint8_t)~SPLIT;
			if (r->ops->ensure(r->ctx, start, RECLAIM_BLOCK) < 0)
				count(&r->stats.failed, 1);
			count(&r->stats.merges, 1);
		}
	}
}

void sv_reclaim_report(struct sv_reclaim *r, uint64_t offset, uint64_t bytes)
{
	uint64_t from = (offset + RECLAIM_BLOCK - 1) / RECLAIM_BLOCK, to;

	if (offset >= r->bytes || bytes > r->bytes - offset) {
		count(&r->stats.ignored, 1);
		return;
	}
	to = (offset + bytes) / RECLAIM_BLOCK;
	if (from >= to) {
		count(&r->stats.ignored, 1);
		return;
	}
	for (uint64_t i = from; i < to; i++) {
		struct block *b = &r->block[i];

		if (b->ballooned)
			continue;
		if (b->state & HOLE)
			release_again(r, i * RECLAIM_BLOCK, RECLAIM_BLOCK);
		else
			release(r, i * RECLAIM_BLOCK, RECLAIM_BLOCK);
		list_del(r, (uint32_t)i);
		b->state = HOLE;
		list_add(r, (uint32_t)i);
	}
	/* Before the answer: the guest may use them then. */
	sv_reclaim_settle(r);
	count(&r->stats.reported_bytes, (to - from) * RECLAIM_BLOCK);
}

bool sv_reclaim_given(const struct sv_reclaim *r, uint64_t offset)
{
	const struct block *b = &r->block[offset / RECLAIM_BLOCK];

	return (b->state & (HOLE | SPLIT)) || (r->small && b->ballooned);
}

/* --- what nobody says -------------------------------------------------------------------------- */

static void fill_hole(struct sv_reclaim *r, uint32_t i)
{
	list_del(r, i);
	r->block[i].state &= (uint8_t)~HOLE;
	ensure(r, i * RECLAIM_BLOCK, RECLAIM_BLOCK);
}

/* The guest is at hole @i: the rest of it, and those that come after it. Return: the next one. */
static uint32_t run_ahead(struct sv_reclaim *r, uint32_t i)
{
	uint32_t next = r->block[i].next;

	fill_hole(r, i);
	r->active_ms = r->now_ms;
	for (unsigned n = 0; n < r->window && next != NONE; n++) {
		i = next;
		next = r->block[i].next;
		fill_hole(r, i);
		count(&r->stats.ahead_bytes, RECLAIM_BLOCK);
	}
	sv_reclaim_settle(r);
	r->window = r->window < RECLAIM_WINDOW / 2 ? 2 * r->window : RECLAIM_WINDOW;
	return next;
}

static bool touched(struct sv_reclaim *r, uint32_t i)
{
	return r->ops->touched(r->ctx, i * RECLAIM_BLOCK, RECLAIM_BLOCK);
}

static void watch_holes(struct sv_reclaim *r)
{
	uint32_t i = r->first;

	for (unsigned n = 0; n < HEAD_LOOKS && i != NONE; n++)
		i = touched(r, i) ? run_ahead(r, i) : r->block[i].next;
	for (unsigned n = 0; n < ROUND_LOOKS && r->first != NONE; n++) {
		i = r->look != NONE ? r->look : r->first;
		r->look = touched(r, i) ? run_ahead(r, i) : r->block[i].next;
	}
}

/* The balloon rests: what is mostly in it goes to the host, page by page. */
static void split_rest(struct sv_reclaim *r)
{
	r->unsplit = false;
	for (uint32_t i = 0; i < r->blocks; i++) {
		struct block *b = &r->block[i];

		if (b->ballooned < PAGES / 2 || (b->state & (HOLE | SPLIT)))
			continue;
		b->state |= SPLIT;
		count(&r->stats.splits, 1);
		release_ballooned(r, i);
		sv_reclaim_settle(r);
	}
}

int sv_reclaim_tick(struct sv_reclaim *r, uint64_t now_ms)
{
	r->now_ms = now_ms;
	if (now_ms - r->active_ms > CALM_AFTER_MS)
		r->window = 1;
	if (r->listed)
		watch_holes(r);
	if (r->unsplit && now_ms - r->inflated_ms > CALM_AFTER_MS)
		split_rest(r);
	if (r->listed && now_ms - r->active_ms <= CALM_AFTER_MS)
		return BUSY_MS;
	return r->listed || r->unsplit ? CALM_MS : -1;
}

/* --- life -------------------------------------------------------------------------------------- */

struct sv_reclaim *sv_reclaim_create(uint64_t bytes, bool small, const struct sv_reclaim_ops *ops,
	void *ctx)
{
	struct sv_reclaim *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->ops = ops;
	r->ctx = ctx;
	r->bytes = bytes / RECLAIM_PAGE * RECLAIM_PAGE;
	r->small = small;
	r->blocks = (uint32_t)((r->bytes + RECLAIM_BLOCK - 1) / RECLAIM_BLOCK);
	r->first = r->last = r->look = NONE;
	r->window = 1;
	r->page = calloc(r->blocks, PAGES / 8);
	r->block = calloc(r->blocks, sizeof(*r->block));
	if (r->page && r->block)
		return r;
	sv_reclaim_destroy(r);
	return NULL;
}

void sv_reclaim_destroy(struct sv_reclaim *r)
{
	if (!r)
		return;
	free(r->page);
	free(r->block);
	free(r);
}
