/* SPDX-License-Identifier: BSD-3-Clause */
#include <placement/nearest.h>

#include <limits.h>

#include <hwloc.h>
#include <placement/machine.h>

/* How many CPUs the smallest object over both has: SMT sibling, L3, node, package, machine. */
static int span(hwloc_topology_t topo, hwloc_obj_t a, hwloc_obj_t b)
{
	hwloc_obj_t both = a && b ? hwloc_get_common_ancestor_obj(topo, a, b) : NULL;

	return both ? hwloc_bitmap_weight(both->cpuset) : INT_MAX;
}

static unsigned served_by(const int *serves, unsigned n, int cpu)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++)
		count += serves[i] == cpu;
	return count;
}

void sv_nearest_sidecores(hwloc_topology_t topo, const int *vcpu_cpu, unsigned nvcpus,
	const int *sidecore, unsigned nsidecores, int *serves)
{
	for (unsigned i = 0; i < nvcpus; i++) {
		hwloc_obj_t at = vcpu_cpu[i] < 0 ? NULL
						 : hwloc_get_pu_obj_by_os_index(topo, (unsigned)vcpu_cpu[i]);
		unsigned best_load = 0;
		int best_span = 0, best = -1;

		for (unsigned k = 0; serves[i] < 0 && k < nsidecores; k++) {
			int s = span(topo, at, hwloc_get_pu_obj_by_os_index(topo, (unsigned)sidecore[k]));
			unsigned load = served_by(serves, nvcpus, sidecore[k]);

			if (best >= 0 && (s > best_span || (s == best_span && load >= best_load)))
				continue;
			best = sidecore[k];
			best_span = s;
			best_load = load;
		}
		if (serves[i] < 0)
			serves[i] = best;
	}
}

int sv_nearest_sidecores_here(const int *vcpu_cpu, unsigned nvcpus, const int *sidecore,
	unsigned nsidecores, int *serves, struct sv_error *err)
{
	struct sv_machine *m;
	int rc;

	if (nsidecores == 1) {
		for (unsigned i = 0; i < nvcpus; i++)
			serves[i] = serves[i] < 0 ? sidecore[0] : serves[i];
		return 0;
	}
	rc = sv_machine_here(SV_MACHINE_CPUS, &m, err);
	if (rc < 0)
		return rc;
	sv_nearest_sidecores(m->topo, vcpu_cpu, nvcpus, sidecore, nsidecores, serves);
	sv_machine_free(m);
	return 0;
}
