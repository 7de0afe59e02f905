/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Placement: which cores of a machine are sidecores, which are guest cores and which keep house.
 *
 * sv_plan_make() is a pure function of the machine and the request: no hidden input, no order of
 * evaluation, no clock; ties are broken by the lowest index. The objective is in docs/placement.md.
 */
#ifndef PLACEMENT_PLAN_H
#define PLACEMENT_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <placement/machine.h>

#define SV_PLAN_AUTO (-1)
#define SV_PLAN_NAME 32u
#define SV_PLAN_GUESTS 4096u

enum sv_plan_policy_kind {
	SV_PLAN_LOCALITY,    /* a guest on as few NUMA nodes and caches as hold it */
	SV_PLAN_SPREAD,	     /* a guest over as many as there are: cache and memory bandwidth */
	SV_PLAN_SMT_SIBLING, /* packed; a sidecore is the SMT sibling of a guest core */
};

struct sv_plan_guest {
	char name[SV_PLAN_NAME];
	unsigned vcpus;
	bool smt;	       /* vCPUs fill all threads of a core; else one vCPU per core */
	bool share;	       /* its vCPUs may share cores when there are too few */
	bool untrusted;	       /* never a sidecore on the sibling of one of its cores */
	uint64_t memory_bytes; /* 0: not said */
	const char *near;      /* a device; NULL: the policy's */
};

struct sv_plan_policy {
	enum sv_plan_policy_kind kind;
	int sidecores;		       /* SV_PLAN_AUTO, or how many */
	unsigned guest_cores_per_sidecore; /* 0: as many as suit */
	int housekeeping;	       /* SV_PLAN_AUTO, or how many cores */
	const char *near;	       /* PCI address or network interface; NULL: none */
	const int *housekeeping_cpu;   /* these keep house, besides; may be NULL */
	unsigned housekeeping_cpus;
	const int *exclude_cpu;	       /* not to be used */
	unsigned exclude_cpus;
	const int *sidecore_cpu;       /* these are the sidecores, and no others; may be NULL */
	unsigned sidecore_cpus;
};

struct sv_plan_request {
	struct sv_plan_policy policy;
	const struct sv_plan_guest *guest;
	unsigned guests;
};

enum sv_role {
	SV_ROLE_SPARE,
	SV_ROLE_GUEST,
	SV_ROLE_SIDECORE,
	SV_ROLE_HOUSEKEEPING,
	SV_ROLE_EXCLUDED,
};

struct sv_plan_sidecore {
	int cpu;
	int core;	      /* index into the machine's cores; -1: given, outside of them */
	unsigned guest_cores; /* that it serves */
	double line_ns;	      /* mean way of a line to them */
	char why[224];
};

struct sv_plan_vcpu {
	int cpu;
	unsigned core;
	unsigned sidecore; /* index into sv_plan.sidecore */
	enum sv_near near; /* what it shares with that sidecore */
	double line_ns;
};

struct sv_plan_placed {
	char name[SV_PLAN_NAME];
	struct sv_plan_vcpu *vcpu;
	unsigned vcpus, cores;
	int *node; /* OS indices of the NUMA nodes its memory should be on, ascending */
	unsigned nodes;
	int control_cpu;	  /* of its control thread */
	unsigned device_sidecore; /* that serves its devices */
	bool shares;		  /* vCPUs share cores */
	char why[224];
};

struct sv_plan {
	enum sv_plan_policy_kind kind;
	struct sv_plan_sidecore *sidecore;
	unsigned sidecores;
	struct sv_plan_placed *guest; /* in the order of the request */
	unsigned guests;
	unsigned char *role; /* enum sv_role of each core of the machine */
	int *owner;	     /* guest of each guest core; -1 */
	int *housekeeping;   /* CPUs; one sidecore's CPU where there is no other: see `shared_house` */
	unsigned housekeepings;
	bool shared_house; /* no core to spare: control threads run beside a sidecore */
	bool shared_core;  /* one core: guest and sidecore share it */
	int *idle;	   /* SMT siblings of guest cores and sidecores that are left idle */
	unsigned idles;
	double mean_ns, worst_ns; /* predicted way of a line between guest cores and their sidecores */
	bool measured;		  /* by measured latencies */
	char note[8][224];	  /* what the operator should know */
	unsigned notes;
};

/*
 * Return: 0 with *plan to be freed; -EINVAL for nonsense (no guests, no vCPUs, a CPU that is not
 * there); -ENOENT for a device that is not there; -ENOSPC with the constraint that prevents the
 * placement and the nearest request that can be had. Context: any thread; it allocates.
 */
int sv_plan_make(const struct sv_machine *m, const struct sv_plan_request *req,
	struct sv_plan **plan, struct sv_error *err);
void sv_plan_free(struct sv_plan *plan);

const char *sv_plan_policy_name(enum sv_plan_policy_kind kind);
const char *sv_role_name(enum sv_role role);

#endif
