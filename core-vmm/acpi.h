/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Firmware tables: ACPI (hardware-reduced by default) and the MP table for kernels without ACPI.
 */
#ifndef CORE_VMM_ACPI_H
#define CORE_VMM_ACPI_H

#include "vm.h"

/*
 * Write RSDP, XSDT, FADT, DSDT, MADT, MCFG, SRAT, SLIT into the BIOS area (or, when they do not
 * fit, the top of low RAM reserved in the memory map: *reserved_gpa, *reserved_bytes) and the MP
 * table. With split irqchip: hardware-reduced, MADT with x2APIC entries for ids of 255 and above.
 * Context: set-up. Return: 0, or -errno with a sentence.
 */
int sv_acpi_build(struct sv_vm *vm, uint64_t *rsdp, struct sv_error *err);

/* APIC id of a vCPU: follows from the guest topology (CPUID says the same). */
uint32_t sv_apic_id(const struct sv_topology *topo, unsigned vcpu);

#endif
