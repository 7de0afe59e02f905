/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of `sidevisor plan`. */
#ifndef CLI_PLAN_OPTIONS_H
#define CLI_PLAN_OPTIONS_H

#include <placement/plan.h>
#include <profiles/profile.h>
#include <report/report.h>

#include "cli.h"

struct plan_options {
	struct sv_plan_policy policy;
	struct sv_plan_guest *guest;
	unsigned guests;
	bool sidecores_given, policy_given; /* on the command line, or by the node profile */
	const char *topology;		    /* NULL: this machine */
	const char *svg;		    /* a file; NULL: none */
	enum sv_export export;		    /* SV_EXPORTS: none */
	bool json;
	bool measure, all_pairs; /* latencies between cores, now */
	const char *latencies;	 /* a file of them, or "none"; NULL: the usual place */

	/* Owned: */
	int *list[3]; /* housekeeping, exclude, as given in options */
	unsigned lists;
	struct sv_profile *node;
	struct sv_profile_node_policy node_policy;
	struct sv_profile **profile; /* of the guests that are operands */
	unsigned profiles;
};

/* Return: -1 go on, else the exit status. plan_options_free() in any case. */
int plan_options_parse(struct plan_options *o, int argc, char **argv);
void plan_options_free(struct plan_options *o);

#endif
