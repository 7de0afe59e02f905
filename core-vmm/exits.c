/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The exit table: a handler per reason and a tail that stops the VM on what nobody knows.
 */
#include "vcpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "devices.h"

typedef enum sv_exit_action (*exit_handler)(struct sv_vcpu *vcpu, struct kvm_run *run);

static enum sv_exit_action exit_io(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool out = run->io.direction == KVM_EXIT_IO_OUT;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
		sv_bus_access(&vcpu->vm->pio, run->io.port, data, run->io.size, out);
	return SV_EXIT_RESUME;
}

static enum sv_exit_action exit_mmio(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	sv_bus_access(&vcpu->vm->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
		run->mmio.is_write);
	return SV_EXIT_RESUME;
}

static enum sv_exit_action exit_intr(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	(void)vcpu;
	(void)run;
	return SV_EXIT_RESUME;
}

static enum sv_exit_action exit_ioapic_eoi(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	sv_irq_eoi(vcpu->vm, run->eoi.vector);
	return SV_EXIT_RESUME;
}

/* Only measurements have them (kvm.c), and they want nothing. */
static enum sv_exit_action exit_hypercall(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	(void)vcpu;
	run->hypercall.ret = 0;
	return SV_EXIT_RESUME;
}

static enum sv_exit_action exit_dirty_ring_full(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	(void)run;
	return sv_dirty_ring_full(vcpu);
}

static enum sv_exit_action exit_shutdown(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	(void)run;
	sv_vm_end(vcpu->vm, SV_END_TRIPLE_FAULT, (int)vcpu->index, NULL);
	return SV_EXIT_STOP;
}

static enum sv_exit_action exit_system_event(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	enum sv_end why = run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? SV_END_POWEROFF
			: run->system_event.type == KVM_SYSTEM_EVENT_RESET    ? SV_END_REBOOT
									      : SV_END_PANIC;

	sv_vm_end(vcpu->vm, why, 0, NULL);
	return SV_EXIT_STOP;
}

/* The guest halted with nothing that could wake it (no in-kernel local APIC wakes it): not ours. */
static enum sv_exit_action stop_with(struct sv_vcpu *vcpu, const char *what, uint64_t a, uint64_t b)
{
	struct kvm_regs regs = {0};
	struct sv_error err;

	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	sv_fail(&err, EIO,
		"vCPU %u: %s (%#llx, %#llx) at rip %#llx rsp %#llx rflags %#llx; the VM is stopped",
		vcpu->index, what, (unsigned long long)a, (unsigned long long)b,
		(unsigned long long)regs.rip, (unsigned long long)regs.rsp,
		(unsigned long long)regs.rflags);
	sv_vm_end(vcpu->vm, SV_END_ERROR, 0, &err);
	return SV_EXIT_STOP;
}

static enum sv_exit_action exit_fail_entry(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	return stop_with(vcpu, "the processor refuses to enter the guest",
		run->fail_entry.hardware_entry_failure_reason, run->fail_entry.cpu);
}

static enum sv_exit_action exit_internal_error(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	return stop_with(vcpu, "KVM cannot emulate an instruction of the guest",
		run->internal.suberror, run->internal.ndata ? run->internal.data[0] : 0);
}

static enum sv_exit_action exit_unknown(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	return stop_with(vcpu, "an exit that sidevisor does not handle", run->exit_reason,
		run->hw.hardware_exit_reason);
}

static const struct {
	const char *name;
	exit_handler handle;
} exit_table[EXIT_REASONS] = {
	[KVM_EXIT_IO] = {"pio", exit_io},
	[KVM_EXIT_MMIO] = {"mmio", exit_mmio},
	[KVM_EXIT_INTR] = {"intr", exit_intr},
	[KVM_EXIT_IRQ_WINDOW_OPEN] = {"irq_window", exit_intr},
	[KVM_EXIT_IOAPIC_EOI] = {"ioapic_eoi", exit_ioapic_eoi},
	[KVM_EXIT_HYPERCALL] = {"hypercall", exit_hypercall},
	[KVM_EXIT_SHUTDOWN] = {"shutdown", exit_shutdown},
	[KVM_EXIT_SYSTEM_EVENT] = {"system_event", exit_system_event},
	[KVM_EXIT_DIRTY_RING_FULL] = {"dirty_ring_full", exit_dirty_ring_full},
	[KVM_EXIT_FAIL_ENTRY] = {"fail_entry", exit_fail_entry},
	[KVM_EXIT_INTERNAL_ERROR] = {"internal_error", exit_internal_error},
};

const char *sv_exit_name(unsigned reason)
{
	static const char *const others[] = {[KVM_EXIT_HLT] = "hlt", [KVM_EXIT_DEBUG] = "debug"};

	if (reason < EXIT_REASONS && exit_table[reason].name)
		return exit_table[reason].name;
	if (reason < sizeof(others) / sizeof(others[0]) && others[reason])
		return others[reason];
	return "other";
}

enum sv_exit_action sv_exit_dispatch(struct sv_vcpu *vcpu, struct kvm_run *run)
{
	unsigned reason = run->exit_reason < EXIT_REASONS ? run->exit_reason : 0;
	exit_handler handle = exit_table[reason].handle;

	__atomic_store_n(&vcpu->exits[reason], vcpu->exits[reason] + 1, __ATOMIC_RELAXED);
	return handle ? handle(vcpu, run) : exit_unknown(vcpu, run);
}
