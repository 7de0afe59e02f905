/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM: what the parts of core-vmm share. Private to this directory.
 */
#ifndef CORE_VMM_VM_H
#define CORE_VMM_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <base/gmem.h>
#include <vmm/config.h>

#include "bus.h"

struct sv_vcpu;
struct sv_irq;
struct sv_devices;
struct sv_stage2;
struct sv_dirty;
struct sv_vm_pager;

/* Why a VM ended. The first reason recorded wins. */
enum sv_end {
	SV_END_NONE = 0,
	SV_END_POWEROFF,
	SV_END_REBOOT,
	SV_END_PANIC,	     /* the guest said so (pvpanic) */
	SV_END_TRIPLE_FAULT, /* KVM_EXIT_SHUTDOWN */
	SV_END_EXIT,	     /* exit port, with a status */
	SV_END_CRASH,	     /* the LWK reported an application crash */
	SV_END_STOPPED,	     /* signal or `sidevisor stop` */
	SV_END_ERROR,	     /* ours or KVM's: sentence in vm->end_error */
};

/* What KVM on this machine can do: detected once, never by version. */
struct sv_kvm_caps {
	bool split_irqchip, ioeventfd, irqfd, signal_msi, sync_regs, pre_fault, dirty_ring;
	bool user_msr, halt_exits, pause_exits, mwait_exits, binary_stats, x2apic_api, immediate_exit;
	int max_vcpus, recommended_vcpus, max_vcpu_id, nr_memslots;
};

struct sv_vm {
	const struct sv_vm_config *config;
	int kvm_fd, vm_fd;
	struct sv_kvm_caps caps;
	const char *substrate; /* "kvm_intel", "kvm_amd", "kvm_pvm", "kvm" */
	bool emulated;

	struct sv_gmem gmem;	/* RAM regions first, then the channel window */
	uint64_t ram_low_bytes; /* [0, ram_low_bytes) */
	uint64_t ram_high_bytes; /* [4 GiB, 4 GiB + ram_high_bytes) */
	uint64_t window_gpa, window_bytes; /* channel window, 0 bytes: none */
	uint64_t doorbell_gpa;
	/* Direct paging (paging.h), 0 bytes: none. */
	uint64_t tables_gpa, tables_bytes, trap_gpa;
	void *paging;	       /* this process's instance */
	uint64_t table_stores; /* of the guest, past the service: dropped (relaxed) */
	struct sv_vm_pager *pager; /* NULL: all memory is there from the start */
	uint64_t pci64_gpa; /* LAYOUT_PCI64_BYTES of 64-bit BAR space */
	uint64_t tsc_hz;

	bool lwk;	/* the kernel carries the sidevisor note: it gets channels and no PCI */
	const int *node_sock; /* where the control connection is kept; NULL: none yet */
	int console_fd; /* sent to the sidecore with the virtio-console; -1: no such console */

	struct sv_bus pio, mmio;
	struct sv_irq *irq;
	struct sv_devices *devices;
	struct sv_stage2 *stage2;
	struct sv_dirty *dirty;	/* NULL: writes are not tracked */
	uint32_t dirty_entries; /* of each dirty ring; 0: KVM keeps none */
	enum sv_backing backing; /* that it has: never SV_BACKING_AUTO */

	unsigned nvcpus;
	struct sv_vcpu *vcpu;

	struct sv_settings *settings; /* NULL: none (ask.c) */
	/* How often the sidecore process came back, and how long that took last (relaxed). */
	uint64_t rejoins, outage_ms;

	int paused; /* 1: vCPU threads stay out of the guest after their next kick */

	/* SV_PORT_BENCH: the bench's own work on the vCPU thread. NULL: the port does nothing. */
	void (*bench_hook)(struct sv_vm *vm, uint32_t value);

	/* The end: first writer wins (compare-and-swap on `end_claimed`), then end_fd is signalled. */
	int end_claimed;
	int end; /* enum sv_end */
	int end_status;
	struct sv_error end_error;
	int end_fd; /* eventfd the control thread waits on */
};

/*
 * Record why the VM ends and make every vCPU leave the guest. Context: any thread; does not block.
 * @status: exit port status, or 0. @err: for SV_END_ERROR, may be NULL.
 */
void sv_vm_end(struct sv_vm *vm, enum sv_end why, int status, const struct sv_error *err);

/* Host pointer of guest RAM. NULL unless wholly inside one region. */
static inline void *sv_vm_ptr(const struct sv_vm *vm, uint64_t gpa, uint64_t len)
{
	return sv_gmem_ptr(&vm->gmem, sv_gpa(gpa), len);
}

#endif
