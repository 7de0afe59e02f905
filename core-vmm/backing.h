/* SPDX-License-Identifier: BSD-3-Clause */
/* Of what pages guest memory is made: what was asked for, what there is, and what it becomes. */
#ifndef CORE_VMM_BACKING_H
#define CORE_VMM_BACKING_H

#include "vm.h"

/*
 * Decide vm->backing (never SV_BACKING_AUTO afterwards) and see that the machine, and each NUMA node
 * that memory is to come from, has that much. Return: 0, or -errno with a sentence.
 */
int sv_backing_decide(struct sv_vm *vm, struct sv_error *err);

/* Flags for memfd_create(). */
unsigned sv_backing_memfd(const struct sv_vm *vm);
/* Bytes that mappings are aligned to, so that its pages are whole in stage 2. */
uint64_t sv_backing_align(const struct sv_vm *vm);
/* Shall the kernel make huge pages of small ones? */
bool sv_backing_collapse(const struct sv_vm *vm);
/* "4k", "thp", "2m", "1g". */
const char *sv_backing_name(enum sv_backing backing);

#endif
