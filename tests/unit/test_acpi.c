/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acpi.h"
#include "layout.h"
#include "machine_by_hand.h"

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

static const uint8_t *table_at(const struct by_hand *m, uint64_t gpa)
{
	const uint8_t *p = sv_vm_ptr(&m->vm, gpa, 36);

	cr_assert(p && sv_vm_ptr(&m->vm, gpa, get32(p + 4)));
	cr_assert_eq(sum(p, get32(p + 4)), 0, "checksum of %.4s", (const char *)p);
	return p;
}

static const uint8_t *build(struct by_hand *m)
{
	struct sv_error err;
	uint64_t rsdp = 0;
	const uint8_t *r;

	cr_assert_eq(sv_acpi_build(&m->vm, &rsdp, &err), 0, "%s", err.text);
	cr_assert(rsdp >= LAYOUT_BIOS && rsdp % 16 == 0);
	r = sv_vm_ptr(&m->vm, rsdp, 36);
	cr_assert(!memcmp(r, "RSD PTR ", 8));
	cr_assert_eq(sum(r, 20), 0);
	cr_assert_eq(sum(r, 36), 0);
	return r;
}

static const uint8_t *find(const struct by_hand *m, const uint8_t *rsdp, const char *signature)
{
	const uint8_t *xsdt = table_at(m, get64(rsdp + 24));
	unsigned n = (get32(xsdt + 4) - 36) / 8;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *t = table_at(m, get64(xsdt + 36 + 8 * i));

		if (!memcmp(t, signature, 4))
			return t;
		if (!memcmp(signature, "DSDT", 4) && !memcmp(t, "FACP", 4))
			return table_at(m, get64(t + 140));
	}
	return NULL;
}

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
	const uint8_t *r = build(m);
	static const char *const names[] = {"FACP", "DSDT", "APIC", "MCFG", "SRAT", "SLIT"};

	for (unsigned i = 0; i < 6; i++)
		cr_assert(find(m, r, names[i]) != NULL, "%s", names[i]);
	cr_assert(table_at(m, get32(r + 16)) != NULL); /* RSDT */
	by_hand_free(m);
}

Test(acpi, fadt_is_hardware_reduced_with_sleep_and_reset_registers)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	const uint8_t *f = find(m, build(m), "FACP");

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
	t = find(m, build(m), "APIC");
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
	r = build(m);
	t = find(m, r, "SRAT");
	cr_assert_eq(count(t, 48, 2, 24), 8);
	cr_assert_eq(count(t, 48, 1, 40), 3); /* node 0 lies on both sides of the hole */
	for (unsigned at = 48, end = get32(t + 4); at < end; at += t[at + 1])
		if (t[at] == 1)
			total += get64(t + at + 16);
	cr_assert_eq(total, 8192 * MIB);
	t = find(m, r, "SLIT");
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

Test(acpi, tables_of_1024_vcpus_on_64_nodes_fit)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 1);
	const uint8_t *r;

	by_hand_topology(m, 8, 2, 32, 2, 64);
	r = build(m);
	cr_assert_eq(count(find(m, r, "APIC"), 44, 9, 16), 1024 - 255);
	by_hand_free(m);
}

Test(acpi, apic_ids_have_a_field_for_every_level)
{
	const struct sv_topology t = {.sockets = 2, .dies = 3, .cores = 5, .threads = 2};
	struct sv_apic_widths w = sv_apic_widths(&t);
	uint32_t last = 0;

	cr_assert(w.thread == 1 && w.core == 3 && w.die == 2);
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

/* --- the reference compiler as judge ----------------------------------------------------------- */

static bool complains(const char *line)
{
	static const char *const words[] = {"Warning ", "Error ", "Remark ", "error", "warning"};

	if (!strncmp(line, "Compilation", 11))
		return !strstr(line, " 0 Errors, 0 Warnings, 0 Remarks");
	for (unsigned i = 0; i < 5; i++)
		if (strstr(line, words[i]))
			return true;
	return false;
}

static void must_be_clean(const char *command, const char *name)
{
	FILE *p = popen(command, "re");
	char line[256];

	cr_assert(p != NULL);
	while (fgets(line, sizeof(line), p))
		cr_expect(!complains(line), "%s: %s", name, line);
	cr_assert_eq(pclose(p), 0, "%s: %s", name, command);
}

static void judge(const struct by_hand *m, const uint8_t *rsdp, const char *name)
{
	const uint8_t *t = find(m, rsdp, name);
	char file[16], command[512];

	cr_assert(t != NULL);
	snprintf(file, sizeof(file), "%.4s.dat", name);
	by_hand_file(file, t, get32(t + 4));
	snprintf(command, sizeof(command), "cd %s && iasl -d %s 2>&1", by_hand_dir(), file);
	must_be_clean(command, name);
	snprintf(command, sizeof(command), "cd %s && iasl %.4s.dsl 2>&1 && ! grep -i warning %.4s.dsl",
		by_hand_dir(), name, name);
	must_be_clean(command, name);
}

static void judge_all(struct by_hand *m)
{
	static const char *const names[] = {"DSDT", "FACP", "APIC", "MCFG", "SRAT", "SLIT", "XSDT"};
	const uint8_t *r = build(m);

	if (system("iasl -v >/dev/null 2>&1") != 0) {
		printf("SKIPPED BECAUSE iasl is not installed (acpica-tools)\n");
		cr_skip_test("no iasl");
	}
	for (unsigned i = 0; i < 6; i++)
		judge(m, r, names[i]);
}

Test(acpi, iasl_disassembles_and_recompiles_without_complaint)
{
	struct by_hand *m = by_hand_new(64 * MIB, 0, 2);

	judge_all(m);
	by_hand_free(m);
}

Test(acpi, iasl_has_no_complaint_about_a_large_machine)
{
	struct by_hand *m = by_hand_new(3072 * MIB, 5120 * MIB, 1);

	by_hand_topology(m, 4, 2, 40, 2, 8);
	m->config.rtc = false;
	m->config.irqchip = SV_IRQCHIP_FULL;
	judge_all(m);
	by_hand_free(m);
}
