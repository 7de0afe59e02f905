/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plans for machines that exist, from their descriptions in the folder SV_TOPOLOGIES (the variable
 * of the environment, else of the build). The rules that the arguments use: test_plan_golden.c.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "planning.h"

static void run(const struct planning_case *cases, unsigned n)
{
	const char *folder = getenv("SV_TOPOLOGIES");
	char path[600];

	if (!folder || !*folder)
		folder = SV_TOPOLOGIES;
	snprintf(path, sizeof(path), "%s/%s", folder, cases[0].machine);
	if (access(path, R_OK) < 0) {
		bool some = access(folder, R_OK) == 0; /* then the other machines count */

		fprintf(stderr, "%s%s is not there (SV_TOPOLOGIES names the folder)\n",
			some ? "" : "SKIPPED BECAUSE ", some ? path : folder);
		cr_skip_test();
	}
	planning_run(cases, n, folder);
}

#define RUN(cases) run(cases, sizeof(cases) / sizeof(cases[0]))

/* One package, four nodes of two L3 of 8: rooms 6, and 7 × 7. */
Test(plan_machines, frontier_node)
{
	static const struct planning_case cases[] = {
		{"01-epyc7a53-frontier-tioga.xml", "a:6", "Ha*6S|(.*8)*7 a@0"},
		/* The core beyond one L3 stays on its node. */
		{NULL, "a:8", "Ha.*5S|a*7S|(.*8)*6 a@0"},
		{NULL, "spread a:8", "Ha.*5S|(a.*6S)*7 a@0,1,2,3"},
		{NULL, "sibling a:8", "H.*7|a*7A|(.*8)*6 a@0"},
		/* 14 in each of two nodes; node 0 holds but 13. */
		{NULL, "a:28", "H.*7|.*8|(a*7S)*4|(.*8)*2 a@1,2"},
		{NULL, "a:14t", "H.*7|a*7S|(.*8)*6 a@0"},
	};

	RUN(cases);
}

/*
 * A virtual machine in a cloud: in each node five L3 of 8 and one of 4. 176 cores: three of them
 * keep house, in packages 0, 1 and 0 again.
 */
Test(plan_machines, hpc_vm)
{
	static const struct planning_case cases[] = {
		/* 3 fit an L3 of 4 without a rest. */
		{"03-epyc-9v33x-hpcvm.xml", "a:3", "HH.*6|(.*8)*4|aaaS|(.*8)*5|.*4|H.*7|(.*8)*4|.*4|(.*8)*5|.*4 "
			"a@0"},
		{NULL, "a:7", "HH.*6|a*7S|(.*8)*3|.*4|(.*8)*5|.*4|H.*7|(.*8)*4|.*4|(.*8)*5|.*4 a@0"},
		/* 7 and 3 leave nothing in node 0. */
		{NULL, "a:10", "HH.*6|a*7S|(.*8)*3|aaaS|(.*8)*5|.*4|H.*7|(.*8)*4|.*4|(.*8)*5|.*4 a@0"},
		{NULL, "sibling a:4", "refused: it fits with --policy locality"},
		/* CPU 0 is left alone while there are others. */
		{NULL, "house=0 spread a:24", ".a.*5S|(a.*6S)*4|a..S|(a.*6S)*5|a..S|(a.*6S)*5|a..S|(a.*6S)*5|a..S "
			"a@0,1,2,3"},
	};

	RUN(cases);
}

/*
 * Four clusters of 18 and 16 cores in pairs, each with memory and with MCDRAM: cores belong to the
 * ordinary memory. 68 cores: two keep house. No L3: the cluster is the domain, one sidecore for 16.
 */
Test(plan_machines, knights_landing)
{
	static const struct planning_case cases[] = {
		/* Rooms 15, 16, 15, 15. No rest in any of three, of which the last two are smaller. */
		{"05-knl7250-snc4-flat.xml", "a:15", "HH.*16|.*18|a*15S|.*16 a@2"},
		{NULL, "a:16", "HH.*16|a*16.S|(.*16)*2 a@1"},
		/* The first two are a pair, and the third's neighbour is the sidecore. */
		{NULL, "a:3", "HH.*16|.*18|aaaS.*12|.*16 a@2"},
		{NULL, "spread a:4", "HHaS.*14|aS.*16|(aS.*14)*2 a@0,1,2,3"},
		/* Four threads a core. */
		{NULL, "a:60t", "HH.*16|.*18|a*15S|.*16 a@2"},
		/* 30 GiB are not beside any core: ordinary memory of a cluster helps before MCDRAM. */
		{NULL, "a:15 mem=30", "HH.*16|.*18|a*15S|.*16 a@0,2"},
	};

	RUN(cases);
}

/* POWER9: CPUs begin at 8 and have gaps; two cores share an L3, so that the package is the domain. */
Test(plan_machines, power9)
{
	static const struct planning_case cases[] = {
		/* 12 shares its L3 with the house, 16 and 20 are a pair, 24 has 28 to itself. */
		{"06-power9-lassen.xml", "a:4", "Ha*4S.*14|.*20 a@0"},
		/* Rooms 19 - 2 and 20 - 2. */
		{NULL, "a:17", "Ha*17SS|.*20 a@0"},
		{NULL, "a:18", "H.*19|a*18SS a@8"},
		{NULL, "a:16t", "Ha*4S.*14|.*20 a@0"},
		{NULL, "spread a:2", "Ha.*17S|aS.*18 a@0,8"},
		{NULL, "sibling a:2", "HaA.*17|.*20 a@0"},
	};

	RUN(cases);
}

/* 32 cores of four threads under one L3: a sidecore for 16. Rooms 29 (31 - 2) and 30. */
Test(plan_machines, thunderx2)
{
	static const struct planning_case cases[] = {
		{"08-thunderx2-ulna.xml", "a:16", "Ha*16.*14S|.*32 a@0"},
		{NULL, "a:17", "Ha*17.*12SS|.*32 a@0"},
		{NULL, "a:30", "H.*31|a*30SS a@1"},
		{NULL, "spread a:2", "Ha.*29S|a.*30S a@0,1"},
		{NULL, "sibling a:16", "Ha*15A.*15|.*32 a@0"},
		{NULL, "a:120t", "H.*31|a*30SS a@1"},
	};

	RUN(cases);
}

/* 24 nodes of 8 cores, far apart in steps: three keep house in packages 0, 1, 2. */
Test(plan_machines, ultraviolet)
{
	static const struct planning_case cases[] = {
		{"10-uv-192c-24numa.xml", "a:6", "Ha*6S|(H.*7)*2|(.*8)*21 a@0"},
		{NULL, "a:7", "(H.*7)*3|a*7S|(.*8)*20 a@3"},
		{NULL, "spread a:24", "(Ha.*5S)*3|(a.*6S)*21 "
			"a@0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23"},
	};

	RUN(cases);
}

/*
 * 64 nodes of two packages of 2 cores, no caches known: the node is the domain. Four
 * keep house, in packages 0 to 3, which are nodes 0 and 1.
 */
Test(plan_machines, altix)
{
	static const struct planning_case cases[] = {
		{"12-altix-256ia64.xml", "a:3", "(H.H.)*2|aaaS|(.*4)*61 a@2"},
		{NULL, "house=1 a:2", "HaaS|(.*4)*63 a@0"},
		/* Four nodes are a group of the SLIT: 3 + 3, and 1 where there is 1 beside the house. */
		{NULL, "a:7", "HaHS|H.H.|(aaaS)*2|(.*4)*60 a@0,2,3"},
		{NULL, "sibling a:4", "refused: it fits with --policy locality"},
	};

	RUN(cases);
}

/* Cores and caches by CPUID alone: one node of no known size for both packages, 24 L3 of 8. */
Test(plan_machines, genoa_without_nodes)
{
	static const struct planning_case cases[] = {
		/* Three keep house: packages 0, 1 and 0. */
		{"16-epyc9654-192c.xml", "a:7", "HH.*6|a*7S|(.*8)*10|H.*7|(.*8)*11 a@0"},
		{NULL, "a:5", "HHa*5S|(.*8)*11|H.*7|(.*8)*11 a@0"},
		/* Two L3 that are filled, in the first package that has two. */
		{NULL, "a:14", "HH.*6|(a*7S)*2|(.*8)*9|H.*7|(.*8)*11 a@0"},
		{NULL, "spread a:24", "HHa.*4S|(a.*6S)*11|Ha.*5S|(a.*6S)*11 a@0"},
		{NULL, "sibling a:8", "HH.*6|a*7A|(.*8)*10|H.*7|(.*8)*11 a@0"},
	};

	RUN(cases);
}

/* The second half of the cores has no memory of its own: guests come there last. */
Test(plan_machines, threadripper)
{
	static const struct planning_case cases[] = {
		{"19-threadripper-numaless.xml", "a:2", "HaaS|(.*4)*7 a@0"},
		{NULL, "a:3", "H...|aaaS|(.*4)*6 a@0"},
		/* Two nodes with memory rather than one node and cores without: 2 + 3 + 3 + 3. */
		{NULL, "a:11", "HaaS|(aaaS)*3|(.*4)*4 a@0,2"},
		{NULL, "a:12", "HaaS|(aaaS)*3|a..S|(.*4)*3 a@0,2"},
		{NULL, "sibling a:4", "H...|aaaA|(.*4)*6 a@0"},
		/* Node 0 would hold 5 if each L3 had a sidecore, so that it is node 2 that gets one. */
		{NULL, "side=1 a:6", "H...|.*4|aaaS|aaa.|(.*4)*4 a@2"},
	};

	RUN(cases);
}

/*
 * A cpuset of 3 of 8 nodes: ten cores of six packages, of which none has three under anything but
 * the machine. Nodes 1, 2, 3 have cores of ours.
 */
Test(plan_machines, inside_a_cpuset)
{
	static const struct planning_case cases[] = {
		{"21-edge-cgroup-3of8numa.xml", "a:20", "refused: it fits with 9 vCPUs for guest a"},
		/* CPUs 2, 3, 5 have memory beside them; 6, with node 3, is as far as any other. */
		{NULL, "a:3", "H.aaa.*4S a@1,2"},
		{NULL, "sibling a:1", "refused: it fits with --policy locality"},
		{NULL, "a:9", "Sa*9 a@1,2,3"},
	};

	RUN(cases);
}

/* Offline CPUs: six cores of four packages, one of them with both threads left. */
Test(plan_machines, offline_cpus)
{
	static const struct planning_case cases[] = {
		/* Nothing is nearer than the machine; the sidecore is where CPU 0 is. */
		{"22-edge-offline-pus.xml", "a:5", "Sa*5 a@0"},
		{NULL, "a:6", "refused: or with 5 vCPUs for guest a"},
		/* Five cores have six threads. */
		{NULL, "a:6t", "Sa*5 a@0"},
		{NULL, "house=0 a:7t", "refused: it fits with 6 vCPUs for guest a"},
	};

	RUN(cases);
}

/* Six fast cores of two threads, eight slow ones: the fast ones are for guests. */
Test(plan_machines, hybrid)
{
	static const struct planning_case cases[] = {
		/* The house and the sidecore are slow cores; CPU 0 is taken last of the fast ones. */
		{"24-edge-hybrid-1370P.xml", "a:4", ".a*4.H.*6S a@0"},
		{NULL, "a:6", "a*6H.*6S a@0"},
		/* Slow cores share an L2 in fours: the sidecore is there beside the slow guest core. */
		{NULL, "a:7", "a*6Ha.S.*4 a@0"},
		/* A fast core has two threads and is named first: six for 12. */
		{NULL, "a:12t", "a*6H.*6S a@0"},
		{NULL, "sibling a:2", ".aA...H.*7 a@0"},
		{NULL, "spread a:2", ".aa...H.*6S a@0"},
	};

	RUN(cases);
}

/* Memory-side caches; the CPUs of the four nodes alternate, and the nodes are 0 and 2, 1 and 3. */
Test(plan_machines, memory_side_cache)
{
	static const struct planning_case cases[] = {
		/* Rooms 8 and 3 × 9. */
		{"25-edge-memoryside-hbm.xml", "a:8", "Ha*8S|(.*10)*3 a@0"},
		{NULL, "a:9", "H.*9|a*9S|(.*10)*2 a@2"},
		/* The two nodes of a package, not those of two. */
		{NULL, "a:17", "Ha*8S|a*9S|(.*10)*2 a@0,2"},
		{NULL, "a:18", "H.*9|.*10|(a*9S)*2 a@1,3"},
		{NULL, "spread a:4", "Ha.*7S|(a.*8S)*3 a@0,1,2,3"},
		{NULL, "sibling a:10", "H.*9|a*9A|(.*10)*2 a@2"},
	};

	RUN(cases);
}
