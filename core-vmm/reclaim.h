/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of the guest's memory is with the host, and which comes back when. Blocks of 2 MiB are the
 * unit, so that huge pages stay whole: single pages in the balloon are given to the host only where
 * memory is in small pages, or after a while (the block is split, knowingly, and counted).
 *
 * A reported block is a hole until the guest touches it, which nobody tells. Holes are kept in the
 * order of their reports, in which Linux takes them again; once one is found touched, those behind it
 * are made before the guest comes to them, twice as many each time.
 *
 * Pure but for the ops; one caller at a time.
 */
#ifndef CORE_VMM_RECLAIM_H
#define CORE_VMM_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#define RECLAIM_BLOCK (2ull << 20)
#define RECLAIM_PAGE 4096ull
#define RECLAIM_WINDOW 64u /* blocks that are made ahead at most */

/* Offsets are into RAM as one piece. */
struct sv_reclaim_ops {
	int (*release)(void *ctx, uint64_t offset, uint64_t bytes); /* to the host */
	int (*ensure)(void *ctx, uint64_t offset, uint64_t bytes);  /* pages made and mapped */
	bool (*touched)(void *ctx, uint64_t offset, uint64_t bytes);
};

struct sv_reclaim_stats {
	uint64_t balloon_bytes;	 /* in the balloon now */
	uint64_t hole_bytes;	 /* with the host now, as far as we know */
	uint64_t reported_bytes; /* ever */
	uint64_t again_bytes;	 /* made again, touched or about to be */
	uint64_t ahead_bytes;	 /* of these, before the guest came */
	uint64_t splits, merges; /* blocks */
	uint64_t ignored;	 /* what the guest said that made no sense, or was too small */
	uint64_t failed;	 /* calls of the host's */
};

struct sv_reclaim;

/* @small: memory is in pages of 4 KiB. Return: NULL: out of memory. */
struct sv_reclaim *sv_reclaim_create(uint64_t bytes, bool small, const struct sv_reclaim_ops *ops,
	void *ctx);
void sv_reclaim_destroy(struct sv_reclaim *r);

void sv_reclaim_inflate(struct sv_reclaim *r, uint64_t offset);
void sv_reclaim_deflate(struct sv_reclaim *r, uint64_t offset);
void sv_reclaim_report(struct sv_reclaim *r, uint64_t offset, uint64_t bytes);
void sv_reclaim_settle(struct sv_reclaim *r);
/* Return: milliseconds until the next call, -1: nothing to watch. */
int sv_reclaim_tick(struct sv_reclaim *r, uint64_t now_ms);

/* Is the block at @offset with the host, all of it or some pages? */
bool sv_reclaim_given(const struct sv_reclaim *r, uint64_t offset);

/* Context: any thread (relaxed). */
struct sv_reclaim_stats sv_reclaim_stats(const struct sv_reclaim *r);

#endif
