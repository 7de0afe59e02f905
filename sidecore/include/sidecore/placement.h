/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which CPUs one VM gets on this node: guest cores, a sidecore, a housekeeping CPU.
 *
 * The sidecore is in the same L3 as its guest cores, and never the SMT sibling of one unless asked;
 * one core is left for housekeeping where there is one to spare.
 */
#ifndef SIDECORE_PLACEMENT_H
#define SIDECORE_PLACEMENT_H

#include <stdbool.h>

#include <base/error.h>

#define SV_PLACEMENT_VCPUS 1024u

struct hwloc_topology;

struct sv_placement_request {
	unsigned vcpus;
	int sidecore; /* already chosen; -1: choose */
	const int *others; /* CPUs of further sidecores, which take their cores */
	unsigned nothers;
	bool smt_sibling;
	bool overcommit; /* vCPUs may share guest cores */
};

struct sv_placement {
	int sidecore_cpu;
	int control_cpu; /* housekeeping; the sidecore's CPU where there is no other */
	int vcpu_cpu[SV_PLACEMENT_VCPUS];
	int numa_node;	 /* OS index of the node of the guest cores; -1: several or none */
	unsigned guest_cores;
};

/*
 * A pure function of the topology (its allowed CPUs) and the request. Ties go to the lowest CPU.
 * Return: 0, -ENOSPC with the constraint that prevents it, -EINVAL.
 */
int sv_placement_choose(struct hwloc_topology *topo, const struct sv_placement_request *req,
	struct sv_placement *out, struct sv_error *err);

/* The same for this machine and the CPUs this process may use. A few milliseconds. */
int sv_placement_here(const struct sv_placement_request *req, struct sv_placement *out,
	struct sv_error *err);

/*
 * The sidecore nearest to each vCPU that has none yet (serves[i] < 0): by the smallest part of the
 * machine that holds both, then by the fewest vCPUs it serves already, then in order. A vCPU that
 * is not pinned (-1) gets the one with the fewest. @sidecore: @nsidecores CPUs, at least one.
 */
void sv_placement_nearest(struct hwloc_topology *topo, const int *vcpu_cpu, unsigned nvcpus,
	const int *sidecore, unsigned nsidecores, int *serves);
/* The same for this machine. Return: 0, or -errno with a sentence. */
int sv_placement_nearest_here(const int *vcpu_cpu, unsigned nvcpus, const int *sidecore,
	unsigned nsidecores, int *serves, struct sv_error *err);

#endif
