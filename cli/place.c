/* SPDX-License-Identifier: BSD-3-Clause */
#include "place.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include <placement/nearest.h>

#include "guest_topology.h"
#include "plan_measure.h"

static int check_cpu(const char *option, int cpu, struct sv_error *err)
{
	cpu_set_t mine;

	if (sched_getaffinity(0, sizeof(mine), &mine) == 0 &&
		(cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &mine)))
		return sv_fail(err, EINVAL,
			"%s %d: this process may not run there (no such CPU, off line, or outside its "
			"cpuset)", option, cpu);
	return 0;
}

/* The user named the vCPUs' CPUs: only the sidecore and housekeeping are chosen. */
static int check_given(struct run_options *o, struct sv_error *err)
{
	for (unsigned i = 0; i < o->vm.vcpus; i++) {
		int rc = check_cpu("--cpus", o->vm.vcpu_cpu[i], err);

		if (rc < 0)
			return rc;
		for (unsigned j = 0; j < i && !o->vm.overcommit; j++)
			if (o->vm.vcpu_cpu[i] == o->vm.vcpu_cpu[j])
				return sv_fail(err, EINVAL,
					"--cpus: vCPUs %u and %u would share CPU %d; name more CPUs, or "
					"say --overcommit", j, i, o->vm.vcpu_cpu[i]);
		for (unsigned j = 0; j < o->sidecores && !o->vm.overcommit; j++)
			if (o->vm.vcpu_cpu[i] == o->sidecore[j])
				return sv_fail(err, EINVAL, "--cpus: CPU %d is the sidecore's; choose "
					"another, or say --overcommit", o->sidecore[j]);
	}
	return 0;
}

/* A vCPU that nobody gave a sidecore gets the nearest; a disk's must be one of them. */
static int give_sidecores(struct run_options *o, struct sv_error *err)
{
	unsigned known = 0;

	for (unsigned i = o->vm.vcpus; i < SV_MAX_VCPUS; i++)
		if (o->vm.vcpu_sidecore_cpu[i] >= 0)
			return sv_fail(err, EINVAL, "--sidecore: names vCPU %u; the VM has %u, from 0 on",
				i, o->vm.vcpus);
	for (unsigned i = 0; i < o->vm.ndisks; i++) {
		const struct sv_disk_config *d = &o->vm.disk[i];

		for (known = 0; d->sidecore_given && known < o->sidecores; known++)
			if (o->sidecore[known] == d->sidecore_cpu)
				break;
		if (d->sidecore_given && known == o->sidecores)
			return sv_fail(err, EINVAL, "--disk sidecore=%d: --sidecore does not name it",
				d->sidecore_cpu);
	}
	return sv_nearest_sidecores_here(o->vm.vcpu_cpu, o->vm.vcpus, o->sidecore, o->sidecores,
		o->vm.vcpu_sidecore_cpu, err);
}

/*
 * The CPUs are the user's: the planner is asked for a sidecore and a housekeeping core beside
 * them, so that they are no one's; where they leave none, it may share.
 */
static int plan_around(const struct sv_machine *m, const struct run_options *o,
	const struct sv_plan_guest *guest, struct sv_plan_policy policy, struct sv_plan **plan,
	struct sv_error *err)
{
	struct sv_plan_request req = {.policy = policy, .guest = guest, .guests = 1};
	int cpu[SV_MAX_VCPUS + SV_CONTROL_SIDECORES];
	struct sv_plan_guest least = *guest;
	unsigned n = 0;

	for (unsigned i = 0; i < o->vm.vcpus; i++)
		if (sv_machine_core_of(m, o->vm.vcpu_cpu[i]) >= 0)
			cpu[n++] = o->vm.vcpu_cpu[i];
	least.vcpus = 1;
	least.share = true;
	req.guest = &least;
	if (policy.kind != SV_PLAN_SMT_SIBLING) {
		req.policy.exclude_cpu = cpu;
		req.policy.exclude_cpus = n;
		if (sv_plan_make(m, &req, plan, err) == 0)
			return 0;
		req.policy.exclude_cpus = 0;
	}
	return sv_plan_make(m, &req, plan, err);
}

static void take_plan(struct run_options *o, const struct sv_plan *plan)
{
	const struct sv_plan_placed *g = &plan->guest[0];
	bool chosen = !o->sidecores;

	o->vm.control_cpu = o->placement ? o->placement_control : g->control_cpu;
	for (unsigned s = 0; s < plan->sidecores && chosen; s++)
		o->sidecore[o->sidecores++] = plan->sidecore[s].cpu;
	if (o->cpus_given)
		return;
	for (unsigned i = 0; i < o->vm.vcpus; i++) {
		o->vm.vcpu_cpu[i] = g->vcpu[i].cpu;
		if (chosen && o->vm.vcpu_sidecore_cpu[i] < 0)
			o->vm.vcpu_sidecore_cpu[i] = plan->sidecore[g->vcpu[i].sidecore].cpu;
	}
	if (o->vm.topology.nodes == 1)
		o->vm.memory_node[0] = g->nodes == 1 ? g->node[0] : -1;
}

static int plan_here(struct run_options *o, struct sv_error *err)
{
	struct sv_plan_guest guest = {.vcpus = o->vm.vcpus,
		.smt = o->smt,
		.share = o->vm.overcommit,
		.untrusted = o->untrusted,
		.memory_bytes = o->vm.memory_bytes};
	struct sv_plan_policy policy = {.kind = o->policy,
		.sidecores = o->sidecore_count ? o->sidecore_count : SV_PLAN_AUTO,
		.housekeeping = SV_PLAN_AUTO,
		.near = o->near,
		.housekeeping_cpu = o->house,
		.housekeeping_cpus = o->houses,
		.sidecore_cpu = o->sidecores ? o->sidecore : NULL,
		.sidecore_cpus = o->sidecores};
	struct sv_plan_request req = {.policy = policy, .guest = &guest, .guests = 1};
	struct sv_machine *m;
	struct sv_plan *plan = NULL;
	int rc = sv_machine_here(o->near ? SV_MACHINE_DEVICES : SV_MACHINE_CPUS, &m, err);

	if (rc < 0)
		return rc;
	plan_use_measured(m, NULL, err);
	snprintf(guest.name, sizeof(guest.name), "%s", o->name);
	if (o->smt_sibling && m->smt)
		policy.kind = req.policy.kind = SV_PLAN_SMT_SIBLING;
	if (o->cpus_given)
		rc = plan_around(m, o, &guest, policy, &plan, err);
	else
		rc = sv_plan_make(m, &req, &plan, err);
	if (rc == 0 && plan->sidecores > SV_CONTROL_SIDECORES) {
		sv_plan_free(plan);
		plan = NULL;
		req.policy.sidecores = SV_CONTROL_SIDECORES;
		rc = sv_plan_make(m, &req, &plan, err);
	}
	if (rc == 0)
		take_plan(o, plan);
	sv_plan_free(plan);
	sv_machine_free(m);
	return rc;
}

int place_guest(struct run_options *o, struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < o->sidecores && rc == 0 && !o->service; i++)
		rc = check_cpu("--sidecore", o->sidecore[i], err);
	if (rc == 0)
		rc = plan_here(o, err);
	if (rc == 0 && o->cpus_given)
		rc = check_given(o, err);
	if (rc == 0)
		rc = give_sidecores(o, err);
	return rc < 0 ? rc : give_topology(o, err);
}

int place_sidecores(const struct sv_plan_policy *policy, int *cpu, unsigned most, int *control_cpu,
	struct sv_error *err)
{
	struct sv_plan_guest guest = {.name = "a guest", .vcpus = 1, .share = true};
	struct sv_plan_request req = {.policy = *policy, .guest = &guest, .guests = 1};
	struct sv_machine *m;
	struct sv_plan *plan = NULL;
	unsigned n = 0;
	int rc = sv_machine_here(policy->near ? SV_MACHINE_DEVICES : SV_MACHINE_CPUS, &m, err);

	if (rc < 0)
		return rc;
	plan_use_measured(m, NULL, err);
	/* Guests are not known yet: all the machine may be theirs. */
	if (policy->sidecores != 1)
		guest.vcpus = m->cores;
	rc = sv_plan_make(m, &req, &plan, err);
	if (rc == 0 && plan->sidecores > most)
		rc = sv_fail(err, ENOSPC, "--sidecores %s: %u sidecores; a node has at most %u",
			policy->sidecores == SV_PLAN_AUTO ? "auto" : "N", plan->sidecores, most);
	if (rc == 0) {
		for (; n < plan->sidecores; n++)
			cpu[n] = plan->sidecore[n].cpu;
		*control_cpu = plan->guest[0].control_cpu;
	}
	sv_plan_free(plan);
	sv_machine_free(m);
	return rc < 0 ? rc : (int)n;
}
