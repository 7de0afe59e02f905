/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sidecore, its devices, their guests and a store, on a virtual clock: no time passes but what the
 * model says, so that every figure is the same on every machine.
 */
#ifndef TESTS_QOS_SIM_H
#define TESTS_QOS_SIM_H

#include <base/histogram.h>
#include <io/qos.h>

#define SIM_FLOWS 64u
#define SIM_RING 512u
#define SIM_SERVERS 64u
#define MS 1000000ull
#define SECOND (1000 * MS)

/* A guest: either so many requests always, or one every so often. */
struct sim_flow {
	struct sv_qos_flow *flow;
	unsigned depth;
	uint64_t every_ns, next_ns;
	uint32_t bytes;
	bool off;

	uint64_t posted[SIM_RING]; /* those that wait in the ring */
	unsigned head, tail;
	unsigned inside; /* taken, not completed */
	uint64_t ops, moved;
	struct sv_histogram latency; /* the guest's: from posting on */
};

struct sim {
	struct sv_qos *q;
	uint64_t now;
	unsigned n;
	struct sim_flow flow[SIM_FLOWS];
	/* The store: servers that each do one request at a time, first come first served. */
	unsigned servers;
	uint64_t free_at[SIM_SERVERS];
	uint64_t service_ns, ns_per_kib;
	bool inline_store; /* it works in the sidecore's own time, at once */
	struct {
		uint64_t end_ns, posted;
		struct sv_qos_ticket ticket;
		unsigned flow;
	} out[SIM_FLOWS * SIM_RING];
	unsigned nout;
	/* What a visit and a request cost the sidecore. */
	uint64_t visit_ns, request_ns;
	bool unfair; /* take what is there, as without a scheduler */
};

struct sim *sim_new(unsigned servers, uint64_t service_ns);
void sim_free(struct sim *s);
/* @set: "weight=200 priority=1", or NULL. */
struct sim_flow *sim_add(struct sim *s, unsigned depth, uint32_t bytes, const char *set);
void sim_set(struct sim_flow *f, const char *set);
void sim_run(struct sim *s, uint64_t ns);
/* Forget what was counted so far. */
void sim_mark(struct sim *s);

#endif
