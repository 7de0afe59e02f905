/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm.h"
#include "dirty.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

const char *sv_kvm_path(void)
{
	const char *path = getenv("SIDEVISOR_KVM");

	return path && *path ? path : "/dev/kvm";
}

const char *sv_kvm_substrate(void)
{
	static const char *const name[] = {"kvm_pvm", "kvm_intel", "kvm_amd"};
	char path[64] = "/sys/module/";

	for (unsigned i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		strcpy(path + 12, name[i]);
		if (access(path, F_OK) == 0)
			return name[i];
	}
	return "kvm";
}

bool sv_kvm_emulated(void)
{
	unsigned a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (!(c >> 31))
		return false;
	__cpuid(0x40000000, a, b, c, d);
	return b == 0x54474354; /* "TCGT" */
}

static int open_device(const char *path, struct sv_error *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT)
		return sv_fail(err, ENOENT,
			"%s: no KVM on this machine; load kvm_intel, kvm_amd or kvm_pvm, or use the "
			"virtual node (tests/node/node.sh)", path);
	if (errno == EACCES || errno == EPERM)
		return sv_fail(err, errno,
			"%s: permission denied; add this user to the group of the device "
			"(usually `adduser USER kvm`) or run as root", path);
	return sv_fail(err, errno, "%s: %s", path, strerror(errno));
}

/* KVM-PVM has the capability, but VMCALL at CPL 0 goes through its emulator without end. */
static bool hypercall_exits(int kvm_fd)
{
	int hypercalls = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_EXIT_HYPERCALL);

	return hypercalls > 0 && hypercalls & 1 << KVM_HC_MAP_GPA_RANGE &&
	       strcmp(sv_kvm_substrate(), "kvm_pvm") != 0;
}

bool sv_kvm_hypercall_exits(void)
{
	int fd = open(sv_kvm_path(), O_RDWR | O_CLOEXEC);
	bool yes = fd >= 0 && hypercall_exits(fd);

	if (fd >= 0)
		close(fd);
	return yes;
}

struct needed {
	int cap;
	const char *name;
};

static const struct needed needed[] = {
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
};

static int check(int kvm_fd, int cap)
{
	int rc = ioctl(kvm_fd, KVM_CHECK_EXTENSION, (long)cap);

	return rc < 0 ? 0 : rc;
}

static int detect(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_kvm_caps *c = &vm->caps;
	int fd = vm->kvm_fd, exits;
	/* Tests name a capability to see what happens without it. */
	const char *without = getenv("SIDEVISOR_KVM_WITHOUT");

	for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!check(fd, needed[i].cap) || (without && !strcmp(without, needed[i].name)))
			return sv_fail(err, ENOTSUP,
				"%s: this KVM lacks %s, which sidevisor needs; use a newer kernel",
				sv_kvm_path(), needed[i].name);
	c->split_irqchip = c->ioeventfd = c->irqfd = c->signal_msi = c->immediate_exit = true;
	c->sync_regs = check(fd, KVM_CAP_SYNC_REGS);
	c->dirty_ring = check(fd, KVM_CAP_DIRTY_LOG_RING);
	c->user_msr = check(fd, KVM_CAP_X86_USER_SPACE_MSR) && check(fd, KVM_CAP_X86_MSR_FILTER);
	c->binary_stats = check(fd, KVM_CAP_BINARY_STATS_FD);
	c->x2apic_api = check(fd, KVM_CAP_X2APIC_API);
#ifdef KVM_CAP_PRE_FAULT_MEMORY
	c->pre_fault = check(fd, KVM_CAP_PRE_FAULT_MEMORY);
#else
	c->pre_fault = check(fd, 236);
#endif
	exits = check(fd, KVM_CAP_X86_DISABLE_EXITS);
	c->halt_exits = exits & KVM_X86_DISABLE_EXITS_HLT;
	c->pause_exits = exits & KVM_X86_DISABLE_EXITS_PAUSE;
	c->mwait_exits = exits & KVM_X86_DISABLE_EXITS_MWAIT;
	c->recommended_vcpus = check(fd, KVM_CAP_NR_VCPUS);
	c->max_vcpus = check(fd, KVM_CAP_MAX_VCPUS);
	c->max_vcpu_id = check(fd, KVM_CAP_MAX_VCPU_ID);
	c->nr_memslots = check(fd, KVM_CAP_NR_MEMSLOTS);
	if (vm->config->vcpus > (unsigned)c->max_vcpus)
		return sv_fail(err, EINVAL, "--vcpus %u: this KVM allows at most %d per VM",
			vm->config->vcpus, c->max_vcpus);
	return 0;
}

static int enable(int vm_fd, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap e = {.cap = cap, .args = {arg}};

	return ioctl(vm_fd, KVM_ENABLE_CAP, &e) < 0 ? -errno : 0;
}

/* What must be said before the first vCPU exists. */
static void enable_early(struct sv_vm *vm)
{
	uint64_t exits = 0;

	if (!vm->config->overcommit) {
		exits |= vm->caps.halt_exits ? KVM_X86_DISABLE_EXITS_HLT : 0;
		exits |= vm->caps.pause_exits ? KVM_X86_DISABLE_EXITS_PAUSE : 0;
		exits |= vm->caps.mwait_exits ? KVM_X86_DISABLE_EXITS_MWAIT : 0;
	}
	if (exits && enable(vm->vm_fd, KVM_CAP_X86_DISABLE_EXITS, exits) < 0)
		vm->caps.halt_exits = vm->caps.pause_exits = vm->caps.mwait_exits = false;
	if (vm->bench_hook && hypercall_exits(vm->kvm_fd))
		enable(vm->vm_fd, KVM_CAP_EXIT_HYPERCALL, 1 << KVM_HC_MAP_GPA_RANGE);
	sv_dirty_enable(vm);
	if (vm->caps.x2apic_api)
		enable(vm->vm_fd, KVM_CAP_X2APIC_API,
			KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
	/* Where the hardware wants them; ignored elsewhere. Three pages outside of RAM and devices. */
	ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfeffd000ul);
}

int sv_kvm_open(struct sv_vm *vm, struct sv_error *err)
{
	int rc;

	vm->vm_fd = -1;
	vm->kvm_fd = open_device(sv_kvm_path(), err);
	if (vm->kvm_fd < 0)
		return vm->kvm_fd;
	rc = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
	if (rc != KVM_API_VERSION) {
		rc = sv_fail(err, ENOTSUP, "%s: not a KVM device (API version %d, %d is needed)",
			sv_kvm_path(), rc, KVM_API_VERSION);
		goto fail;
	}
	vm->substrate = sv_kvm_substrate();
	vm->emulated = sv_kvm_emulated();
	rc = detect(vm, err);
	if (rc < 0)
		goto fail;
	do {
		vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	} while (vm->vm_fd < 0 && errno == EINTR);
	if (vm->vm_fd < 0) {
		rc = sv_fail(err, errno, "%s: cannot create a VM: %s", sv_kvm_path(), strerror(errno));
		goto fail;
	}
	enable_early(vm);
	return 0;
fail:
	sv_kvm_close(vm);
	return rc;
}

void sv_kvm_close(struct sv_vm *vm)
{
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	vm->vm_fd = vm->kvm_fd = -1;
}
