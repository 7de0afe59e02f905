/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupt routing on the machine's own KVM. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "irq.h"
#include "kvm.h"

#define VECTORS 40u

static struct sv_vm_config config;
static struct sv_vm vm;
static struct sv_error err;

static void up(void)
{
	int fd = open(getenv("SIDEVISOR_KVM") ? getenv("SIDEVISOR_KVM") : "/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("SKIPPED BECAUSE /dev/kvm cannot be opened: %s\n", strerror(errno));
		cr_skip_test();
	}
	close(fd);
	memset(&config, 0, sizeof(config));
	memset(&vm, 0, sizeof(vm));
	config.vcpus = vm.nvcpus = 2;
	config.topology = (struct sv_topology){.sockets = 1, .dies = 1, .cores = 2, .threads = 1};
	vm.config = &config;
	cr_assert_eq(sv_kvm_open(&vm, &err), 0, "%s", err.text);
}

static void down(void)
{
	sv_irq_destroy(&vm);
	sv_kvm_close(&vm);
}

TestSuite(irq_kvm, .init = up, .fini = down);

static void ioapic(unsigned index, uint32_t value)
{
	sv_bus_access(&vm.mmio, LAYOUT_IOAPIC, &index, 4, true);
	sv_bus_access(&vm.mmio, LAYOUT_IOAPIC + 0x10, &value, 4, true);
}

static void bind_vectors(void)
{
	int gsi[VECTORS], fd[VECTORS];

	for (unsigned i = 0; i < VECTORS; i++) {
		gsi[i] = sv_irq_msi_alloc(&vm);
		fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		cr_assert_eq(sv_irq_msi_route(&vm, gsi[i], 0xfee00000, 0x40 + i), 0);
		cr_assert_eq(sv_irq_bind(&vm, gsi[i], fd[i], true), 0);
		cr_assert_lt(sv_irq_bind(&vm, gsi[i], fd[i], true), 0, "bound already");
	}
	for (unsigned i = 0; i < VECTORS; i++) {
		cr_assert_eq(sv_irq_bind(&vm, gsi[i], fd[i], false), 0);
		sv_irq_msi_free(&vm, gsi[i]);
		close(fd[i]);
	}
}

Test(irq_kvm, split_irqchip_takes_routes_and_eventfds)
{
	cr_assert_eq(sv_irq_create(&vm, &err), 0, "%s", err.text);
	bind_vectors();
}

Test(irq_kvm, full_irqchip_with_a_timer_takes_routes_and_eventfds)
{
	config.irqchip = SV_IRQCHIP_FULL;
	config.pit = true;
	cr_assert_eq(sv_irq_create(&vm, &err), 0, "%s", err.text);
	bind_vectors();
	sv_irq_line(&vm, GSI_SERIAL, true);
	sv_irq_line(&vm, GSI_SERIAL, false);
}

Test(irq_kvm, timer_without_a_full_irqchip_is_refused)
{
	config.pit = true;
	cr_assert_eq(sv_irq_create(&vm, &err), -EINVAL);
	cr_assert(strstr(err.text, "--irqchip full"));
}

/* KVM takes a table whole or not at all: nothing a guest writes may spoil it. */
Test(irq_kvm, no_entry_that_a_guest_can_make_is_refused)
{
	int gsi;

	srand(1);
	cr_assert_eq(sv_irq_create(&vm, &err), 0, "%s", err.text);
	gsi = sv_irq_msi_alloc(&vm);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t a = (uint32_t)rand() << 1 ^ (uint32_t)rand(), b = (uint32_t)rand() * 5;

		ioapic(0x11 + 2 * (i % 24), a);
		ioapic(0x10 + 2 * (i % 24), b & ~(1u << 16));
		cr_assert_eq(sv_irq_update_locked(vm.irq), 0, "entry %#x %#x", a, b);
		cr_assert_eq(sv_irq_msi_route(&vm, gsi, i % 2 ? 0xfee00000 | (a & 0xfffff) : a, b), 0,
			"message %#x %#x", a, b);
	}
}

Test(irq_kvm, kicks_of_several_lengths_at_an_address)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	cr_assert_eq(sv_irq_create(&vm, &err), 0, "%s", err.text);
	for (unsigned i = 0; i < 64; i++)
		cr_assert_eq(sv_irq_ioeventfd(&vm, LAYOUT_PCI32 + 0x3000 + 4 * i, 0, fd, true), 0);
	cr_assert_lt(sv_irq_ioeventfd(&vm, LAYOUT_PCI32 + 0x3000, 0, fd, true), 0);
	for (unsigned i = 0; i < 64; i++)
		cr_assert_eq(sv_irq_ioeventfd(&vm, LAYOUT_PCI32 + 0x3000 + 4 * i, 0, fd, false), 0);
	close(fd);
}
