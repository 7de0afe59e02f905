/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LWK_LIB_PAGING_H
#define LWK_LIB_PAGING_H

#include <lwk/paging.h>

#include "internal.h"

struct paging_state {
	enum lwk_paging_via via;
	bool shadowed;
	uint64_t root, next_table, pool_end, info;
};
extern struct paging_state paging_state;

/* Every vCPU flushes. @epoch: then the service is told; 0: it is not. */
void paging_flush(uint64_t epoch);
/* Tables for @va down to @level, made where they are missing. */
uint32_t paging_make_tables(uint64_t va, unsigned level);

#endif
