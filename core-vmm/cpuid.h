/* SPDX-License-Identifier: BSD-3-Clause */
/* CPUID of a guest: what KVM supports, with the truth about the guest's topology. */
#ifndef CORE_VMM_CPUID_H
#define CORE_VMM_CPUID_H

#include <linux/kvm.h>

#include "vm.h"

/*
 * CPUID of vCPU @vcpu. @out->nent is the capacity on entry and the number of leaves afterwards.
 * Context: set-up, vm->kvm_fd open. Return: 0, or -errno with a sentence.
 */
int sv_cpuid_build(const struct sv_vm *vm, unsigned vcpu, struct kvm_cpuid2 *out,
	struct sv_error *err);

/*
 * The same on a table that is there already (what KVM_GET_SUPPORTED_CPUID returned): changes it in
 * place, adds leaves where @capacity allows. Pure.
 */
int sv_cpuid_edit(const struct sv_vm *vm, unsigned vcpu, struct kvm_cpuid2 *table,
	unsigned capacity, struct sv_error *err);

#endif
