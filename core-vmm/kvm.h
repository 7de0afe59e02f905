/* SPDX-License-Identifier: BSD-3-Clause */
/* /dev/kvm: open it, find out what it can do, create the VM. */
#ifndef CORE_VMM_KVM_H
#define CORE_VMM_KVM_H

#include "vm.h"

/*
 * Open /dev/kvm, check the API version and the capabilities nothing works without, fill vm->caps,
 * vm->substrate and vm->emulated, create vm->vm_fd with what must be enabled before the first vCPU.
 * Return: 0, or -errno with a sentence; nothing stays open on failure.
 */
int sv_kvm_open(struct sv_vm *vm, struct sv_error *err);
void sv_kvm_close(struct sv_vm *vm);

/* The device to open: /dev/kvm, or what SIDEVISOR_KVM names (tests hide the real one with it). */
const char *sv_kvm_path(void);

/* Which KVM back end this kernel runs, from /sys/module: kvm_intel, kvm_amd, kvm_pvm or kvm. */
const char *sv_kvm_substrate(void);
/* Are the virtualisation instructions themselves emulated (TCG)? From CPUID leaf 0x40000000. */
bool sv_kvm_emulated(void);
/* Can this KVM hand hypercalls (KVM_HC_MAP_GPA_RANGE) to the VM process? Asks the device. */
bool sv_kvm_hypercall_exits(void);

#endif
