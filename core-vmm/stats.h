/* SPDX-License-Identifier: BSD-3-Clause */
/* What a VM counts: our exits per reason and vCPU, and KVM's own counters beside them. */
#ifndef CORE_VMM_STATS_H
#define CORE_VMM_STATS_H

#include "vm.h"

/* JSON text, the caller frees it. Context: control thread. Return: NULL when out of memory. */
char *sv_stats_json(struct sv_vm *vm);

/* Sum over vCPUs of the exits to this process, all reasons. */
uint64_t sv_stats_exits(const struct sv_vm *vm);

/* Sum over vCPUs of one of KVM's counters; 0: there is none of that name. Context: any thread. */
uint64_t sv_stats_counter(const struct sv_vm *vm, const char *name);

#endif
