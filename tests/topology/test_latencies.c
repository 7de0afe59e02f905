/* SPDX-License-Identifier: BSD-3-Clause */
/* Latencies between cores: which are measured, how they are kept, and what they change. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bench/core_latency.h>
#include <placement/latencies.h>
#include <placement/plan.h>

static struct sv_machine *m;
static struct sv_error err;
static char dir[] = "/tmp/sv-latencies-XXXXXX", path[64];

static void machine(const char *synthetic)
{
	cr_assert_eq(sv_machine_load(synthetic, &m, &err), 0, "%s", err.text);
}

static void init(void)
{
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/new/one/latencies.json", dir);
}

static void fini(void)
{
	char command[128];

	sv_machine_free(m);
	m = NULL;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

TestSuite(latencies, .init = init, .fini = fini);

Test(latencies, every_pair_of_a_small_machine_is_measured)
{
	struct sv_latency_pair *pair;

	machine("pack:1 l3:1 core:4 pu:1");
	cr_expect_eq(sv_latency_pairs(m, 100, &pair), 6, "4 * 3 / 2");
	free(pair);
}

/* 128 cores have 8,128 pairs: of each level as many as of the others, where it has so many. */
Test(latencies, a_large_machine_is_sampled_by_level)
{
	unsigned count[SV_NEARS] = {0};
	struct sv_latency_pair *pair;
	int n;

	machine("pack:2 numa:1 l3:8 core:8 pu:2");
	n = sv_latency_pairs(m, 90, &pair);
	cr_assert(n > 60 && n <= 90 + 8, "%d pairs", n);
	for (int i = 0; i < n; i++)
		count[pair[i].near]++;
	cr_expect_eq(count[SV_NEAR_CORE], 8, "some SMT siblings");
	for (unsigned near = SV_NEAR_L3; near < SV_NEARS; near++)
		if (near != SV_NEAR_PACKAGE) /* one node per package */
			cr_expect(count[near] > 15, "%s: %u", sv_near_name(near), count[near]);
	free(pair);
	n = sv_latency_pairs(m, UINT32_MAX, &pair);
	cr_expect_eq(n, 128 * 127 / 2 + 8);
	free(pair);
}

static int sidecore_beside_cpu_1(void)
{
	struct sv_plan_guest guest = {.name = "g", .vcpus = 1};
	struct sv_plan_request req = {.policy = {.sidecores = 1, .housekeeping = 1}, &guest, 1};
	struct sv_plan *plan;
	int cpu;

	cr_assert_eq(sv_plan_make(m, &req, &plan, &err), 0, "%s", err.text);
	cr_assert_eq(plan->guest[0].vcpu[0].cpu, 1, "CPU 0 keeps house");
	cpu = plan->sidecore[0].cpu;
	cr_expect_eq(plan->measured, m->measured != NULL);
	sv_plan_free(plan);
	return cpu;
}

/* All four share an L3: by the model the last one serves; by measurement CPU 2 is nearer. */
Test(latencies, the_planner_prefers_what_was_measured)
{
	static const struct sv_latency_pair pair[] = {
		{1, 2, SV_NEAR_L3, 20}, {1, 3, SV_NEAR_L3, 60}, {1, 77, SV_NEAR_L3, 5}};

	machine("pack:1 l3:1 core:4 pu:1");
	cr_expect_eq(sidecore_beside_cpu_1(), 3);
	cr_assert_eq(sv_latencies_use(m, pair, 3, &err), 0, "%s", err.text);
	cr_expect_eq(sidecore_beside_cpu_1(), 2);
	cr_expect_float_eq(sv_machine_line_ns(m, 1, 2), 20, 0.01);
	cr_expect_float_eq(sv_machine_line_ns(m, 2, 1), 20, 0.01);
	cr_expect_float_eq(sv_machine_line_ns(m, 0, 3), 60, 0.01, "not measured: the level's median");
}

Test(latencies, what_was_kept_is_what_is_read)
{
	static const struct sv_latency_pair pair[] = {{0, 1, SV_NEAR_L3, 31.25}, {2, 3, SV_NEAR_L3, 0}};
	struct stat st;

	machine("pack:1 l3:1 core:4 pu:1");
	cr_assert_eq(sv_latencies_load(m, path, &err), -ENOENT);
	cr_assert_eq(sv_latencies_save(m, pair, 2, path, &err), 0, "%s", err.text);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0644);
	cr_assert_eq(sv_latencies_load(m, path, &err), 0, "%s", err.text);
	cr_expect_float_eq(sv_machine_line_ns(m, 0, 1), 31.25, 0.01);
	cr_expect_eq(m->measured->n, 2, "a pair that was not measured is not kept");
	/* As if it were this machine, which has another number of CPUs, or else is the same kind. */
	m->here = true;
	cr_expect_eq(sv_latencies_load(m, path, &err),
		sysconf(_SC_NPROCESSORS_CONF) == 4 ? 0 : -ESTALE, "%s", err.text);
}

Test(latencies, a_broken_file_is_refused_with_a_sentence)
{
	static const char *const text[] = {"", "{", "[]", "{\"schema\":\"sidevisor-latencies/1\"}",
		"{\"schema\":\"other\",\"identity\":\"x\",\"one_way_ns\":[[0,1,3.0]]}",
		"{\"schema\":\"sidevisor-latencies/1\",\"identity\":\"x\",\"one_way_ns\":[]}",
		"{\"schema\":\"sidevisor-latencies/1\",\"identity\":\"x\",\"one_way_ns\":[[0,1]]}",
		"{\"schema\":\"sidevisor-latencies/1\",\"identity\":\"x\",\"one_way_ns\":[[0,1,-3.0]]}",
		"{\"schema\":\"sidevisor-latencies/1\",\"identity\":\"x\",\"one_way_ns\":[[0,0,3.0]]}",
		"{\"schema\":\"sidevisor-latencies/1\",\"identity\":\"x\",\"one_way_ns\":[[-1,0,3.0]]}",
		"{\"schema\":\"sidevisor-latencies/1\",\"identity\":\"x\",\"one_way_ns\":[[0,9e9,3.0]]}",
		"{\"schema\":\"sidevisor-latencies/1\",\"identity\":\"x\",\"one_way_ns\":[7]}",
		"{\"schema\":\"sidevisor-latencies/1\",\"identity\":\"x\",\"one_way_ns\":[[8,9,3.0]]}"};

	machine("pack:1 l3:1 core:4 pu:1");
	snprintf(path, sizeof(path), "%s/latencies.json", dir);
	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		FILE *f = fopen(path, "w");

		fputs(text[i], f);
		fclose(f);
		err.text[0] = 0;
		cr_expect_eq(sv_latencies_load(m, path, &err), -EINVAL, "%s: %s", text[i], err.text);
		cr_expect_neq(err.text[0], 0, "%s", text[i]);
		cr_expect_null(m->measured);
	}
	cr_expect_eq(sv_latencies_load(m, dir, &err), -EINVAL, "a directory");
}

Test(latencies, two_cpus_of_this_machine_are_some_way_apart)
{
	int cpu[2], n = 0;
	cpu_set_t mine;
	double ns = 0;

	cr_assert_eq(sched_getaffinity(0, sizeof(mine), &mine), 0);
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &mine))
			cpu[n++] = i;
	cr_expect_eq(sv_core_latency(cpu[0], 8191, &ns, &err), -EINVAL);
	cr_expect(strstr(err.text, "CPU 8191"), "%s", err.text);
	if (n < 2) {
		printf("SKIPPED BECAUSE this machine has one CPU\n");
		cr_skip_test("one CPU");
	}
	/* Other work may have the CPUs; then the sentence says so. */
	if (sv_core_latency(cpu[0], cpu[1], &ns, &err) == 0)
		cr_expect(ns > 0 && ns < 1e7, "%f", ns);
	else
		cr_expect(strstr(err.text, "round trips"), "%s", err.text);
}
