/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel does by itself: clocks, watchdogs, statistics, control groups, known weaknesses.
 */
#include "doctor.h"

#include <stdio.h>
#include <string.h>

#include "files.h"

static void clock_source(struct sv_doctor *d)
{
	static const char path[] =
		"/sys/devices/system/clocksource/clocksource0/current_clocksource";
	struct sv_finding *f;
	char text[32];

	if (!sv_read_line(d, path, text, sizeof(text))) {
		sv_unknown(d, "clock-source", path);
		return;
	}
	if (!strcmp(text, "tsc") || !strcmp(text, "kvm-clock")) {
		sv_found(d, "clock-source", SV_SEVERITY_OK, "the clock is %s", text);
		return;
	}
	f = sv_found(d, "clock-source", SV_SEVERITY_WARNING, "the clock is %s, not the TSC", text);
	sv_costs(f, "each look at the time is a device access of about a microsecond; guests get "
		    "no stable clock");
	sv_remedy(f, "look in dmesg for why the TSC was found unstable; tsc=reliable at boot where "
		     "it is not");
}

static void watchdog(struct sv_doctor *d)
{
	long long on;
	struct sv_finding *f;

	if (!sv_read_number(d, "/proc/sys/kernel/nmi_watchdog", &on)) {
		sv_found(d, "watchdog", SV_SEVERITY_OK, "this kernel has no NMI watchdog");
		return;
	}
	f = sv_found(d, "watchdog", on ? SV_SEVERITY_NOTE : SV_SEVERITY_OK,
		"the NMI watchdog is %s", on ? "on" : "off");
	if (on) {
		sv_costs(f, "an NMI every few seconds on each core that runs, and a performance "
			    "counter less");
		sv_remedy(f, "sysctl kernel.nmi_watchdog=0");
	}
}

static void statistics(struct sv_doctor *d)
{
	long long seconds;
	struct sv_finding *f;

	if (!sv_read_number(d, "/proc/sys/vm/stat_interval", &seconds)) {
		sv_unknown(d, "vm-statistics", "/proc/sys/vm/stat_interval");
		return;
	}
	f = sv_found(d, "vm-statistics", seconds < 10 ? SV_SEVERITY_NOTE : SV_SEVERITY_OK,
		"memory statistics are gathered every %lld s on every core", seconds);
	if (seconds < 10) {
		sv_costs(f, "a kernel thread so often on guest cores that enter the kernel");
		sv_remedy(f, "sysctl vm.stat_interval=120");
	}
}

static void work_queues(struct sv_doctor *d)
{
	static const char path[] = "/sys/devices/virtual/workqueue/cpumask";
	struct sv_cpus set;
	char text[4096];
	bool on;

	if (!sv_read_line(d, path, text, sizeof(text)) || sv_cpus_parse_mask(text, &set) < 0) {
		sv_unknown(d, "work-queues", path);
		return;
	}
	on = d->planned && sv_cpus_overlap(&set, &d->busy);
	if (on) {
		struct sv_finding *f = sv_found(d, "work-queues", SV_SEVERITY_NOTE,
			"unbound work of the kernel may run on guest cores");

		sv_costs(f, "run moves it away where it may, and back at the end");
		sv_remedy(f, "sidevisor run --isolate require");
	} else {
		sv_found(d, "work-queues", SV_SEVERITY_OK, "unbound work of the kernel %s",
			d->planned ? "stays off guest cores" : "can be moved");
	}
}

static void control_groups(struct sv_doctor *d)
{
	char text[512];
	struct sv_finding *f;

	if (sv_read_line(d, "/sys/fs/cgroup/cgroup.controllers", text, sizeof(text))) {
		bool cpuset = strstr(text, "cpuset") != NULL;

		f = sv_found(d, "cgroups", cpuset ? SV_SEVERITY_OK : SV_SEVERITY_NOTE,
			"control groups v2, %s cpuset controller",
			cpuset ? "with the" : "without a");
		if (!cpuset)
			sv_costs(f, "no isolated partition: other threads are kept off guest cores "
				    "by isolcpus alone");
		return;
	}
	if (sv_file_is_there(d->e->root, "/sys/fs/cgroup/cpuset/cpuset.cpus")) {
		sv_found(d, "cgroups", SV_SEVERITY_OK, "control groups v1 with cpuset");
		return;
	}
	f = sv_found(d, "cgroups", SV_SEVERITY_NOTE, "no control groups with cpuset");
	sv_costs(f,
		"no isolated partition: other threads are kept off guest cores by isolcpus alone");
}

/* Weaknesses that need SMT off, or that this kernel says are open. */
static void weaknesses(struct sv_doctor *d)
{
	static const char *const name[] = {"l1tf", "mds", "tsx_async_abort", "mmio_stale_data",
		"itlb_multihit", "spectre_v2", "retbleed", "srso", "gather_data_sampling",
		"meltdown"};
	char path[96], text[256], open_ones[160] = "", smt[160] = "";
	unsigned read = 0;
	struct sv_finding *f;

	for (unsigned i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s", name[i]);
		if (!sv_read_line(d, path, text, sizeof(text)))
			continue;
		read++;
		if (!strncmp(text, "Vulnerable", 10) && strlen(open_ones) + 32 < sizeof(open_ones))
			snprintf(open_ones + strlen(open_ones),
				sizeof(open_ones) - strlen(open_ones), "%s%s",
				*open_ones ? ", " : "", name[i]);
		if (strstr(text, "SMT vulnerable") && strlen(smt) + 32 < sizeof(smt))
			snprintf(smt + strlen(smt), sizeof(smt) - strlen(smt), "%s%s",
				*smt ? ", " : "", name[i]);
	}
	if (!read) {
		sv_unknown(d, "weaknesses", "/sys/devices/system/cpu/vulnerabilities");
		return;
	}
	f = sv_found(d, "weaknesses",
		!*open_ones && !*smt ? SV_SEVERITY_OK
		: d->e->untrusted    ? SV_SEVERITY_WARNING
				     : SV_SEVERITY_NOTE,
		"open weaknesses of the CPU: %s%s%s", *open_ones ? open_ones : "none",
		*smt ? "; with SMT: " : "", smt);
	if (*open_ones || *smt)
		sv_costs(f, "a hostile guest may read memory of the host or of neighbours");
	if (*smt)
		sv_remedy(f, "echo off > /sys/devices/system/cpu/smt/control");
}

void sv_doctor_kernel(struct sv_doctor *d)
{
	clock_source(d);
	watchdog(d);
	statistics(d);
	work_queues(d);
	control_groups(d);
	weaknesses(d);
}
