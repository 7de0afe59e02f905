/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of `sidevisor run`. */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include <getopt.h>

#include <channels/control.h>
#include <host/isolate.h>
#include <placement/plan.h>
#include <profiles/profile.h>
#include <vmm/config.h>

#include "cli.h"

#define RUN_SOURCE_TIMEOUT_S 10u /* unless said */

/* What a device of --vhost-user points into. */
struct run_foreign {
	char path[108], tag[SV_FOREIGN_TAG + 1];
};

struct run_options {
	struct sv_vm_config vm;
	const char *node;	/* control socket of the node's sidecores; NULL: the default, if served */
	bool private_node;	/* always start a sidecore of our own */
	/*
	 * The VM's sidecores: CPUs, none: chosen. Which serves which vCPU is in vm.vcpu_sidecore_cpu,
	 * where the user said so; the others get the nearest.
	 */
	int sidecore[SV_CONTROL_SIDECORES];
	unsigned sidecores;
	bool service;	/* they are a node service's: this process need not be allowed to run there */
	bool cpus_given;
	bool topology_given;	/* or the number of NUMA nodes; else the guest sees that of its CPUs */
	bool share_cores;	  /* other VMs may have our cores too, if they say so as well */
	enum sv_isolate isolate;
	bool isolate_given;	  /* then what could not be done is said */
	const char *placement;	  /* a placement file to repeat */
	const char *keep_placement; /* write ours there */
	int placement_control;	  /* what it says: the control thread's CPU, the guest's nodes' */
	int placement_node[SV_MAX_NODES];
	unsigned placement_nodes;
	bool smt_sibling;
	/* What the planner is asked for. */
	enum sv_plan_policy_kind policy;
	int sidecore_count; /* 0: as many as suit */
	char *source_text; /* what the strings of vm.source are pieces of */
	struct {
		bool hot, prefetch, timeout; /* of vm.source: said there, not by an option of its own */
	} in_source;
	struct run_foreign foreign[SV_MAX_FOREIGN];
	const char *near;   /* PCI address or network interface; NULL: none */
	bool smt, untrusted;
	int house[8]; /* CPUs where other VMs' control threads are: good for ours, and no guest's */
	unsigned houses;
	bool paging_auto; /* paging as it was recorded for this profile */
	struct {
		bool populate, backing, stage2, direct; /* by profile or option: not to be chosen */
	} said;
	char profile_path[4096]; /* "": none */
	bool quiet;		/* nothing about a good end */
	bool json;		/* how it ended, as JSON on stderr */
	bool allow_bench;	/* the sidecore's measurement service */
	const char *uplink;	/* of a private sidecore, as `serve --uplink` */
	const char *idle;	/* idle policy of a private sidecore */
	char name[32];
	bool disks_given, nets_given, foreign_given, sidecores_given; /* on the command line, not by the profile */
	struct sv_profile *profile; /* what strings above may belong to; NULL: none */
};

/*
 * The profile that the command line names, and then its options. Return: -1 go on, else the exit
 * status (help, or a sentence on stderr). Either way @o->profile is to be freed.
 */
int run_options_parse(struct run_options *o, int argc, char **argv);

/*
 * One option by its long name. @value: NULL for a flag without one; it must live as long as @o.
 * Return: 0; -ENOENT: there is no such option; else -errno with a sentence.
 */
int run_options_set(struct run_options *o, const char *name, char *value, struct sv_error *err);

/* All long options; the last has no name. */
const struct option *run_options_table(void);

#endif
