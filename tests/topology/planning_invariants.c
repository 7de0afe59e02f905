/* SPDX-License-Identifier: BSD-3-Clause */
/* What holds for every plan, whatever the machine and the request. */
#include "planning.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char what[256];

static const char *broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static const char *broken(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return what;
}

static bool in_list(const int *cpu, unsigned n, int os)
{
	for (unsigned i = 0; i < n; i++)
		if (cpu[i] == os)
			return true;
	return false;
}

static bool core_has(const struct sv_core *core, const int *cpu, unsigned n)
{
	for (unsigned t = 0; t < core->threads; t++)
		if (in_list(cpu, n, core->cpu[t]))
			return true;
	return false;
}

static bool same(double a, double b)
{
	return !(a < b) && !(a > b);
}

/* Excluded cores do nothing; those that keep house by number or by name do. */
static const char *check_roles(const struct sv_machine *m, const struct sv_plan_request *req,
	const struct sv_plan *plan)
{
	const struct sv_plan_policy *p = &req->policy;
	unsigned house = 0, named = 0;

	for (unsigned i = 0; i < m->cores; i++) {
		const struct sv_core *core = &m->core[i];
		bool excluded = core_has(core, p->exclude_cpu, p->exclude_cpus);
		bool keeps = core_has(core, p->housekeeping_cpu, p->housekeeping_cpus);

		if (excluded != (plan->role[i] == SV_ROLE_EXCLUDED))
			return broken("core %u: excluded %d, its role is %d", i, excluded, plan->role[i]);
		if (keeps && !excluded && plan->role[i] != SV_ROLE_HOUSEKEEPING)
			return broken("core %u should keep house, its role is %d", i, plan->role[i]);
		if ((plan->role[i] == SV_ROLE_GUEST) != (plan->owner[i] >= 0))
			return broken("core %u: role %d, owner %d", i, plan->role[i], plan->owner[i]);
		named += keeps && !excluded;
		house += plan->role[i] == SV_ROLE_HOUSEKEEPING;
	}
	if (p->housekeeping != SV_PLAN_AUTO && house != named + (unsigned)p->housekeeping)
		return broken("%u cores keep house, %d and %u by name were asked for", house,
			p->housekeeping, named);
	return plan->shared_house != !house ? broken("shared_house %d with %u", plan->shared_house, house)
					    : NULL;
}

static const char *check_sidecores(const struct sv_machine *m, const struct sv_plan_request *req,
	const struct sv_plan *plan)
{
	const struct sv_plan_policy *p = &req->policy;
	unsigned want = p->sidecore_cpus ? p->sidecore_cpus : (unsigned)p->sidecores;

	if (!plan->sidecores)
		return broken("no sidecore");
	if ((p->sidecore_cpus || p->sidecores != SV_PLAN_AUTO) && !plan->shared_core &&
		plan->sidecores != want)
		return broken("%u sidecores, %u were asked for", plan->sidecores, want);
	for (unsigned s = 0; s < plan->sidecores; s++) {
		const struct sv_plan_sidecore *side = &plan->sidecore[s];
		unsigned char role;

		if (p->sidecore_cpus) {
			if (side->cpu != p->sidecore_cpu[s])
				return broken("sidecore %u on CPU %d", s, side->cpu);
			continue;
		}
		if (side->core < 0 || (unsigned)side->core >= m->cores ||
			sv_machine_core_of(m, side->cpu) != side->core)
			return broken("sidecore %u: CPU %d is not of core %d", s, side->cpu, side->core);
		role = plan->role[side->core];
		if (role != (p->kind == SV_PLAN_SMT_SIBLING || plan->shared_core ? SV_ROLE_GUEST
										  : SV_ROLE_SIDECORE))
			return broken("sidecore %u is on a core that is %s", s,
				sv_role_name((enum sv_role)role));
		for (unsigned k = 0; k < s; k++)
			if (plan->sidecore[k].core == side->core)
				return broken("sidecores %u and %u on one core", k, s);
	}
	for (unsigned i = 0, n; i < m->cores; i++) {
		for (n = 0; n < plan->sidecores && plan->sidecore[n].core != (int)i; n++)
			;
		if (plan->role[i] == SV_ROLE_SIDECORE && n == plan->sidecores)
			return broken("core %u is a sidecore without one", i);
	}
	return NULL;
}

/* The CPUs of one guest: its own cores, none beside a sidecore, one vCPU a core without SMT. */
static const char *check_guest(const struct sv_machine *m, const struct sv_plan_request *req,
	const struct sv_plan *plan, unsigned g, int *user)
{
	const struct sv_plan_placed *placed = &plan->guest[g];
	const struct sv_plan_guest *guest = &req->guest[g];
	int last = -1;

	if (strcmp(placed->name, guest->name) || placed->vcpus != guest->vcpus)
		return broken("guest %u is %s with %u vCPUs", g, placed->name, placed->vcpus);
	if (placed->shares && !guest->share)
		return broken("guest %u shares cores and may not", g);
	for (unsigned v = 0; v < placed->vcpus; v++) {
		const struct sv_plan_vcpu *vcpu = &placed->vcpu[v];
		int owner, *slot;

		if (vcpu->core >= m->cores || sv_machine_core_of(m, vcpu->cpu) != (int)vcpu->core)
			return broken("guest %u, vCPU %u: CPU %d, core %u", g, v, vcpu->cpu, vcpu->core);
		owner = plan->owner[vcpu->core];
		if (owner != (int)g && (owner < 0 || !guest->share || !req->guest[owner].share))
			return broken("guest %u, vCPU %u: core %u is of %d", g, v, vcpu->core, owner);
		for (unsigned s = 0; s < plan->sidecores; s++) {
			bool together = plan->shared_core || (req->policy.sidecore_cpus && guest->share);

			if (plan->sidecore[s].cpu == vcpu->cpu &&
				(!together || m->core[vcpu->core].threads > 1) && !plan->shared_core)
				return broken("guest %u, vCPU %u on the CPU of sidecore %u", g, v, s);
			if (plan->sidecore[s].core == (int)vcpu->core && !together &&
				(plan->kind != SV_PLAN_SMT_SIBLING ||
					(!req->policy.sidecore_cpus && (guest->smt || guest->untrusted))))
				return broken("guest %u, vCPU %u beside sidecore %u", g, v, s);
		}
		if (!guest->smt && !placed->shares && (int)vcpu->core == last)
			return broken("guest %u, vCPU %u on a sibling of the one before", g, v);
		last = (int)vcpu->core;
		slot = &user[vcpu->core * SV_CORE_THREADS];
		while (m->core[vcpu->core].cpu[slot - &user[vcpu->core * SV_CORE_THREADS]] != vcpu->cpu)
			slot++;
		if (*slot >= 0 && (!guest->share || !req->guest[*slot].share))
			return broken("CPU %d is of guests %d and %u", vcpu->cpu, *slot, g);
		*slot = (int)g;
	}
	return NULL;
}

/* Who serves a core: none is nearer, and none is in its domain when it is in another. */
static const char *check_served(const struct sv_machine *m, const struct sv_plan_request *req,
	const struct sv_plan *plan, const struct sv_plan_vcpu *vcpu)
{
	const struct sv_plan_sidecore *mine = &plan->sidecore[vcpu->sidecore];
	unsigned domain = m->core[vcpu->core].domain;

	if (vcpu->sidecore >= plan->sidecores)
		return broken("CPU %d is served by sidecore %u", vcpu->cpu, vcpu->sidecore);
	if (mine->core < 0)
		return NULL;
	if (!same(vcpu->line_ns, sv_machine_line_ns(m, vcpu->core, (unsigned)mine->core)) ||
		vcpu->near != sv_machine_near(m, vcpu->core, (unsigned)mine->core))
		return broken("CPU %d is not as far from its sidecore as it says", vcpu->cpu);
	for (unsigned s = 0; s < plan->sidecores && !req->policy.guest_cores_per_sidecore; s++) {
		int core = plan->sidecore[s].core;

		if (core < 0)
			continue;
		if (sv_machine_line_ns(m, vcpu->core, (unsigned)core) < vcpu->line_ns)
			return broken("CPU %d is served by %d, and %d is nearer", vcpu->cpu, mine->cpu,
				plan->sidecore[s].cpu);
		if (m->core[core].domain == domain && m->core[mine->core].domain != domain &&
			!m->measured)
			return broken("CPU %d is served by %d, and %d is in its domain", vcpu->cpu,
				mine->cpu, plan->sidecore[s].cpu);
	}
	return NULL;
}

static const char *check_loads(const struct sv_machine *m, const struct sv_plan_request *req,
	const struct sv_plan *plan)
{
	unsigned sum = 0, cores = 0, k = req->policy.guest_cores_per_sidecore;

	for (unsigned s = 0; s < plan->sidecores; s++) {
		if (k && plan->sidecore[s].guest_cores > k)
			return broken("sidecore %u serves %u cores, %u is the limit", s,
				plan->sidecore[s].guest_cores, k);
		sum += plan->sidecore[s].guest_cores;
	}
	for (unsigned i = 0; i < m->cores; i++)
		cores += plan->role[i] == SV_ROLE_GUEST;
	return sum != cores ? broken("%u of %u guest cores are served", sum, cores) : NULL;
}

/* Memory: the nodes beside the cores are among the guest's. Idle: what nothing runs on. */
static const char *check_rest(const struct sv_machine *m, const struct sv_plan *plan, const int *user)
{
	unsigned idles = 0;

	for (unsigned g = 0; g < plan->guests; g++) {
		const struct sv_plan_placed *placed = &plan->guest[g];

		for (unsigned v = 0; v < placed->vcpus; v++) {
			int node = m->core[placed->vcpu[v].core].node;

			if (node >= 0 && !in_list(placed->node, placed->nodes, m->node[node].os))
				return broken("guest %u runs on node %d and has no memory there", g, node);
		}
		for (unsigned i = 1; i < placed->nodes; i++)
			if (placed->node[i - 1] >= placed->node[i])
				return broken("guest %u: nodes are not ascending", g);
		if (!in_list(plan->housekeeping, plan->housekeepings, placed->control_cpu) &&
			!plan->shared_house)
			return broken("guest %u: its control thread is on CPU %d", g, placed->control_cpu);
	}
	for (unsigned i = 0; i < m->cores; i++)
		for (unsigned t = 0; t < m->core[i].threads; t++) {
			int cpu = m->core[i].cpu[t];
			bool busy = user[i * SV_CORE_THREADS + t] >= 0;

			for (unsigned s = 0; s < plan->sidecores; s++)
				busy |= plan->sidecore[s].cpu == cpu;
			if (plan->role[i] != SV_ROLE_GUEST && plan->role[i] != SV_ROLE_SIDECORE)
				continue;
			idles += !busy;
			if (busy == in_list(plan->idle, plan->idles, cpu))
				return broken("CPU %d is %s", cpu, busy ? "idle and not" : "not listed idle");
		}
	return idles != plan->idles ? broken("%u idle CPUs are listed as %u", idles, plan->idles) : NULL;
}

const char *planning_broken(const struct sv_machine *m, const struct sv_plan_request *req,
	const struct sv_plan *plan)
{
	int *user = malloc(m->cores * SV_CORE_THREADS * sizeof(*user));
	const char *bad = check_roles(m, req, plan);

	for (unsigned i = 0; user && i < m->cores * SV_CORE_THREADS; i++)
		user[i] = -1;
	if (!bad)
		bad = check_sidecores(m, req, plan);
	for (unsigned g = 0; g < plan->guests && !bad; g++)
		bad = check_guest(m, req, plan, g, user);
	for (unsigned g = 0; g < plan->guests && !bad; g++)
		for (unsigned v = 0; v < plan->guest[g].vcpus && !bad; v++)
			bad = check_served(m, req, plan, &plan->guest[g].vcpu[v]);
	if (!bad)
		bad = check_loads(m, req, plan);
	if (!bad)
		bad = check_rest(m, plan, user);
	free(user);
	return bad;
}
