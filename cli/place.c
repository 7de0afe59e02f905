/* SPDX-License-Identifier: BSD-3-Clause */
#include "place.h"

#include <errno.h>
#include <sched.h>

#include <sidecore/placement.h>

#include "guest_topology.h"

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
	return sv_placement_nearest_here(o->vm.vcpu_cpu, o->vm.vcpus, o->sidecore, o->sidecores,
		o->vm.vcpu_sidecore_cpu, err);
}

int place_guest(struct run_options *o, struct sv_error *err)
{
	struct sv_placement_request req = {.vcpus = o->vm.vcpus,
		.sidecore = o->sidecores ? o->sidecore[0] : -1,
		.others = o->sidecore + 1,
		.nothers = o->sidecores ? o->sidecores - 1 : 0,
		.smt_sibling = o->smt_sibling,
		.overcommit = o->vm.overcommit || o->cpus_given};
	static struct sv_placement p;
	int rc = 0;

	for (unsigned i = 0; i < o->sidecores && rc == 0 && !o->service; i++)
		rc = check_cpu("--sidecore", o->sidecore[i], err);
	if (rc == 0)
		rc = sv_placement_here(&req, &p, err);
	if (rc < 0)
		return rc;
	if (!o->sidecores)
		o->sidecore[o->sidecores++] = p.sidecore_cpu;
	o->vm.control_cpu = p.control_cpu;
	if (o->placement)
		o->vm.control_cpu = o->placement_control;
	if (o->cpus_given)
		rc = check_given(o, err);
	for (unsigned i = 0; i < o->vm.vcpus && !o->cpus_given; i++)
		o->vm.vcpu_cpu[i] = p.vcpu_cpu[i];
	if (o->vm.topology.nodes == 1 && !o->cpus_given)
		o->vm.memory_node[0] = p.numa_node;
	if (rc == 0)
		rc = give_sidecores(o, err);
	return rc < 0 ? rc : give_topology(o, err);
}
