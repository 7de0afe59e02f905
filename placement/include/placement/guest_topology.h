/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The truth for a guest: the part of the host's topology that its vCPUs' CPUs make. In plain numbers,
 * which whoever runs the guest tells it by CPUID and ACPI.
 *
 * Packages, dies, L3s, L2s, cores and threads are those of the CPUs, renumbered in the order of the
 * vCPUs, so that vCPU 0 is the first of everything, but for one thing: a package of a single core is
 * not the first where another has more, because Linux (since 6.9) counts the cores of the first
 * package and takes all for that. Threads of a core that are no vCPUs are not seen: the core then has one
 * thread. NUMA nodes are those beside the cores, with the host's distances.
 */
#ifndef PLACEMENT_GUEST_TOPOLOGY_H
#define PLACEMENT_GUEST_TOPOLOGY_H

#include <stdint.h>

#include <base/error.h>

#define SV_GUEST_VCPUS 1024u
#define SV_GUEST_NODES 64u
#define SV_GUEST_CACHES 6u
#define SV_GUEST_CACHE_SETS 8u

struct hwloc_topology;

/* Each number counts from 0 within the one before it; node and caches: over the whole guest. */
struct sv_guest_place {
	unsigned package, die, l3, l2, core, thread;
	unsigned node;	 /* index into sv_guest_topology.node */
	unsigned caches; /* index into sv_guest_topology.caches */
};

struct sv_guest_cache {
	uint64_t bytes;
	unsigned level, type; /* type as CPUID numbers them: 1 data, 2 instructions, 3 both */
	unsigned line, ways;  /* bytes; ways of associativity; 0: not known */
};

/* By level, data before instructions. n 0: the topology does not say. */
struct sv_guest_caches {
	unsigned n;
	struct sv_guest_cache cache[SV_GUEST_CACHES];
};

struct sv_guest_node {
	int os;		/* of the host; -1: it reports none */
	unsigned vcpus; /* on it */
	/* Of its memory, for the CPUs beside it; 0: not known. */
	uint32_t read_latency_ns, write_latency_ns, read_mb_s, write_mb_s;
};

struct sv_guest_topology {
	unsigned vcpus, nodes, cache_sets;
	struct sv_guest_place place[SV_GUEST_VCPUS];
	struct sv_guest_node node[SV_GUEST_NODES];
	uint8_t distance[SV_GUEST_NODES][SV_GUEST_NODES]; /* as in a SLIT; 0: not known */
	struct sv_guest_caches caches[SV_GUEST_CACHE_SETS];
};

/*
 * The topology of a guest whose vCPU i runs on CPU cpu[i] (OS index) of @topo. A pure function.
 * Return: 0, or -EINVAL with a sentence: a CPU that is not there or that is named twice, more
 * vCPUs or nodes than fit.
 */
int sv_guest_topology_make(struct hwloc_topology *topo, const int *cpu, unsigned vcpus,
	struct sv_guest_topology *out, struct sv_error *err);

/* The same on this machine; takes some milliseconds. Return: also -EIO when hwloc fails. */
int sv_guest_topology_here(const int *cpu, unsigned vcpus, struct sv_guest_topology *out,
	struct sv_error *err);

#endif
