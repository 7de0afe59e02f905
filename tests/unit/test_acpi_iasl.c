/* SPDX-License-Identifier: BSD-3-Clause */
/* The ACPI tables with the reference compiler as judge: disassembled and compiled again. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acpi_find.h"

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
	const uint8_t *t = acpi_find(m, rsdp, name);
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
	static const char *const names[] = {"DSDT", "FACP", "APIC", "MCFG", "SRAT", "SLIT", "HMAT"};
	const uint8_t *r = acpi_build(m);

	if (system("iasl -v >/dev/null 2>&1") != 0) {
		printf("SKIPPED BECAUSE iasl is not installed (acpica-tools)\n");
		cr_skip_test("no iasl");
	}
	for (unsigned i = 0; i < 7; i++)
		if (i < 6 || acpi_find(m, r, names[i]))
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

Test(acpi, iasl_has_no_complaint_about_an_asymmetric_machine_with_figures)
{
	struct by_hand *m = by_hand_new(3072 * MIB, 5120 * MIB, 1);

	by_hand_asymmetric(m);
	for (unsigned i = 0; i < 2; i++)
		m->config.topology.figures[i] = (struct sv_node_figures){80 + i, 90, 204800, 102400};
	judge_all(m);
	cr_expect_not_null(acpi_find(m, acpi_build(m), "HMAT"));
	by_hand_free(m);
}
