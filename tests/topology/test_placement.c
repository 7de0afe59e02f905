/* SPDX-License-Identifier: BSD-3-Clause */
/* Placement on machines that are not here: hwloc's synthetic ones. */
#include <criterion/criterion.h>
#include <errno.h>
#include <hwloc.h>
#include <string.h>

#include <placement/nearest.h>
#include <placement/plan.h>

static hwloc_topology_t topo;
/* One guest, one sidecore: what a request for a single VM looks like. */
#define VCPUS 1024u

struct request {
	unsigned vcpus;
	int sidecore; /* given; -1: choose */
	const int *others;
	unsigned nothers;
	bool smt_sibling, overcommit;
};

struct placement {
	int sidecore_cpu, control_cpu, vcpu_cpu[VCPUS], numa_node;
	unsigned guest_cores;
};

static struct placement out, again;
static struct sv_error err;

/* @allowed: a list such as "1,3,5-7"; NULL: all. */
static void machine(const char *synthetic, const char *allowed)
{
	cr_assert_eq(hwloc_topology_init(&topo), 0);
	hwloc_topology_set_flags(topo, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
	cr_assert_eq(hwloc_topology_set_synthetic(topo, synthetic), 0, "%s", synthetic);
	cr_assert_eq(hwloc_topology_load(topo), 0);
	if (allowed) {
		hwloc_bitmap_t set = hwloc_bitmap_alloc();

		hwloc_bitmap_list_sscanf(set, allowed);
		cr_assert_eq(hwloc_topology_allow(topo, set, NULL, HWLOC_ALLOW_FLAG_CUSTOM), 0);
		hwloc_bitmap_free(set);
	}
}

static void fini(void)
{
	if (topo)
		hwloc_topology_destroy(topo);
	topo = NULL;
}

TestSuite(placement, .fini = fini);

static hwloc_obj_t above(int cpu, hwloc_obj_type_t type)
{
	hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(topo, (unsigned)cpu);

	cr_assert(pu, "CPU %d exists", cpu);
	return hwloc_get_ancestor_obj_by_type(topo, type, pu);
}

static bool same(int a, int b, hwloc_obj_type_t type)
{
	return above(a, type) == above(b, type);
}

static bool allowed(int cpu)
{
	return cpu >= 0 && hwloc_bitmap_isset(hwloc_topology_get_allowed_cpuset(topo), (unsigned)cpu);
}

static void copy(const struct sv_plan *plan, const struct request *req, struct placement *p)
{
	const struct sv_plan_placed *g = &plan->guest[0];

	p->sidecore_cpu = plan->sidecore[0].cpu;
	p->control_cpu = g->control_cpu;
	p->guest_cores = g->cores;
	p->numa_node = g->nodes == 1 ? g->node[0] : -1;
	for (unsigned i = 0; i < req->vcpus; i++)
		p->vcpu_cpu[i] = g->vcpu[i].cpu;
}

static int plan(const struct request *req, struct placement *p)
{
	struct sv_plan_guest guest = {.name = "g", .vcpus = req->vcpus, .share = req->overcommit};
	int given[8] = {req->sidecore};
	struct sv_plan_request r = {.policy = {.kind = req->smt_sibling ? SV_PLAN_SMT_SIBLING
									: SV_PLAN_LOCALITY,
					    .sidecores = 1,
					    .housekeeping = SV_PLAN_AUTO,
					    .sidecore_cpu = given,
					    .sidecore_cpus = req->sidecore < 0 ? 0 : 1 + req->nothers},
		.guest = &guest, .guests = 1};
	struct sv_plan *made = NULL;
	struct sv_machine *m;
	hwloc_topology_t mine;
	int rc;

	for (unsigned i = 0; i < req->nothers; i++)
		given[1 + i] = req->others[i];
	cr_assert_eq(hwloc_topology_dup(&mine, topo), 0);
	cr_assert_eq(sv_machine_from(mine, "a machine", &m, &err), 0, "%s", err.text);
	if (!m->smt)
		r.policy.kind = SV_PLAN_LOCALITY;
	rc = sv_plan_make(m, &r, &made, &err);
	if (rc == 0)
		copy(made, req, p);
	sv_plan_free(made);
	sv_machine_free(m);
	return rc;
}

static int choose(const struct request *req)
{
	memset(&out, 0x5a, sizeof(out));
	memset(&err, 0, sizeof(err));
	return plan(req, &out);
}

static int vcpus(unsigned n)
{
	return choose(&(struct request){.vcpus = n, .sidecore = -1});
}

/* The sidecore of each CPU of @cpu, as a string of digits and letters: CPUs below 36. */
static const char *nearest(const int *cpu, unsigned n, const int *sidecore, unsigned nsidecores)
{
	static char text[64];
	int serves[64];

	for (unsigned i = 0; i < n; i++)
		serves[i] = -1;
	sv_nearest_sidecores(topo, cpu, n, sidecore, nsidecores, serves);
	for (unsigned i = 0; i < n; i++)
		text[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[serves[i]];
	text[n] = 0;
	return text;
}

#define CPUS(...) (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int)

/* Four L3s of four cores: the last of each is a sidecore, and serves its own L3. */
Test(placement, the_nearest_sidecore_shares_the_l3)
{
	machine("package:2 l3:2 core:4 pu:1", NULL);
	cr_expect_str_eq(nearest(CPUS(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14), CPUS(3, 7, 11, 15)),
		"333777bbbfff");
	/* No sidecore in L3 1: the other of its package is nearer than those of the next. */
	cr_expect_str_eq(nearest(CPUS(4, 5, 12), CPUS(15, 3)), "33f");
}

Test(placement, sidecores_equally_near_share_the_vcpus)
{
	machine("package:1 l3:1 core:8 pu:1", NULL);
	cr_expect_str_eq(nearest(CPUS(0, 1, 2, 3, 4, 5), CPUS(6, 7)), "676767");
	/* Not pinned: shared out as well. */
	cr_expect_str_eq(nearest(CPUS(-1, -1, -1, -1), CPUS(6, 7)), "6767");
}

Test(placement, what_is_chosen_already_stays_and_counts)
{
	int serves[4] = {6, 6, -1, -1}, cpu[4] = {0, 1, 2, 3};

	machine("package:1 l3:1 core:8 pu:1", NULL);
	sv_nearest_sidecores(topo, cpu, 4, (const int[]){6, 7}, 2, serves);
	cr_expect(serves[0] == 6 && serves[1] == 6 && serves[2] == 7 && serves[3] == 7);
}

Test(placement, no_guest_core_on_any_of_several_sidecores)
{
	static const int others[] = {7, 11, 15};
	struct request req = {.vcpus = 11, .sidecore = 3, .others = others, .nothers = 3};

	machine("package:2 l3:2 core:4 pu:1", NULL);
	cr_assert_eq(choose(&req), 0, "%s", err.text);
	for (unsigned i = 0; i < 11; i++)
		cr_expect(out.vcpu_cpu[i] % 4 != 3, "vCPU %u is on CPU %d", i, out.vcpu_cpu[i]);
	req.vcpus = 13;
	cr_expect_eq(choose(&req), -ENOSPC);
}

Test(placement, two_cores_are_one_guest_core_and_one_sidecore)
{
	machine("pack:1 l3:1 core:2 pu:1", NULL);
	cr_assert_eq(vcpus(1), 0, "%s", err.text);
	cr_expect_neq(out.sidecore_cpu, out.vcpu_cpu[0]);
	cr_expect_eq(out.guest_cores, 1);
	cr_expect_eq(out.control_cpu, out.sidecore_cpu, "nothing to spare: beside the sidecore");
}

Test(placement, two_cores_do_not_hold_two_vcpus_unless_they_may_share)
{
	machine("pack:1 l3:1 core:2 pu:1", NULL);
	cr_assert_eq(vcpus(2), -ENOSPC);
	cr_expect(strstr(err.text, "--overcommit"), "%s", err.text);
	cr_assert_eq(choose(&(struct request){
			     .vcpus = 2, .sidecore = -1, .overcommit = true}), 0);
	cr_expect_eq(out.vcpu_cpu[0], out.vcpu_cpu[1]);
	cr_expect_neq(out.vcpu_cpu[0], out.sidecore_cpu);
	cr_expect_eq(out.guest_cores, 1);
}

Test(placement, one_core_is_shared_only_when_asked)
{
	machine("pack:1 l3:1 core:1 pu:1", NULL);
	cr_assert_eq(vcpus(1), -ENOSPC);
	cr_expect(strstr(err.text, "--overcommit"), "%s", err.text);
	cr_assert_eq(choose(&(struct request){
			     .vcpus = 1, .sidecore = -1, .overcommit = true}), 0, "%s", err.text);
	cr_expect_eq(out.sidecore_cpu, 0);
	cr_expect_eq(out.vcpu_cpu[0], 0);
	cr_expect_eq(out.control_cpu, 0);
}

Test(placement, a_core_to_spare_keeps_the_house)
{
	machine("pack:1 l3:1 core:4 pu:1", NULL);
	cr_assert_eq(vcpus(2), 0);
	cr_expect_neq(out.control_cpu, out.sidecore_cpu);
	cr_expect_neq(out.control_cpu, out.vcpu_cpu[0]);
	cr_expect_neq(out.control_cpu, out.vcpu_cpu[1]);
	cr_assert_eq(vcpus(3), 0, "the guest comes before the house: %s", err.text);
	cr_expect_eq(out.control_cpu, out.sidecore_cpu);
}

#define SMT "pack:1 l3:1 core:4 pu:2(indexes=0,4,1,5,2,6,3,7)"

Test(placement, the_sidecore_is_never_the_sibling_of_a_guest_core)
{
	machine(SMT, NULL);
	cr_assert_eq(vcpus(3), 0, "%s", err.text);
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_not(same(out.vcpu_cpu[i], out.sidecore_cpu, HWLOC_OBJ_CORE));
		for (unsigned k = 0; k < i; k++)
			cr_expect_not(same(out.vcpu_cpu[i], out.vcpu_cpu[k], HWLOC_OBJ_CORE));
	}
	cr_expect_eq(vcpus(4), -ENOSPC, "four cores hold three vCPUs and a sidecore");
}

Test(placement, the_sidecore_is_a_sibling_of_a_guest_core_when_asked)
{
	bool sibling = false;

	machine(SMT, NULL);
	cr_assert_eq(choose(&(struct request){
			     .vcpus = 4, .sidecore = -1, .smt_sibling = true}), 0, "%s", err.text);
	for (unsigned i = 0; i < 4; i++) {
		cr_expect_neq(out.vcpu_cpu[i], out.sidecore_cpu);
		sibling |= same(out.vcpu_cpu[i], out.sidecore_cpu, HWLOC_OBJ_CORE);
	}
	cr_expect(sibling);
}

/* Even one vCPU: the core whose sibling the sidecore is must be the guest's. */
Test(placement, a_small_guest_gets_the_core_whose_sibling_the_sidecore_is)
{
	machine(SMT, NULL);
	cr_assert_eq(choose(&(struct request){
			     .vcpus = 1, .sidecore = -1, .smt_sibling = true}), 0, "%s", err.text);
	cr_expect_neq(out.vcpu_cpu[0], out.sidecore_cpu);
	cr_expect(same(out.vcpu_cpu[0], out.sidecore_cpu, HWLOC_OBJ_CORE));
}

Test(placement, the_two_threads_of_the_only_core_are_guest_and_sidecore_when_asked)
{
	machine("pack:1 l3:1 core:1 pu:2", NULL);
	cr_assert_eq(choose(&(struct request){
			     .vcpus = 1, .sidecore = -1, .smt_sibling = true}), 0, "%s", err.text);
	cr_expect_eq(out.sidecore_cpu, 1);
	cr_expect_eq(out.vcpu_cpu[0], 0);
}

static void one_l3(const char *synthetic, unsigned n)
{
	machine(synthetic, NULL);
	cr_assert_eq(vcpus(n), 0, "%s", err.text);
	for (unsigned i = 0; i < n; i++)
		cr_expect(same(out.vcpu_cpu[i], out.sidecore_cpu, HWLOC_OBJ_L3CACHE));
	cr_expect_geq(out.numa_node, 0);
	cr_expect_neq(out.control_cpu, out.sidecore_cpu);
	fini();
}

Test(placement, guest_and_sidecore_share_an_l3_where_they_fit)
{
	one_l3("pack:2 l3:1 core:4 pu:1", 3);
	one_l3("pack:2 l3:1 core:4 pu:2", 3);
	one_l3("pack:1 l3:4 core:4 pu:1", 2);
	one_l3("pack:2 l3:8 core:8 pu:2", 7);
	one_l3("numa:2 pack:1 l3:2 core:3 pu:1", 2);
}

Test(placement, a_guest_larger_than_an_l3_spills_over)
{
	unsigned near = 0;

	machine("numa:2 pack:1 l3:2 core:4 pu:1", NULL);
	cr_assert_eq(vcpus(12), 0, "%s", err.text);
	for (unsigned i = 0; i < 12; i++) {
		near += same(out.vcpu_cpu[i], out.sidecore_cpu, HWLOC_OBJ_L3CACHE);
		for (unsigned k = 0; k < i; k++)
			cr_expect_neq(out.vcpu_cpu[i], out.vcpu_cpu[k]);
	}
	cr_expect_eq(near, 3, "what is left of the sidecore's L3 comes first");
	cr_expect_eq(out.numa_node, -1, "the guest is on two nodes");
}

/* The L3 beside is nearer than the other node's. */
Test(placement, a_guest_that_spills_over_stays_on_its_node_if_it_can)
{
	machine("numa:2 pack:1 l3:2 core:4 pu:1", NULL);
	cr_assert_eq(choose(&(struct request){.vcpus = 6, .sidecore = 12}), 0);
	for (unsigned i = 0; i < 6; i++)
		cr_expect(same(out.vcpu_cpu[i], 12, HWLOC_OBJ_PACKAGE), "vCPU %u on CPU %d", i,
			out.vcpu_cpu[i]);
	cr_expect_eq(out.numa_node, 1);
}

Test(placement, only_allowed_cpus_are_used)
{
	machine("pack:1 l3:1 core:8 pu:1", "1,3,6");
	cr_assert_eq(vcpus(2), 0, "%s", err.text);
	cr_expect(allowed(out.sidecore_cpu) && allowed(out.vcpu_cpu[0]) && allowed(out.vcpu_cpu[1]));
	cr_expect(allowed(out.control_cpu));
	cr_expect_eq(vcpus(3), -ENOSPC);
}

Test(placement, the_second_thread_of_a_core_serves_when_only_it_is_allowed)
{
	machine(SMT, "4,5,6");
	cr_assert_eq(vcpus(2), 0, "%s", err.text);
	cr_expect(allowed(out.sidecore_cpu) && allowed(out.vcpu_cpu[0]) && allowed(out.vcpu_cpu[1]));
}

Test(placement, a_sidecore_that_is_given_pulls_its_guest_near)
{
	machine("pack:2 l3:1 core:4 pu:1", NULL);
	cr_assert_eq(choose(&(struct request){.vcpus = 2, .sidecore = 5}), 0);
	cr_expect_eq(out.sidecore_cpu, 5);
	for (unsigned i = 0; i < 2; i++) {
		cr_expect_neq(out.vcpu_cpu[i], 5);
		cr_expect(same(out.vcpu_cpu[i], 5, HWLOC_OBJ_L3CACHE));
	}
}

Test(placement, a_sidecore_outside_the_allowed_cpus_leaves_them_all_to_the_guest)
{
	machine("pack:1 l3:1 core:4 pu:1", "0,1");
	cr_assert_eq(choose(&(struct request){.vcpus = 2, .sidecore = 3}), 0, "%s",
		err.text);
	cr_expect_eq(out.sidecore_cpu, 3);
	cr_expect(allowed(out.vcpu_cpu[0]) && allowed(out.vcpu_cpu[1]));
}

Test(placement, a_machine_without_cores_in_its_description_has_one_cpu_per_core)
{
	machine("pu:4", NULL);
	cr_assert_eq(vcpus(2), 0, "%s", err.text);
	cr_expect_neq(out.vcpu_cpu[0], out.vcpu_cpu[1]);
	cr_expect_neq(out.vcpu_cpu[0], out.sidecore_cpu);
}

Test(placement, nonsense_is_refused)
{
	machine("pack:1 l3:1 core:4 pu:1", NULL);
	cr_expect_eq(vcpus(0), -EINVAL);
	cr_expect_eq(choose(&(struct request){.vcpus = SV_MACHINE_CORES + 1,
			     .sidecore = -1,
			     .overcommit = true}), -EINVAL);
	cr_expect_neq(err.text[0], 0);
}

Test(placement, as_many_vcpus_as_can_be_named_may_share_four_cores)
{
	machine("pack:1 l3:1 core:4 pu:1", NULL);
	cr_assert_eq(choose(&(struct request){
			     .vcpus = VCPUS, .sidecore = -1, .overcommit = true}), 0);
	cr_expect_eq(out.guest_cores, 3);
	for (unsigned i = 0; i < VCPUS; i++)
		cr_expect_neq(out.vcpu_cpu[i], out.sidecore_cpu);
}

/* --- what holds for every machine and every request -------------------------------------------- */

static unsigned cores_allowed(void)
{
	hwloc_obj_t core = NULL;
	unsigned n = 0;

	while ((core = hwloc_get_next_obj_by_type(topo, HWLOC_OBJ_CORE, core)))
		n += hwloc_bitmap_intersects(core->cpuset, hwloc_topology_get_allowed_cpuset(topo));
	return n;
}

static void holds(const struct request *req)
{
	unsigned cores = cores_allowed();
	int rc = choose(req);

	if (rc) {
		cr_assert_eq(rc, -ENOSPC, "%s", err.text);
		cr_assert_not(req->overcommit, "overcommit always fits: %s", err.text);
		cr_assert(req->vcpus + 1 > cores, "%u vCPUs, %u cores: %s", req->vcpus,
			cores, err.text);
		return;
	}
	cr_assert(allowed(out.sidecore_cpu) && allowed(out.control_cpu));
	cr_assert(out.guest_cores && out.guest_cores <= req->vcpus);
	for (unsigned i = 0; i < req->vcpus; i++) {
		cr_assert(allowed(out.vcpu_cpu[i]));
		if (cores > 1 && !req->smt_sibling)
			cr_assert_not(same(out.vcpu_cpu[i], out.sidecore_cpu, HWLOC_OBJ_CORE));
		for (unsigned k = 0; k < i && !req->overcommit; k++)
			cr_assert_not(same(out.vcpu_cpu[i], out.vcpu_cpu[k], HWLOC_OBJ_CORE));
	}
	memset(&again, 0x5a, sizeof(again));
	cr_assert_eq(plan(req, &again), 0);
	cr_assert_eq(memcmp(&out, &again, sizeof(out)), 0, "the same question, the same answer");
}

Test(placement, on_every_machine_cores_are_not_shared_unless_asked)
{
	static const struct {
		const char *synthetic, *allowed;
	} machines[] = {{"pack:1 l3:1 core:1 pu:2", NULL}, {"pack:1 l3:1 core:2 pu:1", NULL},
		{"pack:1 l3:1 core:2 pu:2", NULL}, {SMT, NULL}, {SMT, "0-3"}, {SMT, "4-7"},
		{SMT, "0,4"}, {SMT, "0,5,2"}, {"pack:2 l3:1 core:4 pu:2", NULL},
		{"pack:2 l3:2 core:2 pu:1", "1-6"}, {"numa:2 pack:1 l3:2 core:3 pu:2", "0,3,5,7-20"},
		{"pack:2 core:6 pu:1", NULL}, {"numa:4 core:4 pu:4", NULL}};

	for (unsigned m = 0; m < sizeof(machines) / sizeof(machines[0]); m++) {
		machine(machines[m].synthetic, machines[m].allowed);
		for (unsigned n = 1; n < 20; n++)
			for (unsigned how = 0; how < 4; how++)
				holds(&(struct request){.vcpus = n,
					.sidecore = -1,
					.smt_sibling = how & 1,
					.overcommit = how & 2});
		fini();
	}
}
