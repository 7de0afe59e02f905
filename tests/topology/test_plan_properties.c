/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random machines and random requests: what must hold for every plan, holds; what is refused, is
 * refused with a sentence, and what the sentence says can be had, can be had.
 *
 * SV_PLAN_SEED and SV_PLAN_MACHINES choose other ones.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planning.h"

#define MACHINES 10000u
#define REQUESTS 2u
#define MOST_CPUS 160u

static uint64_t state;

static unsigned below(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 11) % n);
}

static bool chance(unsigned percent)
{
	return below(100) < percent;
}

/* --- machines ------------------------------------------------------------------------------------ */

static void level(char *text, size_t size, const char *type, unsigned n, unsigned *cpus)
{
	size_t used = strlen(text);

	if (*cpus * n > MOST_CPUS)
		return;
	*cpus *= n;
	snprintf(text + used, size - used, "%s%s:%u", used ? " " : "", type, n);
}

static void memory(char *text, size_t size, unsigned nodes)
{
	for (unsigned i = 0; i < nodes; i++) {
		size_t used = strlen(text);

		snprintf(text + used, size - used, "%s[numa(memory=%uGB)]", used ? " " : "", 1 + below(8));
	}
}

/* From packages down to threads, each level there or not, nodes above or inside the L3. */
static void describe(char *text, size_t size)
{
	unsigned cpus = 1, where = below(6);

	/* hwloc has nodes beside the levels or as a level, not both. */
	text[0] = 0;
	if (chance(10) && where != 1 && where != 3)
		memory(text, size, 1);
	if (chance(70))
		level(text, size, "pack", 1 + below(4), &cpus);
	if (where == 0)
		memory(text, size, 1 + below(2));
	if (where == 1)
		level(text, size, "numa", 1 + below(4), &cpus);
	if (chance(20))
		level(text, size, "die", 1 + below(3), &cpus);
	if (where == 2)
		memory(text, size, 1);
	if (chance(60))
		level(text, size, "l3", 1 + below(4), &cpus);
	if (where == 3)
		level(text, size, "numa", 1 + below(3), &cpus);
	if (chance(40))
		level(text, size, "l2", 1 + below(4), &cpus);
	if (chance(90))
		level(text, size, "core", 1 + below(chance(30) ? 20 : 5), &cpus);
	level(text, size, "pu", 1 + below(chance(50) ? 1 : 4), &cpus);
	if (!strstr(text, "pu:"))
		snprintf(text + strlen(text), size - strlen(text), " pu:1");
}

static void random_part(hwloc_bitmap_t set, unsigned cpus)
{
	unsigned percent = 20 + below(80);

	hwloc_bitmap_zero(set);
	for (unsigned i = 0; i < cpus; i++)
		if (chance(percent))
			hwloc_bitmap_set(set, i);
	if (hwloc_bitmap_iszero(set))
		hwloc_bitmap_set(set, below(cpus));
}

/* The same machine again for the same @part: 0 whole, 1 restricted, 2 some CPUs not allowed. */
static struct sv_machine *build(const char *text, unsigned part, hwloc_const_bitmap_t set)
{
	struct sv_machine *m = NULL;
	struct sv_error err = {0};
	hwloc_topology_t topo;

	cr_assert_eq(hwloc_topology_init(&topo), 0);
	hwloc_topology_set_flags(topo, part == 2 ? HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED : 0);
	cr_assert_eq(hwloc_topology_set_synthetic(topo, text), 0, "%s", text);
	cr_assert_eq(hwloc_topology_load(topo), 0, "%s", text);
	if (part == 1)
		cr_assert_eq(hwloc_topology_restrict(topo, set, 0), 0, "%s", text);
	if (part == 2)
		cr_assert_eq(hwloc_topology_allow(topo, set, NULL, HWLOC_ALLOW_FLAG_CUSTOM), 0, "%s", text);
	cr_assert_eq(sv_machine_from(topo, text, &m, &err), 0, "%s: %s", text, err.text);
	return m;
}

/* --- requests ------------------------------------------------------------------------------------ */

static int some_cpu(const struct sv_machine *m)
{
	const struct sv_core *core = &m->core[below(m->cores)];

	return core->cpu[below(core->threads)];
}

static void ask_guests(const struct sv_machine *m, struct planning_request *r)
{
	unsigned guests = 1 + below(chance(50) ? 2 : 8);
	unsigned most = 1 + m->cores / guests + below(3);

	for (unsigned g = 0; g < guests; g++) {
		struct sv_plan_guest *guest = &r->guest[g];

		snprintf(guest->name, sizeof(guest->name), "%c", 'a' + (int)g);
		guest->vcpus = 1 + below(most);
		guest->smt = chance(25);
		guest->share = chance(20);
		guest->untrusted = chance(15);
		if (chance(10))
			guest->memory_bytes = (uint64_t)(1 + below(20)) << 30;
	}
	r->req.guest = r->guest;
	r->req.guests = guests;
}

static void ask(const struct sv_machine *m, struct planning_request *r)
{
	struct sv_plan_policy *p = &r->req.policy;

	memset(r, 0, sizeof(*r));
	ask_guests(m, r);
	p->kind = (enum sv_plan_policy_kind)below(3);
	p->sidecores = chance(60) ? SV_PLAN_AUTO : 1 + (int)below(4);
	p->housekeeping = chance(60) ? SV_PLAN_AUTO : (int)below(4);
	p->guest_cores_per_sidecore = chance(70) ? 0 : 1 + below(6);
	p->exclude_cpu = r->exclude;
	p->housekeeping_cpu = r->keep;
	p->sidecore_cpu = r->given;
	while (chance(20) && p->exclude_cpus < 8)
		r->exclude[p->exclude_cpus++] = some_cpu(m);
	while (chance(15) && p->housekeeping_cpus < 8)
		r->keep[p->housekeeping_cpus++] = some_cpu(m);
}

/* Sidecores that are there already: on cores of their own, which are neither out nor keep house. */
static void ask_given(const struct sv_machine *m, struct planning_request *r)
{
	struct sv_plan_policy *p = &r->req.policy;

	if (!chance(10) || p->exclude_cpus || p->housekeeping_cpus)
		return;
	p->kind = SV_PLAN_LOCALITY;
	p->sidecores = SV_PLAN_AUTO;
	for (unsigned i = 0; i < m->cores && p->sidecore_cpus < 4; i++)
		if (chance(15))
			r->given[p->sidecore_cpus++] = m->core[i].cpu[0];
}

static const char *request_text(const struct planning_request *r)
{
	const struct sv_plan_policy *p = &r->req.policy;
	static char text[1024];
	size_t n;

	n = (size_t)snprintf(text, sizeof(text), "%s side=%d house=%d k=%u",
		sv_plan_policy_name(p->kind), p->sidecores, p->housekeeping, p->guest_cores_per_sidecore);
	for (unsigned i = 0; i < p->exclude_cpus; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " x=%d", r->exclude[i]);
	for (unsigned i = 0; i < p->housekeeping_cpus; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " keep=%d", r->keep[i]);
	for (unsigned i = 0; i < p->sidecore_cpus; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " given=%d", r->given[i]);
	for (unsigned g = 0; g < r->req.guests; g++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " %s:%u%s%s%s", r->guest[g].name,
			r->guest[g].vcpus, r->guest[g].smt ? "t" : "", r->guest[g].share ? "s" : "",
			r->guest[g].untrusted ? "u" : "");
	return text;
}

/* --- refusals ------------------------------------------------------------------------------------ */

/* Return: NULL, or what prevents it. */
static const char *misfit(const struct sv_machine *m, const struct sv_plan_request *req)
{
	static struct sv_error err;
	struct sv_plan *plan = NULL;
	const char *bad;

	if (sv_plan_make(m, req, &plan, &err) < 0)
		return err.text;
	bad = planning_broken(m, req, plan);
	sv_plan_free(plan);
	return bad;
}

/* One way out that a sentence names, applied to the request. Return: is it one that we know? */
static bool apply(const char *way, struct planning_request *r)
{
	unsigned n;
	char name;

	if (!strncmp(way, "with --sidecores auto", 21)) {
		r->req.policy.sidecores = SV_PLAN_AUTO;
		r->req.policy.guest_cores_per_sidecore = 0;
	} else if (!strncmp(way, "with --housekeeping auto", 24)) {
		r->req.policy.housekeeping = SV_PLAN_AUTO;
	} else if (!strncmp(way, "with --policy locality", 22)) {
		r->req.policy.kind = SV_PLAN_LOCALITY;
	} else if (!strncmp(way, "with vCPUs on all threads", 25)) {
		for (unsigned g = 0; g < r->req.guests; g++)
			r->guest[g].smt = true;
	} else if (!strncmp(way, "when vCPUs may share", 20)) {
		for (unsigned g = 0; g < r->req.guests; g++)
			r->guest[g].share = true;
	} else if (sscanf(way, "with the first %u guest", &n) == 1) {
		r->req.guests = n;
	} else if (sscanf(way, "with %u vCPUs for guest %c", &n, &name) == 2 ||
		   sscanf(way, "with %u vCPU for guest %c", &n, &name) == 2) {
		r->guest[name - 'a'].vcpus = n;
	} else {
		return false;
	}
	return true;
}

/* Every way out of a refusal is one. Return: how many there were. */
static unsigned check_refusal(const struct sv_machine *m, const struct planning_request *r, int rc,
	const char *text)
{
	const char *way = strstr(text, "; it fits ");
	unsigned ways = 0;

	cr_assert(rc == -ENOSPC || rc == -EINVAL, "%s: %d %s", m->name, rc, text);
	cr_assert(strlen(text) > 20, "%s: \"%s\"", m->name, text);
	cr_assert(!strstr(text, "out of memory"), "%s", text);
	for (way = way ? way + 10 : NULL; way; ways++) {
		struct planning_request other = *r;
		struct sv_plan_policy *p = &other.req.policy;
		const char *bad;

		other.req.guest = other.guest;
		p->exclude_cpu = other.exclude;
		p->housekeeping_cpu = other.keep;
		p->sidecore_cpu = other.given;
		cr_assert(apply(way, &other), "%s: what is \"%s\"?", m->name, way);
		bad = misfit(m, &other.req);
		cr_assert(!bad, "%s, %s:\n  %s\n  but with %.24s: %s", m->name, request_text(r), text, way,
			bad);
		way = strstr(way, ", or ");
		way = way ? way + 5 : NULL;
	}
	return ways;
}

/* --- all ----------------------------------------------------------------------------------------- */

struct counts {
	unsigned plans, refusals, ways;
};

static void try_one(const struct sv_machine *m, const struct sv_machine *twin, struct counts *n)
{
	struct planning_request r;
	struct sv_plan *plan = NULL, *again = NULL;
	struct sv_error err = {0}, err2 = {0};
	const char *bad;
	int rc;

	ask(m, &r);
	ask_given(m, &r);
	rc = sv_plan_make(m, &r.req, &plan, &err);
	cr_assert_eq(sv_plan_make(twin, &r.req, &again, &err2), rc, "%s, %s", m->name, request_text(&r));
	if (rc < 0) {
		cr_assert_str_eq(err.text, err2.text, "%s, %s", m->name, request_text(&r));
		n->ways += check_refusal(m, &r, rc, err.text);
		n->refusals++;
		return;
	}
	bad = planning_broken(m, &r.req, plan);
	cr_assert(!bad, "%s, %s: %s\n%s", m->name, request_text(&r), bad, planning_map(m, plan));
	cr_assert(planning_same(m, plan, again), "%s, %s: not the same twice", m->name,
		request_text(&r));
	sv_plan_free(plan);
	sv_plan_free(again);
	n->plans++;
}

static unsigned number(const char *name, unsigned usual)
{
	const char *text = getenv(name);

	return text && *text ? (unsigned)strtoul(text, NULL, 10) : usual;
}

Test(plan_properties, random_machines_and_requests)
{
	unsigned machines = number("SV_PLAN_MACHINES", MACHINES), seed = number("SV_PLAN_SEED", 1);
	hwloc_bitmap_t set = hwloc_bitmap_alloc();
	struct counts n = {0};

	state = 0x9e3779b97f4a7c15ull * (seed + 1ull);
	for (unsigned i = 0; i < machines; i++) {
		unsigned part = below(3);
		struct sv_machine *m, *twin;
		char text[256];

		describe(text, sizeof(text));
		random_part(set, 1);
		m = build(text, 0, set);
		if (part) {
			random_part(set, m->cpus);
			sv_machine_free(m);
			m = build(text, part, set);
		}
		twin = build(text, part, set);
		for (unsigned k = 0; k < REQUESTS; k++)
			try_one(m, twin, &n);
		sv_machine_free(m);
		sv_machine_free(twin);
	}
	hwloc_bitmap_free(set);
	fprintf(stderr, "%u machines: %u plans, %u refusals with %u ways out\n", machines, n.plans,
		n.refusals, n.ways);
	cr_assert_gt(n.plans, machines / 4);
	cr_assert_gt(n.refusals, machines / 10);
}
