/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory of the VM process: one memfd of RAM, one of channels, bound, populated, in KVM. */
#ifndef CORE_VMM_MEMORY_H
#define CORE_VMM_MEMORY_H

#include "vm.h"

/*
 * Decide the map (layout.h), create and seal the memfds (no shrinking: the sidecore maps them too),
 * map them with huge pages where there are any, bind to NUMA nodes, populate unless told not to,
 * and give them to KVM. Fills vm->gmem. Return: 0, or -errno with a sentence.
 */
int sv_memory_create(struct sv_vm *vm, struct sv_error *err);
void sv_memory_destroy(struct sv_vm *vm);

/*
 * memory_populate.c: make the pages of RAM at @ram now, huge ones where the kernel can, by several
 * threads that end before it returns. Nothing where the configuration says so. Return: 0, or -errno
 * with a sentence.
 */
int sv_memory_populate(const struct sv_vm *vm, uint8_t *ram, struct sv_error *err);

/*
 * The same for the part of guest memory at @at, by the calling thread, while the guest may run.
 * @collapse: into huge pages, where the kernel can. Return: 0 or -errno.
 */
int sv_memory_make(uint8_t *at, uint64_t bytes, bool collapse);

/* Bytes from one vCPU's channel to the next. */
uint64_t sv_memory_channel_stride(const struct sv_vm *vm);

#endif
