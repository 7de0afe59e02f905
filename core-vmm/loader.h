/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loaders: put a kernel, its command line and initrd into guest memory and say how to enter it.
 *
 * Everything in the file is untrusted: sizes and offsets are checked against the file's size and
 * guest memory before any byte moves. Decode may fail and has no effect on guest memory.
 */
#ifndef CORE_VMM_LOADER_H
#define CORE_VMM_LOADER_H

#include "vm.h"

enum sv_entry_mode {
	SV_ENTRY_LINUX64,   /* long mode, RSI = boot_params, identity page tables, CS 0x10 DS 0x18 */
	SV_ENTRY_LINUX32,   /* protected mode, ESI = boot_params, CS 0x10 DS 0x18 */
	SV_ENTRY_PVH,	    /* protected mode, EBX = start info */
	SV_ENTRY_MULTIBOOT, /* protected mode, EAX = 0x2badb002, EBX = info */
	SV_ENTRY_LWK,	    /* platform.h */
};

/* What a vCPU needs to be put at the entry. */
struct sv_entry {
	enum sv_entry_mode mode;
	uint64_t rip;
	uint64_t arg;	    /* boot_params, start info, multiboot info or struct sv_boot */
	uint64_t cr3;	    /* long mode only */
	uint64_t gdt_gpa;
	uint16_t gdt_limit;
	uint16_t cs, ds; /* selectors into that GDT */
};

/*
 * Find out what vm->config->kernel is (bzImage, ELF with PVH note, multiboot 1, ELF with the
 * sidevisor note), load it with initrd and command line, and fill *entry, the page tables and GDT
 * that the entry needs. ACPI and MP tables are not the loader's (acpi.h), except that the RSDP's
 * address (@rsdp, 0: none) is told to kernels that take it.
 *
 * For the LWK, struct sv_boot is filled from @vm (window_gpa, tsc_hz, nvcpus and so on).
 * Context: set-up. Return: 0, or -errno with a sentence that names the file and the remedy.
 */
int sv_loader_load(struct sv_vm *vm, uint64_t rsdp, struct sv_entry *entry, struct sv_error *err);

/* Is @path a guest that carries the sidevisor note? Return: 1, 0, or -errno with a sentence. */
int sv_loader_is_lwk(const char *path, struct sv_error *err);

#endif
