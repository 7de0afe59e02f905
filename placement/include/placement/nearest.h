/* SPDX-License-Identifier: BSD-3-Clause */
/* Which of the sidecores that are there serves which vCPU. */
#ifndef PLACEMENT_NEAREST_H
#define PLACEMENT_NEAREST_H

#include <base/error.h>

struct hwloc_topology;

/*
 * The sidecore nearest to each vCPU that has none yet (serves[i] < 0): by the smallest part of the
 * machine that holds both, then by the fewest vCPUs it serves already, then in order. A vCPU that
 * is not pinned (-1) gets the one with the fewest. @sidecore: @nsidecores CPUs, at least one.
 */
void sv_nearest_sidecores(struct hwloc_topology *topo, const int *vcpu_cpu, unsigned nvcpus,
	const int *sidecore, unsigned nsidecores, int *serves);
/* The same for this machine. Return: 0, or -errno with a sentence. */
int sv_nearest_sidecores_here(const int *vcpu_cpu, unsigned nvcpus, const int *sidecore,
	unsigned nsidecores, int *serves, struct sv_error *err);

#endif
