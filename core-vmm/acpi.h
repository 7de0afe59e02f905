/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Firmware tables: ACPI (hardware-reduced), the MP table for kernels without ACPI, and SMBIOS.
 */
#ifndef CORE_VMM_ACPI_H
#define CORE_VMM_ACPI_H

#include "vm.h"

/*
 * Write RSDP, XSDT, RSDT, FADT, DSDT, MADT, MCFG, SRAT, SLIT into the BIOS area, the MP table, the
 * SMBIOS, and the BIOS data area's word that says where the EBDA is. *rsdp: where the RSDP lies. APIC ids from
 * 255 on have x2APIC entries; the MP table names at most the first 255.
 * Context: set-up. Return: 0, or -errno with a sentence.
 */
int sv_acpi_build(struct sv_vm *vm, uint64_t *rsdp, struct sv_error *err);

/* APIC id of a vCPU: follows from the guest topology (CPUID says the same). */
uint32_t sv_apic_id(const struct sv_topology *topo, unsigned vcpu);

/* The widths of the fields of an APIC id, lowest first: bits for threads, cores, dies. */
struct sv_apic_widths {
	unsigned thread, core, die;
};
struct sv_apic_widths sv_apic_widths(const struct sv_topology *topo);

/* The guest's NUMA node of a vCPU, and the RAM of a node: [*gpa, *gpa + *bytes), in two pieces at
 * most (@piece 0 or 1), bytes 0: no such piece. */
unsigned sv_node_of_vcpu(const struct sv_vm *vm, unsigned vcpu);
void sv_node_memory_range(const struct sv_vm *vm, unsigned node, unsigned piece, uint64_t *gpa,
	uint64_t *bytes);

#endif
