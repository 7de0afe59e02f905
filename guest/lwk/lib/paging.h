/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LWK_LIB_PAGING_H
#define LWK_LIB_PAGING_H

#include <lwk/paging.h>

#include "internal.h"

struct paging_state {
	enum lwk_paging_via via;
	bool shadowed, tried; /* `shadowed` is what was found by trying */
	uint64_t root, next_table, pool_end, info;
};
extern struct paging_state paging_state;

/* Every vCPU flushes @pages from @va on (0: everything). */
void paging_flush(uint64_t va, uint64_t pages);
/* The table of @level that @va needs, as far as there is one: *level says how far. */
uint64_t *paging_find_table(uint64_t va, unsigned *level);
/* Tables for @va down to @level, made where they are missing. */
uint32_t paging_make_tables(uint64_t va, unsigned level);

#endif
