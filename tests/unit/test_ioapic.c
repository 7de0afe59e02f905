/* SPDX-License-Identifier: BSD-3-Clause */
/* Routes, and the I/O APIC of a split irqchip. */
#include <criterion/criterion.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rig.h"

#define SELECT (LAYOUT_IOAPIC + 0x00)
#define WINDOW (LAYOUT_IOAPIC + 0x10)
#define EOI (LAYOUT_IOAPIC + 0x40)

#define MASKED (1u << 16)
#define LEVEL (1u << 15)
#define REMOTE_IRR (1u << 14)
#define LOGICAL (1u << 11)

static struct rig *r;

static void up(void)
{
	r = rig_new();
}

static void down(void)
{
	rig_free(r);
}

TestSuite(ioapic, .init = up, .fini = down);
TestSuite(irq, .init = up, .fini = down);

static uint32_t get(unsigned index)
{
	rig_write(r, SELECT, index, 4);
	return (uint32_t)rig_read(r, WINDOW, 4);
}

static void set(unsigned index, uint32_t value)
{
	rig_write(r, SELECT, index, 4);
	rig_write(r, WINDOW, value, 4);
}

static void set_pin(unsigned pin, uint32_t low, uint32_t high)
{
	set(0x11 + 2 * pin, high);
	set(0x10 + 2 * pin, low);
}

Test(ioapic, starts_masked_with_version_and_pins)
{
	cr_assert_eq(get(1) & 0xff, 0x20);
	cr_assert_eq(get(1) >> 16, 23);
	for (unsigned pin = 0; pin < 24; pin++)
		cr_assert_eq(get(0x10 + 2 * pin), MASKED);
	cr_assert_eq(r->nroute, 0);
}

Test(ioapic, unmasked_pin_has_a_route_that_kvm_can_scan)
{
	set_pin(4, 0x31, 0x02000000);
	const struct kvm_irq_routing_entry *e = rig_route(r, 4);

	cr_assert(e && e->type == KVM_IRQ_ROUTING_MSI);
	cr_assert_eq(e->u.msi.address_lo, 0xfee02000);
	cr_assert_eq(e->u.msi.data, 0x4031);
	set_pin(4, 0x31 | MASKED, 0);
	cr_assert_null(rig_route(r, 4));
}

Test(ioapic, destinations_beyond_255_reach_kvm_in_the_upper_word)
{
	set_pin(5, 0x41 | LOGICAL | LEVEL, 0x05000000 | 3 << 17);
	const struct kvm_irq_routing_entry *e = rig_route(r, 5);

	cr_assert(e != NULL);
	cr_assert_eq(e->u.msi.address_lo, 0xfee05004);
	cr_assert_eq(e->u.msi.address_hi, 0x300);
	cr_assert_eq(e->u.msi.data, 0x41 | 0x4000 | 0x8000);
}

Test(ioapic, edge_interrupts_once_per_rise)
{
	set_pin(4, 0x31, 0);
	sv_irq_line(&r->vm, 4, true);
	sv_irq_line(&r->vm, 4, true);
	cr_assert_eq(r->nmsi, 1);
	sv_irq_line(&r->vm, 4, false);
	sv_irq_line(&r->vm, 4, true);
	cr_assert_eq(r->nmsi, 2);
	cr_assert_eq(r->msi[1].data, 0x4031);
}

Test(ioapic, masked_edge_is_lost)
{
	sv_irq_line(&r->vm, 4, true);
	set_pin(4, 0x31, 0);
	cr_assert_eq(r->nmsi, 0);
}

Test(ioapic, level_interrupts_again_after_eoi_while_asserted)
{
	set_pin(9, 0x51 | LEVEL, 0);
	sv_irq_line(&r->vm, 9, true);
	sv_irq_line(&r->vm, 9, true);
	cr_assert_eq(r->nmsi, 1);
	cr_assert(get(0x10 + 18) & REMOTE_IRR);
	sv_irq_eoi(&r->vm, 0x52); /* another vector */
	cr_assert_eq(r->nmsi, 1);
	sv_irq_eoi(&r->vm, 0x51);
	cr_assert_eq(r->nmsi, 2);
	sv_irq_line(&r->vm, 9, false);
	sv_irq_eoi(&r->vm, 0x51);
	cr_assert_eq(r->nmsi, 2);
	cr_assert_not(get(0x10 + 18) & REMOTE_IRR);
}

Test(ioapic, level_that_was_asserted_while_masked_interrupts_when_unmasked)
{
	set_pin(9, 0x51 | LEVEL | MASKED, 0);
	sv_irq_line(&r->vm, 9, true);
	cr_assert_eq(r->nmsi, 0);
	set_pin(9, 0x51 | LEVEL, 0);
	cr_assert_eq(r->nmsi, 1);
}

Test(ioapic, eoi_register_ends_a_level_interrupt)
{
	set_pin(9, 0x51 | LEVEL, 0);
	sv_irq_line(&r->vm, 9, true);
	rig_write(r, EOI, 0x51, 4);
	cr_assert_eq(r->nmsi, 2);
}

Test(ioapic, read_only_bits_stay_and_change_to_edge_forgets_remote_irr)
{
	set_pin(9, 0x51 | LEVEL | REMOTE_IRR | 1u << 12, 0);
	cr_assert_eq(get(0x10 + 18), 0x51 | LEVEL);
	sv_irq_line(&r->vm, 9, true);
	set_pin(9, 0x51, 0);
	cr_assert_not(get(0x10 + 18) & REMOTE_IRR);
}

Test(ioapic, vectors_that_no_local_apic_takes_have_no_route)
{
	set_pin(3, 0x0f, 0);
	set_pin(6, 0x31 | 7u << 8, 0); /* from a PIC that is not there */
	cr_assert_null(rig_route(r, 3));
	cr_assert_null(rig_route(r, 6));
	sv_irq_line(&r->vm, 3, true);
	sv_irq_line(&r->vm, 6, true);
	cr_assert_eq(r->nmsi, 0);
}

Test(ioapic, odd_accesses_and_registers_do_nothing)
{
	for (unsigned index = 0x40; index < 0x100; index++) {
		set(index, 0xffffffff);
		cr_assert_eq(get(index), 0);
	}
	set(1, 0xffffffff);
	cr_assert_eq(get(1) & 0xff, 0x20);
	rig_write(r, SELECT, 0x10, 4);
	rig_write(r, WINDOW, 0x31, 1);
	cr_assert_eq(get(0x10), MASKED);
	rig_write(r, LAYOUT_IOAPIC + 0xff8, UINT64_MAX, 8);
	cr_assert_eq(rig_read(r, LAYOUT_IOAPIC + 0xff8, 8), 0);
	sv_irq_line(&r->vm, 24, true);
	sv_irq_line(&r->vm, 1000, true);
	cr_assert_eq(r->nmsi, 0);
}

Test(irq, messages_have_routes_of_their_own_until_freed)
{
	int a = sv_irq_msi_alloc(&r->vm), b = sv_irq_msi_alloc(&r->vm);

	cr_assert_eq(a, GSI_MSI_FIRST);
	cr_assert_neq(a, b);
	cr_assert_eq(sv_irq_msi_route(&r->vm, b, 0xfee01000, 0x4055), 0);
	cr_assert_null(rig_route(r, (unsigned)a));
	cr_assert_eq(rig_route(r, (unsigned)b)->u.msi.data, 0x4055);
	sv_irq_msi_free(&r->vm, b);
	cr_assert_null(rig_route(r, (unsigned)b));
	cr_assert_eq(sv_irq_msi_alloc(&r->vm), b);
}

Test(irq, unchanged_route_costs_no_call)
{
	int a = sv_irq_msi_alloc(&r->vm);
	unsigned before;

	sv_irq_msi_route(&r->vm, a, 0xfee01000, 0x55);
	before = r->route_changes;
	sv_irq_msi_route(&r->vm, a, 0xfee01000, 0x55);
	cr_assert_eq(r->route_changes, before);
	sv_irq_msi_route(&r->vm, a, 0xfee01000, 0x56);
	cr_assert_eq(r->route_changes, before + 1);
}

/* KVM refuses a whole table for one entry that it does not like. */
Test(irq, address_that_is_no_message_has_no_route)
{
	static const uint64_t bad[] = {0, 0x1000, 0xfed00000, 0x1fee00000, UINT64_MAX, 0xfef00000};
	int a = sv_irq_msi_alloc(&r->vm);

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(sv_irq_msi_route(&r->vm, a, bad[i], 0x55), 0);
		cr_assert_null(rig_route(r, (unsigned)a));
	}
}

Test(irq, no_more_messages_than_there_are_routes)
{
	for (unsigned i = 0; i < IRQ_MSI_ROUTES; i++)
		cr_assert_eq(sv_irq_msi_alloc(&r->vm), (int)(GSI_MSI_FIRST + i));
	cr_assert_eq(sv_irq_msi_alloc(&r->vm), -ENOSPC);
}

Test(irq, full_irqchip_routes_lines_to_pic_and_ioapic)
{
	const struct sv_irq_ops *ops = r->vm.irq->ops;
	struct sv_error err;

	sv_irq_destroy(&r->vm);
	r->vm.mmio.n = 0;
	r->config.irqchip = SV_IRQCHIP_FULL;
	cr_assert_eq(sv_irq_create_with(&r->vm, ops, &err), 0);
	cr_assert_eq(r->nroute, 16 + 24);
	cr_assert_eq(rig_route(r, 4)->u.irqchip.irqchip, KVM_IRQCHIP_PIC_MASTER);
	cr_assert_eq(rig_route(r, 12)->u.irqchip.pin, 4);
	cr_assert_eq(rig_route(r, 23)->u.irqchip.irqchip, KVM_IRQCHIP_IOAPIC);
	cr_assert_eq(rig_read(r, LAYOUT_IOAPIC, 4), 0xffffffff, "not ours");
	sv_irq_eoi(&r->vm, 0x51);
}

Test(irq, refusal_of_kvm_leaves_nothing_behind)
{
	const struct sv_irq_ops *ops = r->vm.irq->ops;
	struct sv_error err;

	sv_irq_destroy(&r->vm);
	r->vm.mmio.n = 0;
	r->refuse = -EBUSY;
	cr_assert_eq(sv_irq_create_with(&r->vm, ops, &err), -EBUSY);
	cr_assert_null(r->vm.irq);
	cr_assert_eq(r->vm.mmio.n, 0);
	r->refuse = 0;
	cr_assert_eq(sv_irq_create_with(&r->vm, ops, &err), 0);
}
