/* SPDX-License-Identifier: BSD-3-Clause */
/* CPUID on this machine's own KVM. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "acpi.h"
#include "cpuid.h"
#include "machine_by_hand.h"

#define CAPACITY 256u

Test(cpuid_kvm, takes_the_table_of_every_vcpu)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + CAPACITY * sizeof(t->entries[0]));
	struct sv_error err;

	cr_assert(t != NULL);
	by_hand_topology(m, 2, 1, 2, 2, 1);
	m->vm.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
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
		close(fd);
	}
	close(m->vm.vm_fd);
	close(m->vm.kvm_fd);
	free(t);
	by_hand_free(m);
}
