/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest is told about the part of a machine that it was given. */
#include <criterion/criterion.h>
#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <string.h>

#include <placement/guest_topology.h>

static hwloc_topology_t topo;
static struct sv_guest_topology g;
static struct sv_error err;

static void load(const char *synthetic)
{
	cr_assert_eq(hwloc_topology_init(&topo), 0);
	hwloc_topology_set_all_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_ALL);
	cr_assert_eq(hwloc_topology_set_synthetic(topo, synthetic), 0, "%s", synthetic);
	cr_assert_eq(hwloc_topology_load(topo), 0);
}

static void fini(void)
{
	if (topo)
		hwloc_topology_destroy(topo);
	topo = NULL;
}

TestSuite(guest_topology, .fini = fini);

#define GIVE(...) sv_guest_topology_make(topo, (const int[]){__VA_ARGS__}, \
	sizeof((const int[]){__VA_ARGS__}) / sizeof(int), &g, &err)

/* package.die.l3.l2.core.thread@node of each vCPU. */
static const char *places(void)
{
	static char text[2048];
	size_t at = 0;

	for (unsigned i = 0; i < g.vcpus; i++) {
		const struct sv_guest_place *p = &g.place[i];

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u.%u.%u.%u.%u.%u@%u", i ? " " : "",
			p->package, p->die, p->l3, p->l2, p->core, p->thread, p->node);
	}
	return text;
}

Test(guest_topology, three_cores_of_each_l3_because_the_fourth_is_a_sidecore)
{
	load("pack:2 [numa] l3:2 l2:4 l1d:1 core:1 pu:1");
	cr_assert_eq(GIVE(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14), 0, "%s", err.text);
	cr_expect_str_eq(places(),
		"0.0.0.0.0.0@0 0.0.0.1.0.0@0 0.0.0.2.0.0@0 0.0.1.0.0.0@0 0.0.1.1.0.0@0 0.0.1.2.0.0@0 "
		"1.0.0.0.0.0@1 1.0.0.1.0.0@1 1.0.0.2.0.0@1 1.0.1.0.0.0@1 1.0.1.1.0.0@1 1.0.1.2.0.0@1");
	cr_expect_eq(g.nodes, 2);
	cr_expect(g.node[0].os == 0 && g.node[1].os == 1 && g.node[0].vcpus == 6);
}

Test(guest_topology, the_second_package_alone_is_the_guests_first)
{
	load("pack:2 [numa] l3:2 l2:4 l1d:1 core:1 pu:1");
	cr_assert_eq(GIVE(13, 9, 12), 0, "%s", err.text);
	cr_expect_str_eq(places(), "0.0.0.0.0.0@0 0.0.1.0.0.0@0 0.0.0.1.0.0@0");
	cr_expect(g.nodes == 1 && g.node[0].os == 1);
}

Test(guest_topology, a_package_of_one_core_is_not_the_first)
{
	load("pack:3 [numa] l3:2 l2:4 l1d:1 core:1 pu:1");
	cr_assert_eq(GIVE(9, 0, 1, 5), 0, "%s", err.text);
	cr_expect_str_eq(places(), "1.0.0.0.0.0@0 0.0.0.0.0.0@1 0.0.0.1.0.0@1 0.0.1.0.0.0@1");
	cr_assert_eq(GIVE(0, 8, 16, 17), 0);
	cr_expect_str_eq(places(), "2.0.0.0.0.0@0 1.0.0.0.0.0@1 0.0.0.0.0.0@2 0.0.0.1.0.0@2");
	cr_assert_eq(GIVE(16, 8, 0), 0);
	cr_expect_str_eq(places(), "0.0.0.0.0.0@0 1.0.0.0.0.0@1 2.0.0.0.0.0@2");
}

Test(guest_topology, threads_are_seen_when_both_are_vcpus)
{
	load("pack:1 [numa] l3:1 l2:4 l1d:1 core:1 pu:2");
	cr_assert_eq(GIVE(0, 2, 4, 5), 0, "%s", err.text);
	cr_expect_str_eq(places(), "0.0.0.0.0.0@0 0.0.0.1.0.0@0 0.0.0.2.0.0@0 0.0.0.2.0.1@0");
	cr_assert_eq(GIVE(5, 4), 0);
	cr_expect_str_eq(places(), "0.0.0.0.0.0@0 0.0.0.0.0.1@0");
}

Test(guest_topology, cores_that_share_an_l2_share_it_in_the_guest)
{
	load("pack:1 [numa] l2:4 core:2 l1d:1 pu:4");
	cr_assert_eq(GIVE(0, 4, 8, 24), 0, "%s", err.text);
	cr_expect_str_eq(places(), "0.0.0.0.0.0@0 0.0.0.0.1.0@0 0.0.0.1.0.0@0 0.0.0.2.0.0@0");
}

Test(guest_topology, dies_and_nodes_inside_a_package)
{
	load("pack:2 die:2 [numa] l3:2 core:2 pu:1");
	cr_assert_eq(GIVE(0, 2, 4, 8, 15), 0, "%s", err.text);
	cr_expect_str_eq(places(),
		"0.0.0.0.0.0@0 0.0.1.0.0.0@0 0.1.0.0.0.0@1 1.0.0.0.0.0@2 1.1.0.0.0.0@3");
	cr_expect_eq(g.nodes, 4);
}

Test(guest_topology, a_machine_that_reports_nothing_is_flat)
{
	load("pu:4");
	cr_assert_eq(GIVE(3, 1), 0, "%s", err.text);
	cr_expect_str_eq(places(), "0.0.0.0.0.0@0 0.0.0.1.0.0@0");
	cr_expect_eq(g.nodes, 1);
	cr_expect_eq(g.caches[0].n, 0);
}

Test(guest_topology, caches_come_with_their_sizes)
{
	load("pack:1 [numa] l3:1(size=8388608) l2:2(size=524288) l1d:1(size=32768) l1i:1(size=65536) "
	     "core:1 pu:1");
	cr_assert_eq(GIVE(0, 1), 0, "%s", err.text);
	cr_assert_eq(g.cache_sets, 1);
	cr_assert_eq(g.caches[0].n, 4);
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t bytes[] = {32768, 65536, 524288, 8388608};
		static const unsigned level[] = {1, 1, 2, 3}, type[] = {1, 2, 3, 3};

		cr_expect_eq(g.caches[0].cache[i].bytes, bytes[i]);
		cr_expect_eq(g.caches[0].cache[i].level, level[i]);
		cr_expect_eq(g.caches[0].cache[i].type, type[i]);
	}
}

static void set_latencies(const hwloc_uint64_t *values, unsigned n)
{
	hwloc_obj_t node[8] = {NULL};
	hwloc_distances_add_handle_t h = hwloc_distances_add_create(topo, "NUMALatency",
		HWLOC_DISTANCES_KIND_FROM_USER | HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0);

	for (unsigned i = 0; i < n; i++)
		node[i] = hwloc_get_obj_by_type(topo, HWLOC_OBJ_NUMANODE, i);
	cr_assert_not_null(h);
	cr_assert_eq(hwloc_distances_add_values(topo, h, n, node,
			     (hwloc_uint64_t *)(uintptr_t)values, 0), 0);
	cr_assert_eq(hwloc_distances_add_commit(topo, h, 0), 0);
}

Test(guest_topology, distances_are_those_of_the_nodes_that_were_given)
{
	static const hwloc_uint64_t slit[] = {10, 12, 32, 300, 12, 10, 33, 5, 31, 33, 10, 12, 32, 32, 12, 10};

	load("pack:4 [numa] core:2 pu:1");
	set_latencies(slit, 4);
	cr_assert_eq(GIVE(6, 0, 2), 0, "%s", err.text);
	cr_expect(g.node[0].os == 3 && g.node[1].os == 0 && g.node[2].os == 1);
	cr_expect(g.distance[0][0] == 10 && g.distance[1][1] == 10);
	cr_expect_eq(g.distance[0][1], 32);
	cr_expect_eq(g.distance[1][0], 254, "as far as a SLIT can say");
	cr_expect_eq(g.distance[1][2], 12);
	cr_expect_eq(g.distance[2][0], 11, "nothing is nearer than itself");
}

Test(guest_topology, figures_of_memory_are_taken_where_there_are_any)
{
	hwloc_obj_t node;
	struct hwloc_location from = {.type = HWLOC_LOCATION_TYPE_CPUSET};

	load("pack:2 [numa] core:2 pu:1");
	node = hwloc_get_obj_by_type(topo, HWLOC_OBJ_NUMANODE, 1);
	from.location.cpuset = node->cpuset;
	cr_assert_eq(hwloc_memattr_set_value(topo, HWLOC_MEMATTR_ID_READ_LATENCY, node, &from, 0, 95), 0);
	cr_assert_eq(hwloc_memattr_set_value(topo, HWLOC_MEMATTR_ID_BANDWIDTH, node, &from, 0, 40000), 0);
	cr_assert_eq(GIVE(0, 2), 0);
	cr_expect_eq(g.node[0].read_latency_ns, 0);
	cr_expect_eq(g.node[1].read_latency_ns, 95);
	cr_expect_eq(g.node[1].write_latency_ns, 0);
	cr_expect(g.node[1].read_mb_s == 40000 && g.node[1].write_mb_s == 40000);
}

Test(guest_topology, what_cannot_be_is_refused_with_a_sentence)
{
	static int many[SV_GUEST_VCPUS + 1];

	load("pack:1 core:4 pu:1");
	cr_expect_eq(GIVE(0, 1, 0), -EINVAL);
	cr_expect(strstr(err.text, "CPU 0"), "%s", err.text);
	cr_expect_eq(GIVE(0, 4), -EINVAL);
	cr_expect(strstr(err.text, "CPU 4"), "%s", err.text);
	cr_expect_eq(GIVE(-1), -EINVAL);
	cr_expect_eq(sv_guest_topology_make(topo, many, 0, &g, &err), -EINVAL);
	cr_expect_eq(sv_guest_topology_make(topo, many, SV_GUEST_VCPUS + 1, &g, &err), -EINVAL);
}

/* --- any CPUs of many machines ------------------------------------------------------------------ */

static unsigned next(uint64_t *seed, unsigned n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (unsigned)(*seed >> 20) % n;
}

static hwloc_obj_t object(int cpu, hwloc_obj_type_t type)
{
	return hwloc_get_ancestor_obj_by_type(topo, type,
		hwloc_get_pu_obj_by_os_index(topo, (unsigned)cpu));
}

static bool same(int a, int b, hwloc_obj_type_t type)
{
	return object(a, type) == object(b, type);
}

/* Two vCPUs are together in the guest at just those levels where their CPUs are in the host. */
static void check_pair(unsigned a, unsigned b, const int *cpu)
{
	const struct sv_guest_place *p = &g.place[a], *q = &g.place[b];
	bool package = p->package == q->package, die = package && p->die == q->die;
	bool l3 = die && p->l3 == q->l3, l2 = l3 && p->l2 == q->l2, core = l2 && p->core == q->core;

	cr_assert_eq(package, same(cpu[a], cpu[b], HWLOC_OBJ_PACKAGE));
	cr_assert_eq(die, same(cpu[a], cpu[b], HWLOC_OBJ_DIE));
	cr_assert_eq(l3, same(cpu[a], cpu[b], HWLOC_OBJ_L3CACHE));
	cr_assert_eq(l2, same(cpu[a], cpu[b], HWLOC_OBJ_L2CACHE));
	cr_assert_eq(core, same(cpu[a], cpu[b], HWLOC_OBJ_CORE));
	cr_assert(!core || p->thread != q->thread);
	cr_assert_eq(p->node == q->node, g.node[p->node].os == g.node[q->node].os);
}

Test(guest_topology, any_cpus_of_any_machine_keep_what_they_share)
{
	uint64_t seed = 88172645463325252ull;

	for (unsigned round = 0; round < 300; round++) {
		unsigned shape[6], n = 1, vcpus;
		int cpu[1024];
		char text[128];

		for (unsigned i = 0; i < 6; i++)
			n *= shape[i] = 1 + next(&seed, i == 4 ? 4 : 3);
		snprintf(text, sizeof(text), "pack:%u die:%u [numa] l3:%u l2:%u core:%u pu:%u", shape[0],
			shape[1], shape[2], shape[3], shape[4], shape[5]);
		load(text);
		for (unsigned i = 0; i < n; i++)
			cpu[i] = (int)i;
		for (unsigned i = n - 1; i && round % 2; i--) {
			unsigned k = next(&seed, i + 1);
			int swap = cpu[i];

			cpu[i] = cpu[k];
			cpu[k] = swap;
		}
		vcpus = 1 + next(&seed, n);
		cr_assert_eq(sv_guest_topology_make(topo, cpu, vcpus, &g, &err), 0, "%s", err.text);
		for (unsigned a = 0; a < vcpus; a++)
			for (unsigned b = 0; b < a; b++)
				check_pair(a, b, cpu);
		cr_assert(!g.place[0].die && !g.place[0].l3 && !g.place[0].l2 &&
			  !g.place[0].core && !g.place[0].thread && !g.place[0].node);
		fini();
	}
}
