/* SPDX-License-Identifier: BSD-3-Clause */
#include "place.h"

#include <errno.h>
#include <sched.h>

#include <sidecore/placement.h>

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
		if (o->vm.vcpu_cpu[i] == o->sidecore_cpu && !o->vm.overcommit)
			return sv_fail(err, EINVAL,
				"--cpus: CPU %d is the sidecore's; choose another, or say --overcommit",
				o->sidecore_cpu);
	}
	return 0;
}

int place_guest(struct run_options *o, struct sv_error *err)
{
	struct sv_placement_request req = {.vcpus = o->vm.vcpus,
		.sidecore = o->sidecore_cpu,
		.smt_sibling = o->smt_sibling,
		.overcommit = o->vm.overcommit || o->cpus_given};
	static struct sv_placement p;
	int rc = 0;

	if (o->sidecore_cpu >= 0)
		rc = check_cpu("--sidecore", o->sidecore_cpu, err);
	if (rc == 0)
		rc = sv_placement_here(&req, &p, err);
	if (rc < 0)
		return rc;
	o->sidecore_cpu = p.sidecore_cpu;
	o->vm.control_cpu = p.control_cpu;
	if (o->cpus_given)
		return check_given(o, err);
	for (unsigned i = 0; i < o->vm.vcpus; i++)
		o->vm.vcpu_cpu[i] = p.vcpu_cpu[i];
	if (o->vm.topology.nodes == 1)
		o->vm.memory_node[0] = p.numa_node;
	return 0;
}
