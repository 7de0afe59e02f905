/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <string.h>

#include "acpi.h"
#include "acpi_find.h"
#include "layout.h"

/* The subtables of @type behind @from. */
static unsigned count(const uint8_t *t, unsigned from, uint8_t type, uint8_t length)
{
	unsigned n = 0, end = get32(t + 4), at = from;

	for (; at < end; at += t[at + 1]) {
		cr_assert(t[at + 1] >= 2);
		if (t[at] == type) {
			n++;
			cr_assert_eq(t[at + 1], length);
		}
	}
	cr_assert_eq(at, end);
	return n;
}

Test(acpi, every_table_is_there_with_right_checksums)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 4);
	const uint8_t *r = acpi_build(m);
	static const char *const names[] = {"FACP", "DSDT", "APIC", "MCFG", "SRAT", "SLIT"};

	for (unsigned i = 0; i < 6; i++)
		cr_assert(acpi_find(m, r, names[i]) != NULL, "%s", names[i]);
	cr_assert(acpi_table_at(m, get32(r + 16)) != NULL); /* RSDT */
	by_hand_free(m);
}

Test(acpi, mcfg_names_no_bus_that_is_not_there)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	const uint8_t *t = acpi_find(m, acpi_build(m), "MCFG");

	cr_assert_eq(get64(t + 44), LAYOUT_ECAM);
	cr_assert_eq(t[54], 0, "first bus");
	cr_assert_eq(t[55], 0, "last bus: Linux probes 32 slots of each, with an exit for each");
	by_hand_free(m);
}

Test(acpi, fadt_is_hardware_reduced_with_sleep_and_reset_registers)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	const uint8_t *f = acpi_find(m, acpi_build(m), "FACP");

	cr_assert(get32(f + 112) & 1u << 20);
	cr_assert(get32(f + 112) & 1u << 10);
	cr_assert_eq(get64(f + 120), PORT_RESET);
	cr_assert_eq(f[128], 1);
	cr_assert_eq(get64(f + 248), PORT_SLEEP);
	cr_assert_eq(get64(f + 260), PORT_SLEEP + 1);
	by_hand_free(m);
}

Test(acpi, madt_names_small_ids_as_lapic_and_large_ones_as_x2apic)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	const uint8_t *t;

	by_hand_topology(m, 2, 1, 150, 1, 1); /* ids 0..149, 256..405 */
	t = acpi_find(m, acpi_build(m), "APIC");
	cr_assert_eq(count(t, 44, 0, 8), 150);
	cr_assert_eq(count(t, 44, 9, 16), 150);
	cr_assert_eq(count(t, 44, 1, 12), 1);
	cr_assert_eq(get32(t + 36), LAYOUT_LAPIC);
	by_hand_free(m);
}

Test(acpi, srat_and_slit_describe_the_nodes)
{
	struct by_hand *m = by_hand_new(3072 * MIB, 5120 * MIB, 8);
	const uint8_t *r, *t;
	uint64_t total = 0;

	by_hand_topology(m, 2, 1, 4, 1, 2);
	m->config.topology.distance[0][1] = 32;
	r = acpi_build(m);
	t = acpi_find(m, r, "SRAT");
	cr_assert_eq(count(t, 48, 2, 24), 8);
	cr_assert_eq(count(t, 48, 1, 40), 3); /* node 0 lies on both sides of the hole */
	for (unsigned at = 48, end = get32(t + 4); at < end; at += t[at + 1])
		if (t[at] == 1)
			total += get64(t + at + 16);
	cr_assert_eq(total, 8192 * MIB);
	t = acpi_find(m, r, "SLIT");
	cr_assert_eq(get64(t + 36), 2);
	cr_assert(t[44] == 10 && t[45] == 32 && t[46] == 20 && t[47] == 10);
	by_hand_free(m);
}

Test(acpi, node_memory_adds_up_and_does_not_overlap)
{
	static const unsigned nodes[] = {1, 2, 3, 7, 64};
	struct by_hand *m = by_hand_new(3072 * MIB, 1030 * MIB, 64);

	for (unsigned k = 0; k < 5; k++) {
		uint64_t total = 0, next = 0, gpa, bytes;

		by_hand_topology(m, 1, 1, 64, 1, nodes[k]);
		for (unsigned i = 0; i < 2 * nodes[k]; i++) {
			sv_node_memory_range(&m->vm, i / 2, i % 2, &gpa, &bytes);
			if (!bytes)
				continue;
			cr_assert(sv_vm_ptr(&m->vm, gpa, bytes) != NULL);
			cr_assert(gpa == next || (gpa == LAYOUT_HIGH && next == 3072 * MIB));
			next = gpa + bytes;
			total += bytes;
		}
		cr_assert_eq(total, m->config.memory_bytes);
	}
	by_hand_free(m);
}

Test(acpi, nodes_of_an_asymmetric_machine_have_their_vcpus_and_memory)
{
	static const unsigned node[] = {0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1};
	struct by_hand *m = by_hand_new(3072 * MIB, 1024 * MIB, 1);
	uint64_t bytes[2] = {0};
	unsigned vcpu = 0;
	const uint8_t *r, *t;

	by_hand_asymmetric(m);
	r = acpi_build(m);
	t = acpi_find(m, r, "SRAT");
	for (unsigned at = 48, end = get32(t + 4); at < end; at += t[at + 1]) {
		if (t[at] == 2) {
			cr_expect_eq(get32(t + at + 4), node[vcpu]);
			cr_expect_eq(get32(t + at + 8), sv_apic_id(&m->config.topology, vcpu));
			vcpu++;
		} else {
			bytes[get32(t + at + 2)] += get64(t + at + 16);
		}
	}
	cr_expect_eq(vcpu, 12);
	cr_expect_eq(bytes[0], 1024 * MIB);
	cr_expect_eq(bytes[1], 3072 * MIB);
	t = acpi_find(m, r, "SLIT");
	cr_expect(t[44] == 10 && t[45] == 32 && t[46] == 32 && t[47] == 10);
	cr_expect_null(acpi_find(m, r, "HMAT"), "there are no figures");
	t = acpi_find(m, r, "APIC");
	cr_expect_eq(count(t, 44, 0, 8), 12);
	by_hand_free(m);
}

Test(acpi, hmat_has_the_figures_of_each_node_and_scales_what_is_large)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	const uint8_t *t;
	unsigned tables = 0;

	by_hand_asymmetric(m);
	m->config.topology.figures[0] = (struct sv_node_figures){80, 90, 200000, 100000};
	m->config.topology.figures[1] = (struct sv_node_figures){130, 140, 40000, 20000};
	t = acpi_find(m, acpi_build(m), "HMAT");
	cr_assert_not_null(t);
	for (unsigned at = 40, end = get32(t + 4); at < end; at += get32(t + at + 4)) {
		const uint8_t *s = t + at, *e = s + 32 + 16;
		unsigned first = e[0] | e[1] << 8, off = e[2] | e[3] << 8, last = e[6] | e[7] << 8;

		if (s[0] == 0)
			continue;
		tables++;
		cr_expect_eq(off, 0, "between nodes nothing is said");
		if (s[9] == 1) {
			cr_expect(get64(s + 24) == 1000 && first == 80 && last == 130);
		} else if (s[9] == 4) {
			cr_expect_eq(get64(s + 24), 4);
			cr_expect(first == 50000 && last == 10000);
		}
	}
	cr_expect_eq(tables, 4);
	by_hand_free(m);
}

Test(acpi, tables_of_1024_vcpus_on_64_nodes_fit)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	const uint8_t *r;

	by_hand_topology(m, 8, 2, 32, 2, 64);
	r = acpi_build(m);
	cr_assert_eq(count(acpi_find(m, r, "APIC"), 44, 9, 16), 1024 - 255);
	by_hand_free(m);
}

Test(acpi, apic_ids_have_a_field_for_every_level)
{
	const struct sv_topology t = {.sockets = 2, .dies = 3, .cores = 5, .threads = 2};
	struct sv_apic_widths w = sv_apic_widths(&t);
	uint32_t last = 0;

	cr_assert(w.thread == 1 && !w.core && w.l2 == 3 && !w.l3 && w.die == 2);
	for (unsigned i = 0; i < 60; i++) {
		uint32_t id = sv_apic_id(&t, i);

		cr_assert(i == 0 || id > last);
		cr_assert_eq(id & 1, i % 2);
		cr_assert_eq(id >> 1 & 7, i / 2 % 5);
		cr_assert_eq(id >> 4 & 3, i / 10 % 3);
		cr_assert_eq(id >> 6, i / 30);
		last = id;
	}
}

Test(acpi, tiny_memory_is_refused_with_a_sentence)
{
	struct by_hand *m = by_hand_new(MIB / 2, 0, 1);
	struct sv_error err;
	uint64_t rsdp;

	cr_assert_lt(sv_acpi_build(&m->vm, &rsdp, &err), 0);
	cr_assert(strstr(err.text, "--memory"));
	by_hand_free(m);
}
