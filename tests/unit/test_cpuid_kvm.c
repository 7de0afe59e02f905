/* SPDX-License-Identifier: BSD-3-Clause */
/* CPUID on this machine's own KVM. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "acpi.h"
#include "cpuid.h"
#include "machine_by_hand.h"

#define CAPACITY 256u

/* The guest reads the processor's name as this process does. */
static void expect_brand(const struct kvm_cpuid2 *t)
{
	for (unsigned leaf = 0x80000002; leaf < 0x80000005; leaf++) {
		unsigned want[4], found = 0;

		__asm__("cpuid"
			: "=a"(want[0]), "=b"(want[1]), "=c"(want[2]), "=d"(want[3])
			: "a"(leaf), "c"(0));
		for (unsigned i = 0; i < t->nent; i++)
			if (t->entries[i].function == leaf)
				found += !memcmp(&t->entries[i].eax, want, sizeof(want));
		cr_expect_eq(found, 1, "leaf %#x", leaf);
	}
}

Test(cpuid_kvm, takes_the_table_of_every_vcpu)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + CAPACITY * sizeof(t->entries[0]));
	struct sv_error err;

	cr_assert(t != NULL);
	by_hand_topology(m, 2, 1, 2, 2, 1);
	m->vm.kvm_fd = open(getenv("SIDEVISOR_KVM") ? getenv("SIDEVISOR_KVM") : "/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->vm.kvm_fd < 0) {
		printf("SKIPPED BECAUSE there is no usable /dev/kvm\n");
		cr_skip_test("no /dev/kvm");
	}
	m->vm.vm_fd = ioctl(m->vm.kvm_fd, KVM_CREATE_VM, 0);
	cr_assert_geq(m->vm.vm_fd, 0);
	cr_assert_eq(ioctl(m->vm.vm_fd, KVM_CREATE_IRQCHIP, 0), 0);
	for (unsigned i = 0; i < m->vm.nvcpus; i++) {
		int fd = ioctl(m->vm.vm_fd, KVM_CREATE_VCPU,
			(unsigned long)sv_apic_id(&m->config.topology, i));

		cr_assert_geq(fd, 0);
		t->nent = CAPACITY;
		cr_assert_eq(sv_cpuid_build(&m->vm, i, t, &err), 0, "%s", err.text);
		cr_assert_eq(ioctl(fd, KVM_SET_CPUID2, t), 0);
		expect_brand(t);
		close(fd);
	}
	close(m->vm.vm_fd);
	close(m->vm.kvm_fd);
	free(t);
	by_hand_free(m);
}
