/* SPDX-License-Identifier: BSD-3-Clause */
/* Sidecores: how many in each domain, on which cores, and which one serves which guest core. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

/* By how much a sidecore in @d shortens the way of all guest cores, given the ways they have. */
static double gain_of(const struct sv_machine *m, const unsigned *weight, const double *way,
	unsigned d)
{
	double gain = 0;

	for (unsigned i = 0; i < m->domains; i++)
		if (weight[i]) {
			double ns = sv_domain_line_ns(m, d, i);

			if (ns < way[i])
				gain += weight[i] * (way[i] - ns);
		}
	return gain;
}

/*
 * Greedy, and lazy: what a domain gains never grows as others are chosen, so an old figure is a
 * bound, and only the best bound is computed anew. Within 1 - 1/e of the best sum (Nemhauser,
 * Wolsey and Fisher, 1978).
 */
int sv_plan_medians(const struct sv_machine *m, const unsigned *weight, const unsigned *room,
	unsigned n, bool *chosen)
{
	double *bound = malloc(m->domains * sizeof(*bound)), *way = malloc(m->domains * sizeof(*way));
	unsigned *round = calloc(m->domains, sizeof(*round));

	memset(chosen, 0, m->domains * sizeof(*chosen));
	if (!bound || !way || !round) {
		free(bound);
		free(way);
		free(round);
		return -ENOMEM;
	}
	for (unsigned d = 0; d < m->domains; d++) {
		bound[d] = 1e18;
		way[d] = 1e6;
	}
	for (unsigned picked = 0; picked < n && picked < m->domains;) {
		unsigned best = UINT32_MAX;

		for (unsigned d = 0; d < m->domains; d++)
			if (!chosen[d] && room[d] && (best == UINT32_MAX || bound[d] > bound[best]))
				best = d;
		if (best == UINT32_MAX || (round[best] == picked + 1 && bound[best] <= 0))
			break;
		if (round[best] != picked + 1) {
			bound[best] = gain_of(m, weight, way, best);
			round[best] = picked + 1;
			continue;
		}
		chosen[best] = true;
		picked++;
		for (unsigned i = 0; i < m->domains; i++) {
			double ns = sv_domain_line_ns(m, best, i);

			way[i] = ns < way[i] ? ns : way[i];
		}
	}
	free(bound);
	free(way);
	free(round);
	return 0;
}

static bool smt_policy(const struct sv_planning *p)
{
	return p->req->policy.kind == SV_PLAN_SMT_SIBLING;
}

/* All threads are a guest's, or it is not to be watched; guests that share a core all have a say. */
static void find_kept_siblings(struct sv_planning *p)
{
	for (unsigned g = 0; g < p->plan->guests; g++) {
		const struct sv_plan_guest *guest = &p->req->guest[g];
		const struct sv_plan_placed *placed = &p->plan->guest[g];

		for (unsigned v = 0; v < placed->vcpus && (guest->smt || guest->untrusted); v++)
			p->keeps_sibling[placed->vcpu[v].core] = true;
	}
}

/* May this guest core's second thread be a sidecore? */
static bool lends_sibling(const struct sv_planning *p, unsigned core)
{
	return p->role[core] == SV_ROLE_GUEST && p->m->core[core].threads >= 2 &&
		!p->keeps_sibling[core];
}

static unsigned candidates(const struct sv_planning *p, unsigned d)
{
	unsigned n = 0;

	if (!smt_policy(p))
		return p->free[d];
	for (unsigned i = 0; i < p->m->domain[d].cores; i++)
		n += lends_sibling(p, p->m->domain[d].core[i]);
	return n;
}

/* The domain with most guest cores for each of its sidecores that has a core for one more. */
static unsigned busiest(const struct sv_planning *p, const unsigned *count, const unsigned *room)
{
	const struct sv_machine *m = p->m;
	unsigned best = UINT32_MAX;
	double best_load = 0;

	for (unsigned d = 0; d < m->domains; d++) {
		double load = (double)p->load[d] / (count[d] + 1);

		if (room[d] > count[d] && (best == UINT32_MAX || load > best_load ||
				(load >= best_load && p->near_ns[d] < p->near_ns[best]))) {
			best = d;
			best_load = load;
		}
	}
	return best;
}

static int too_few(const struct sv_planning *p, unsigned want, unsigned have, struct sv_error *err)
{
	if (smt_policy(p))
		return sv_fail(err, ENOSPC,
			"--policy smt-sibling: %u sidecore%s would be the SMT siblings of guest cores, "
			"and %u guest core%s a sibling to lend (none with smt: on, none of an untrusted "
			"guest, none without SMT)", want, want == 1 ? "" : "s", have,
			have == 1 ? " has" : "s have");
	return sv_fail(err, ENOSPC, "%u sidecore%s asked for, %u core%s left beside the guests%s", want,
		want == 1 ? " is" : "s are", have, have == 1 ? " is" : "s are",
		p->house ? " and housekeeping" : "");
}

/* A given number: first where the ways are shortest, then where there is most to do. */
static int count_given(const struct sv_planning *p, unsigned *count, const unsigned *room,
	struct sv_error *err)
{
	const struct sv_machine *m = p->m;
	bool *chosen = calloc(m->domains, sizeof(*chosen));
	unsigned total = 0;

	if (!chosen || sv_plan_medians(m, p->load, room, p->sidecores, chosen) < 0) {
		free(chosen);
		return sv_fail(err, ENOMEM, "out of memory");
	}
	for (unsigned d = 0; d < m->domains; d++)
		total += count[d] = chosen[d];
	free(chosen);
	while (total < p->sidecores) {
		unsigned d = busiest(p, count, room);

		if (d == UINT32_MAX)
			return too_few(p, p->sidecores, total, err);
		count[d]++;
		total++;
	}
	return 0;
}

/* As many as each domain with guests needs; one at least. */
static int count_needed(const struct sv_planning *p, unsigned *count, const unsigned *room,
	struct sv_error *err)
{
	unsigned total = 0, d;

	for (d = 0; d < p->m->domains; d++) {
		if (!p->load[d])
			continue;
		count[d] = p->per ? (p->load[d] + p->per - 1) / p->per : 1;
		if (count[d] > room[d])
			count[d] = room[d];
		total += count[d];
	}
	if (total)
		return 0;
	d = busiest(p, count, room);
	if (d == UINT32_MAX)
		return too_few(p, 1, 0, err);
	count[d] = 1;
	return 0;
}

static int count_sidecores(const struct sv_planning *p, unsigned *count, struct sv_error *err)
{
	unsigned *room = calloc(p->m->domains, sizeof(*room));
	int rc;

	if (!room)
		return sv_fail(err, ENOMEM, "out of memory");
	for (unsigned d = 0; d < p->m->domains; d++)
		room[d] = candidates(p, d);
	rc = p->sidecores ? count_given(p, count, room, err) : count_needed(p, count, room, err);
	free(room);
	return rc;
}

/* The mean way to the guest cores of its domain, or to all when it has none. */
static double way_to_guests(const struct sv_planning *p, unsigned core)
{
	const struct sv_domain *d = &p->m->domain[p->m->core[core].domain];
	double sum = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < d->cores; i++)
		if (p->role[d->core[i]] == SV_ROLE_GUEST && d->core[i] != core) {
			sum += sv_machine_line_ns(p->m, core, d->core[i]);
			n++;
		}
	return n ? sum / n : 0;
}

/* Slow kinds first (fast ones are for guests), then the nearest to the guest cores, then the last. */
static int choose_core(const struct sv_planning *p, const struct sv_domain *d)
{
	bool alike = d->flat && !p->m->measured;
	double best_way = 0;
	int best = -1;

	for (unsigned i = d->cores; i-- > 0;) {
		unsigned core = d->core[i];
		double way;

		if (smt_policy(p) ? !lends_sibling(p, core) : p->role[core] != SV_ROLE_SPARE)
			continue;
		way = alike || smt_policy(p) ? 0 : way_to_guests(p, core);
		if (best >= 0 && p->m->core[core].rank < p->m->core[best].rank)
			continue;
		if (best < 0 || p->m->core[core].rank > p->m->core[best].rank || way < best_way ||
			p->m->core[best].cpu[0] == 0) {
			best = (int)core;
			best_way = way;
		}
	}
	return best;
}

static void add_sidecore(struct sv_planning *p, int core, int cpu)
{
	p->plan->sidecore[p->plan->sidecores++] = (struct sv_plan_sidecore){.cpu = cpu, .core = core};
}

static int pick_sidecores(struct sv_planning *p, const unsigned *count, unsigned char *lent)
{
	const struct sv_machine *m = p->m;

	for (unsigned d = 0; d < m->domains; d++)
		for (unsigned n = 0; n < count[d]; n++) {
			int core = choose_core(p, &m->domain[d]);

			if (core < 0)
				return -ENOSPC;
			if (smt_policy(p)) {
				add_sidecore(p, core, m->core[core].cpu[1]);
				lent[core] = 1;
				p->role[core] = SV_ROLE_SIDECORE; /* for now: it lends once */
			} else {
				add_sidecore(p, core, m->core[core].cpu[0]);
				p->role[core] = SV_ROLE_SIDECORE;
				p->free[d]--;
			}
		}
	for (unsigned i = 0; i < m->cores; i++)
		if (lent[i])
			p->role[i] = SV_ROLE_GUEST;
	return 0;
}

/*
 * The nearest sidecore that still takes one; among these one of its own domain, then the one with
 * least to do, then the first.
 */
static int nearest(const struct sv_planning *p, unsigned core, double *ns)
{
	const struct sv_plan *plan = p->plan;
	unsigned limit = p->req->policy.guest_cores_per_sidecore;
	bool best_here = false;
	int best = -1;

	for (unsigned s = 0; s < plan->sidecores; s++) {
		const struct sv_plan_sidecore *side = &plan->sidecore[s];
		double way = side->core < 0 ? 1e6 : sv_machine_line_ns(p->m, core, (unsigned)side->core);
		bool here = side->core >= 0 && p->m->core[side->core].domain == p->m->core[core].domain;

		if (limit && side->guest_cores >= limit)
			continue;
		if (best < 0 || way < *ns || (way <= *ns && (here != best_here ? here :
				side->guest_cores < plan->sidecore[best].guest_cores))) {
			best = (int)s;
			best_here = here;
			*ns = way;
		}
	}
	return best;
}

static int serve_guest_cores(struct sv_planning *p, int *server, struct sv_error *err)
{
	for (unsigned i = 0; i < p->m->cores; i++) {
		double ns = 0;

		server[i] = -1;
		if (p->role[i] != SV_ROLE_GUEST)
			continue;
		server[i] = nearest(p, i, &ns);
		if (server[i] < 0)
			return sv_fail(err, ENOSPC,
				"%u sidecore%s at %u guest cores each do%s not serve all guest cores",
				p->plan->sidecores, p->plan->sidecores == 1 ? "" : "s",
				p->req->policy.guest_cores_per_sidecore,
				p->plan->sidecores == 1 ? "es" : "");
		p->plan->sidecore[server[i]].guest_cores++;
		p->plan->sidecore[server[i]].line_ns += ns;
	}
	return 0;
}

/* Each vCPU has the sidecore of its core. */
static void serve_vcpus(struct sv_planning *p, const int *server)
{
	struct sv_plan *plan = p->plan;
	unsigned cores = 0;

	for (unsigned s = 0; s < plan->sidecores; s++) {
		cores += plan->sidecore[s].guest_cores;
		plan->mean_ns += plan->sidecore[s].line_ns;
		if (plan->sidecore[s].guest_cores)
			plan->sidecore[s].line_ns /= plan->sidecore[s].guest_cores;
	}
	plan->mean_ns = cores ? plan->mean_ns / cores : 0;
	for (unsigned g = 0; g < plan->guests; g++)
		for (unsigned v = 0; v < plan->guest[g].vcpus; v++) {
			struct sv_plan_vcpu *vcpu = &plan->guest[g].vcpu[v];
			int core;

			vcpu->sidecore = server[vcpu->core] < 0 ? 0 : (unsigned)server[vcpu->core];
			core = plan->sidecore[vcpu->sidecore].core;
			vcpu->near = core < 0 ? SV_NEAR_MACHINE
					      : sv_machine_near(p->m, vcpu->core, (unsigned)core);
			vcpu->line_ns = core < 0 ? 0
						 : sv_machine_line_ns(p->m, vcpu->core, (unsigned)core);
			if (vcpu->line_ns > plan->worst_ns)
				plan->worst_ns = vcpu->line_ns;
		}
}

/* Sidecores that are there already: the policy names their CPUs. */
static void take_given(struct sv_planning *p)
{
	for (unsigned i = 0; i < p->req->policy.sidecore_cpus; i++) {
		int cpu = p->req->policy.sidecore_cpu[i];

		add_sidecore(p, sv_machine_core_of(p->m, cpu), cpu);
	}
}

int sv_plan_sidecores(struct sv_planning *p, struct sv_error *err)
{
	const struct sv_machine *m = p->m;
	size_t most = m->cores + p->req->policy.sidecore_cpus;
	unsigned *count = calloc(m->domains, sizeof(*count));
	unsigned char *lent = calloc(m->cores, 1);
	int *server = malloc(m->cores * sizeof(*server));
	int rc;

	p->plan->sidecore = calloc(most, sizeof(*p->plan->sidecore));
	p->keeps_sibling = calloc(m->cores, sizeof(*p->keeps_sibling));
	if (p->keeps_sibling)
		find_kept_siblings(p);
	if (!count || !lent || !server || !p->plan->sidecore || !p->keeps_sibling) {
		rc = sv_fail(err, ENOMEM, "out of memory");
	} else if (p->plan->shared_core) {
		add_sidecore(p, 0, m->core[0].cpu[0]);
		rc = 0;
	} else if (p->req->policy.sidecore_cpus) {
		take_given(p);
		rc = 0;
	} else {
		rc = count_sidecores(p, count, err);
		if (rc == 0)
			rc = pick_sidecores(p, count, lent);
	}
	if (rc == 0)
		rc = serve_guest_cores(p, server, err);
	if (rc == 0)
		serve_vcpus(p, server);
	free(count);
	free(lent);
	free(server);
	return rc;
}
