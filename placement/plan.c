/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of the planner: housekeeping, guests (the largest first), sidecores, then who serves
 * whom. Where the request leaves a number open, the best number is tried first and less after it.
 */
#include <placement/plan.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

/* One polling core keeps up with so many guest cores (docs/placement.md). */
#define GUEST_CORES_PER_SIDECORE 16u
/* One housekeeping core for so many cores. */
#define CORES_PER_HOUSE 64u
#define CORES_FOR_A_HOUSE 3u

const char *sv_plan_policy_name(enum sv_plan_policy_kind kind)
{
	static const char *const names[] = {[SV_PLAN_LOCALITY] = "locality",
		[SV_PLAN_SPREAD] = "spread",
		[SV_PLAN_SMT_SIBLING] = "smt-sibling"};

	return kind <= SV_PLAN_SMT_SIBLING ? names[kind] : "?";
}

const char *sv_role_name(enum sv_role role)
{
	static const char *const names[] = {[SV_ROLE_SPARE] = "spare",
		[SV_ROLE_GUEST] = "guest",
		[SV_ROLE_SIDECORE] = "sidecore",
		[SV_ROLE_HOUSEKEEPING] = "housekeeping",
		[SV_ROLE_EXCLUDED] = "excluded"};

	return role <= SV_ROLE_EXCLUDED ? names[role] : "?";
}

void sv_plan_free(struct sv_plan *plan)
{
	if (!plan)
		return;
	for (unsigned g = 0; plan->guest && g < plan->guests; g++) {
		free(plan->guest[g].vcpu);
		free(plan->guest[g].node);
	}
	free(plan->guest);
	free(plan->sidecore);
	free(plan->role);
	free(plan->owner);
	free(plan->housekeeping);
	free(plan->idle);
	free(plan);
}

static void planning_close(struct sv_planning *p)
{
	free(p->load);
	free(p->free);
	free(p->reserve);
	free(p->keeps_sibling);
	free(p->near_ns);
	free(p->guest_near_ns);
	sv_plan_free(p->plan);
}

static int planning_open(struct sv_planning *p)
{
	const struct sv_machine *m = p->m;

	p->plan = calloc(1, sizeof(*p->plan));
	if (!p->plan)
		return -ENOMEM;
	p->plan->kind = p->req->policy.kind;
	p->plan->measured = m->measured != NULL;
	p->plan->guests = p->req->guests;
	p->plan->guest = calloc(p->req->guests, sizeof(*p->plan->guest));
	p->plan->role = calloc(m->cores, sizeof(*p->plan->role));
	p->plan->owner = calloc(m->cores, sizeof(*p->plan->owner));
	p->role = p->plan->role;
	p->owner = p->plan->owner;
	p->load = calloc(m->domains, sizeof(*p->load));
	p->free = calloc(m->domains, sizeof(*p->free));
	p->reserve = calloc(m->domains, sizeof(*p->reserve));
	p->near_ns = calloc(m->domains, sizeof(*p->near_ns));
	p->guest_near_ns = calloc(m->domains, sizeof(*p->guest_near_ns));
	return p->plan->guest && p->role && p->owner && p->load && p->free && p->reserve &&
		p->near_ns && p->guest_near_ns ? 0 : -ENOMEM;
}

/* --- where near is ----------------------------------------------------------------------------- */

/* Add the distance of each domain to the nearest core with a flag. */
static void add_distance_to(const struct sv_machine *m, const bool *local, float *ns)
{
	bool *here = calloc(m->domains, sizeof(*here));

	for (unsigned i = 0; here && i < m->cores; i++)
		here[m->core[i].domain] |= local[i];
	for (unsigned d = 0; here && d < m->domains; d++) {
		double best = 1e6;

		for (unsigned k = 0; k < m->domains; k++)
			if (here[k]) {
				double way = k == d ? 0 : sv_domain_line_ns(m, d, k);

				best = way < best ? way : best;
			}
		ns[d] += (float)best;
	}
	free(here);
}

/* The device that is asked for, or the sidecores that are there already. */
static int find_near(const struct sv_planning *p, const char *device, float *ns,
	struct sv_error *err)
{
	const struct sv_machine *m = p->m;
	bool *local = NULL;
	int rc = 0;

	if (device) {
		rc = sv_machine_device(m, device, &local, err);
	} else if (p->req->policy.sidecore_cpus) {
		local = calloc(m->cores, sizeof(*local));
		for (unsigned i = 0; local && i < p->req->policy.sidecore_cpus; i++) {
			int core = sv_machine_core_of(m, p->req->policy.sidecore_cpu[i]);

			if (core >= 0)
				local[core] = true;
		}
	}
	if (rc == 0 && local)
		add_distance_to(m, local, ns);
	free(local);
	return rc;
}

/* --- guests ------------------------------------------------------------------------------------ */

/* The only core there is: guests that may share it do, with the sidecore. */
static bool only_core(struct sv_planning *p)
{
	if (!sv_plan_all_share(p) || p->m->cores != 1 || p->role[0] != SV_ROLE_SPARE ||
		p->req->policy.sidecore_cpus ||
		(p->req->policy.kind == SV_PLAN_SMT_SIBLING && p->m->core[0].threads > 1))
		return false;
	p->plan->shared_core = true;
	p->role[0] = SV_ROLE_GUEST;
	p->owner[0] = 0;
	return true;
}

static int place_guests(struct sv_planning *p, struct sv_error *err)
{
	unsigned n = p->req->guests;
	unsigned *order;
	int rc = 0;

	if (only_core(p))
		return 0;
	order = malloc(n * sizeof(*order));
	if (!order)
		return sv_fail(err, ENOMEM, "out of memory");
	for (unsigned g = 0; g < n; g++) {
		unsigned k = g;

		for (; k && sv_plan_want(p, &p->req->guest[order[k - 1]]) <
				    sv_plan_want(p, &p->req->guest[g]); k--)
			order[k] = order[k - 1];
		order[k] = g;
	}
	for (unsigned i = 0; i < n && rc == 0; i++) {
		const struct sv_plan_guest *g = &p->req->guest[order[i]];

		memcpy(p->guest_near_ns, p->near_ns, p->m->domains * sizeof(*p->near_ns));
		if (g->near)
			rc = find_near(p, g->near, p->guest_near_ns, err);
		if (rc == 0)
			rc = sv_plan_guest(p, order[i], err);
	}
	free(order);
	return rc;
}

static unsigned reserved(const struct sv_planning *p)
{
	unsigned n = 0;

	for (unsigned d = 0; d < p->m->domains; d++)
		n += sv_plan_need(p, d, p->load[d]);
	return n;
}

static void reserve_everywhere(struct sv_planning *p)
{
	bool here = !p->req->policy.sidecore_cpus;

	for (unsigned d = 0; d < p->m->domains; d++)
		p->reserve[d] = here;
}

/*
 * A given number of sidecores: one in each domain with guests where they suffice; else in the
 * domains nearest to all guest cores, and the guests are placed again around these.
 */
static int place_around(struct sv_planning *p, struct sv_error *err)
{
	unsigned *weight;
	bool *local, fitted;
	int rc;

	reserve_everywhere(p);
	rc = place_guests(p, err);
	if (!p->sidecores || (rc == 0 && reserved(p) <= p->sidecores))
		return rc;
	weight = calloc(p->m->domains, sizeof(*weight));
	local = calloc(p->m->cores, sizeof(*local));
	if (!weight || !local) {
		free(weight);
		free(local);
		return sv_fail(err, ENOMEM, "out of memory");
	}
	memcpy(weight, p->load, p->m->domains * sizeof(*weight));
	fitted = rc == 0;
	rc = fitted || rc == -ENOSPC ? sv_plan_reset(p, err) : rc;
	if (!fitted)
		memcpy(weight, p->free, p->m->domains * sizeof(*weight));
	if (rc == 0)
		rc = sv_plan_medians(p->m, weight, p->free, p->sidecores, p->reserve);
	for (unsigned i = 0; i < p->m->cores; i++)
		local[i] = p->reserve[p->m->core[i].domain];
	add_distance_to(p->m, local, p->near_ns);
	free(weight);
	free(local);
	return rc < 0 ? rc : place_guests(p, err);
}

/* --- one attempt, and all ---------------------------------------------------------------------- */

/* Are there cores enough at all? Saves long ways to the same answer. */
static int check_total(const struct sv_planning *p, struct sv_error *err)
{
	uint64_t want = 0, free_cores = 0;
	unsigned side = p->sidecores ? p->sidecores : 1;

	if (p->req->policy.sidecore_cpus || p->req->policy.kind == SV_PLAN_SMT_SIBLING)
		side = 0;
	for (unsigned g = 0; g < p->req->guests; g++)
		want += p->req->guest[g].share ? 0 : sv_plan_want(p, &p->req->guest[g]);
	for (unsigned d = 0; d < p->m->domains; d++)
		free_cores += p->free[d];
	if (want + side <= free_cores || !want)
		return 0;
	return sv_fail(err, ENOSPC,
		"the guests need %llu core%s and at least %u sidecore%s; %llu of the %u cores of %s are "
		"usable%s", (unsigned long long)want, want == 1 ? "" : "s", side, side == 1 ? "" : "s",
		(unsigned long long)free_cores, p->m->cores, p->m->name,
		p->house ? " beside housekeeping" : "");
}

static int attempt(const struct sv_machine *m, const struct sv_plan_request *req, unsigned house,
	unsigned sidecores, struct sv_plan **out, struct sv_error *err)
{
	struct sv_planning p = {.m = m, .req = req, .sidecores = sidecores, .house = house};
	int rc = planning_open(&p);

	if (!sidecores)
		p.per = req->policy.guest_cores_per_sidecore ? req->policy.guest_cores_per_sidecore
							     : GUEST_CORES_PER_SIDECORE;
	if (rc < 0)
		rc = sv_fail(err, ENOMEM, "out of memory");
	if (rc == 0)
		rc = find_near(&p, req->policy.near, p.near_ns, err);
	if (rc == 0)
		rc = sv_plan_reset(&p, err);
	if (rc == 0)
		rc = check_total(&p, err);
	if (rc == 0)
		rc = place_around(&p, err);
	for (unsigned g = 0; g < req->guests && rc == 0; g++)
		rc = sv_plan_give_vcpus(&p, g);
	if (rc == 0)
		rc = sv_plan_sidecores(&p, err);
	for (unsigned g = 0; g < req->guests && rc == 0; g++)
		rc = sv_plan_give_nodes(&p, g);
	if (rc == 0)
		rc = sv_plan_list_rest(&p);
	if (rc == 0) {
		sv_plan_explain(&p);
		*out = p.plan;
		p.plan = NULL;
	} else if (rc == -ENOMEM) {
		sv_fail(err, ENOMEM, "out of memory");
	}
	planning_close(&p);
	return rc;
}

static int check_cpus(const struct sv_machine *m, const char *what, const int *cpu, unsigned n,
	struct sv_error *err)
{
	for (unsigned i = 0; i < n; i++)
		if (cpu[i] < 0 || sv_machine_core_of(m, cpu[i]) < 0)
			return sv_fail(err, EINVAL, "%s: CPU %d is not among the usable CPUs of %s", what,
				cpu[i], m->name);
	return 0;
}

static int check(const struct sv_machine *m, const struct sv_plan_request *req,
	struct sv_error *err)
{
	const struct sv_plan_policy *policy = &req->policy;

	if (!req->guests || req->guests > SV_PLAN_GUESTS)
		return sv_fail(err, EINVAL, "%u guests: a plan is for 1 to %u", req->guests,
			SV_PLAN_GUESTS);
	for (unsigned g = 0; g < req->guests; g++) {
		if (!req->guest[g].vcpus || req->guest[g].vcpus > SV_MACHINE_CORES)
			return sv_fail(err, EINVAL, "guest %s: %u vCPUs cannot be placed",
				req->guest[g].name, req->guest[g].vcpus);
		for (unsigned k = 0; k < g; k++)
			if (!strncmp(req->guest[g].name, req->guest[k].name, SV_PLAN_NAME))
				return sv_fail(err, EINVAL, "two guests are called %s; name them apart",
					req->guest[g].name);
	}
	if (policy->sidecores == 0 || policy->sidecores < SV_PLAN_AUTO ||
		policy->sidecores > (int)SV_MACHINE_CORES)
		return sv_fail(err, EINVAL, "--sidecores %d: give a number from 1, or auto",
			policy->sidecores);
	if (policy->housekeeping < SV_PLAN_AUTO)
		return sv_fail(err, EINVAL, "--housekeeping %d: give a number from 0, or auto",
			policy->housekeeping);
	if (policy->kind > SV_PLAN_SMT_SIBLING)
		return sv_fail(err, EINVAL, "policy %u: there is locality, spread and smt-sibling",
			(unsigned)policy->kind);
	if (policy->sidecores > 0 && policy->guest_cores_per_sidecore) {
		uint64_t room = (uint64_t)policy->sidecores * policy->guest_cores_per_sidecore, want = 0;
		struct sv_planning p = {.m = m, .req = req};

		for (unsigned g = 0; g < req->guests; g++)
			want += req->guest[g].share ? 0 : sv_plan_want(&p, &req->guest[g]);
		if (want > room)
			return sv_fail(err, ENOSPC,
				"%llu guest cores at %u per sidecore need %llu sidecores, --sidecores %d was "
				"given", (unsigned long long)want, policy->guest_cores_per_sidecore,
				(unsigned long long)((want + policy->guest_cores_per_sidecore - 1) /
						     policy->guest_cores_per_sidecore), policy->sidecores);
	}
	return check_cpus(m, "housekeeping", policy->housekeeping_cpu, policy->housekeeping_cpus, err);
}

/* The number of housekeeping cores that suits a machine. */
static unsigned usual_house(const struct sv_machine *m, const struct sv_plan_policy *policy)
{
	unsigned usable = m->cores > policy->exclude_cpus ? m->cores - policy->exclude_cpus : 0;

	if (policy->housekeeping != SV_PLAN_AUTO)
		return (unsigned)policy->housekeeping;
	if (policy->housekeeping_cpus || usable < CORES_FOR_A_HOUSE)
		return 0;
	return (usable + CORES_PER_HOUSE - 1) / CORES_PER_HOUSE;
}

/* That serve all guest cores when each serves as many as it may. */
static unsigned fewest_sidecores(const struct sv_machine *m, const struct sv_plan_request *req)
{
	struct sv_planning p = {.m = m, .req = req};
	unsigned per = req->policy.guest_cores_per_sidecore, want = 0;

	for (unsigned g = 0; g < req->guests; g++)
		want += sv_plan_want(&p, &req->guest[g]);
	want = (want + per - 1) / per;
	return want < m->cores ? want : m->cores;
}

/* As many sidecores as suit; when that does not fit, fewer and fewer. */
static int with_house(const struct sv_machine *m, const struct sv_plan_request *req,
	unsigned house, struct sv_plan **plan, struct sv_error *err)
{
	unsigned n = m->domains;
	int rc;

	if (req->policy.sidecores != SV_PLAN_AUTO && !req->policy.sidecore_cpus)
		return attempt(m, req, house, (unsigned)req->policy.sidecores, plan, err);
	rc = attempt(m, req, house, 0, plan, err);
	if (rc != -ENOSPC || req->policy.sidecore_cpus || req->policy.kind == SV_PLAN_SMT_SIBLING)
		return rc;
	if (req->policy.guest_cores_per_sidecore)
		return attempt(m, req, house, fewest_sidecores(m, req), plan, err);
	for (; n >= 1 && rc == -ENOSPC; n = n > 16 ? n * 3 / 4 : n - 1)
		rc = attempt(m, req, house, n, plan, err);
	return rc;
}

/* Do vCPUs share cores? Then guests need the cores more than the house does. */
static bool squeezed(const struct sv_plan *plan)
{
	for (unsigned g = 0; g < plan->guests; g++)
		if (plan->guest[g].shares)
			return true;
	return false;
}

int sv_plan_try(const struct sv_machine *m, const struct sv_plan_request *req,
	struct sv_plan **plan, struct sv_error *err)
{
	unsigned house = usual_house(m, &req->policy);
	struct sv_plan *found = NULL;
	int rc = check(m, req, err);

	if (rc < 0)
		return rc;
	for (;; house = house > 1 ? house / 2 : 0) {
		struct sv_plan *next = NULL;

		rc = with_house(m, req, house, &next, err);
		if (rc == 0) {
			sv_plan_free(found);
			found = next;
		}
		if (!house || req->policy.housekeeping != SV_PLAN_AUTO ||
			(rc == 0 ? !squeezed(found) : rc != -ENOSPC))
			break;
	}
	if (!found)
		return rc;
	*plan = found;
	return 0;
}

int sv_plan_make(const struct sv_machine *m, const struct sv_plan_request *req,
	struct sv_plan **plan, struct sv_error *err)
{
	int rc = sv_plan_try(m, req, plan, err);

	return rc == -ENOSPC ? sv_plan_refuse(m, req, rc, err) : rc;
}
