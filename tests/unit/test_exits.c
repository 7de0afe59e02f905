/* SPDX-License-Identifier: BSD-3-Clause */
/* The exit table with hand-made exits: no KVM behind it. */
#include <criterion/criterion.h>

#include <string.h>
#include <sys/eventfd.h>

#include "vcpu.h"

static uint64_t port_seen, value_seen;
static unsigned writes;

static void dev_read(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	memset(data, (int)off + 1, len);
}

static void dev_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	(void)dev;
	port_seen = off;
	value_seen = 0;
	memcpy(&value_seen, data, len);
	writes++;
}

static const struct sv_bus_ops ops = {dev_read, dev_write};

static struct {
	union {
		struct kvm_run run;
		uint8_t page[8192];
	} u;
	struct sv_vm vm;
	struct sv_vcpu vcpu;
} f;

static void set_up(void)
{
	memset(&f, 0, sizeof(f));
	f.vcpu = (struct sv_vcpu){.vm = &f.vm, .fd = -1, .run = &f.u.run};
	f.vm.end_fd = eventfd(0, EFD_NONBLOCK);
	sv_bus_add(&f.vm.pio, 0x100, 0x10, &ops, NULL);
	sv_bus_add(&f.vm.mmio, 0xd0000000, 0x1000, &ops, NULL);
}

TestSuite(exits, .init = set_up);

Test(exits, port_write_reaches_the_device_and_is_counted)
{
	f.u.run.exit_reason = KVM_EXIT_IO;
	f.u.run.io.direction = KVM_EXIT_IO_OUT;
	f.u.run.io.port = 0x104;
	f.u.run.io.size = 4;
	f.u.run.io.count = 1;
	f.u.run.io.data_offset = 4096;
	memcpy(f.u.page + 4096, &(uint32_t){0xdeadbeef}, 4);
	cr_assert_eq(sv_exit_dispatch(&f.vcpu, &f.u.run), SV_EXIT_RESUME);
	cr_assert_eq(port_seen, 4);
	cr_assert_eq(value_seen, 0xdeadbeef);
	cr_assert_eq(f.vcpu.exits[KVM_EXIT_IO], 1);
}

Test(exits, string_port_write_is_delivered_element_by_element)
{
	f.u.run.exit_reason = KVM_EXIT_IO;
	f.u.run.io.direction = KVM_EXIT_IO_OUT;
	f.u.run.io.port = 0x100;
	f.u.run.io.size = 2;
	f.u.run.io.count = 5;
	f.u.run.io.data_offset = 4096;
	f.u.page[4096 + 8] = 0x77;
	sv_exit_dispatch(&f.vcpu, &f.u.run);
	cr_assert_eq(writes, 5);
	cr_assert_eq(value_seen, 0x77);
}

Test(exits, mmio_read_fills_the_data_and_unassigned_reads_ones)
{
	f.u.run.exit_reason = KVM_EXIT_MMIO;
	f.u.run.mmio.phys_addr = 0xd0000002;
	f.u.run.mmio.len = 2;
	cr_assert_eq(sv_exit_dispatch(&f.vcpu, &f.u.run), SV_EXIT_RESUME);
	cr_assert_eq(f.u.run.mmio.data[1], 3);
	f.u.run.mmio.phys_addr = 0xdeadbeef000;
	f.u.run.mmio.len = 8;
	sv_exit_dispatch(&f.vcpu, &f.u.run);
	cr_assert_eq(f.u.run.mmio.data[7], 0xff);
	cr_assert_eq(f.vm.mmio.unassigned, 1);
}

Test(exits, hypercall_of_a_measurement_succeeds)
{
	f.u.run.exit_reason = KVM_EXIT_HYPERCALL;
	f.u.run.hypercall.ret = 1;
	cr_assert_eq(sv_exit_dispatch(&f.vcpu, &f.u.run), SV_EXIT_RESUME);
	cr_assert_eq(f.u.run.hypercall.ret, 0);
	cr_assert_str_eq(sv_exit_name(KVM_EXIT_HYPERCALL), "hypercall");
}

Test(exits, shutdown_ends_the_vm_as_a_triple_fault)
{
	f.u.run.exit_reason = KVM_EXIT_SHUTDOWN;
	cr_assert_eq(sv_exit_dispatch(&f.vcpu, &f.u.run), SV_EXIT_STOP);
	cr_assert_eq(f.vm.end, SV_END_TRIPLE_FAULT);
}

Test(exits, unknown_exit_stops_the_vm_with_its_number_and_registers)
{
	f.u.run.exit_reason = 4711;
	cr_assert_eq(sv_exit_dispatch(&f.vcpu, &f.u.run), SV_EXIT_STOP);
	cr_assert_eq(f.vm.end, SV_END_ERROR);
	cr_assert(strstr(f.vm.end_error.text, "0x1267"));
	cr_assert(strstr(f.vm.end_error.text, "rip"));
	cr_assert_eq(f.vcpu.exits[0], 1);
}

Test(exits, first_reason_to_end_wins)
{
	sv_vm_end(&f.vm, SV_END_POWEROFF, 0, NULL);
	sv_vm_end(&f.vm, SV_END_PANIC, 1, NULL);
	cr_assert_eq(f.vm.end, SV_END_POWEROFF);
	cr_assert_eq(f.vm.end_status, 0);
}
