/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan as the configuration of others. Each text is complete for its tool; what to know about
 * it stands in comments of its own syntax.
 */
#include "export.h"

#include <errno.h>
#include <hwloc.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[SV_EXPORTS] = {[SV_EXPORT_KERNEL] = "kernel",
	[SV_EXPORT_CGROUP] = "cgroup",
	[SV_EXPORT_SYSTEMD] = "systemd",
	[SV_EXPORT_SLURM] = "slurm",
	[SV_EXPORT_LIBVIRT] = "libvirt"};

const char *sv_export_name(enum sv_export what)
{
	return what < SV_EXPORTS ? names[what] : "?";
}

struct lists {
	char *isolated, *rest, *ours, *nodes;
};

/* The kernel's flags: Documentation/admin-guide/kernel-parameters of 6.1 and 6.12. */
static void put_kernel(FILE *f, const struct lists *l)
{
	fprintf(f,
		"# Append this to the kernel command line. It keeps interrupts, the tick and RCU\n"
		"# off these CPUs. Keeping the scheduler off them is left to a cpuset partition:\n"
		"# `sidevisor run` makes one, or --export cgroup. Where there is no cgroup v2,\n"
		"# write isolcpus=managed_irq,domain,... instead; a kernel started like that\n"
		"# refuses a partition of these CPUs. nohz_full needs CONFIG_NO_HZ_FULL; the CPU\n"
		"# that boots is left out of it by the kernel.\n"
		"isolcpus=managed_irq,%s nohz_full=%s rcu_nocbs=%s irqaffinity=%s\n",
		l->isolated, l->isolated, l->isolated, l->rest);
}

/* The files: Documentation/admin-guide/cgroup-v2, "Cpuset". */
static void put_cgroup(FILE *f, const struct lists *l)
{
	fprintf(f,
		"#!/bin/sh\n"
		"# As root: a cpuset partition whose CPUs the scheduler leaves alone (cgroup v2,\n"
		"# Linux 6.1 or later). Move the processes of sidevisor into it. No other cgroup\n"
		"# beside it may claim these CPUs.\n"
		"# It ends with `echo member >cpuset.cpus.partition` and rmdir.\n"
		"set -eu\n"
		"echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control\n"
		"mkdir -p /sys/fs/cgroup/sidevisor\n"
		"cd /sys/fs/cgroup/sidevisor\n"
		"echo %s >cpuset.cpus\n",
		l->isolated);
	if (*l->nodes)
		fprintf(f, "echo %s >cpuset.mems\n", l->nodes);
	fprintf(f,
		"[ ! -e cpuset.cpus.exclusive ] || echo %s >cpuset.cpus.exclusive\n"
		"echo isolated >cpuset.cpus.partition\n"
		"read -r state <cpuset.cpus.partition\n"
		"[ \"$state\" = isolated ] || {\n"
		"\techo \"no isolated partition: $state\" >&2\n"
		"\texit 1\n"
		"}\n",
		l->isolated);
}

/* systemd.resource-control(5): AllowedCPUs= of a slice bounds all units in it. */
static void put_systemd(FILE *f, const struct lists *l)
{
	static const struct {
		const char *unit, *section;
	} others[] = {{"system.slice", "Slice"}, {"user.slice", "Slice"}, {"init.scope", "Scope"}};

	fputs("# Four files, then `systemctl daemon-reload`. Services of sidevisor get\n"
	      "# Slice=sidevisor.slice: in system.slice they could not use its CPUs.\n",
		f);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		fprintf(f, "\n# /etc/systemd/system/%s.d/50-sidevisor.conf\n[%s]\nAllowedCPUs=%s\n",
			others[i].unit, others[i].section, l->rest);
	fprintf(f, "\n# /etc/systemd/system/sidevisor.slice\n[Slice]\nAllowedCPUs=%s\n", l->ours);
	if (*l->nodes)
		fprintf(f, "AllowedMemoryNodes=%s\n", l->nodes);
}

/*
 * slurm.conf(5) wants "abstract" ids: socket by socket, core by core, thread by thread, which is
 * hwloc's logical order, whatever the operating system's numbers are.
 */
static int put_slurm(FILE *f, const struct view *v)
{
	const struct sv_machine *m = v->m;
	int *cpu, n = view_cpus(v, VIEW_SET_SYSTEM, &cpu);
	char *list = NULL;
	bool part;

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(m->topo, (unsigned)cpu[i]);

		cpu[i] = pu ? (int)pu->logical_index : cpu[i];
	}
	list = view_list(cpu, (unsigned)n);
	free(cpu);
	if (!list)
		return -ENOMEM;
	part = !hwloc_bitmap_isequal(hwloc_topology_get_topology_cpuset(m->topo),
		hwloc_topology_get_complete_cpuset(m->topo));
	fprintf(f,
		"# For this node's NodeName= line in slurm.conf: housekeeping and sidecores are not\n"
		"# for jobs.\n"
		"# Slurm's abstract CPU ids (hwloc's logical order), not the operating system's.\n"
		"# It needs TaskPlugin=task/cgroup with ConstrainCores=yes. slurmd runs on these\n"
		"# CPUs too, unless TaskPluginParam=SlurmdOffSpec says otherwise.\n"
		"%sCpuSpecList=%s\n",
		part ? "# Made with a part of the machine in sight: make it again with "
		       "the whole node's topology.\n"
		     : "",
		list);
	free(list);
	return 0;
}

static int need_rest(const struct lists *l, enum sv_export what, struct sv_error *err)
{
	if (*l->rest)
		return 0;
	return sv_fail(err, ENOSPC,
		"--export %s: the plan leaves the operating system no CPU of its own; "
		"plan with --housekeeping 1",
		names[what]);
}

int sv_report_export(FILE *f, enum sv_export what, const struct sv_machine *m,
	const struct sv_plan *plan, struct sv_error *err)
{
	struct lists l = {0};
	struct view v;
	int rc = view_open(&v, m, plan);

	if (rc < 0)
		return sv_fail(err, ENOMEM, "out of memory");
	l.isolated = view_set_list(&v, VIEW_SET_ISOLATED);
	l.rest = view_set_list(&v, VIEW_SET_REST);
	l.ours = view_set_list(&v, VIEW_SET_OURS);
	l.nodes = view_node_list(&v);
	if (!l.isolated || !l.rest || !l.ours || !l.nodes)
		rc = -ENOMEM;
	else if (what != SV_EXPORT_SLURM && what != SV_EXPORT_LIBVIRT)
		rc = need_rest(&l, what, err);
	if (rc == 0 && what == SV_EXPORT_KERNEL)
		put_kernel(f, &l);
	if (rc == 0 && what == SV_EXPORT_CGROUP)
		put_cgroup(f, &l);
	if (rc == 0 && what == SV_EXPORT_SYSTEMD)
		put_systemd(f, &l);
	if (rc == 0 && what == SV_EXPORT_SLURM)
		rc = put_slurm(f, &v);
	if (rc == 0 && what == SV_EXPORT_LIBVIRT)
		rc = export_libvirt(f, &v);
	free(l.isolated);
	free(l.rest);
	free(l.ours);
	free(l.nodes);
	view_close(&v);
	return rc == -ENOMEM ? sv_fail(err, ENOMEM, "out of memory") : rc;
}
