/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Firmware tables: ACPI (hardware-reduced), the MP table for kernels without ACPI, and SMBIOS.
 */
#ifndef CORE_VMM_ACPI_H
#define CORE_VMM_ACPI_H

#include "topology.h"
#include "vm.h"

/*
 * Write RSDP, XSDT, RSDT, FADT, DSDT, MADT, MCFG, SRAT, SLIT and, where there
 * are figures, HMAT into the BIOS area, the MP table, the
 * SMBIOS, and the BIOS data area's word that says where the EBDA is. *rsdp: where the RSDP lies. APIC ids from
 * 255 on have x2APIC entries; the MP table names at most the first 255.
 * Context: set-up. Return: 0, or -errno with a sentence.
 */
int sv_acpi_build(struct sv_vm *vm, uint64_t *rsdp, struct sv_error *err);

#endif
