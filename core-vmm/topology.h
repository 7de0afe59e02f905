/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's topology in numbers: APIC ids, what shares what, and which memory is whose. */
#ifndef CORE_VMM_TOPOLOGY_H
#define CORE_VMM_TOPOLOGY_H

#include "vm.h"

/* Where vCPU @vcpu is. Its node is left 0 where the machine is symmetric: see sv_node_of_vcpu(). */
struct sv_place sv_place_of(const struct sv_topology *topo, unsigned vcpu);

/*
 * An APIC id has a field for each level, lowest first: thread of its core, core of its L2, L2 of its
 * L3, L3 of its die, die of its package, and the package above them. Widths in bits.
 */
struct sv_apic_widths {
	unsigned thread, core, l2, l3, die;
};
struct sv_apic_widths sv_apic_widths(const struct sv_topology *topo);

/* APIC id of a vCPU: follows from its place (CPUID says the same). There may be gaps. */
uint32_t sv_apic_id(const struct sv_topology *topo, unsigned vcpu);
uint32_t sv_max_apic_id(const struct sv_topology *topo, unsigned vcpus);

/* What CPUID tells of the levels. */
struct sv_shape {
	struct sv_apic_widths w;
	unsigned package_width;		     /* of an APIC id below the package */
	unsigned core_threads, package_threads; /* the most that any has */
	unsigned l3_threads, die_threads;    /* of this vCPU's own */
	unsigned package_dies;		     /* the most that any has */
	bool several_l3s;
	uint32_t max_apic_id;
};
struct sv_shape sv_topology_shape(const struct sv_topology *topo, unsigned vcpu);

/* NUMA nodes of the guest, at least one. */
unsigned sv_nodes(const struct sv_vm *vm);
unsigned sv_node_of_vcpu(const struct sv_vm *vm, unsigned vcpu);
/* RAM of a node. Nodes follow each other in guest memory, low RAM first. */
uint64_t sv_node_bytes(const struct sv_vm *vm, unsigned node);
/* It lies at [*gpa, *gpa + *bytes), in two pieces at most (@piece 0 or 1), bytes 0: no such piece. */
void sv_node_memory_range(const struct sv_vm *vm, unsigned node, unsigned piece, uint64_t *gpa,
	uint64_t *bytes);

#endif
