/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The paging service once more, as plainly as possible: one op at a time, everything looked up by
 * going through all there is. Compared with paging/ in test_paging_oracle.c.
 */
#ifndef PAGING_MODEL_H
#define PAGING_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_TABLES 24u
#define MODEL_TRACKED 24u

struct model_table {
	bool pinned, linked, used;
	unsigned level, runs; /* runs: vCPUs on it */
	uint64_t stale;	      /* epoch in which it was taken out */
	int home_table;	      /* where it was linked last, -1: never */
	unsigned home_index;
	uint64_t e[512];
	uint64_t place[512]; /* what the entry was, last time it was something */
};

struct model {
	unsigned levels;
	bool shadowed;
	uint64_t memory_bytes, pool_gpa;
	uint64_t epoch, clean;
	struct model_table t[MODEL_TABLES];
	/* The frames whose fate is followed, and their stale epochs by size of the page that went. */
	unsigned tracked;
	uint64_t frame[MODEL_TRACKED];
	uint64_t stale[MODEL_TRACKED][3];
	uint64_t kernel_gpa, kernel_bytes;
	uint64_t forgotten; /* pages of this request that went, and are to be forgotten */
	struct {
		uint64_t gpa;
		unsigned level;
	} gone[512];
	unsigned ngone;
};

int model_table_at(const struct model *m, uint64_t gpa);
bool model_pin(struct model *m, uint64_t gpa, uint64_t level);
bool model_unpin(struct model *m, uint64_t gpa);
/* One operation below @root. Return: whether it was done. */
bool model_op(struct model *m, int root, uint64_t where, uint64_t entry);
void model_forget(struct model *m);
/* What a processor finds at @va: the entry of the page and its level, or 0. */
uint64_t model_translate(const struct model *m, int root, uint64_t va, unsigned *level);

#endif
