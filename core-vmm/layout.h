/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest-physical map.
 *
 *   0            RAM, at most to 3 GiB
 *   3 GiB        32-bit PCI window (BARs)
 *   0xe0000000   PCI configuration space (ECAM) of the one bus there is
 *   0xfe000000   MMIO pages of platform.h (no-op, kick)
 *   0xfec00000   I/O APIC
 *   0xfee00000   local APIC
 *   4 GiB        the rest of RAM
 *   window       channel window, the first 1 GiB boundary after RAM; then doorbells, page tables
 *                (paging.h), 64-bit PCI
 */
#ifndef CORE_VMM_LAYOUT_H
#define CORE_VMM_LAYOUT_H

#include <stdint.h>

#define LAYOUT_LOW_MAX 0xc0000000ull
#define LAYOUT_PCI32 0xc0000000ull
#define LAYOUT_PCI32_BYTES 0x20000000ull
#define LAYOUT_ECAM 0xe0000000ull
#define LAYOUT_ECAM_BYTES 0x100000ull /* guests probe every slot of every bus that this names */
#define LAYOUT_IOAPIC 0xfec00000ull
#define LAYOUT_LAPIC 0xfee00000ull
#define LAYOUT_HIGH 0x100000000ull
#define LAYOUT_GIB 0x40000000ull
#define LAYOUT_PCI64_BYTES 0x400000000ull

/* Below 1 MiB, for Linux and friends. 0..0x9fc00 usable, EBDA and the MP table above, ACPI at 0xe0000. */
#define LAYOUT_ZERO_PAGE 0x7000ull	/* boot_params or PVH start info */
#define LAYOUT_BOOT_GDT 0x500ull
#define LAYOUT_BOOT_PT 0x9000ull	/* identity page tables of the loader: up to 0x10000 */
#define LAYOUT_CMDLINE 0x20000ull	/* up to 4 KiB */
#define LAYOUT_MODLIST 0x22000ull
#define LAYOUT_EBDA 0x9fc00ull
#define LAYOUT_MPTABLE 0x9fc00ull	/* up to 0xa0000; larger tables go to LAYOUT_BIOS */
#define LAYOUT_BIOS 0xe0000ull		/* RSDP first, then the ACPI tables, up to 1 MiB */
#define LAYOUT_BIOS_BYTES 0x20000ull
#define LAYOUT_SMBIOS 0xf0000ull	/* SMBIOS, above the ACPI tables */
#define LAYOUT_RESET_VECTOR 0xffff0ull	/* real-mode code that resets the machine (power.c) */
#define LAYOUT_HIMEM 0x100000ull

/* Legacy interrupt lines (GSI). */
#define GSI_SERIAL 4u
#define GSI_RTC 8u
#define GSI_SCI 9u
#define GSI_IOAPIC_PINS 24u
#define GSI_MSI_FIRST 32u /* GSIs from here are MSI routes */

/* Ports. */
#define PORT_SERIAL 0x3f8u
#define PORT_RTC 0x70u
#define PORT_PVPANIC 0x505u
#define PORT_SLEEP 0x600u  /* ACPI hardware-reduced: sleep control (byte), sleep status +1 */
#define PORT_RESET 0x604u  /* ACPI reset register: write 1 (byte) */
#define PORT_KBC 0x64u	   /* 0xfe: reset, as old kernels do */
#define PORT_KBC_DATA 0x60u
#define PORT_RESET_PCI 0xcf9u
#define PORT_FWCFG 0x510u
#define PORT_PCI_ADDRESS 0xcf8u
#define PORT_PCI_DATA 0xcfcu

#endif
