/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pairs of guests of `sidevisor bench net`, each joined by another back end. Context of
 * everything here: the one thread of the program.
 */
#ifndef BENCH_NET_PAIRS_H
#define BENCH_NET_PAIRS_H

#include <stdbool.h>
#include <sys/types.h>

#include <base/error.h>

#include "io.h"

#define NET_PAIRS 3u
#define NET_OURS 0u
#define NET_OURS_EXIT 1u
#define NET_PEER 2u /* it need not be there */

struct vu_mask;

struct net_pair {
	const char *key, *what;
	pid_t back_end;
	char port[2][128];
	struct vu_mask *mask[2];
	struct io_guest guest[2]; /* 10.0.0.1 and 10.0.0.2 */
};

struct net_pairs {
	/* Given. */
	int guest_cpu, sidecore_cpu, other_cpu;
	bool frames; /* the guests need what sends raw frames */
	/* Found. */
	unsigned n;
	char dir[96], release[64];
	struct net_pair at[NET_PAIRS];
};

/* DPDK's testpmd is installed and runs on this processor. */
bool net_peer_is_there(void);
/* Start @n pairs; their guests reach each other. Also after a failure: net_pairs_stop(). */
int net_pairs_start(struct net_pairs *s, unsigned n, struct sv_error *err);
void net_pairs_stop(struct net_pairs *s);
/*
 * A back end that polls for ever has its CPU in its own turns alone: begin and end one. Others
 * sleep by themselves.
 */
void net_pair_turn(const struct net_pairs *s, unsigned i, bool begin);

#endif
