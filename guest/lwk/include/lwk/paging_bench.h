/* SPDX-License-Identifier: BSD-3-Clause */
/* What the pagingbench application and bench/paging.c share in guest memory. */
#ifndef LWK_PAGING_BENCH_H
#define LWK_PAGING_BENCH_H

#include <stdint.h>

enum lwk_paging_item {
	LWK_PB_EMPTY,	    /* an empty request through the channel */
	LWK_PB_RING_MAP,    /* one update per request, its answer awaited */
	LWK_PB_RING_UNMAP,  /* the same; nobody used the page, nobody is made to forget */
	LWK_PB_BATCH_8,	    /* maps, so many per request */
	LWK_PB_BATCH_64,
	LWK_PB_BATCH_512,
	LWK_PB_STREAM_64,   /* maps, 64 per request, 16 requests in flight */
	LWK_PB_RANGE_512,   /* maps of 512 neighbours, no array */
	LWK_PB_RING_SETTLE, /* unmap of a page that was used, until nobody uses it */
	LWK_PB_SETTLE_64,   /* the same for 64 pages in one request */
	LWK_PB_PORT_MAP,    /* the same validation in an exit to the VM process */
	LWK_PB_PORT_SETTLE, /* unmap of a page that nobody used, with the same call to KVM */
	LWK_PB_TRAP_MAP,    /* a store into read-only memory */
	LWK_PB_ITEMS
};

struct lwk_paging_bench {
	uint64_t n[LWK_PB_ITEMS];
	uint64_t samples[LWK_PB_ITEMS]; /* addresses of arrays of `room` words: TSC ticks */
	uint64_t room, shadowed, error;
} __attribute__((aligned(64)));

/* Values of SV_PORT_BENCH below 4096, above: the address of struct lwk_paging_bench. */
#define LWK_PB_DONE 2u
/* Twice per item, around LWK_PB_COUNTED samples of it: how many exits were there? */
#define LWK_PB_MARK 16u
#define LWK_PB_COUNTED 64u

#endif
