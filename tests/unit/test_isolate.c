/* SPDX-License-Identifier: BSD-3-Clause */
/* Isolation on made-up hosts: what is changed, and that it all comes back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <host/claims.h>

#include "files.h"
#include "made_up_host.h"

static struct sv_error err;

static int restore(bool all)
{
	return sv_restore(host_root, host_run, all, false, NULL, &err);
}

Test(isolate, everything_a_v2_host_has)
{
	struct sv_isolation_request req;
	struct sv_isolation iso;
	char *before;

	host_make(2, "/");
	before = host_snapshot();
	req = host_request(OWNER_A, "2-3", "4");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0, "%s", err.text);
	cr_expect_str_eq(host_get("/proc/irq/24/smp_affinity_list"), "0-1,5-7");
	cr_expect_str_eq(host_get("/proc/irq/25/smp_affinity_list"), "0-1");
	cr_expect_str_eq(host_get("/proc/irq/26/smp_affinity_list"), "0-1,5-7");
	cr_expect_str_eq(host_get("/proc/irq/default_smp_affinity"), "e3");
	cr_expect_str_eq(host_get("/sys/devices/virtual/workqueue/cpumask"), "e3");
	cr_expect_str_eq(host_get("/sys/fs/cgroup/sidevisor.1001/cpuset.cpus"), "2-4");
	cr_expect_str_eq(host_get("/sys/fs/cgroup/sidevisor.1001/cpuset.cpus.partition"), "isolated");
	cr_expect_str_eq(host_get("/sys/fs/cgroup/sidevisor.1001/cgroup.type"), "threaded");
	cr_expect_str_eq(host_get("/sys/fs/cgroup/cgroup.subtree_control"), "cpuset memory");
	cr_expect_eq(iso.irqs_moved, 3);
	cr_expect_eq(iso.irqs_refused, 0);
	cr_expect_eq(iso.cpuset, SV_CPUSET_V2);
	cr_expect(iso.exclusive && iso.default_irq && iso.workqueue && iso.dma_latency);
	cr_expect(iso.tasks_fd >= 0 && iso.dma_fd >= 0 && iso.notes == 0);
	cr_expect_eq(sv_isolation_undo(&iso, &err), 0, "%s", err.text);
	host_expect_unchanged(before, "after the end");
	host_remove();
}

Test(isolate, a_partition_below_a_service)
{
	struct sv_isolation_request req;
	struct sv_isolation iso;
	char *before;

	host_make(2, "/system.slice/guest.service");
	before = host_snapshot();
	req = host_request(OWNER_A, "2-3", "");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0, "%s", err.text);
	cr_expect_eq(iso.cpuset, SV_CPUSET_V2, "%s", iso.note[0]);
	cr_expect_str_eq(host_get("/sys/fs/cgroup/system.slice/cpuset.cpus.exclusive"), "2-3");
	cr_expect_str_eq(
		host_get("/sys/fs/cgroup/system.slice/guest.service/cpuset.cpus.exclusive"), "2-3");
	cr_expect_str_eq(host_get("/sys/fs/cgroup/system.slice/guest.service/sidevisor.1001/"
				  "cpuset.cpus.partition"), "isolated");
	cr_expect_eq(sv_isolation_undo(&iso, &err), 0, "%s", err.text);
	host_expect_unchanged(before, "after the end");
	host_remove();
}

Test(isolate, a_v1_cpuset)
{
	struct sv_isolation_request req;
	struct sv_isolation iso;
	char *before;

	host_make(1, "/batch/job1");
	before = host_snapshot();
	req = host_request(OWNER_A, "2-3", "4");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0, "%s", err.text);
	cr_expect_eq(iso.cpuset, SV_CPUSET_V1, "%s", iso.note[0]);
	cr_expect_str_eq(iso.cgroup, "/sys/fs/cgroup/cpuset/batch/job1/sidevisor.1001");
	cr_expect_str_eq(host_get("/sys/fs/cgroup/cpuset/batch/job1/sidevisor.1001/cpuset.mems"), "0");
	cr_expect_str_eq(
		host_get("/sys/fs/cgroup/cpuset/batch/job1/sidevisor.1001/cpuset.cpu_exclusive"), "1");
	cr_expect_eq(sv_isolation_undo(&iso, &err), 0, "%s", err.text);
	host_expect_unchanged(before, "after the end");
	host_remove();
}

/* No cgroups, and nothing that we may write: the guest runs, with notes; `require` refuses. */
Test(isolate, what_cannot_be_done_is_a_note_or_an_error)
{
	struct sv_isolation_request req;
	struct sv_isolation iso;
	char *before;

	host_make(0, "/");
	before = host_snapshot();
	host_refuse("/", EACCES);
	req = host_request(OWNER_A, "2-3", "4");
	/* the journal itself is a place of ours */
	host_refuse("/proc/irq", EACCES);
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0, "%s", err.text);
	cr_expect_eq(iso.notes, 2, "%u", iso.notes);
	cr_expect(strstr(iso.note[0], "interrupts"), "%s", iso.note[0]);
	cr_expect(strstr(iso.note[1], "cpuset"), "%s", iso.note[1]);
	cr_expect_eq(iso.irqs_moved, 0);
	sv_isolation_undo(&iso, &err);
	host_expect_unchanged(strdup(before), "auto");
	req.mode = SV_ISOLATE_REQUIRE;
	cr_expect_eq(sv_isolation_make(&req, &iso, &err), -EACCES);
	cr_expect(strstr(err.text, "--isolate") && strstr(err.text, "as it was"), "%s", err.text);
	host_refuse(NULL, 0);
	cr_expect_eq(sv_isolation_make(&req, &iso, &err), -EOPNOTSUPP);
	cr_expect(strstr(err.text, "cpuset"), "%s", err.text);
	host_expect_unchanged(before, "require");
	host_remove();
}

Test(isolate, managed_interrupts_are_counted)
{
	struct sv_isolation_request req;
	struct sv_isolation iso;
	char *before;

	host_make(2, "/");
	before = host_snapshot();
	host_refuse("/irq/26/", EIO);
	req = host_request(OWNER_A, "2-3", "");
	req.mode = SV_ISOLATE_REQUIRE;
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0, "%s", err.text);
	cr_expect_eq(iso.irqs_moved, 2);
	cr_expect_eq(iso.irqs_refused, 1);
	cr_expect_eq(sv_isolation_undo(&iso, &err), 0);
	host_expect_unchanged(before, "after the end");
	host_remove();
}

static int count_operations(int version, const char *cgroup)
{
	struct sv_isolation_request req;
	struct sv_isolation iso;
	int n;

	host_make(version, cgroup);
	req = host_request(OWNER_A, "2-3", "4");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0, "%s", err.text);
	n = host_operations();
	sv_isolation_undo(&iso, &err);
	host_remove();
	return n;
}

static void fail_every_step(int version, const char *cgroup)
{
	int steps = count_operations(version, cgroup);

	cr_assert_gt(steps, 10);
	for (int k = 0; k < steps; k++) {
		struct sv_isolation_request req;
		struct sv_isolation iso;
		char when[32], *before;
		int rc;

		snprintf(when, sizeof(when), "step %d fails", k);
		host_make(version, cgroup);
		before = host_snapshot();
		req = host_request(OWNER_A, "2-3", "4");
		host_fail_at(k, ENOMEM);
		rc = sv_isolation_make(&req, &iso, &err);
		host_fail_at(-1, 0);
		if (rc == 0) /* the last look at the journal is not a step of ours */
			sv_isolation_undo(&iso, &err);
		else
			cr_expect_eq(rc, -ENOMEM, "%s: %d", when, rc);
		cr_expect(rc < 0 || k >= steps - 3, "%s", when);
		host_expect_unchanged(before, when);
		host_remove();
	}
}

Test(isolate, a_failure_at_any_step_undoes_all_v2)
{
	fail_every_step(2, "/");
}

Test(isolate, a_failure_at_any_step_undoes_all_v2_service)
{
	fail_every_step(2, "/system.slice/guest.service");
}

Test(isolate, a_failure_at_any_step_undoes_all_v1)
{
	fail_every_step(1, "/");
}

/* A process of its own dies at step k, before or after its effect; then someone restores. */
static void crash_at_every_step(int version, const char *cgroup, int after)
{
	int steps = count_operations(version, cgroup);

	for (int k = 0; k < steps; k++) {
		char when[48], *before;
		pid_t pid;

		snprintf(when, sizeof(when), "a crash %s step %d", after ? "after" : "before", k);
		host_make(version, cgroup);
		before = host_snapshot();
		pid = fork();
		if (pid == 0) {
			struct sv_isolation_request req = host_request(OWNER_A, "2-3", "4");
			struct sv_isolation iso;

			host_fail_at(k, after ? -1 : 0);
			sv_isolation_make(&req, &iso, &err);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		cr_expect_eq(restore(false), 0, "%s: the living owner: %s", when, err.text);
		host_end_process(OWNER_A);
		cr_expect_eq(restore(false), 0, "%s: %s", when, err.text);
		host_expect_unchanged(before, when);
		host_remove();
	}
}

Test(isolate, a_crash_at_any_step_is_undone_by_the_next)
{
	crash_at_every_step(2, "/", 0);
	crash_at_every_step(2, "/", 1);
	crash_at_every_step(1, "/", 0);
	crash_at_every_step(2, "/a.slice/b.service", 1);
}

/* Undoing dies half-way, too; a second attempt ends it. */
Test(isolate, a_crash_while_undoing)
{
	for (int after = 0; after <= 1; after++) {
		for (int k = 0; k < 12; k++) {
			struct sv_isolation_request req;
			struct sv_isolation iso;
			char *before;
			pid_t pid;

			host_make(2, "/");
			before = host_snapshot();
			req = host_request(OWNER_A, "2-3", "4");
			cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0);
			host_end_process(OWNER_A);
			pid = fork();
			if (pid == 0) {
				host_reset_operations();
				host_fail_at(k, after ? -1 : 0);
				restore(false);
				_exit(0);
			}
			waitpid(pid, NULL, 0);
			cr_expect_eq(restore(false), 0, "%s", err.text);
			host_expect_unchanged(before, "undone twice");
			host_remove();
		}
	}
}

/* Cgroups of processes that end are busy for a moment: at the next attempt nothing has been forgotten. */
Test(isolate, what_is_busy_while_undoing)
{
	for (int k = 0; k < 12; k++) {
		struct sv_isolation_request req;
		struct sv_isolation iso;
		char *before;

		host_make(2, "/");
		before = host_snapshot();
		req = host_request(OWNER_A, "2-3", "4");
		cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0);
		host_end_process(OWNER_A);
		host_reset_operations();
		host_fail_at(k, EBUSY);
		restore(false);
		cr_expect_eq(restore(false), 0, "step %d: %s", k, err.text);
		host_expect_unchanged(before, "undone twice");
		host_remove();
	}
}

static void two_owners(int first_out, int second_out)
{
	struct sv_isolation_request a, b;
	struct sv_isolation one, two, *out1, *out2;
	char *before;

	host_make(2, "/");
	before = host_snapshot();
	a = host_request(OWNER_A, "2", "");
	b = host_request(OWNER_B, "3", "");
	cr_assert_eq(sv_isolation_make(&a, &one, &err), 0, "%s", err.text);
	cr_expect_str_eq(host_get("/proc/irq/26/smp_affinity_list"), "3");
	cr_assert_eq(sv_isolation_make(&b, &two, &err), 0, "%s", err.text);
	cr_expect_str_eq(host_get("/proc/irq/24/smp_affinity_list"), "0-1,4-7");
	cr_expect_str_eq(host_get("/proc/irq/26/smp_affinity_list"), "0-1,4-7");
	out1 = first_out == OWNER_A ? &one : &two;
	out2 = second_out == OWNER_A ? &one : &two;
	cr_assert_eq(sv_isolation_undo(out1, &err), 0, "%s", err.text);
	cr_expect_str_eq(host_get("/proc/irq/24/smp_affinity_list"),
		first_out == OWNER_A ? "0-2,4-7" : "0-1,3-7");
	cr_expect_str_eq(host_get("/proc/irq/26/smp_affinity_list"), first_out == OWNER_A ? "2" : "3");
	cr_expect_str_eq(host_get("/sys/fs/cgroup/cgroup.subtree_control"), "cpuset memory");
	cr_assert_eq(sv_isolation_undo(out2, &err), 0, "%s", err.text);
	host_expect_unchanged(before, "after both");
	host_remove();
}

Test(isolate, the_last_one_out_restores_the_original)
{
	two_owners(OWNER_A, OWNER_B);
	two_owners(OWNER_B, OWNER_A);
}

/* One of two dies: what it took comes back, what the other has stays away. */
Test(isolate, the_dead_one_of_two)
{
	struct sv_isolation_request a, b;
	struct sv_isolation one, two;
	char *before;

	host_make(2, "/");
	before = host_snapshot();
	a = host_request(OWNER_A, "2,4", "");
	b = host_request(OWNER_B, "3-4", ""); /* 4 is shared */
	a.shared = b.shared = true;
	cr_assert_eq(sv_isolation_make(&a, &one, &err), 0, "%s", err.text);
	cr_assert_eq(sv_isolation_make(&b, &two, &err), 0, "%s", err.text);
	cr_expect_eq(two.cpuset, SV_CPUSET_NONE, "no partition of shared cores");
	cr_expect_str_eq(host_get("/proc/irq/24/smp_affinity_list"), "0-1,5-7");
	host_end_process(OWNER_A);
	cr_expect_eq(restore(false), 0, "%s", err.text);
	cr_expect_str_eq(host_get("/proc/irq/24/smp_affinity_list"), "0-2,5-7");
	cr_expect_str_eq(host_get("/proc/irq/default_smp_affinity"), "e7");
	cr_expect_eq(sv_isolation_undo(&two, &err), 0, "%s", err.text);
	host_expect_unchanged(before, "after both");
	host_remove();
}

Test(isolate, siblings_of_cores)
{
	struct sv_isolation_request req;
	struct sv_cpus siblings;
	char text[64];

	host_make(0, "/");
	host_put("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,6\n");
	host_put("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3,7\n");
	host_put("/sys/devices/system/cpu/cpu7/topology/thread_siblings_list", "3,7\n");
	req = host_request(OWNER_A, "2-3,7", "");
	sv_claims_siblings(host_root, &req.guest, &siblings);
	sv_cpus_print_list(&siblings, text, sizeof(text));
	cr_expect_str_eq(text, "6");
	host_remove();
}

static char told[2048];

static void tell(void *ctx, const char *kind, const char *path, const char *old, const char *what)
{
	(void)ctx;
	snprintf(told + strlen(told), sizeof(told) - strlen(told), "%s %s %s: %s\n", kind, path, old,
		what);
}

Test(isolate, what_someone_else_changed_meanwhile_is_kept)
{
	struct sv_restore_report report = {.line = tell};
	struct sv_isolation_request req;
	struct sv_isolation iso;

	host_make(2, "/");
	req = host_request(OWNER_A, "2-3", "");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0);
	host_put("/proc/irq/24/smp_affinity_list", "6\n");
	host_end_process(OWNER_A);
	cr_expect_eq(sv_restore(host_root, host_run, false, true, &report, &err), 0);
	cr_expect(strstr(told, "irq /proc/irq/26/smp_affinity_list 2-3: would be restored"), "%s", told);
	cr_expect_str_eq(host_get("/proc/irq/26/smp_affinity_list"), "0-1,4-7", "a dry run");
	told[0] = 0;
	cr_expect_eq(sv_restore(host_root, host_run, false, false, &report, &err), 0, "%s", err.text);
	cr_expect(strstr(told, "24/smp_affinity_list 0-7: kept: someone else"), "%s", told);
	cr_expect_str_eq(host_get("/proc/irq/24/smp_affinity_list"), "6");
	cr_expect_str_eq(host_get("/proc/irq/26/smp_affinity_list"), "2-3");
	host_remove();
}

Test(isolate, a_pid_that_came_again_is_not_the_owner)
{
	struct sv_isolation_request req;
	struct sv_isolation iso;
	char *before;

	host_make(1, "/");
	before = host_snapshot();
	req = host_request(OWNER_A, "2-3", "");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0);
	cr_expect_eq(restore(true), 0);
	cr_expect_str_eq(host_get("/proc/irq/26/smp_affinity_list"), "0-1,4-7", "it lives");
	host_process(OWNER_A, 999);
	cr_expect_eq(restore(false), 0, "%s", err.text);
	host_expect_unchanged(before, "its pid names another process");
	host_remove();
}

/* Another boot's journal is history: values like the recorded ones mean nothing. */
Test(isolate, a_journal_of_another_boot_is_forgotten)
{
	struct sv_isolation_request req;
	struct sv_isolation iso;

	host_make(2, "/");
	req = host_request(OWNER_A, "2-3", "");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0);
	host_put("/proc/sys/kernel/random/boot_id", "the-next-boot\n");
	host_end_process(OWNER_A);
	cr_expect_eq(restore(false), 0);
	cr_expect_str_eq(host_get("/proc/irq/26/smp_affinity_list"), "0-1,4-7");
	host_remove();
}

Test(isolate, a_hostile_journal_is_refused)
{
	static const char head[] = "{\"version\":1,\"boot\":\"this-boot\",\"owners\":[{\"id\":1,\"pid\":7,"
				   "\"start\":1,\"name\":\"x\",\"cpus\":\"2\"}],\"changes\":[";
	static const char *const change[] = {
		"{\"kind\":\"irq\",\"path\":\"/etc/passwd\",\"old\":\"0\",\"was\":\"0\",\"now\":\"1\"}",
		"{\"kind\":\"irq\",\"path\":\"/proc/irq/../smp_affinity_list\",\"old\":\"0\",\"was\":"
		"\"0\",\"now\":\"1\"}",
		"{\"kind\":\"irq\",\"path\":\"/proc/irq/24/smp_affinity_list\",\"old\":\"0-9999999\","
		"\"was\":\"0\",\"now\":\"1\"}",
		"{\"kind\":\"cgroup\",\"path\":\"/sys/fs/cgroup/../../../tmp/sidevisor.1\"}",
		"{\"kind\":\"cgroup\",\"path\":\"/sys/fs/cgroup/system.slice\"}",
		"{\"kind\":\"controller\",\"path\":\"/sys/fs/cgroup/cgroup.procs\"}",
		"{\"kind\":\"workqueue\",\"path\":\"/sys/devices/virtual/workqueue/cpumask\"}",
		"{\"kind\":\"fly\",\"path\":\"/proc/irq/24/smp_affinity_list\"}",
		"{\"kind\":\"cgroup\",\"path\":\"/sys/fs/cgroup/sidevisor.1\",\"owners\":[2]}",
		"17", "{", "",
	};

	for (size_t i = 0; i < sizeof(change) / sizeof(change[0]); i++) {
		char text[1024], *before;

		host_make(2, "/");
		before = host_snapshot();
		snprintf(text, sizeof(text), "%s%s%s", head, change[i], *change[i] ? "]}" : "");
		host_put("/run/host.journal", text);
		cr_expect_eq(restore(false), -EBADMSG, "%s", change[i]);
		cr_expect(strstr(err.text, "host.journal"), "%s", err.text);
		unlink(strcat(strcpy(text, host_run), "/host.journal"));
		host_expect_unchanged(before, change[i]);
		host_remove();
	}
}

/* Whatever the file says, it is refused, or what it names is ours: nothing else changes, nothing crashes. */
Test(isolate, mutants_of_a_journal)
{
	static char good[16384], bad[16384];
	struct sv_isolation_request req;
	struct sv_isolation iso;
	unsigned seed = 12345;
	size_t len;

	host_make(2, "/");
	req = host_request(OWNER_A, "2-3", "4");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0);
	len = (size_t)sv_file_read(host_run, "/host.journal", good, sizeof(good));
	cr_assert_gt(len, 100);
	host_end_process(OWNER_A);
	for (int i = 0; i < 1000; i++) {
		memcpy(bad, good, len + 1);
		for (int n = 0; n < 1 + i % 4; n++) {
			size_t at;

			seed = seed * 1103515245u + 12345u;
			at = (seed >> 8) % len;
			bad[at] = "0123456789/.,-\"{}[]:a\0"[(seed >> 3) % 23];
		}
		host_put("/run/host.journal", bad);
		restore(false);
	}
	cr_expect_str_eq(host_get("/proc/irq/25/smp_affinity_list"), "0-1", "never ours");
	cr_expect_str_eq(host_get("/sys/devices/system/cpu/online"), "0-7");
	cr_expect_str_eq(host_get("/sys/fs/cgroup/cgroup.controllers"), "cpuset cpu memory");
	host_remove();
}

/* Neither the journal nor what it names is reached through a link. */
Test(isolate, links_are_not_followed)
{
	char from[400], to[400];
	struct sv_isolation_request req;
	struct sv_isolation iso;

	host_make(2, "/");
	host_put("/elsewhere", "2-3\n");
	snprintf(from, sizeof(from), "%s/proc/irq/26/smp_affinity_list", host_root);
	snprintf(to, sizeof(to), "%s/elsewhere", host_root);
	unlink(from);
	cr_assert_eq(symlink(to, from), 0);
	req = host_request(OWNER_A, "2-3", "");
	cr_expect_lt(sv_isolation_make(&req, &iso, &err), 0);
	cr_expect_str_eq(host_get("/elsewhere"), "2-3");
	snprintf(from, sizeof(from), "%s/host.journal", host_run);
	cr_assert_eq(symlink(to, from), 0);
	cr_expect_lt(restore(false), 0);
	cr_expect_str_eq(host_get("/elsewhere"), "2-3");
	host_remove();
}

/* The process is killed; nobody calls anything; the keeper restores. */
Test(isolate, the_keeper_outlives_a_kill)
{
	char *before, *now = NULL;
	pid_t pid;
	int i;

	host_make(2, "/");
	before = host_snapshot();
	pid = fork();
	if (pid == 0) {
		struct sv_isolation_request req = host_request(OWNER_A, "2-3", "4");
		struct sv_cpus anywhere = {{0}};
		struct sv_isolation iso;

		if (sv_isolation_make(&req, &iso, &err) == 0 &&
			sv_isolation_keep(&iso, &anywhere, &err) == 0)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	waitpid(pid, &i, 0);
	cr_assert(WIFSIGNALED(i));
	for (i = 0; i < 1000; i++) {
		free(now);
		now = host_snapshot();
		if (!strcmp(now, before) && !strcmp(host_get("/run/host.journal"), "(none)"))
			break;
		usleep(10000);
	}
	host_expect_unchanged(before, "after SIGKILL");
	free(now);
	host_remove();
}

Test(isolate, a_keeper_that_cannot_be_had)
{
	struct sv_isolation_request req;
	struct sv_cpus anywhere = {{0}};
	struct sv_isolation iso;
	char *before;

	host_make(1, "/");
	before = host_snapshot();
	req = host_request(OWNER_A, "2-3", "4");
	cr_assert_eq(sv_isolation_make(&req, &iso, &err), 0);
	host_refuse("keeper", EAGAIN);
	cr_expect_eq(sv_isolation_keep(&iso, &anywhere, &err), -EAGAIN);
	cr_expect(strstr(err.text, "keeper"), "%s", err.text);
	cr_expect_eq(sv_isolation_undo(&iso, &err), 0, "%s", err.text);
	host_expect_unchanged(before, "no keeper");
	host_remove();
}

Test(isolate, leftovers_without_a_journal)
{
	struct sv_restore_report report = {.line = tell};
	char text[4096], path[512];

	host_make(2, "/");
	snprintf(path, sizeof(path), "/proc/%d/mountinfo", getpid());
	host_put(path, "25 1 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	snprintf(path, sizeof(path), "/proc/%d/cgroup", getpid());
	host_put(path, "0::/\n");
	host_put("/sys/fs/cgroup/sidevisor.4242/tasks", "");
	snprintf(text, sizeof(text), "/sys/fs/cgroup/sidevisor.%d/tasks", OWNER_A);
	host_put(text, "");
	host_put("/run/old.placement.json", "{\"pid\": 999999999, \"start\": 1}");
	told[0] = 0;
	cr_expect_eq(sv_restore(host_root, host_run, true, false, &report, &err), 0, "%s", err.text);
	cr_expect(strstr(told, "cgroup /sys/fs/cgroup/sidevisor.4242 : removed"), "%s", told);
	cr_expect(strstr(told, "old.placement.json : removed"), "%s", told);
	cr_expect_null(strstr(told, "sidevisor.1001"), "%s", told);
	host_remove();
}
