/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plans for machines of our own making. Each expectation is argued from these rules:
 *
 *  1. A core for 64 keeps house (in turn in each package, the lowest CPU), from 3 cores on, unless
 *     the guests need it.
 *  2. The largest guest is placed first, on the fewest NUMA nodes, then nearest to what it is to be
 *     near, then on the fewest domains, then where it leaves the least room.
 *  3. A domain with guests keeps a core for a sidecore, one for 16 guest cores unless k= says less.
 *  4. In a domain a guest gets the lowest cores, that of CPU 0 last; the sidecore is the spare core
 *     nearest to the guest cores, the last among equals.
 */
#include <criterion/criterion.h>

#include "planning.h"

#define RUN(cases) planning_run(cases, sizeof(cases) / sizeof(cases[0]), NULL)

/* Guest and sidecore cannot both have the only core; they take turns when the guest may share. */
Test(plan_golden, one_core)
{
	static const struct planning_case cases[] = {
		{"core:1 pu:1", "a:1", "refused: the guests need 1 core and at least 1 sidecore; 1 of the 1"},
		{NULL, "a:2s", "* a@0"},
		{NULL, "spread a:1s", "* a@0"},
		/* No thread to lend. */
		{NULL, "sibling a:1", "refused: --policy smt-sibling: 1 sidecore would be"},
	};

	RUN(cases);
}

/* The second thread makes a sidecore of its own only when the policy says so. */
Test(plan_golden, one_core_of_two_threads)
{
	static const struct planning_case cases[] = {
		{"core:1 pu:2", "a:1", "refused: the guests need 1 core"},
		{NULL, "sibling a:1", "A a@0"},
		{NULL, "sibling a:1u", "refused: 0 guest cores have a sibling to lend"},
		{NULL, "sibling a:2t", "refused: 0 guest cores have a sibling to lend"},
		{NULL, "a:1s", "* a@0"},
	};

	RUN(cases);
}

/* Too few for housekeeping (rule 1); CPU 0 takes the kernel's work, so the sidecore is there. */
Test(plan_golden, two_cores)
{
	static const struct planning_case cases[] = {
		{"core:2 pu:1", "a:1", "Sa a@0"},
		{NULL, "spread a:1", "Sa a@0"},
		{NULL, "a:2s", "Sa a@0"},
		{NULL, "a:2", "refused: it fits with 1 vCPU for guest a"},
		{NULL, "side=2 a:1", "refused: with --sidecores auto"},
		{NULL, "house=1 a:1", "refused: with --housekeeping auto"},
	};

	RUN(cases);
}

Test(plan_golden, four_cores)
{
	static const struct planning_case cases[] = {
		{"l3:1 core:4 pu:1", "a:2", "HaaS a@0"},
		{NULL, "spread a:2", "HaaS a@0"},
		{NULL, "a:1 b:1", "HabS a@0 b@0"},
		/* Housekeeping was our idea: it gives way, and by number it does not. */
		{NULL, "a:3", "Saaa a@0"},
		{NULL, "house=1 a:3", "refused: it fits with --housekeeping auto"},
		{NULL, "a:4", "refused: it fits with 3 vCPUs for guest a"},
		/* 2 and 3 are left for the guest, and the house gives way to the sidecore. */
		{NULL, "x=1 a:2", "Sxaa a@0"},
		{NULL, "keep=3 a:2", "SaaH a@0"},
		{NULL, "given=0 a:2", "SHaa a@0"},
		{NULL, "given=3 a:3", "aaaS a@0"},
		/* Two may share two cores with one that may not. */
		{NULL, "a:2 b:2s", "Saab a@0 b@0"},
	};

	RUN(cases);
}

/* Two L3 in a node: room for 2 in the first (house, sidecore), for 3 in the second. */
Test(plan_golden, two_l3_in_a_node)
{
	static const struct planning_case cases[] = {
		{"pack:1 l3:2 core:4 pu:2", "a:2", "HaaS|.*4 a@0"},
		{NULL, "a:3", "H...|aaaS a@0"},
		/* More than either holds: the emptier is filled, one is left over. */
		{NULL, "a:4", "Ha.S|aaaS a@0"},
		/* Four threads are two cores. */
		{NULL, "a:4t", "HaaS|.*4 a@0"},
		{NULL, "spread a:4", "HaaS|aa.S a@0"},
		/* No core is spent: the first L3 has exactly 3; the last core lends its thread. */
		{NULL, "sibling a:3", "HaaA|.*4 a@0"},
		{NULL, "a:3 b:2", "HbbS|aaaS a@0 b@0"},
		/* Every core is in use: 3 beside the only sidecore and 3 not, rather than 2 and 4. */
		{NULL, "side=1 a:6", "Haaa|aaaS a@0"},
	};

	RUN(cases);
}

/* Three cores a package: the second has room for 2, the first for 1. */
Test(plan_golden, smt4_two_packages)
{
	static const struct planning_case cases[] = {
		{"pack:2 [numa] l3:1 core:3 pu:4", "a:2", "H..|aaS a@1"},
		{NULL, "a:1", "HaS|... a@0"},
		{NULL, "a:3", "HaS|aaS a@0,1"},
		{NULL, "a:8t", "H..|aaS a@1"},
		{NULL, "a:5t", "H..|aaS a@1"},
		{NULL, "spread a:2", "HaS|a.S a@0,1"},
		/* Nothing reserved: the first package has 2 cores, and no room is left over. */
		{NULL, "sibling a:2", "HaA|... a@0"},
	};

	RUN(cases);
}

Test(plan_golden, smt8)
{
	static const struct planning_case cases[] = {
		{"pack:1 l3:1 core:4 pu:8", "a:8t", "Ha.S a@0"},
		{NULL, "a:16t", "HaaS a@0"},
		{NULL, "a:24t", "Saaa a@0"},
		{NULL, "sibling a:3", "HaaA a@0"},
		/* b wants 2 cores, a one; a uses all threads of its core and lends none. */
		{NULL, "sibling a:3t b:2", "HbBa a@0 b@0"},
		{NULL, "spread a:2", "HaaS a@0"},
	};

	RUN(cases);
}

/* Sub-NUMA clusters: the node in the L3 is the domain. Rooms 2 and 3; 3 and 3. */
Test(plan_golden, nodes_inside_l3)
{
	static const struct planning_case cases[] = {
		{"pack:2 l3:1 numa:2 core:4 pu:1", "a:2", "HaaS|(.*4)*3 a@0"},
		{NULL, "a:3", "H...|aaaS|(.*4)*2 a@1"},
		{NULL, "spread a:4", "Ha.S|(a..S)*3 a@0,1,2,3"},
		/* Not in one node beside a sidecore: two nodes of the same L3, less left in the first. */
		{NULL, "a:4", "Ha.S|aaaS|(.*4)*2 a@0,1"},
		/* One sidecore is enough from the node next door, in the same L3: all 4 on one node. */
		{NULL, "side=1 a:4", "H..S|a*4|(.*4)*2 a@1"},
	};

	RUN(cases);
}

/*
 * Packages of 2 cores are no domains: the machine is. The sidecore shares the package with the last
 * guest core, and no other core shares one with more of them.
 */
Test(plan_golden, many_small_packages)
{
	static const struct planning_case cases[] = {
		{"pack:8 core:2 pu:1", "a:4", "Ha*4S.*10 a@0"},
		/* 0 is a neighbour of 1, and 4 of none. */
		{NULL, "house=0 a:3", "Saaa.*12 a@0"},
		{NULL, "sibling a:4", "refused: it fits with --policy locality"},
		/* 14 guest cores at 7 each: both sidecores after the guests; none is left for the house. */
		{NULL, "k=7 house=0 a:14", "Sa*14S a@0"},
	};

	RUN(cases);
}

/* 16 packages of 8: two cores keep house, in packages 0 and 1. */
Test(plan_golden, many_packages)
{
	static const struct planning_case cases[] = {
		{"pack:16 [numa] l3:1 core:8 pu:1", "a:7", "(H.*7)*2|a*7S|(.*8)*13 a@2"},
		{NULL, "a:6 b:6", "Ha*6S|Hb*6S|(.*8)*14 a@0 b@1"},
		{NULL, "spread a:16", "(Ha.*5S)*2|(a.*6S)*14 a@0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"},
		/* 14 × 7 and 2 × 6 are 110 beside house and sidecores; without the house 16 × 7. */
		{NULL, "a:110", "(Ha*6S)*2|(a*7S)*14 a@0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"},
		{NULL, "house=0 a:112", "Sa*7|(a*7S)*15 a@0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"},
	};

	RUN(cases);
}

/* Nodes and nothing else. Rooms 2, 3, 3, 3. */
Test(plan_golden, no_cache)
{
	static const struct planning_case cases[] = {
		{"numa:4 core:4 pu:1", "a:3", "H...|aaaS|(.*4)*2 a@1"},
		{NULL, "a:6", "H...|(aaaS)*2|.*4 a@1,2"},
		{NULL, "spread a:4", "Ha.S|(a..S)*3 a@0,1,2,3"},
		/*
		 * Two nodes in any case. Three beside the only sidecore and three in the node that they
		 * fill; four and two would put four far from it.
		 */
		{NULL, "side=1 a:6", "Haaa|aaaS|(.*4)*2 a@0,1"},
	};

	RUN(cases);
}

Test(plan_golden, nothing_but_cpus)
{
	static const struct planning_case cases[] = {
		{"pu:4", "a:2", "HaaS a@0"},
		{NULL, "spread a:2", "HaaS a@0"},
		{NULL, "a:3", "Saaa a@0"},
		{NULL, "sibling a:2", "refused: it fits with --policy locality"},
	};

	RUN(cases);
}

/* Memory beside all packages (CXL) besides that of each: cores belong to the nearer one. */
Test(plan_golden, memory_only_node)
{
	static const struct planning_case cases[] = {
		{"[numa(memory=64GB)] pack:2 [numa(memory=16GB)] core:4 pu:1", "a:2", "HaaS|.*4 a@0"},
		{NULL, "a:3", "H...|aaaS a@1"},
		{NULL, "spread a:2", "Ha.S|a..S a@0,1"},
		{NULL, "a:2 mem=8", "HaaS|.*4 a@0"},
		{"pack:2 [numa(memory=1GB)] core:4 pu:1", "a:2 mem=2", "HaaS|.*4 a@0,1"},
	};

	RUN(cases);
}

/* Eight cores an L3, four L3 a package: rooms 6 and 7 × 7. */
Test(plan_golden, chiplets)
{
	static const struct planning_case cases[] = {
		{"pack:2 [numa] l3:4 core:8 pu:2", "a:6", "Ha*6S|(.*8)*7 a@0"},
		{NULL, "a:7", "H.*7|a*7S|(.*8)*6 a@0"},
		/* One L3 full, and one core where least is left: beside the house. */
		{NULL, "a:8", "Ha.*5S|a*7S|(.*8)*6 a@0"},
		{NULL, "spread a:8", "Ha.*5S|(a.*6S)*7 a@0,1"},
		/* Two sidecores for 6: the first L3 has 7 cores, 8 are needed. */
		{NULL, "k=3 a:6", "H.*7|a*6SS|(.*8)*6 a@0"},
		/* Each in two L3; what is left of the first package (6 + 7) does not hold b. */
		{NULL, "a:14 b:14", "H.*7|(a*7S)*2|.*8|(b*7S)*2|(.*8)*2 a@0 b@1"},
		{NULL, "sibling a:8", "H.*7|a*7A|(.*8)*6 a@0"},
		/* 7 beside the only sidecore, 7 in the L3 that they fill, next to the house. */
		{NULL, "side=1 a:14", "Ha*7|a*7S|(.*8)*6 a@0"},
	};

	RUN(cases);
}

/* One node for both packages: the packages are the domains. */
Test(plan_golden, packages_without_nodes)
{
	static const struct planning_case cases[] = {
		{"pack:2 core:4 pu:1", "a:2", "HaaS|.*4 a@0"},
		{NULL, "a:3", "H...|aaaS a@0"},
		{NULL, "spread a:2", "Ha.S|a..S a@0"},
		{NULL, "side=1 a:5", "Haa.|aaaS a@0"},
	};

	RUN(cases);
}

/* Cores in pairs under an L2: 3 shares it with a guest core; beyond that all are alike. */
Test(plan_golden, shared_l2)
{
	static const struct planning_case cases[] = {
		{"l3:1 l2:4 core:2 pu:1", "a:2", "HaaS.*4 a@0"},
		{NULL, "a:3", "Haaa...S a@0"},
		{NULL, "spread a:2", "HaaS.*4 a@0"},
		/* Its only neighbour keeps house: any other, the last. */
		{NULL, "a:1", "Ha.*5S a@0"},
	};

	RUN(cases);
}

Test(plan_golden, nonsense)
{
	static const struct planning_case cases[] = {
		{"l3:1 core:4 pu:1", "locality", "refused: 0 guests: a plan is for 1 to 4096"},
		{NULL, "a:0", "refused: guest a: 0 vCPUs cannot be placed"},
		{NULL, "a:1 a:1", "refused: two guests are called a; name them apart"},
		{NULL, "side=0 a:1", "refused: --sidecores 0: give a number from 1, or auto"},
		{NULL, "house=-2 a:1", "refused: --housekeeping -2: give a number from 0, or auto"},
		{NULL, "keep=9 a:1", "refused: housekeeping: CPU 9 is not among the usable CPUs of l3:1"},
		{NULL, "side=1 k=2 a:3", "refused: 3 guest cores at 2 per sidecore need 2 sidecores"},
		{NULL, "x=0 x=1 x=2 x=3 a:1", "refused: 0 of the 4 cores of l3:1 core:4 pu:1 are usable"},
	};

	RUN(cases);
}

/* Two dies that share nothing but the node: each has the sidecore of its own die. */
Test(plan_golden, dies)
{
	static const struct planning_case cases[] = {
		{"pack:1 die:2 core:4 pu:1", "a:3 b:2", "HbbS|aaaS a@0 b@0"},
		{NULL, "spread a:4", "HaaS|aa.S a@0"},
		{NULL, "a:4", "Ha.S|aaaS a@0"},
	};

	RUN(cases);
}
