/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vCPU: one thread, pinned, that does nothing but KVM_RUN and the exit table.
 */
#ifndef CORE_VMM_VCPU_H
#define CORE_VMM_VCPU_H

#include <linux/kvm.h>

#include "loader.h"
#include "vm.h"

#define EXIT_REASONS 48u /* KVM_EXIT_* below this have a counter of their own; 0 collects the rest */

struct sv_vcpu {
	struct sv_vm *vm;
	unsigned index;
	int fd;
	int stats_fd; /* KVM's counters; -1: it has none. The ioctl that opens it waits for KVM_RUN */
	struct kvm_run *run;
	size_t run_bytes;
	pthread_t thread;
	bool started;
	pid_t tid;		/* of the thread, 0 before it runs */

	/* The kick: stop (flag, release), then a signal whose handler sets run->immediate_exit. */
	int stop;
	int resting; /* out of the guest, since the VM is paused */

	/* Written by the vCPU thread, read by anyone (relaxed). */
	uint64_t exits[EXIT_REASONS];
	uint64_t kicks;		  /* KVM_RUN ended by a signal */
	uint64_t first_run_tsc;	  /* TSC just before the first KVM_RUN (relaxed) */
};

/* Create every vCPU; fills vm->tsc_hz. Return: 0, or -errno with a sentence. */
int sv_vcpus_create(struct sv_vm *vm, struct sv_error *err);
/* Give each its CPUID, local APIC state and registers. Return: 0, or -errno with a sentence. */
int sv_vcpus_set_up(struct sv_vm *vm, const struct sv_entry *entry, struct sv_error *err);
void sv_vcpus_destroy(struct sv_vm *vm);

/* Start the threads, each pinned before it touches KVM_RUN. Return: 0 or -errno. */
int sv_vcpus_start(struct sv_vm *vm, struct sv_error *err);
/* Make every vCPU leave the guest and wait for the threads. Deadline 5 s, then the process aborts. */
void sv_vcpus_stop(struct sv_vm *vm);
/* With vm->paused set: wait until all are out of the guest, 2 s at most. Return: they are. */
bool sv_vcpus_rest(struct sv_vm *vm);
/* Kick: every vCPU leaves the guest and looks at `stop` and the pause word. Context: any thread. */
void sv_vcpus_kick(struct sv_vm *vm);

/* regs.c: registers of vCPU @index for @entry (application processors of firmware guests wait). */
int sv_vcpu_set_entry(struct sv_vcpu *vcpu, const struct sv_entry *entry, struct sv_error *err);

/* What a handler wants next. */
enum sv_exit_action { SV_EXIT_RESUME = 0, SV_EXIT_STOP = 1 };

/* exits.c: the table. Context: the vCPU thread. */
enum sv_exit_action sv_dirty_ring_full(struct sv_vcpu *vcpu); /* dirty.c */
enum sv_exit_action sv_exit_dispatch(struct sv_vcpu *vcpu, struct kvm_run *run);
const char *sv_exit_name(unsigned reason);

#endif
