/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine as the planner sees it: the cores that may be used, flat, with what each shares with
 * the others. Made from an hwloc topology: this machine's, an XML file's, or a synthetic one's.
 *
 * A *domain* is the set of cores that one sidecore serves best: the smallest cache, cluster, die or
 * package that holds at least SV_DOMAIN_CORES cores of the machine (docs/placement.md says why).
 */
#ifndef PLACEMENT_MACHINE_H
#define PLACEMENT_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>

#define SV_CORE_THREADS 16u
#define SV_MACHINE_CORES 65536u
#define SV_DOMAIN_CORES 3u
#define SV_TOPOLOGY_BYTES (32u << 20) /* of an XML file */

struct hwloc_topology;

/* What two cores share, the nearest first: how far a cache line travels between them. */
enum sv_near {
	SV_NEAR_CORE,	 /* SMT siblings */
	SV_NEAR_L2,
	SV_NEAR_L3,
	SV_NEAR_NODE,	 /* the NUMA node, or a cluster without a cache of its own */
	SV_NEAR_PACKAGE,
	SV_NEAR_MACHINE, /* nothing: another package */
	SV_NEARS,
};

struct sv_core {
	int cpu[SV_CORE_THREADS]; /* OS index of each usable thread, ascending */
	unsigned threads;
	int l2, l3, package; /* ids; -1: it has none */
	int node;	     /* index into sv_machine.node of the memory beside it; -1: none */
	unsigned domain;     /* index into sv_machine.domain */
	unsigned rank;	     /* 0: of the fastest kind, 1: the next … */
};

struct sv_domain {
	char name[32];	 /* "L3 4" */
	unsigned *core;	 /* indices into sv_machine.core, ascending */
	unsigned cores;
	int node, package; /* of its first core */
	bool flat;	   /* its cores share one L3 and nothing nearer: all are alike */
};

/* A set of domains under one object of the topology, from a single domain up to the machine. */
struct sv_region {
	unsigned *domain; /* ascending */
	unsigned domains;
	unsigned cores;
};

struct sv_mem_node {
	int os;
	uint64_t bytes; /* 0: not known */
	char kind[16];	/* hwloc's subtype, such as "MCDRAM"; empty for ordinary memory */
	unsigned cores; /* that have it as theirs; 0: memory only (CXL, HBM) */
};

/* Latencies of this machine that were measured (plan --measure). Owned by the machine. */
struct sv_latencies {
	unsigned n;	    /* CPUs */
	int *cpu;	    /* OS indices */
	float *ns;	    /* n × n, one way, row-major; 0: not measured */
	double level[SV_NEARS]; /* median of each level; 0: none */
};

struct sv_machine {
	struct hwloc_topology *topo; /* owned */
	char name[96];		     /* what the user gave, or the host's name */
	char identity[96];	     /* of its kind: CPU model and shape */
	bool here;		     /* this machine, as this process may use it */
	struct sv_core *core;
	unsigned cores, cpus, packages;
	struct sv_domain *domain;
	unsigned domains;
	struct sv_region *region; /* ascending by cores */
	unsigned regions;
	struct sv_mem_node *node;
	unsigned nodes;
	float *slit;		 /* nodes × nodes, NULL: not known; 10 is local */
	bool hybrid, smt;
	struct sv_latencies *measured; /* NULL: the model is used */
};

enum sv_machine_need {
	SV_MACHINE_CPUS,    /* cores, caches, memory: fast */
	SV_MACHINE_DEVICES, /* PCI devices and network interfaces too, for `near` and for drawings */
};

/*
 * This machine: CPUs and memory that this process may use (its cpuset, affinity and memory policy).
 * A few milliseconds with SV_MACHINE_CPUS. Return: 0 with *m to be freed, or -errno with a sentence.
 */
int sv_machine_here(enum sv_machine_need need, struct sv_machine **m, struct sv_error *err);

/*
 * The machine in @text: the path of an hwloc XML file (versions 1 and 2), or, when there is no such
 * file and it has hwloc's form, a synthetic description such as "pack:2 l3:4 core:8 pu:2". Foreign
 * data: it is bounded, and read in a child process first. Return: 0, or -errno with a sentence.
 */
int sv_machine_load(const char *text, struct sv_machine **m, struct sv_error *err);

/* From a loaded topology, which is taken over in any case. For tests and the two above. */
int sv_machine_from(struct hwloc_topology *topo, const char *name, struct sv_machine **m,
	struct sv_error *err);

void sv_machine_free(struct sv_machine *m);

/* What two cores share. */
enum sv_near sv_machine_near(const struct sv_machine *m, unsigned core_a, unsigned core_b);
const char *sv_near_name(enum sv_near near);

/*
 * How long a cache line travels from one core to the other, in nanoseconds: measured where it was,
 * else the model of docs/placement.md.
 */
double sv_machine_line_ns(const struct sv_machine *m, unsigned core_a, unsigned core_b);

/* The core that CPU @os belongs to; -1: none of the usable ones. */
int sv_machine_core_of(const struct sv_machine *m, int os);

/*
 * The place of a device: @name is a PCI address ("0000:41:00.0", "41:00.0") or a network interface.
 * *cores: one flag per core, set where the device is local; the caller frees it.
 * Return: 0, or -ENOENT with a sentence that lists some of those there are.
 */
int sv_machine_device(const struct sv_machine *m, const char *name, bool **local,
	struct sv_error *err);

#endif
