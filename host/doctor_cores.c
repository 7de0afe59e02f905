/* SPDX-License-Identifier: BSD-3-Clause */
/* The cores that guests and sidecores are to have: isolation, interrupts, sleep states, load,
 * siblings. */
#include "doctor.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "files.h"

#define LIST 120

static const char *list_of(const struct sv_cpus *s, char *text)
{
	if (sv_cpus_print_list(s, text, LIST) < 0)
		snprintf(text, LIST, "%u CPUs", sv_cpus_count(s));
	return text;
}

/* A kernel parameter's value as a CPU set, such as nohz_full=2-7; flags before the list are left
 * out. */
static bool parameter(const char *cmdline, const char *name, struct sv_cpus *set)
{
	const char *at = cmdline;
	char text[256];
	size_t n;

	while ((at = strstr(at, name)) && at != cmdline && at[-1] != ' ')
		at++;
	if (!at)
		return false;
	at += strlen(name);
	while (isalpha((unsigned char)*at) && strchr(at, ',') &&
		strchr(at, ',') < at + strcspn(at, " "))
		at = strchr(at, ',') + 1;
	n = strcspn(at, " \n");
	if (n >= sizeof(text))
		return false;
	memcpy(text, at, n);
	text[n] = 0;
	return sv_cpus_parse_list(text, set) == 0;
}

static void compare(struct sv_doctor *d, const char *id, const char *what,
	const struct sv_cpus *have, const char *cost, const char *option)
{
	struct sv_cpus missing = d->busy;
	struct sv_finding *f;
	char list[LIST], wanted[LIST];

	sv_cpus_remove(&missing, have);
	if (!d->planned) {
		f = sv_found(d, id, SV_SEVERITY_NOTE, "%s: %s", what,
			sv_cpus_empty(have) ? "no CPU" : list_of(have, list));
	} else if (sv_cpus_empty(&missing)) {
		sv_found(d, id, SV_SEVERITY_OK, "%s holds all guest cores and sidecores", what);
		return;
	} else {
		f = sv_found(d, id, SV_SEVERITY_WARNING, "%s lacks CPUs %s of the plan", what,
			list_of(&missing, list));
	}
	sv_costs(f, "%s", cost);
	if (d->planned)
		sv_remedy(f,
			"boot with %s%s (`sidevisor plan --export kernel` writes the whole line)",
			option, list_of(&d->busy, wanted));
}

static void isolation(struct sv_doctor *d)
{
	struct sv_cpus isolated = {{0}}, at_boot = {{0}}, nohz = {{0}}, rcu = {{0}};
	char text[4096], cmdline[4096];
	bool line = sv_read_line(d, "/proc/cmdline", cmdline, sizeof(cmdline));

	/* The file has the scheduler's part alone; isolcpus=managed_irq,LIST shows on the line
	 * only. */
	if (sv_read_line(d, "/sys/devices/system/cpu/isolated", text, sizeof(text)))
		sv_cpus_parse_list(text, &isolated);
	if (line && parameter(cmdline, "isolcpus=", &at_boot))
		sv_cpus_add(&isolated, &at_boot);
	compare(d, "isolated-cpus", "the isolated set (isolcpus)", &isolated,
		"interrupts of multi-queue devices come there, and other threads where run can "
		"make no cpuset "
		"partition",
		"isolcpus=managed_irq,");
	if (sv_read_line(d, "/sys/devices/system/cpu/nohz_full", text, sizeof(text)))
		sv_cpus_parse_list(text, &nohz);
	compare(d, "nohz-full", "the tickless set (nohz_full)", &nohz,
		"the scheduler's tick interrupts the guest 100 to 1,000 times a second, an exit "
		"each time",
		"nohz_full=");
	if (!line) {
		sv_unknown(d, "rcu-callbacks", "/proc/cmdline");
		return;
	}
	parameter(cmdline, "rcu_nocbs=", &rcu);
	sv_cpus_add(&rcu, &nohz); /* nohz_full implies it */
	compare(d, "rcu-callbacks", "the set without RCU callbacks (rcu_nocbs)", &rcu,
		"deferred work of the kernel runs on guest cores", "rcu_nocbs=");
}

/* Interrupts that may come to the cores of the plan, and how often they did. */
static void interrupts(struct sv_doctor *d)
{
	unsigned there = 0, on = 0, unreadable = 0;
	char example[32] = "", path[96], text[4096];
	struct sv_finding *f;

	for (unsigned irq = 0; irq < 4096; irq++) {
		struct sv_cpus set;

		snprintf(path, sizeof(path), "/proc/irq/%u/smp_affinity_list", irq);
		if (!sv_read_line(d, path, text, sizeof(text)) ||
			sv_cpus_parse_list(text, &set) < 0) {
			snprintf(path, sizeof(path), "/proc/irq/%u", irq);
			unreadable += sv_file_is_there(d->e->root, path);
			continue;
		}
		there++;
		if (!sv_cpus_overlap(&set, &d->busy))
			continue;
		if (!on++)
			snprintf(example, sizeof(example), ", the first IRQ %u", irq);
	}
	if (!there) {
		sv_unknown(d, "interrupts", "/proc/irq");
		return;
	}
	if (!d->planned) {
		sv_found(d, "interrupts", SV_SEVERITY_NOTE,
			"%u interrupts; name guest cores to see which reach "
			"them",
			there);
		return;
	}
	f = sv_found(d, "interrupts", on ? SV_SEVERITY_WARNING : SV_SEVERITY_OK,
		"%u of %u interrupts may come to guest cores or sidecores%s", on, there, example);
	if (on) {
		sv_costs(f, "each is an exit of the guest that runs there; run moves those away "
			    "that it may, and "
			    "back at the end");
		sv_remedy(f, "sidevisor run --isolate require, or irqaffinity= at boot");
	}
	if (unreadable)
		sv_found(d, "interrupts-unread", SV_SEVERITY_UNKNOWN,
			"%u interrupts cannot be read", unreadable);
}

static void irqbalance(struct sv_doctor *d)
{
	static const char *const pid[] = {"/run/irqbalance.pid", "/run/irqbalance/irqbalance.pid"};

	for (unsigned i = 0; i < 2; i++)
		if (sv_file_is_there(d->e->root, pid[i])) {
			struct sv_finding *f = sv_found(
				d, "irqbalance", SV_SEVERITY_WARNING, "irqbalance is running");

			sv_costs(f, "it moves interrupts back to guest cores");
			sv_remedy(f, "systemctl disable --now irqbalance, or "
				     "IRQBALANCE_BANNED_CPULIST in "
				     "/etc/default/irqbalance");
			return;
		}
	sv_found(d, "irqbalance", SV_SEVERITY_OK, "no irqbalance");
}

/* The deepest enabled sleep state of a core, and what leaving it takes. */
static void sleep_states(struct sv_doctor *d)
{
	int cpu = sv_cpus_next(&d->busy, -1);
	long long deepest = -1, us, disabled;
	struct sv_finding *f;
	char path[128], name[32] = "?";

	for (unsigned s = 0; s < 16 && cpu >= 0; s++) {
		snprintf(path, sizeof(path),
			"/sys/devices/system/cpu/cpu%d/cpuidle/state%u/latency", cpu, s);
		if (!sv_read_number(d, path, &us))
			break;
		snprintf(path, sizeof(path),
			"/sys/devices/system/cpu/cpu%d/cpuidle/state%u/disable", cpu, s);
		if ((sv_read_number(d, path, &disabled) && disabled) || us < deepest)
			continue;
		deepest = us;
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpuidle/state%u/name",
			cpu, s);
		sv_read_line(d, path, name, sizeof(name));
	}
	if (deepest < 0) {
		sv_found(d, "sleep-states", SV_SEVERITY_OK,
			"the kernel manages no sleep states here");
		return;
	}
	f = sv_found(d, "sleep-states", deepest > 20 ? SV_SEVERITY_NOTE : SV_SEVERITY_OK,
		"the deepest sleep state of CPU %d is %s: %lld us to wake", cpu, name, deepest);
	if (deepest > 20)
		sv_costs(f, "a guest that waits wakes so much later; run and serve hold "
			    "/dev/cpu_dma_latency at 0 while "
			    "they run, where they may");
}

static void governor(struct sv_doctor *d)
{
	char path[128], text[64];
	unsigned policies = 0, slow = 0;
	struct sv_finding *f;

	for (unsigned i = 0; i < 1024; i++) {
		struct sv_cpus of = {{0}};

		snprintf(path, sizeof(path),
			"/sys/devices/system/cpu/cpufreq/policy%u/affected_cpus", i);
		if (sv_read_line(d, path, text, sizeof(text)))
			for (char *s = text, *end = s; *s; s = end) {
				long cpu = strtol(s, &end, 10);

				if (end == s)
					break;
				sv_cpus_set(&of, (int)cpu);
			}
		if (!sv_cpus_overlap(&of, &d->busy))
			continue;
		snprintf(path, sizeof(path),
			"/sys/devices/system/cpu/cpufreq/policy%u/scaling_governor", i);
		if (!sv_read_line(d, path, text, sizeof(text)))
			continue;
		policies++;
		slow += strcmp(text, "performance") != 0;
	}
	if (!policies) {
		sv_found(d, "governor", SV_SEVERITY_OK,
			"frequencies are not managed by this kernel");
		return;
	}
	f = sv_found(d, "governor", slow ? SV_SEVERITY_WARNING : SV_SEVERITY_OK,
		"%u of %u frequency domains are not governed for performance", slow, policies);
	if (slow) {
		sv_costs(f, "a polling core looks busy and a waiting guest idle: the governor "
			    "gives each the wrong clock");
		sv_remedy(f, "cpupower frequency-set -g performance");
	}
}

/* Siblings of guest cores that other work may use. */
static void siblings(struct sv_doctor *d)
{
	char text[64];
	struct sv_finding *f;

	if (!sv_read_line(d, "/sys/devices/system/cpu/smt/active", text, sizeof(text))) {
		sv_unknown(d, "smt", "/sys/devices/system/cpu/smt/active");
		return;
	}
	if (text[0] != '1') {
		sv_found(d, "smt", SV_SEVERITY_OK, "one thread per core");
		return;
	}
	f = sv_found(d, "smt", d->e->untrusted ? SV_SEVERITY_WARNING : SV_SEVERITY_NOTE,
		"SMT is active: siblings share a core's units and caches");
	sv_costs(f, "%s",
		d->e->untrusted ? "what runs on the sibling can observe a guest; the planner "
				  "leaves siblings of guest "
				  "cores idle, and other work of this host must do so too"
				: "a busy sibling takes 30 to 50 % of a guest core; the planner "
				  "leaves siblings idle");
	if (d->e->untrusted)
		sv_remedy(f,
			"echo off > /sys/devices/system/cpu/smt/control, or isolate the siblings");
}

/* Busy and all ticks of each CPU. */
static bool read_stat(const struct sv_doctor *d, unsigned long long (*busy)[2], unsigned most)
{
	size_t bytes = 1 << 20;
	char *text = malloc(bytes), *line = text, *save = NULL;
	bool any = false;

	if (!text || sv_file_read(d->e->root, "/proc/stat", text, bytes) <= 0) {
		free(text);
		return false;
	}
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned long long v[8] = {0};
		unsigned cpu;

		if (sscanf(line, "cpu%u %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &v[0],
			    &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) < 5 ||
			cpu >= most)
			continue;
		busy[cpu][0] = v[0] + v[1] + v[2] + v[5] + v[6] + v[7];
		busy[cpu][1] = busy[cpu][0] + v[3] + v[4];
		any = true;
	}
	free(text);
	return any;
}

static void load(struct sv_doctor *d)
{
	unsigned long long(*a)[2] = calloc(SV_CPUS_MAX, sizeof(*a)),
		      (*b)[2] = calloc(SV_CPUS_MAX, sizeof(*b));
	struct timespec wait = {.tv_nsec = *d->e->root ? 0 : 200000000};
	struct sv_cpus loaded = {{0}};
	struct sv_finding *f;
	char list[LIST];
	bool ok = a && b && read_stat(d, a, SV_CPUS_MAX);

	nanosleep(&wait, NULL);
	ok = ok && read_stat(d, b, SV_CPUS_MAX);
	for (int cpu = -1; ok && (cpu = sv_cpus_next(&d->busy, cpu)) >= 0;) {
		unsigned long long all = b[cpu][1] - a[cpu][1];

		if (all && (b[cpu][0] - a[cpu][0]) * 10 > all)
			sv_cpus_set(&loaded, cpu);
	}
	free(a);
	free(b);
	if (!ok) {
		sv_unknown(d, "load", "/proc/stat");
		return;
	}
	f = sv_found(d, "load",
		sv_cpus_empty(&loaded) ? SV_SEVERITY_OK
		: d->planned           ? SV_SEVERITY_WARNING
				       : SV_SEVERITY_NOTE,
		"%s%s",
		sv_cpus_empty(&loaded) ? "all cores looked at are idle"
				       : "more than 10 % busy now: CPUs ",
		sv_cpus_empty(&loaded) ? "" : list_of(&loaded, list));
	if (!sv_cpus_empty(&loaded))
		sv_costs(f, "what runs there shares the core with the guest");
}

void sv_doctor_cores(struct sv_doctor *d)
{
	isolation(d);
	interrupts(d);
	irqbalance(d);
	sleep_states(d);
	governor(d);
	siblings(d);
	load(d);
}
