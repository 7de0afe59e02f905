/* SPDX-License-Identifier: BSD-3-Clause */
/* What other tools are given, to the letter; and that libvirt's is XML. */
#include <criterion/criterion.h>
#include <errno.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#include "plan_by_hand.h"

static enum sv_export what;

static int export(
	FILE *f, const struct sv_machine *m, const struct sv_plan *plan, struct sv_error *err)
{
	return sv_report_export(f, what, m, plan, err);
}

static char *text_of(enum sv_export which, const char *name)
{
	struct sv_machine *m = machine_by_hand();
	struct sv_plan *plan = plan_by_hand(name);
	char *text;

	what = which;
	text = report_text(export, m, plan);
	sv_plan_free(plan);
	sv_machine_free(m);
	return text;
}

/* Without the lines that start with @comment. */
static char *bare(char *text, const char *comment)
{
	char *out = calloc(1, strlen(text) + 1);

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, comment, strlen(comment)) != 0)
			strcat(strcat(out, line), "\n");
	free(text);
	return out;
}

Test(report_export, kernel)
{
	char *text = bare(text_of(SV_EXPORT_KERNEL, "a"), "#");

	cr_expect_str_eq(text, "isolcpus=managed_irq,1-3,5-7 nohz_full=1-3,5-7 rcu_nocbs=1-3,5-7 "
			       "irqaffinity=0,4\n");
	free(text);
}

Test(report_export, cgroup)
{
	char *text = bare(text_of(SV_EXPORT_CGROUP, "a"), "#");

	cr_expect_str_eq(text,
		"set -eu\n"
		"echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control\n"
		"mkdir -p /sys/fs/cgroup/sidevisor\n"
		"cd /sys/fs/cgroup/sidevisor\n"
		"echo 1-3,5-7 >cpuset.cpus\n"
		"echo 0 >cpuset.mems\n"
		"[ ! -e cpuset.cpus.exclusive ] || echo 1-3,5-7 >cpuset.cpus.exclusive\n"
		"echo isolated >cpuset.cpus.partition\n"
		"read -r state <cpuset.cpus.partition\n"
		"[ \"$state\" = isolated ] || {\n"
		"\techo \"no isolated partition: $state\" >&2\n"
		"\texit 1\n"
		"}\n");
	free(text);
}

Test(report_export, systemd)
{
	char *text = bare(text_of(SV_EXPORT_SYSTEMD, "a"), "# F");

	cr_expect_str_eq(text,
		"# Slice=sidevisor.slice: in system.slice they could not use its CPUs.\n"
		"# /etc/systemd/system/system.slice.d/50-sidevisor.conf\n[Slice]\nAllowedCPUs=0,4\n"
		"# /etc/systemd/system/user.slice.d/50-sidevisor.conf\n[Slice]\nAllowedCPUs=0,4\n"
		"# /etc/systemd/system/init.scope.d/50-sidevisor.conf\n[Scope]\nAllowedCPUs=0,4\n"
		"# /etc/systemd/system/sidevisor.slice\n[Slice]\nAllowedCPUs=0-7\nAllowedMemoryNodes=0\n");
	free(text);
}

/* Cores 0 and 3 are logical CPUs 0, 1, 6 and 7, though the operating system calls them 0, 4, 3, 7.
 */
Test(report_export, slurm_has_logical_numbers)
{
	char *text = bare(text_of(SV_EXPORT_SLURM, "a"), "#");

	cr_expect_str_eq(text, "CpuSpecList=0-1,6-7\n");
	free(text);
}

Test(report_export, libvirt)
{
	char *text = text_of(SV_EXPORT_LIBVIRT, "a<b");
	const char *body = strstr(text, "<domains>");
	xmlDocPtr doc = xmlReadMemory(text, (int)strlen(text), "x", NULL, XML_PARSE_NONET);

	cr_assert(body);
	cr_expect_str_eq(body, "<domains>\n"
			       "  <domain type='kvm'>\n"
			       "    <name>a&lt;b</name>\n"
			       "    <vcpu placement='static'>2</vcpu>\n"
			       "    <iothreads>1</iothreads>\n"
			       "    <cputune>\n"
			       "      <vcpupin vcpu='0' cpuset='1'/>\n"
			       "      <vcpupin vcpu='1' cpuset='2'/>\n"
			       "      <emulatorpin cpuset='0'/>\n"
			       "      <iothreadpin iothread='1' cpuset='3'/>\n"
			       "    </cputune>\n"
			       "    <numatune>\n"
			       "      <memory mode='strict' nodeset='0'/>\n"
			       "    </numatune>\n"
			       "  </domain>\n"
			       "</domains>\n");
	cr_expect(doc, "not well-formed");
	xmlFreeDoc(doc);
	free(text);
}

Test(report_export, refused_where_nothing_is_left_for_the_operating_system)
{
	struct sv_machine *m = machine_by_hand();
	struct sv_plan *plan = plan_by_hand("a");
	FILE *f = fopen("/dev/null", "w");
	struct sv_error err;

	plan->role[0] = SV_ROLE_GUEST;
	for (unsigned i = 0; i < SV_EXPORTS; i++) {
		int rc = sv_report_export(f, (enum sv_export)i, m, plan, &err);

		cr_expect_eq(rc, i < SV_EXPORT_SLURM ? -ENOSPC : 0, "%s",
			sv_export_name((enum sv_export)i));
		if (rc < 0)
			cr_expect(strstr(err.text, sv_export_name((enum sv_export)i)) &&
					  strstr(err.text, "--housekeeping 1"),
				"%s", err.text);
	}
	fclose(f);
	sv_plan_free(plan);
	sv_machine_free(m);
}
