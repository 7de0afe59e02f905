/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files that edit CPUID. */
#ifndef CORE_VMM_CPUID_EDIT_H
#define CORE_VMM_CPUID_EDIT_H

#include "cpuid.h"
#include "topology.h"

struct sv_cpuid_edit {
	const struct sv_vm *vm;
	struct sv_place place;
	struct sv_shape shape;
	const struct sv_caches *caches; /* n 0: KVM's */
	unsigned vcpu, capacity;
	uint32_t apic_id, vendor;
	struct kvm_cpuid2 *t;
	bool full; /* a leaf did not fit */
};

static inline uint32_t sv_cpuid_least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

struct kvm_cpuid_entry2 *sv_cpuid_find(struct sv_cpuid_edit *e, uint32_t function, uint32_t index);
void sv_cpuid_drop(struct sv_cpuid_edit *e, uint32_t function);
/* In place of what is there, or a new one; e->full when there is no room. */
void sv_cpuid_put(struct sv_cpuid_edit *e, uint32_t function, uint32_t index, bool indexed,
	uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx);
/* Leaf @base says that the highest is at least @least_max. */
void sv_cpuid_raise(struct sv_cpuid_edit *e, uint32_t base, uint32_t least_max);
bool sv_cpuid_is_amd(const struct sv_cpuid_edit *e);

/* cpuid_topology.c: leaf 4 or 0x8000001d; 0xb and 0x1f; 0x8000001e and 0x80000026. */
void sv_cpuid_caches(struct sv_cpuid_edit *e, uint32_t function);
void sv_cpuid_levels(struct sv_cpuid_edit *e);
void sv_cpuid_amd_levels(struct sv_cpuid_edit *e);

#endif
