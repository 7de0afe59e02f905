/* SPDX-License-Identifier: BSD-3-Clause */
/* CPU sets, claims on CPUs, and placement records. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <host/claims.h>
#include <host/record.h>

static struct sv_error err;
static char dir[64];

static void make_dir(void)
{
	strcpy(dir, "/tmp/sidevisor-claims.XXXXXX");
	cr_assert(mkdtemp(dir));
}

static struct sv_cpus cpus(const char *list)
{
	struct sv_cpus s = {{0}};

	cr_assert_eq(sv_cpus_parse_list(list, &s), 0, "%s", list);
	return s;
}

Test(cpus, lists_and_masks)
{
	static const char *const good[] = {"", "0", "0-3", "0,2-3,64", "1,3,5", "8191"};
	static const char *const bad[] = {"a", "1-", "-1", "3-1", "1,,2", "1,", "8192", "0-99999", "1 2",
		"1\n2", "0x3"};
	struct sv_cpus s, t;
	char text[SV_CPUS_TEXT];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_expect_eq(sv_cpus_parse_list(good[i], &s), 0, "%s", good[i]);
		cr_expect_eq(sv_cpus_print_list(&s, text, sizeof(text)), 0);
		cr_expect_str_eq(text, good[i]);
		cr_expect_eq(sv_cpus_print_mask(&s, text, sizeof(text)), 0);
		cr_expect_eq(sv_cpus_parse_mask(text, &t), 0, "%s", text);
		cr_expect(sv_cpus_equal(&s, &t), "%s", good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(sv_cpus_parse_list(bad[i], &s), -EINVAL, "%s", bad[i]);
	cr_expect_eq(sv_cpus_parse_mask("ff,00000001\n", &s), 0);
	sv_cpus_print_list(&s, text, sizeof(text));
	cr_expect_str_eq(text, "0,32-39");
	cr_expect_eq(sv_cpus_parse_mask("0xff", &s), -EINVAL);
	cr_expect_eq(sv_cpus_print_list(&s, text, 4), -ENOSPC);
	cr_expect_eq(sv_cpus_count(&s), 9);
}

/* A child that claims, says so, and waits to be ended. */
static pid_t holder(const char *list, bool share, const char *name)
{
	int ready[2];
	char byte;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct sv_claims *c = NULL;
		struct sv_cpus set = cpus(list);

		byte = sv_claims_take(&c, dir, &set, share, name, "guest core", &err) == 0 ? 'y' : 'n';
		if (write(ready[1], &byte, 1) == 1)
			pause();
		_exit(0);
	}
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	if (byte == 'y')
		return pid;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return -1;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(claims, one_vm_per_core_unless_both_share)
{
	struct sv_cpus set = cpus("1-3"), exclusive, shared;
	struct sv_claims *c = NULL;
	pid_t a, b;

	make_dir();
	a = holder("2-4", false, "alpha");
	cr_assert_gt(a, 0);
	cr_expect_eq(sv_claims_take(&c, dir, &set, false, "beta", "guest core", &err), -EBUSY);
	cr_expect(strstr(err.text, "CPU 2") && strstr(err.text, "'alpha'") && strstr(err.text, "guest core"),
		"%s", err.text);
	cr_expect_eq(sv_claims_take(&c, dir, &set, true, "beta", "guest core", &err), -EBUSY, "one side");
	cr_expect_null(c);
	cr_expect_eq(sv_claims_list(dir, &exclusive, &shared), 0);
	set = cpus("2-4");
	cr_expect(sv_cpus_equal(&exclusive, &set) && sv_cpus_empty(&shared), "nothing of beta's is left");
	end(a);
	cr_expect_eq(sv_claims_list(dir, &exclusive, &shared), 0);
	cr_expect(sv_cpus_empty(&exclusive), "the dead hold nothing");

	a = holder("2-4", true, "alpha");
	b = holder("4-5", true, "beta");
	cr_expect(a > 0 && b > 0, "both share");
	cr_expect_eq(holder("4", false, "gamma"), -1, "the third does not");
	sv_claims_list(dir, &exclusive, &shared);
	set = cpus("2-5");
	cr_expect(sv_cpus_empty(&exclusive) && sv_cpus_equal(&shared, &set));
	end(a);
	set = cpus("4");
	cr_expect_eq(sv_claims_take(&c, dir, &set, false, "gamma", "sidecore", &err), -EBUSY);
	cr_expect(strstr(err.text, "'beta'"), "%s", err.text);
	end(b);
	cr_expect_eq(sv_claims_take(&c, dir, &set, false, "gamma", "sidecore", &err), 0, "%s", err.text);
	cr_expect_eq(sv_claims_take(&c, dir, &set, false, "gamma", "guest core", &err), 0, "our own");
	cr_expect_eq(holder("4", false, "delta"), -1);
	sv_claims_release(c);
	b = holder("4", false, "delta");
	cr_expect_gt(b, 0);
	end(b);
}

/* Control threads share a CPU, and no guest core comes there that does not share. */
Test(claims, control_cpus)
{
	struct sv_cpus set = cpus("0"), control;
	struct sv_claims *one = NULL, *two = NULL, *three = NULL;

	make_dir();
	cr_expect_eq(sv_claims_take(&one, dir, &set, true, "alpha", "control CPU", &err), 0);
	cr_expect_eq(sv_claims_take(&two, dir, &set, true, "beta", "control CPU", &err), 0);
	sv_claims_control(dir, &control);
	cr_expect(sv_cpus_equal(&control, &set));
	cr_expect_eq(sv_claims_take(&three, dir, &set, false, "gamma", "guest core", &err), -EBUSY);
	cr_expect(strstr(err.text, "a control CPU of 'alpha'"), "%s", err.text);
	sv_claims_release(one);
	sv_claims_release(two);
	cr_expect_eq(sv_claims_take(&three, dir, &set, false, "gamma", "guest core", &err), 0);
	sv_claims_control(dir, &control);
	cr_expect(sv_cpus_empty(&control));
	sv_claims_release(three);
}

Test(claims, run_directory)
{
	char path[256];

	make_dir();
	setenv("SIDEVISOR_RUN_DIR", dir, 1);
	cr_expect_eq(sv_run_dir(path, sizeof(path), &err), 0, "%s", err.text);
	cr_expect_str_eq(path, dir);
	chmod(dir, 0777);
	cr_expect_eq(sv_run_dir(path, sizeof(path), &err), -EPERM, "everybody may write");
	chmod(dir, 0755);
	setenv("SIDEVISOR_RUN_DIR", "/proc/version", 1);
	cr_expect_lt(sv_run_dir(path, sizeof(path), &err), 0);
	cr_expect(strstr(err.text, "/proc/version"), "%s", err.text);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	cr_assert(f);
	fputs(text, f);
	fclose(f);
}

Test(record, is_read_back_and_refused_when_bad)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"", "no placement file"},
		{"[]", "version"},
		{"{\"version\": 2}", "version"},
		{"{\"version\": 1}", "vcpu_cpus"},
		{"{\"version\": 1, \"vcpu_cpus\": [-1]}", "vcpu_cpus"},
		{"{\"version\": 1, \"vcpu_cpus\": [99999999999]}", "vcpu_cpus"},
		{"{\"version\": 1, \"vcpu_cpus\": [1], \"sidecore_cpus\": []}", "sidecore_cpus"},
		{"{\"version\": 1, \"vcpu_cpus\": [1], \"sidecore_cpus\": [0]}", "control_cpu"},
		{"{\"version\": 1, \"vcpu_cpus\": [1], \"sidecore_cpus\": [0], \"control_cpu\": 0, "
		 "\"memory_nodes\": 3}", "memory_nodes"},
	};
	static struct sv_record r = {.name = "a", .policy = "locality", .vcpus = 2, .vcpu_cpu = {3, 4},
		.sidecores = 1, .sidecore_cpu = {5}, .control_cpu = 0, .nodes = 1, .memory_node = {-1},
		.private_sidecores = true};
	static struct sv_record back;
	char path[128], *text;

	make_dir();
	cr_assert_eq(sv_record_path(dir, "a", path, sizeof(path)), 0);
	text = sv_record_text(&r, NULL);
	cr_assert(text);
	cr_assert_eq(sv_record_save(path, text, &err), 0, "%s", err.text);
	cr_assert_eq(sv_record_read(path, &back, &err), 0, "%s", err.text);
	cr_expect_arr_eq(&back, &r, sizeof(r));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put(path, bad[i].text);
		cr_expect_eq(sv_record_read(path, &back, &err), -EINVAL, "%s", bad[i].text);
		cr_expect(strstr(err.text, bad[i].says) && strstr(err.text, path), "%s", err.text);
	}
	cr_expect_lt(sv_record_read("/nowhere/x", &back, &err), 0);
	cr_expect(strstr(err.text, "/nowhere/x"), "%s", err.text);
	free(text);
}
