/* SPDX-License-Identifier: BSD-3-Clause */
/* The doctor on made-up nodes: what it finds, and that it guesses nothing. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <host/doctor.h>

#include "made_up_host.h"

static struct sv_findings found;

static struct sv_examination question(const char *guest, const char *sidecore)
{
	struct sv_examination e = {.root = host_root};

	if (guest)
		cr_assert_eq(sv_cpus_parse_list(guest, &e.guest), 0);
	if (sidecore)
		cr_assert_eq(sv_cpus_parse_list(sidecore, &e.sidecore), 0);
	return e;
}

static const struct sv_finding *find(const char *id)
{
	for (unsigned i = 0; i < found.n; i++)
		if (!strcmp(found.finding[i].id, id))
			return &found.finding[i];
	cr_assert_fail("no finding %s", id);
	return NULL;
}

static void expect(const char *id, enum sv_severity severity, const char *part)
{
	const struct sv_finding *f = find(id);

	cr_expect_eq(f->severity, severity, "%s: %s, not %s: %s", id, sv_severity_name(f->severity),
		sv_severity_name(severity), f->what);
	cr_expect(strstr(f->what, part), "%s: %s", id, f->what);
}

static void good_node(void)
{
	host_put("/sys/devices/system/cpu/online", "0-7\n");
	host_put("/sys/devices/system/cpu/isolated", "2-7\n");
	host_put("/sys/devices/system/cpu/nohz_full", "2-7\n");
	host_put("/sys/devices/system/cpu/smt/active", "0\n");
	host_put("/proc/cmdline", "quiet isolcpus=managed_irq,2-7 nohz_full=2-7 rcu_nocbs=2-7\n");
	host_put("/proc/sys/kernel/numa_balancing", "0\n");
	host_put("/proc/sys/kernel/nmi_watchdog", "0\n");
	host_put("/proc/sys/vm/stat_interval", "120\n");
	host_put("/proc/swaps", "Filename Type Size Used Priority\n");
	host_put("/proc/stat", "cpu 0 0 0 0 0\ncpu2 1 0 0 100 0 0 0 0\ncpu7 1 0 0 100 0 0 0 0\n");
	host_put("/sys/kernel/mm/transparent_hugepage/shmem_enabled",
		"always within_size [advise] never deny force\n");
	host_put("/sys/kernel/mm/ksm/run", "0\n");
	host_put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "1024\n");
	host_put("/sys/module/kvm_amd/parameters/avic", "Y\n");
	host_put("/sys/module/kvm/parameters/halt_poll_ns", "0\n");
	host_put("/sys/module/kvm/parameters/nx_huge_pages", "N\n");
	host_put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
	host_put("/sys/devices/system/cpu/vulnerabilities/l1tf", "Not affected\n");
	host_put("/proc/irq/24/smp_affinity_list", "0-1\n");
	host_put("/proc/irq/25/smp_affinity_list", "0\n");
}

static void init(void)
{
	host_make(2, "/");
}

TestSuite(doctor, .init = init, .fini = host_remove);

Test(doctor, a_good_node_has_neither_problem_nor_warning)
{
	struct sv_examination e = question("2-6", "7");

	good_node();
	e.memory_bytes = 1ull << 30;
	sv_doctor_examine(&e, &found);
	for (unsigned i = 0; i < found.n; i++)
		if (strcmp(found.finding[i].id, "interrupts") != 0) /* made-up hosts have some of their own */
			cr_expect(found.finding[i].severity > SV_SEVERITY_WARNING, "%s: %s",
				found.finding[i].id, found.finding[i].what);
	expect("kvm-back-end", SV_SEVERITY_OK, "kvm_amd");
	expect("nohz-full", SV_SEVERITY_OK, "holds all");
	expect("rcu-callbacks", SV_SEVERITY_OK, "holds all");
	expect("reserved-huge-pages", SV_SEVERITY_OK, "node 0: 1024 of 2 MiB");
}

Test(doctor, a_bad_node_is_told_what_and_how)
{
	struct sv_examination e = question("2-6", "7");

	good_node();
	e.untrusted = true;
	e.memory_bytes = 64ull << 30;
	host_put("/sys/devices/system/cpu/isolated", "2-5\n");
	host_put("/sys/devices/system/cpu/nohz_full", "2\n");
	host_put("/proc/cmdline", "quiet xrcu_nocbs=2-7 isolcpus=managed_irq,4-5\n");
	host_put("/proc/sys/kernel/numa_balancing", "1\n");
	host_put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny\n");
	host_put("/sys/kernel/mm/ksm/run", "1\n");
	host_put("/sys/module/kvm_amd/parameters/avic", "N\n");
	host_put("/sys/module/kvm/parameters/nx_huge_pages", "Y\n");
	host_put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
	host_put("/sys/devices/system/cpu/smt/active", "1\n");
	host_put("/sys/devices/system/cpu/vulnerabilities/mds",
		"Mitigation: Clear CPU buffers; SMT vulnerable\n");
	host_put("/sys/devices/system/cpu/vulnerabilities/l1tf", "Vulnerable\n");
	host_put("/run/irqbalance.pid", "77\n");
	host_put("/sys/module/zswap/parameters/enabled", "Y\n");
	host_put("/proc/cpuinfo", "processor : 0\nflags : fpu vme hypervisor svm\n");
	host_put("/sys/module/kvm/parameters/pi_inject_timer", "1\n");
	host_put("/proc/irq/26/smp_affinity_list", "3\n");
	sv_doctor_examine(&e, &found);
	expect("isolated-cpus", SV_SEVERITY_WARNING, "CPUs 6-7");
	expect("nohz-full", SV_SEVERITY_WARNING, "CPUs 3-7");
	expect("rcu-callbacks", SV_SEVERITY_WARNING, "CPUs 3-7");
	expect("numa-balancing", SV_SEVERITY_WARNING, "on");
	expect("transparent-huge-pages", SV_SEVERITY_WARNING, "never");
	expect("ksm", SV_SEVERITY_WARNING, "running");
	expect("posted-interrupts", SV_SEVERITY_WARNING, "off");
	expect("nx-huge-pages", SV_SEVERITY_WARNING, "on");
	expect("clock-source", SV_SEVERITY_WARNING, "hpet");
	expect("smt", SV_SEVERITY_WARNING, "active");
	expect("weaknesses", SV_SEVERITY_WARNING, "l1tf; with SMT: mds");
	expect("irqbalance", SV_SEVERITY_WARNING, "running");
	expect("zswap", SV_SEVERITY_NOTE, "on");
	expect("nested", SV_SEVERITY_NOTE, "virtual machine");
	expect("guest-timers", SV_SEVERITY_OK, "1");
	expect("interrupts", SV_SEVERITY_WARNING, "may come");
	cr_expect(strstr(find("nohz-full")->remedy, "nohz_full=2-7"), "%s", find("nohz-full")->remedy);
	cr_expect(find("reserved-huge-pages")->matters, "64 GiB are not there");
	for (unsigned i = 1; i < found.n; i++)
		cr_expect_leq(found.finding[i - 1].severity, found.finding[i].severity, "the worst first");
	for (unsigned i = 0; i < found.n; i++)
		if (found.finding[i].severity <= SV_SEVERITY_WARNING)
			cr_expect(found.finding[i].cost[0], "%s costs what?", found.finding[i].id);
}

Test(doctor, intel_is_asked_for_its_own_abilities)
{
	struct sv_examination e = question(NULL, NULL);

	good_node();
	host_put("/sys/module/kvm_intel/parameters/enable_apicv", "Y\n");
	host_put("/sys/module/kvm_intel/parameters/enable_ipiv", "N\n");
	sv_doctor_examine(&e, &found);
	expect("kvm-back-end", SV_SEVERITY_OK, "kvm_intel");
	expect("posted-interrupts", SV_SEVERITY_OK, "on");
	expect("ipi-virtualisation", SV_SEVERITY_NOTE, "off");
}

/* A container where next to nothing can be read. */
Test(doctor, what_cannot_be_read_is_unknown)
{
	struct sv_examination e = {.root = "/nonexistent"};

	sv_doctor_examine(&e, &found);
	expect("kvm-back-end", SV_SEVERITY_PROBLEM, "no kvm_intel");
	expect("online-cpus", SV_SEVERITY_UNKNOWN, "cannot be read");
	expect("transparent-huge-pages", SV_SEVERITY_UNKNOWN, "cannot be read");
	expect("clock-source", SV_SEVERITY_UNKNOWN, "cannot be read");
	expect("smt", SV_SEVERITY_UNKNOWN, "cannot be read");
	expect("weaknesses", SV_SEVERITY_UNKNOWN, "cannot be read");
	expect("interrupts", SV_SEVERITY_UNKNOWN, "cannot be read");
	expect("load", SV_SEVERITY_UNKNOWN, "cannot be read");
}

Test(doctor, rubbish_is_not_believed_and_not_shown)
{
	struct sv_examination e = question("2-6", "7");
	char *long_text = malloc(70000);

	good_node();
	memset(long_text, '9', 69999);
	long_text[69999] = 0;
	host_put("/sys/devices/system/cpu/online", long_text);
	host_put("/proc/sys/kernel/numa_balancing", long_text);
	host_put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "\033[2Jevil\n");
	host_put("/sys/devices/system/cpu/cpu2/cpuidle/state0/latency", "-5x\n");
	host_put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "[[[[never\n");
	free(long_text);
	sv_doctor_examine(&e, &found);
	expect("online-cpus", SV_SEVERITY_UNKNOWN, "cannot be read");
	expect("transparent-huge-pages", SV_SEVERITY_UNKNOWN, "cannot be read");
	cr_expect_null(strchr(find("clock-source")->what, '\033'));
}

Test(doctor, a_device_that_cannot_be_opened_is_a_problem)
{
	struct sv_examination e = question(NULL, NULL);

	good_node();
	e.kvm = "/nonexistent";
	sv_doctor_examine(&e, &found);
	expect("kvm-device", SV_SEVERITY_PROBLEM, "/nonexistent");
}

/* 9,999 quanta of 100 us and one of 1,100: 1,000 us of 1,001,000 are lost. */
Test(doctor, noise_is_what_is_above_the_shortest_quantum)
{
	static double us[10000];
	struct sv_noise n = {.cpu = 3};

	for (unsigned i = 0; i < 10000; i++)
		us[i] = i == 5000 ? 1100 : 100;
	sv_noise_from(us, 10000, &n);
	cr_expect_eq(n.cpu, 3);
	cr_expect_eq(n.quanta, 10000);
	cr_expect_float_eq(n.least_us, 100, 1e-9);
	cr_expect_float_eq(n.p99_us, 100, 1e-9);
	cr_expect_float_eq(n.p9999_us, 1100, 1e-9);
	cr_expect_float_eq(n.worst_us, 1100, 1e-9);
	cr_expect_eq(n.bucket[0], 9999);
	cr_expect_eq(n.bucket[10], 1, "1,000 us: below 1,024");
	cr_expect_float_eq(n.lost, 1000.0 / 1001000.0, 1e-9);
}

Test(doctor, noise_of_a_cpu_that_is_not_ours_is_refused)
{
	struct sv_noise n;

	cr_expect_lt(sv_noise_measure(8191, 0.01, &n), 0);
}
