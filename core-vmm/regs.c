/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registers of a vCPU at the entry of each boot protocol (loader.h, enum sv_entry_mode).
 */
#include "vcpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <sidevisor/platform.h>

#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_AM (1ull << 18)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define RFLAGS_RESERVED 2ull
#define MULTIBOOT_EAX 0x2badb002ull

#define MSR_MISC_ENABLE 0x1a0u
#define MISC_ENABLE_FAST_STRING 1ull
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MTRR_ENABLED_WRITE_BACK 0x806ull

#define APIC_LVT_LINT0 0x350u
#define APIC_LVT_LINT1 0x360u
#define APIC_MODE_NMI 0x400u
#define APIC_MODE_EXTINT 0x700u

static struct kvm_segment flat(uint16_t selector, bool code, bool long_mode)
{
	return (struct kvm_segment){.selector = selector,
		.limit = 0xffffffff,
		.type = code ? 0xb : 0x3,
		.s = 1,
		.present = 1,
		.g = 1,
		.l = code && long_mode,
		.db = !(code && long_mode)};
}

static int set_sregs(struct sv_vcpu *vcpu, const struct sv_entry *entry)
{
	bool long_mode = entry->mode == SV_ENTRY_LINUX64 || entry->mode == SV_ENTRY_LWK;
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.cs = flat(entry->cs, true, long_mode);
	s.ds = s.es = s.fs = s.gs = s.ss = flat(entry->ds, false, long_mode);
	s.gdt = (struct kvm_dtable){.base = entry->gdt_gpa, .limit = entry->gdt_limit};
	s.idt = (struct kvm_dtable){.base = 0, .limit = 0};
	s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	s.cr4 = 0;
	s.efer = 0;
	if (long_mode) {
		s.cr0 |= CR0_PG | CR0_WP | CR0_MP | CR0_AM;
		s.cr3 = entry->cr3;
		s.cr4 = CR4_PAE;
		s.efer = EFER_LME | EFER_LMA;
	}
	return ioctl(vcpu->fd, KVM_SET_SREGS, &s) < 0 ? -errno : 0;
}

static int set_regs(struct sv_vcpu *vcpu, const struct sv_entry *entry)
{
	struct kvm_regs r = {.rip = entry->rip, .rflags = RFLAGS_RESERVED};

	switch (entry->mode) {
	case SV_ENTRY_LINUX64:
	case SV_ENTRY_LINUX32:
		r.rsi = entry->arg;
		break;
	case SV_ENTRY_PVH:
		r.rbx = entry->arg;
		break;
	case SV_ENTRY_MULTIBOOT:
		r.rax = MULTIBOOT_EAX;
		r.rbx = entry->arg;
		break;
	case SV_ENTRY_LWK:
		r.rdi = entry->arg;
		r.rsi = vcpu->index;
		break;
	}
	return ioctl(vcpu->fd, KVM_SET_REGS, &r) < 0 ? -errno : 0;
}

/* What firmware would have left: fast strings, write-back memory. Unknown MSRs are left alone. */
static void set_msrs(struct sv_vcpu *vcpu)
{
	static const struct kvm_msr_entry msr[] = {
		{.index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING},
		{.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WRITE_BACK},
	};
	union {
		struct kvm_msrs head;
		uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one;

	for (unsigned i = 0; i < sizeof(msr) / sizeof(msr[0]); i++) {
		memset(&one, 0, sizeof(one));
		one.head.nmsrs = 1;
		memcpy(one.bytes + sizeof(one.head), &msr[i], sizeof(msr[i]));
		ioctl(vcpu->fd, KVM_SET_MSRS, &one);
	}
}

static void lapic_write(struct kvm_lapic_state *lapic, unsigned reg, uint32_t value)
{
	memcpy(lapic->regs + reg, &value, sizeof(value));
}

/* LINT0 takes the PIC, LINT1 takes NMIs: virtual wire mode, as firmware leaves it. */
static int set_lapic(struct sv_vcpu *vcpu)
{
	struct kvm_lapic_state lapic;

	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &lapic) < 0)
		return -errno;
	lapic_write(&lapic, APIC_LVT_LINT0, APIC_MODE_EXTINT);
	lapic_write(&lapic, APIC_LVT_LINT1, APIC_MODE_NMI);
	return ioctl(vcpu->fd, KVM_SET_LAPIC, &lapic) < 0 ? -errno : 0;
}

static int set_runnable(struct sv_vcpu *vcpu)
{
	struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_RUNNABLE};

	return ioctl(vcpu->fd, KVM_SET_MP_STATE, &state) < 0 ? -errno : 0;
}

int sv_vcpu_set_entry(struct sv_vcpu *vcpu, const struct sv_entry *entry, struct sv_error *err)
{
	int rc = set_lapic(vcpu);

	set_msrs(vcpu);
	/* Kernels that bring their own processors up find all but the first waiting for INIT. */
	if (rc == 0 && (vcpu->index == 0 || entry->mode == SV_ENTRY_LWK)) {
		rc = set_sregs(vcpu, entry);
		if (rc == 0)
			rc = set_regs(vcpu, entry);
		if (rc == 0)
			rc = set_runnable(vcpu);
	}
	if (rc < 0)
		return sv_fail(err, -rc, "vCPU %u: KVM refuses its registers: %s", vcpu->index,
			strerror(-rc));
	return 0;
}
