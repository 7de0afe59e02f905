/* SPDX-License-Identifier: BSD-3-Clause */
/* The topology that a guest is told when the user names none: that of its vCPUs' CPUs. */
#ifndef CLI_GUEST_TOPOLOGY_H
#define CLI_GUEST_TOPOLOGY_H

#include <placement/guest_topology.h>

#include "run_options.h"

/*
 * Fill o->vm.topology and o->vm.memory_node from the CPUs that the vCPUs are pinned to, unless the
 * user named a topology or vCPUs share CPUs. What cannot be told is left flat, with a warning.
 * Return: 0, or -ENOMEM with a sentence.
 */
int give_topology(struct run_options *o, struct sv_error *err);

/* Copy @g into @vm; its memory is split over the nodes in proportion to their vCPUs. */
void copy_topology(struct sv_vm_config *vm, const struct sv_guest_topology *g);

#endif
