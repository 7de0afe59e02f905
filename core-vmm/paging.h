/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct paging, the VM process's part: the window of tables in guest memory, its two memslots, and
 * the exits that ask for updates. What an update is, is not known here (vmm/paging.h).
 */
#ifndef CORE_VMM_PAGING_H
#define CORE_VMM_PAGING_H

#include "vm.h"

#define PAGING_WINDOW_BYTES (8ull << 20)
/* From the doorbells: the tables, and where stores to them are trapped. */
#define PAGING_TABLES_OFFSET 0x10000000ull
#define PAGING_TRAP_OFFSET 0x20000000ull

/* Does KVM shadow the guest's page tables on this machine? */
bool sv_paging_shadowed(const struct sv_vm *vm);
/* After KVM has the VM's memory: the trap window's memslot. Return: 0, or -errno with a sentence. */
int sv_paging_add_trap_slot(struct sv_vm *vm, struct sv_error *err);

/* Make both instances, of the node and of this process. Return: 0, or -errno with a sentence. */
int sv_paging_start(struct sv_vm *vm, int node_sock, struct sv_error *err);
void sv_paging_stop(struct sv_vm *vm);

#endif
