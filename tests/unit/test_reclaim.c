/* SPDX-License-Identifier: BSD-3-Clause */
/* What is released and made again, against a guest whose every page is known. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reclaim.h"

#define BLOCKS 32u
#define PAGES (RECLAIM_BLOCK / RECLAIM_PAGE)
#define BYTES (BLOCKS * RECLAIM_BLOCK)

enum state { USED, FREE, BALLOONED };

struct guest {
	enum state page[BLOCKS * PAGES];
	bool here[BLOCKS * PAGES]; /* the host has a page for it */
	unsigned broken, ensures;
	bool fail;
};

static struct guest g;

static int release(void *ctx, uint64_t offset, uint64_t bytes)
{
	(void)ctx;
	if (g.fail)
		return -EIO;
	for (uint64_t p = offset / RECLAIM_PAGE; p < (offset + bytes) / RECLAIM_PAGE; p++) {
		g.broken += g.page[p] == USED;
		g.here[p] = false;
	}
	return 0;
}

static int ensure(void *ctx, uint64_t offset, uint64_t bytes)
{
	(void)ctx;
	g.ensures++;
	for (uint64_t p = offset / RECLAIM_PAGE; p < (offset + bytes) / RECLAIM_PAGE; p++)
		g.here[p] = true;
	return 0;
}

static bool touched(void *ctx, uint64_t offset, uint64_t bytes)
{
	(void)ctx;
	for (uint64_t p = offset / RECLAIM_PAGE; p < (offset + bytes) / RECLAIM_PAGE; p++)
		if (g.here[p])
			return true;
	return false;
}

static const struct sv_reclaim_ops ops = {release, ensure, touched};

static struct sv_reclaim *begin(bool small)
{
	memset(&g, 0, sizeof(g));
	memset(g.here, true, sizeof(g.here));
	return sv_reclaim_create(BYTES, small, &ops, NULL);
}

static void set(unsigned block, enum state s)
{
	for (uint64_t p = 0; p < PAGES; p++)
		g.page[block * PAGES + p] = s;
}

static void report(struct sv_reclaim *r, unsigned block, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		set(block + i, FREE);
	sv_reclaim_report(r, block * RECLAIM_BLOCK, n * RECLAIM_BLOCK);
	sv_reclaim_settle(r);
}

static void touch(unsigned block)
{
	set(block, USED);
	g.here[block * PAGES] = true;
}

Test(reclaim, a_reported_block_goes_to_the_host_and_comes_again_whole_when_it_is_touched)
{
	struct sv_reclaim *r = begin(false);

	report(r, 3, 4);
	cr_expect(!g.here[3 * PAGES] && !g.here[7 * PAGES - 1] && g.here[7 * PAGES]);
	cr_expect_eq(sv_reclaim_stats(r).hole_bytes, 4 * RECLAIM_BLOCK);
	sv_reclaim_tick(r, 10);
	cr_expect(!g.here[3 * PAGES]);
	touch(3);
	cr_expect_gt(sv_reclaim_tick(r, 20), 0);
	cr_expect(g.here[4 * PAGES - 1] && g.here[4 * PAGES] && !g.here[5 * PAGES]);
	sv_reclaim_destroy(r);
}

Test(reclaim, holes_behind_a_touched_one_are_made_before_the_guest_is_there)
{
	struct sv_reclaim *r = begin(false);
	unsigned late = 0;

	report(r, 0, BLOCKS);
	for (unsigned b = 0; b < BLOCKS; b++) {
		late += !g.here[b * PAGES];
		touch(b);
		sv_reclaim_tick(r, 100 + b);
	}
	cr_expect_leq(late, 5, "%u blocks were not there in time", late);
	cr_expect_eq(sv_reclaim_tick(r, 5000), -1);
	cr_expect_eq(sv_reclaim_stats(r).hole_bytes, 0);
	sv_reclaim_destroy(r);
}

Test(reclaim, after_a_calm_only_one_hole_is_made_ahead_again)
{
	struct sv_reclaim *r = begin(false);

	report(r, 0, BLOCKS);
	for (unsigned b = 0; b < BLOCKS; b++) {
		touch(b);
		sv_reclaim_tick(r, 100 + b);
	}
	report(r, 0, BLOCKS);
	touch(0);
	sv_reclaim_tick(r, 5000);
	cr_expect(g.here[0] && g.here[PAGES] && !g.here[2 * PAGES]);
	sv_reclaim_destroy(r);
}

Test(reclaim, a_huge_page_is_kept_until_all_of_it_or_for_long_most_of_it_is_in_the_balloon)
{
	struct sv_reclaim *r = begin(false);

	for (uint64_t p = 0; p < 300; p++) {
		g.page[p] = BALLOONED;
		sv_reclaim_inflate(r, p * RECLAIM_PAGE);
	}
	sv_reclaim_settle(r);
	cr_expect(g.here[0]);
	sv_reclaim_tick(r, 500);
	cr_expect(g.here[0]);
	sv_reclaim_tick(r, 5000);
	cr_expect(!g.here[0] && !g.here[299] && g.here[300]);
	cr_expect_eq(sv_reclaim_stats(r).splits, 1);
	for (uint64_t p = 0; p < 300; p++) {
		g.page[p] = USED;
		sv_reclaim_deflate(r, p * RECLAIM_PAGE);
	}
	sv_reclaim_settle(r);
	cr_expect(g.here[0] && g.here[299]);
	cr_expect_eq(sv_reclaim_stats(r).merges, 1);
	sv_reclaim_destroy(r);
}

Test(reclaim, small_pages_go_at_once_and_are_there_again_before_the_answer)
{
	struct sv_reclaim *r = begin(true);

	g.page[7] = BALLOONED;
	sv_reclaim_inflate(r, 7 * RECLAIM_PAGE);
	sv_reclaim_settle(r);
	cr_expect(!g.here[7] && g.here[6] && g.here[8]);
	g.page[7] = USED;
	sv_reclaim_deflate(r, 7 * RECLAIM_PAGE);
	sv_reclaim_settle(r);
	cr_expect(g.here[7]);
	sv_reclaim_destroy(r);
}

Test(reclaim, nonsense_is_counted_and_has_no_effect)
{
	struct sv_reclaim *r = begin(false);

	sv_reclaim_inflate(r, BYTES);
	sv_reclaim_inflate(r, UINT64_MAX);
	sv_reclaim_inflate(r, 17);
	sv_reclaim_deflate(r, 0);
	sv_reclaim_report(r, UINT64_MAX, 1);
	sv_reclaim_report(r, 0, UINT64_MAX);
	sv_reclaim_report(r, RECLAIM_PAGE, RECLAIM_BLOCK);
	g.page[0] = BALLOONED;
	sv_reclaim_inflate(r, 0);
	sv_reclaim_inflate(r, 0);
	sv_reclaim_settle(r);
	cr_expect_eq(sv_reclaim_stats(r).ignored, 8);
	cr_expect_eq(sv_reclaim_stats(r).hole_bytes, 0);
	sv_reclaim_destroy(r);
}

Test(reclaim, a_hole_that_was_used_unnoticed_is_released_when_it_is_reported_or_ballooned)
{
	struct sv_reclaim *r = begin(false);

	report(r, 4, 2);
	touch(4);
	touch(5);
	report(r, 4, 1);
	cr_expect(!g.here[4 * PAGES] && g.here[5 * PAGES]);
	for (uint64_t p = 5 * PAGES; p < 6 * PAGES; p++) {
		g.page[p] = BALLOONED;
		sv_reclaim_inflate(r, p * RECLAIM_PAGE);
	}
	sv_reclaim_settle(r);
	cr_expect(!g.here[5 * PAGES]);
	cr_expect_eq(sv_reclaim_stats(r).hole_bytes, 2 * RECLAIM_BLOCK, "counted once");
	sv_reclaim_destroy(r);
}

Test(reclaim, a_block_of_small_pages_that_was_reported_and_ballooned_comes_back_page_by_page)
{
	struct sv_reclaim *r = begin(true);

	report(r, 0, 1);
	for (uint64_t p = 0; p < 100; p++) {
		g.page[p] = BALLOONED;
		g.here[p] = true; /* the driver took it in its hands */
		sv_reclaim_inflate(r, p * RECLAIM_PAGE);
	}
	sv_reclaim_settle(r);
	cr_expect(!g.here[0] && !g.here[99]);
	g.page[50] = USED;
	sv_reclaim_deflate(r, 50 * RECLAIM_PAGE);
	sv_reclaim_settle(r);
	cr_expect(g.here[50] && g.here[100] && !g.here[49] && !g.here[51]);
	cr_expect_eq(sv_reclaim_stats(r).hole_bytes, 99 * RECLAIM_PAGE);
	for (uint64_t p = 0; p < 100; p++)
		if (p != 50)
			sv_reclaim_deflate(r, p * RECLAIM_PAGE);
	sv_reclaim_settle(r);
	cr_expect_eq(sv_reclaim_stats(r).hole_bytes, 0);
	sv_reclaim_destroy(r);
}

Test(reclaim, what_is_with_the_host_is_known_block_by_block)
{
	struct sv_reclaim *r = begin(false);

	report(r, 2, 1);
	for (uint64_t p = 0; p < 300; p++) {
		g.page[p] = BALLOONED;
		sv_reclaim_inflate(r, p * RECLAIM_PAGE);
	}
	sv_reclaim_settle(r);
	cr_expect_not(sv_reclaim_given(r, 0), "whole until it is split");
	sv_reclaim_tick(r, 5000);
	cr_expect(sv_reclaim_given(r, 0) && sv_reclaim_given(r, 2 * RECLAIM_BLOCK + 4096));
	cr_expect_not(sv_reclaim_given(r, RECLAIM_BLOCK));
	touch(2);
	sv_reclaim_tick(r, 5010);
	cr_expect_not(sv_reclaim_given(r, 2 * RECLAIM_BLOCK));
	sv_reclaim_destroy(r);
	r = begin(true);
	g.page[7] = BALLOONED;
	sv_reclaim_inflate(r, 7 * RECLAIM_PAGE);
	cr_expect(sv_reclaim_given(r, 0));
	sv_reclaim_destroy(r);
}

/* Out of the balloon, and every hole is used. */
static void all_back(struct sv_reclaim *r)
{
	g.fail = false;
	for (unsigned i = 0; i < BLOCKS * PAGES; i++)
		if (g.page[i] == BALLOONED)
			sv_reclaim_deflate(r, i * RECLAIM_PAGE);
	sv_reclaim_settle(r);
	for (unsigned b = 0; b < BLOCKS; b++)
		touch(b);
	for (unsigned t = 0; t < 100; t++)
		sv_reclaim_tick(r, 200000 + t * 10);
}

/* A guest that does what it likes, within the rules: it never loses a page that it uses. */
static void live(bool small, unsigned seed)
{
	struct sv_reclaim *r = begin(small);

	srandom(seed);
	for (unsigned t = 0; t < 20000; t++) {
		unsigned b = (unsigned)random() % BLOCKS, p = b * PAGES + (unsigned)random() % PAGES;
		bool in_balloon = false;

		g.fail = random() % 16 == 0;
		switch (random() % 5) {
		case 0:
			for (unsigned i = 0; i < PAGES; i++)
				in_balloon |= g.page[b * PAGES + i] == BALLOONED;
			if (!in_balloon)
				report(r, b, 1);
			break;
		case 1: /* many pages, as a driver does */
			for (unsigned i = p; i < (b + 1) * PAGES; i++)
				if (g.page[i] != BALLOONED) {
					g.page[i] = BALLOONED;
					sv_reclaim_inflate(r, i * RECLAIM_PAGE);
				}
			sv_reclaim_settle(r);
			break;
		case 2:
			for (unsigned i = p; i < (b + 1) * PAGES; i++)
				if (g.page[i] == BALLOONED) {
					sv_reclaim_deflate(r, i * RECLAIM_PAGE);
					g.page[i] = USED; /* after the answer */
				}
			sv_reclaim_settle(r);
			for (unsigned i = p; i < (b + 1) * PAGES; i++)
				cr_assert(g.page[i] != USED || g.here[i], "seed %u", seed);
			break;
		case 3:
			if (g.page[p] == FREE) {
				g.page[p] = USED;
				g.here[p] = true;
			}
			break;
		default:
			sv_reclaim_tick(r, t * 7);
		}
		cr_assert_eq(g.broken, 0, "seed %u, turn %u", seed, t);
		cr_assert_leq(sv_reclaim_stats(r).hole_bytes, BYTES, "seed %u, turn %u", seed, t);
		for (unsigned i = 0; i < BLOCKS * PAGES && !g.fail && t % 64 == 0; i++)
			cr_assert(g.here[i] || sv_reclaim_given(r, i * RECLAIM_PAGE), "seed %u", seed);
	}
	all_back(r);
	cr_assert_eq(sv_reclaim_stats(r).hole_bytes, 0, "seed %u", seed);
	sv_reclaim_destroy(r);
}

Test(reclaim, no_page_that_the_guest_uses_is_ever_released)
{
	for (unsigned seed = 1; seed <= 8; seed++) {
		live(false, seed);
		live(true, seed);
	}
}

Test(reclaim, a_host_that_refuses_is_counted)
{
	struct sv_reclaim *r = begin(false);

	g.fail = true;
	report(r, 1, 1);
	cr_expect_eq(sv_reclaim_stats(r).failed, 1);
	sv_reclaim_destroy(r);
}
