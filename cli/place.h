/* SPDX-License-Identifier: BSD-3-Clause */
/* Which CPUs a VM gets: the planner's answer and the user's wishes, together. */
#ifndef CLI_PLACE_H
#define CLI_PLACE_H

#include "run_options.h"

/*
 * Fill o->vm.vcpu_cpu, o->vm.control_cpu, o->vm.memory_node, (when there is none) o->sidecore, and
 * where it is -1 o->vm.vcpu_sidecore_cpu: the nearest of them.
 * Return: 0, or -errno with a sentence (more vCPUs than guest cores without --overcommit).
 */
int place_guest(struct run_options *o, struct sv_error *err);

/*
 * The sidecores of a node whose guests are not known yet: as many as @policy says, or with
 * SV_PLAN_AUTO one in each domain of docs/placement.md. cpu[@most]; *control_cpu: housekeeping.
 * Return: how many, or -errno with a sentence.
 */
int place_sidecores(const struct sv_plan_policy *policy, int *cpu, unsigned most, int *control_cpu,
	struct sv_error *err);

#endif
