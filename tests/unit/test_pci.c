/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus, BARs and MSI-X, with a function that only remembers. */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

#include "msix.h"
#include "pci.h"
#include "rig.h"

#define BAR_BYTES 0x4000u
#define TABLE 0x1000u
#define PBA 0x2000u
#define VECTORS 3u
#define SLOT 1u

static struct rig *r;
static struct sv_pci pci;
static struct sv_msix msix;
static struct sv_pci_function fn;
static uint64_t last_off, last_value, moved_to;
static unsigned moves;

static void remember_read(struct sv_pci_function *f, unsigned bar, uint64_t off, void *data,
	unsigned len)
{
	(void)f;
	(void)bar;
	last_off = off;
	memset(data, 0x5a, len);
	if (off >= PBA)
		sv_msix_pba_read(&msix, off - PBA, data, len);
	else if (off >= TABLE)
		sv_msix_table_read(&msix, off - TABLE, data, len);
}

static void remember_write(struct sv_pci_function *f, unsigned bar, uint64_t off,
	const void *data, unsigned len)
{
	(void)f;
	(void)bar;
	last_off = off;
	last_value = 0;
	memcpy(&last_value, data, len);
	if (off >= TABLE && off < PBA)
		sv_msix_table_write(&msix, off - TABLE, data, len);
}

static void remember_move(struct sv_pci_function *f, unsigned bar, uint64_t old, uint64_t gpa)
{
	(void)f;
	(void)bar;
	cr_assert_eq(old, moved_to);
	moved_to = gpa;
	moves++;
}

static void written(struct sv_pci_function *f, unsigned off, unsigned len)
{
	(void)f;
	(void)off;
	(void)len;
	sv_msix_update(&msix);
}

static const struct sv_pci_ops ops = {.bar_read = remember_read,
	.bar_write = remember_write,
	.bar_moved = remember_move,
	.config_written = written};

static void up(void)
{
	static const struct sv_pci_id id = {
		.vendor = 0x1af4, .device = 0x1234, .revision = 7, .class_code = 0x010203};
	struct sv_error err;

	moved_to = 0;
	r = rig_new();
	cr_assert_eq(sv_pci_create(&pci, &r->vm, &err), 0);
	sv_pci_function_init(&fn, &id, &ops);
	cr_assert_eq(sv_msix_create(&msix, &r->vm, &fn, VECTORS, 0, TABLE, PBA, &err), 0);
	sv_pci_add_bar(&fn, 0, BAR_BYTES);
	cr_assert_eq(sv_pci_plug(&pci, &fn), 0);
	moves = 0;
}

static void down(void)
{
	sv_pci_unplug(&pci, &fn);
	sv_msix_destroy(&msix);
	sv_pci_destroy(&pci);
	rig_free(r);
}

TestSuite(pci, .init = up, .fini = down);
TestSuite(msix, .init = up, .fini = down);

static uint32_t bar(void)
{
	return rig_config(r, SLOT, PCI_BASE_ADDRESS_0, 4);
}

static void set_bar(uint32_t v)
{
	rig_config_write(r, SLOT, PCI_BASE_ADDRESS_0, v, 4);
}

Test(pci, host_bridge_is_at_slot_0)
{
	cr_assert_eq(rig_config(r, 0, PCI_CLASS_DEVICE, 2), 0x0600);
}

Test(pci, both_mechanisms_see_the_same_registers)
{
	for (unsigned off = 0; off < 256; off += 4) {
		rig_out(r, 0xcf8, 0x80000000u | SLOT << 11 | off, 4);
		cr_assert_eq(rig_in(r, 0xcfc, 4), rig_config(r, SLOT, off, 4));
		for (unsigned i = 0; i < 4; i++)
			cr_assert_eq(rig_in(r, (uint16_t)(0xcfc + i), 1),
				rig_config(r, SLOT, off + i, 1));
		cr_assert_eq(rig_in(r, 0xcfe, 2), rig_config(r, SLOT, off + 2, 2));
	}
	rig_out(r, 0xcf8, 0x80000000u | SLOT << 11 | PCI_INTERRUPT_LINE, 4);
	rig_out(r, 0xcfc, 11, 1);
	cr_assert_eq(rig_config(r, SLOT, PCI_INTERRUPT_LINE, 1), 11);
}

Test(pci, address_port_reads_back_and_disabled_reads_ones)
{
	rig_out(r, 0xcf8, 0xffffffff, 4);
	cr_assert_eq(rig_in(r, 0xcf8, 4), 0x80fffffc);
	rig_out(r, 0xcf8, SLOT << 11, 4);
	cr_assert_eq(rig_in(r, 0xcfc, 4), 0xffffffff);
	rig_out(r, 0xcf8, 0x12, 1); /* not the address */
	cr_assert_eq(rig_in(r, 0xcf8, 4), SLOT << 11);
}

Test(pci, absent_functions_and_buses_read_ones)
{
	cr_assert_eq(rig_config(r, 2, 0, 4), 0xffffffff);
	cr_assert_eq(rig_read(r, LAYOUT_ECAM + SLOT * 0x8000 + 0x1000, 4), 0xffffffff, "function 1");
	cr_assert_eq(rig_read(r, LAYOUT_ECAM + LAYOUT_ECAM_BYTES, 4), 0xffffffff, "bus 1");
	rig_write(r, LAYOUT_ECAM + LAYOUT_ECAM_BYTES - 4, 1, 4);
	rig_out(r, 0xcf8, 0x80010000u | SLOT << 11, 4);
	cr_assert_eq(rig_in(r, 0xcfc, 4), 0xffffffff);
}

Test(pci, extended_space_is_empty_and_odd_accesses_give_ones)
{
	cr_assert_eq(rig_config(r, SLOT, 0x100, 4), 0);
	cr_assert_eq(rig_config(r, SLOT, 0xffc, 4), 0);
	rig_config_write(r, SLOT, 0x100, 1, 4);
	cr_assert_eq(rig_config(r, SLOT, 0x02, 4), 0xffffffff);
	cr_assert_eq(rig_read(r, LAYOUT_ECAM + SLOT * 0x8000, 8), UINT64_MAX);
}

Test(pci, identity_is_read_only)
{
	for (unsigned off = 0; off < 0x3c; off += 4)
		if (off != PCI_COMMAND && off != PCI_BASE_ADDRESS_0 && off != PCI_CACHE_LINE_SIZE) {
			uint32_t before = rig_config(r, SLOT, off, 4);

			rig_config_write(r, SLOT, off, ~before, 4);
			cr_assert_eq(rig_config(r, SLOT, off, 4), before, "%#x", off);
		}
	cr_assert_eq(rig_config(r, SLOT, PCI_REVISION_ID, 1), 7);
	cr_assert_eq(rig_config(r, SLOT, PCI_CLASS_REVISION, 4), 0x01020307);
}

Test(pci, bar_is_assigned_and_answers)
{
	cr_assert_geq(bar(), LAYOUT_PCI32);
	cr_assert_eq(bar() % BAR_BYTES, 0);
	cr_assert_eq(rig_read(r, bar() + 0x123, 1), 0x5a);
	cr_assert_eq(last_off, 0x123);
	rig_write(r, bar() + 8, 0x1122334455667788, 8);
	cr_assert_eq(last_value, 0x1122334455667788);
	cr_assert_eq(rig_read(r, bar() + BAR_BYTES, 4), 0xffffffff);
	cr_assert_eq(rig_read(r, bar() + BAR_BYTES - 4, 8), UINT64_MAX, "across the end");
}

Test(pci, bar_is_sized_by_ones_and_answers_nowhere_meanwhile)
{
	uint32_t before = bar();

	set_bar(0xffffffff);
	cr_assert_eq(bar(), ~(BAR_BYTES - 1));
	cr_assert_eq(moved_to, 0);
	cr_assert_eq(rig_read(r, before, 4), 0xffffffff);
	set_bar(before);
	cr_assert_eq(moved_to, before);
	cr_assert_eq(rig_read(r, before, 1), 0x5a);
	for (unsigned i = 1; i < 6; i++) {
		rig_config_write(r, SLOT, PCI_BASE_ADDRESS_0 + 4 * i, 0xffffffff, 4);
		cr_assert_eq(rig_config(r, SLOT, PCI_BASE_ADDRESS_0 + 4 * i, 4), 0);
	}
	rig_config_write(r, SLOT, PCI_ROM_ADDRESS, 0xffffffff, 4);
	cr_assert_eq(rig_config(r, SLOT, PCI_ROM_ADDRESS, 4), 0);
}

Test(pci, bar_moves_within_the_window)
{
	uint32_t before = bar(), to = (uint32_t)(LAYOUT_PCI32 + LAYOUT_PCI32_BYTES - BAR_BYTES);

	set_bar(to);
	cr_assert_eq(moved_to, to);
	cr_assert_eq(rig_read(r, to + 0xfff, 1), 0x5a);
	cr_assert_eq(rig_read(r, before, 1), 0xff);
}

Test(pci, bar_laid_over_the_machine_answers_nowhere)
{
	static const uint32_t over[] = {0, 0x1000, 0x7fffc000, 0xbfffc000, (uint32_t)LAYOUT_ECAM,
		(uint32_t)LAYOUT_IOAPIC, (uint32_t)LAYOUT_LAPIC, 0xffffc000};

	for (unsigned i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		set_bar(over[i]);
		cr_assert_eq(moved_to, 0, "%#x", over[i]);
	}
	cr_assert_eq(rig_config(r, 0, PCI_VENDOR_ID, 2), 0x1b36);
}

Test(pci, memory_space_bit_takes_the_bar_away)
{
	uint32_t at = bar();

	rig_config_write(r, SLOT, PCI_COMMAND, 0, 2);
	cr_assert_eq(moved_to, 0);
	cr_assert_eq(rig_read(r, at, 1), 0xff);
	rig_config_write(r, SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	cr_assert_eq(rig_read(r, at, 1), 0x5a);
	rig_config_write(r, SLOT, PCI_COMMAND, 0xffff, 2);
	cr_assert_eq(rig_config(r, SLOT, PCI_COMMAND, 2),
		PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
}

Test(pci, bus_takes_31_functions_and_no_more)
{
	static struct sv_pci_function more[31];
	static const struct sv_pci_id id = {.vendor = 1};
	static const struct sv_pci_ops none;

	for (unsigned i = 0; i < 30; i++) {
		sv_pci_function_init(&more[i], &id, &none);
		sv_pci_add_bar(&more[i], 0, 0x8000);
		cr_assert_eq(sv_pci_plug(&pci, &more[i]), 0);
		cr_assert_eq(rig_read(r, sv_get32(more[i].config + 0x10), 4), 0xffffffff);
	}
	sv_pci_function_init(&more[30], &id, &none);
	cr_assert_eq(sv_pci_plug(&pci, &more[30]), -ENOSPC);
	cr_assert_eq(rig_config(r, 31, PCI_VENDOR_ID, 2), 1);
}

/* --- MSI-X ----------------------------------------------------------------------------------------- */

static void control(uint16_t flags)
{
	rig_config_write(r, SLOT, msix.capability + PCI_MSIX_FLAGS, flags, 2);
}

static void master(bool on)
{
	rig_config_write(r, SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY | (on ? PCI_COMMAND_MASTER : 0), 2);
}

static void entry(unsigned v, unsigned word, uint32_t value)
{
	rig_write(r, bar() + TABLE + v * 16 + word * 4, value, 4);
}

static unsigned gsi(unsigned v)
{
	return (unsigned)msix.vector[v].gsi;
}

static void enable_vector(unsigned v)
{
	master(true);
	control(PCI_MSIX_FLAGS_ENABLE);
	entry(v, 0, 0xfee00000 | v << 12);
	entry(v, 2, 0x40 + v);
	entry(v, 3, 0);
}

Test(msix, vectors_start_masked_and_unbound)
{
	master(true);
	control(PCI_MSIX_FLAGS_ENABLE);
	cr_assert_eq(rig_config(r, SLOT, msix.capability + 2, 2), PCI_MSIX_FLAGS_ENABLE | 2);
	for (unsigned v = 0; v < VECTORS; v++)
		cr_assert_eq(rig_read(r, bar() + TABLE + v * 16 + 12, 4), 1);
	cr_assert_eq(r->nirqfd, 0);
}

Test(msix, unmasked_vector_is_bound_to_its_message)
{
	enable_vector(1);
	cr_assert_eq(rig_irqfd(r, gsi(1)), sv_msix_fd(&msix, 1));
	cr_assert_eq(rig_route(r, gsi(1))->u.msi.address_lo, 0xfee01000);
	cr_assert_eq(rig_route(r, gsi(1))->u.msi.data, 0x41);
	cr_assert_eq(r->nirqfd, 1);
	entry(1, 2, 0x99); /* changed while it is live */
	cr_assert_eq(rig_route(r, gsi(1))->u.msi.data, 0x99);
}

Test(msix, masks_of_every_kind_take_the_binding_away)
{
	enable_vector(0);
	entry(0, 3, 1);
	cr_assert_eq(r->nirqfd, 0);
	entry(0, 3, 0);
	cr_assert_eq(r->nirqfd, 1);
	control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	cr_assert_eq(r->nirqfd, 0);
	control(PCI_MSIX_FLAGS_ENABLE);
	cr_assert_eq(r->nirqfd, 1);
	control(0);
	cr_assert_eq(r->nirqfd, 0);
	control(PCI_MSIX_FLAGS_ENABLE);
	master(false);
	cr_assert_eq(r->nirqfd, 0);
	master(true);
	cr_assert_eq(r->nirqfd, 1);
}

Test(msix, masked_vector_is_pending_once_signalled)
{
	uint64_t one = 1;

	enable_vector(2);
	entry(2, 3, 1);
	cr_assert_eq(rig_read(r, bar() + PBA, 8), 0);
	cr_assert_eq(write(sv_msix_fd(&msix, 2), &one, 8), 8);
	cr_assert_eq(rig_read(r, bar() + PBA, 8), 1u << 2);
	cr_assert_eq(rig_read(r, bar() + PBA, 4), 1u << 2);
	cr_assert_eq(rig_read(r, bar() + PBA + 4, 4), 0);
	rig_write(r, bar() + PBA, 0, 8);
	cr_assert_eq(rig_read(r, bar() + PBA, 8), 1u << 2, "read-only");
	entry(2, 3, 0);
	cr_assert_eq(rig_read(r, bar() + PBA, 8), 0, "KVM takes what is in the eventfd");
}

Test(msix, message_written_while_masked_costs_no_route)
{
	unsigned before;

	master(true);
	control(PCI_MSIX_FLAGS_ENABLE);
	before = r->route_changes;
	entry(0, 0, 0xfee00000);
	entry(0, 1, 0);
	entry(0, 2, 0x44);
	cr_assert_eq(r->route_changes, before);
	entry(0, 3, 0);
	cr_assert_eq(r->route_changes, before + 1);
}

Test(msix, hostile_messages_and_offsets_do_no_harm)
{
	enable_vector(0);
	entry(0, 0, 0x1234567f);
	entry(0, 1, 0xffffffff);
	cr_assert_null(rig_route(r, gsi(0)));
	entry(0, 3, 0xfffffffe);
	cr_assert_eq(rig_read(r, bar() + TABLE + 12, 4), 0, "reserved bits stay zero");
	for (uint64_t off = 0; off < 0x1000; off++)
		for (unsigned len = 1; len <= 8 && off + len <= 0x1000; len *= 2) {
			rig_write(r, bar() + TABLE + off, UINT64_MAX, len);
			rig_read(r, bar() + TABLE + off, len);
			rig_read(r, bar() + PBA + off, len);
		}
	cr_assert_eq(sv_msix_fd(&msix, VECTORS), -1);
	cr_assert_eq(sv_msix_fd(&msix, 0xffff), -1);
}

Test(msix, refusal_of_kvm_leaves_the_vector_unbound)
{
	enable_vector(0);
	entry(0, 3, 1);
	r->refuse = -EBUSY;
	entry(0, 3, 0);
	cr_assert_eq(r->nirqfd, 0);
	r->refuse = 0;
	entry(0, 3, 0);
	cr_assert_eq(r->nirqfd, 1);
}
