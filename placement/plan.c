/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of the planner: housekeeping, guests (the largest first), sidecores, then who serves
 * whom. Where the request leaves a number open, the best number is tried first and less after it.
 */
#include <placement/plan.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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

/* Distance of each domain to the nearest core with a flag. */
static void distance_to(const struct sv_machine *m, const bool *local, float *ns)
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
		ns[d] = (float)best;
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
		distance_to(m, local, ns);
	free(local);
	return rc;
}

/* --- what is not for guests -------------------------------------------------------------------- */

static int mark(struct sv_planning *p, const int *cpu, unsigned n, enum sv_role role)
{
	for (unsigned i = 0; i < n; i++) {
		int core = sv_machine_core_of(p->m, cpu[i]);

		if (core >= 0)
			p->role[core] = (unsigned char)role;
	}
	return 0;
}

/* The core that keeps house in package @package (-1: any): a slow kind, else the first. */
static int house_core(const struct sv_planning *p, int package)
{
	const struct sv_machine *m = p->m;
	int best = -1;

	for (unsigned i = 0; i < m->cores; i++)
		if (p->role[i] == SV_ROLE_SPARE && (package < 0 || m->core[i].package == package) &&
			(best < 0 || m->core[i].rank > m->core[best].rank ||
				(m->core[i].rank == m->core[best].rank &&
					m->core[i].cpu[0] < m->core[best].cpu[0])))
			best = (int)i;
	return best;
}

static int set_up_house(struct sv_planning *p, struct sv_error *err)
{
	for (unsigned n = 0; n < p->house; n++) {
		int package = (int)(n % p->m->packages);
		int core = house_core(p, p->m->packages > 1 ? package : -1);

		if (core < 0)
			core = house_core(p, -1);
		if (core < 0)
			return sv_fail(err, ENOSPC, "%u housekeeping cores asked for, %u usable cores",
				p->house, p->m->cores);
		p->role[core] = SV_ROLE_HOUSEKEEPING;
	}
	return 0;
}

static int reset(struct sv_planning *p, struct sv_error *err)
{
	const struct sv_plan_policy *policy = &p->req->policy;
	const struct sv_machine *m = p->m;
	int rc;

	memset(p->role, 0, m->cores * sizeof(*p->role));
	memset(p->load, 0, m->domains * sizeof(*p->load));
	memset(p->free, 0, m->domains * sizeof(*p->free));
	for (unsigned i = 0; i < m->cores; i++)
		p->owner[i] = -1;
	mark(p, policy->housekeeping_cpu, policy->housekeeping_cpus, SV_ROLE_HOUSEKEEPING);
	if (policy->kind != SV_PLAN_SMT_SIBLING)
		mark(p, policy->sidecore_cpu, policy->sidecore_cpus, SV_ROLE_SIDECORE);
	mark(p, policy->exclude_cpu, policy->exclude_cpus, SV_ROLE_EXCLUDED);
	rc = set_up_house(p, err);
	for (unsigned i = 0; i < m->cores; i++)
		p->free[m->core[i].domain] += p->role[i] == SV_ROLE_SPARE;
	return rc;
}

/* --- guests ------------------------------------------------------------------------------------ */

/* The only core there is: guests that may share it do, with the sidecore. */
static bool only_core(struct sv_planning *p)
{
	bool share = true;

	for (unsigned g = 0; g < p->req->guests; g++)
		share &= p->req->guest[g].share;
	if (!share || p->m->cores != 1 || p->role[0] != SV_ROLE_SPARE ||
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
	unsigned n = p->req->guests, missing;
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
			rc = sv_plan_guest(p, order[i], &missing, err);
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
	int rc;

	reserve_everywhere(p);
	rc = place_guests(p, err);
	if (!p->sidecores || (rc == 0 && reserved(p) <= p->sidecores))
		return rc;
	weight = calloc(p->m->domains, sizeof(*weight));
	if (!weight)
		return sv_fail(err, ENOMEM, "out of memory");
	for (unsigned d = 0; d < p->m->domains; d++)
		weight[d] = rc == 0 ? p->load[d] : p->m->domain[d].cores;
	rc = sv_plan_medians(p->m, weight, p->sidecores, p->reserve);
	free(weight);
	if (rc == 0)
		rc = reset(p, err);
	return rc < 0 ? rc : place_guests(p, err);
}

/* --- what each guest has ----------------------------------------------------------------------- */

static bool is_given(const struct sv_planning *p, int cpu)
{
	for (unsigned i = 0; i < p->req->policy.sidecore_cpus; i++)
		if (p->req->policy.sidecore_cpu[i] == cpu)
			return true;
	return false;
}

/* CPUs for guest @g: those of its cores; of other guests that share, when it has none. */
static unsigned list_cpus(const struct sv_planning *p, unsigned g, struct sv_plan_vcpu *cpu,
	unsigned most, bool others)
{
	bool smt = p->req->guest[g].smt;
	unsigned n = 0;

	for (unsigned i = 0; i < p->m->cores; i++) {
		const struct sv_core *core = &p->m->core[i];
		bool mine = p->owner[i] == (int)g ||
			    (others && p->owner[i] >= 0 && p->req->guest[p->owner[i]].share);
		unsigned used = 0;

		for (unsigned t = 0; mine && t < core->threads && n < most && (smt || !used); t++)
			if (!is_given(p, core->cpu[t]) || core->threads == 1) {
				cpu[n++] = (struct sv_plan_vcpu){.cpu = core->cpu[t], .core = i};
				used++;
			}
	}
	return n;
}

static int give_vcpus(struct sv_planning *p, unsigned g)
{
	struct sv_plan_placed *placed = &p->plan->guest[g];
	const struct sv_plan_guest *guest = &p->req->guest[g];
	unsigned n;

	snprintf(placed->name, sizeof(placed->name), "%s", guest->name);
	placed->vcpus = guest->vcpus;
	placed->vcpu = calloc(guest->vcpus, sizeof(*placed->vcpu));
	if (!placed->vcpu)
		return -ENOMEM;
	n = list_cpus(p, g, placed->vcpu, guest->vcpus, false);
	if (!n) {
		n = list_cpus(p, g, placed->vcpu, guest->vcpus, true);
		placed->shares = true;
	}
	SV_BUG_ON(!n);
	placed->shares |= n < guest->vcpus;
	for (unsigned v = n; v < guest->vcpus; v++)
		placed->vcpu[v] = placed->vcpu[v % n];
	for (unsigned v = 0; v < n; v++)
		placed->cores += !v || placed->vcpu[v].core != placed->vcpu[v - 1].core;
	return 0;
}

static void note(struct sv_plan *plan, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct sv_plan *plan, const char *fmt, ...)
{
	va_list ap;

	if (plan->notes == sizeof(plan->note) / sizeof(plan->note[0]))
		return;
	va_start(ap, fmt);
	vsnprintf(plan->note[plan->notes++], sizeof(plan->note[0]), fmt, ap);
	va_end(ap);
}

static double nearest_of(const struct sv_machine *m, const unsigned *cores, unsigned node)
{
	double best = 1e9;

	for (unsigned i = 0; i < m->nodes; i++)
		if (cores[i] && m->slit) {
			double d = (double)m->slit[i * m->nodes + node];

			best = d < best ? d : best;
		}
	return best;
}

/* The nodes of its cores; more, the nearest first, where these have too little memory. */
static int give_nodes(struct sv_planning *p, unsigned g)
{
	struct sv_plan_placed *placed = &p->plan->guest[g];
	const struct sv_machine *m = p->m;
	uint64_t want = p->req->guest[g].memory_bytes, have = 0;
	unsigned *cores = calloc(m->nodes + 1, sizeof(*cores));
	bool known = true;

	placed->node = calloc(m->nodes + 1, sizeof(*placed->node));
	if (!placed->node || !cores) {
		free(cores);
		return -ENOMEM;
	}
	for (unsigned v = 0; v < placed->vcpus; v++)
		if (m->core[placed->vcpu[v].core].node >= 0)
			cores[m->core[placed->vcpu[v].core].node]++;
	for (unsigned n = 0; n < m->nodes; n++)
		if (cores[n]) {
			placed->nodes++;
			have += m->node[n].bytes;
			known &= m->node[n].bytes > 0;
		}
	if (placed->nodes && known && want > have)
		note(p->plan, "guest %s: its %llu MiB do not fit the memory beside its cores "
			"(%llu MiB); nodes farther away help out", placed->name,
			(unsigned long long)(want >> 20), (unsigned long long)(have >> 20));
	while (known && want > have) {
		unsigned best = m->nodes;
		double best_far = 1e18;

		for (unsigned n = 0; n < m->nodes; n++) {
			double far = nearest_of(m, cores, n) + (m->node[n].kind[0] ? 1e6 : 0);

			if (!cores[n] && m->node[n].bytes && far < best_far) {
				best = n;
				best_far = far;
			}
		}
		if (best == m->nodes) {
			note(p->plan, "guest %s: %llu MiB are more than this machine has",
				placed->name, (unsigned long long)(want >> 20));
			break;
		}
		cores[best]++;
		have += m->node[best].bytes;
	}
	placed->nodes = 0;
	for (unsigned n = 0; n < m->nodes; n++)
		if (cores[n])
			placed->node[placed->nodes++] = m->node[n].os;
	for (unsigned i = 1; i < placed->nodes; i++)
		for (unsigned k = i; k && placed->node[k] < placed->node[k - 1]; k--) {
			int swap = placed->node[k];

			placed->node[k] = placed->node[k - 1];
			placed->node[k - 1] = swap;
		}
	free(cores);
	return 0;
}

/* --- housekeeping and what is left ------------------------------------------------------------- */

static int list_rest(struct sv_planning *p)
{
	const struct sv_machine *m = p->m;
	struct sv_plan *plan = p->plan;
	unsigned char *busy = calloc(m->cores, SV_CORE_THREADS);

	plan->housekeeping = calloc(m->cpus + 1, sizeof(int));
	plan->idle = calloc(m->cpus + 1, sizeof(int));
	if (!plan->housekeeping || !plan->idle || !busy) {
		free(busy);
		return -ENOMEM;
	}
	for (unsigned g = 0; g < plan->guests; g++)
		for (unsigned v = 0; v < plan->guest[g].vcpus; v++)
			for (unsigned t = 0; t < m->core[plan->guest[g].vcpu[v].core].threads; t++)
				if (m->core[plan->guest[g].vcpu[v].core].cpu[t] == plan->guest[g].vcpu[v].cpu)
					busy[plan->guest[g].vcpu[v].core * SV_CORE_THREADS + t] = 1;
	for (unsigned s = 0; s < plan->sidecores; s++)
		for (unsigned t = 0; plan->sidecore[s].core >= 0 &&
				     t < m->core[plan->sidecore[s].core].threads; t++)
			if (m->core[plan->sidecore[s].core].cpu[t] == plan->sidecore[s].cpu)
				busy[(unsigned)plan->sidecore[s].core * SV_CORE_THREADS + t] = 1;
	for (unsigned i = 0; i < m->cores; i++)
		for (unsigned t = 0; t < m->core[i].threads; t++) {
			if (p->role[i] == SV_ROLE_HOUSEKEEPING)
				plan->housekeeping[plan->housekeepings++] = m->core[i].cpu[t];
			else if ((p->role[i] == SV_ROLE_GUEST || p->role[i] == SV_ROLE_SIDECORE) &&
				 !busy[i * SV_CORE_THREADS + t])
				plan->idle[plan->idles++] = m->core[i].cpu[t];
		}
	free(busy);
	plan->shared_house = !plan->housekeepings;
	if (plan->shared_house)
		plan->housekeeping[plan->housekeepings++] = plan->sidecore[0].cpu;
	return 0;
}

/* The housekeeping core nearest to the guest; beside its sidecore where there is none. */
static int control_cpu(const struct sv_planning *p, const struct sv_plan_placed *placed)
{
	double best_ns = 0;
	int best = -1;

	for (unsigned i = 0; i < p->m->cores; i++) {
		double ns;

		if (p->role[i] != SV_ROLE_HOUSEKEEPING)
			continue;
		ns = sv_machine_line_ns(p->m, placed->vcpu[0].core, i);
		if (best < 0 || ns < best_ns) {
			best = p->m->core[i].cpu[0];
			best_ns = ns;
		}
	}
	return best >= 0 ? best : p->plan->sidecore[placed->vcpu[0].sidecore].cpu;
}

static unsigned device_sidecore(const struct sv_plan *plan, const struct sv_plan_placed *placed)
{
	unsigned best = placed->vcpu[0].sidecore, best_n = 0;

	for (unsigned s = 0; s < plan->sidecores; s++) {
		unsigned n = 0;

		for (unsigned v = 0; v < placed->vcpus; v++)
			n += placed->vcpu[v].sidecore == s;
		if (n > best_n) {
			best = s;
			best_n = n;
		}
	}
	return best;
}

static void explain(struct sv_planning *p)
{
	struct sv_plan *plan = p->plan;
	const struct sv_machine *m = p->m;

	for (unsigned s = 0; s < plan->sidecores; s++) {
		struct sv_plan_sidecore *side = &plan->sidecore[s];
		const char *where = side->core < 0 ? "outside the usable CPUs"
						   : m->domain[m->core[side->core].domain].name;

		if (p->req->policy.sidecore_cpus)
			snprintf(side->why, sizeof(side->why), "given; in %s", where);
		else if (!side->guest_cores)
			snprintf(side->why, sizeof(side->why), "asked for; no guest core is nearer to it "
				"than to another");
		else
			snprintf(side->why, sizeof(side->why),
				"in %s with its guest cores: a line takes %.0f ns (%s)%s%s", where,
				side->line_ns, plan->measured ? "measured" : "modelled",
				side->core >= 0 && m->core[side->core].rank ? "; a slower kind of core, "
					"the fast ones are for guests" : "",
				plan->kind == SV_PLAN_SMT_SIBLING ? "; it takes issue slots of the guest "
					"core beside it" : "");
	}
	for (unsigned g = 0; g < plan->guests; g++) {
		struct sv_plan_placed *placed = &plan->guest[g];
		unsigned near = SV_NEAR_CORE, domains = 0;
		int last = -1;

		for (unsigned v = 0; v < placed->vcpus; v++) {
			if (placed->vcpu[v].near > near)
				near = placed->vcpu[v].near;
			if ((int)m->core[placed->vcpu[v].core].domain != last)
				domains++;
			last = (int)m->core[placed->vcpu[v].core].domain;
		}
		placed->control_cpu = control_cpu(p, placed);
		placed->device_sidecore = device_sidecore(plan, placed);
		if (domains == 1)
			snprintf(placed->why, sizeof(placed->why), "all in %s; its farthest sidecore shares "
				"the %s%s", m->domain[last].name, sv_near_name((enum sv_near)near),
				placed->shares ? "; vCPUs share cores" : "");
		else
			snprintf(placed->why, sizeof(placed->why), "%u domains, %u NUMA node%s; its farthest "
				"sidecore shares the %s%s", domains, placed->nodes,
				placed->nodes == 1 ? "" : "s", sv_near_name((enum sv_near)near),
				placed->shares ? "; vCPUs share cores" : "");
	}
}

static void add_notes(struct sv_planning *p)
{
	struct sv_plan *plan = p->plan;

	if (plan->shared_core)
		note(plan, "one core: guest and sidecore take turns on it; a sidecore does not help here");
	else if (plan->shared_house)
		note(plan, "no core to spare for housekeeping: control threads run beside a sidecore");
	for (unsigned g = 0; g < plan->guests; g++) {
		unsigned slow = 0;

		for (unsigned v = 0; v < plan->guest[g].vcpus; v++)
			slow += p->m->core[plan->guest[g].vcpu[v].core].rank > 0;
		if (slow && slow < plan->guest[g].vcpus)
			note(plan, "guest %s has cores of different speed (%u of %u vCPUs on slower ones)",
				plan->guest[g].name, slow, plan->guest[g].vcpus);
	}
}

/* --- one attempt, and all ---------------------------------------------------------------------- */

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
		rc = reset(&p, err);
	if (rc == 0)
		rc = place_around(&p, err);
	for (unsigned g = 0; g < req->guests && rc == 0; g++)
		rc = give_vcpus(&p, g);
	if (rc == 0)
		rc = sv_plan_sidecores(&p, err);
	for (unsigned g = 0; g < req->guests && rc == 0; g++)
		rc = give_nodes(&p, g);
	if (rc == 0)
		rc = list_rest(&p);
	if (rc == 0) {
		explain(&p);
		add_notes(&p);
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

/* As many sidecores as suit; when that does not fit, fewer and fewer. */
static int with_house(const struct sv_machine *m, const struct sv_plan_request *req,
	unsigned house, struct sv_plan **plan, struct sv_error *err)
{
	unsigned n = m->domains;
	int rc;

	if (req->policy.sidecores != SV_PLAN_AUTO && !req->policy.sidecore_cpus)
		return attempt(m, req, house, (unsigned)req->policy.sidecores, plan, err);
	rc = attempt(m, req, house, 0, plan, err);
	if (rc != -ENOSPC || req->policy.sidecore_cpus || req->policy.guest_cores_per_sidecore ||
		req->policy.kind == SV_PLAN_SMT_SIBLING)
		return rc;
	for (; n >= 1 && rc == -ENOSPC; n = n > 16 ? n * 3 / 4 : n - 1)
		rc = attempt(m, req, house, n, plan, err);
	return rc;
}

int sv_plan_try(const struct sv_machine *m, const struct sv_plan_request *req,
	struct sv_plan **plan, struct sv_error *err)
{
	unsigned house = usual_house(m, &req->policy);
	int rc = check(m, req, err);

	if (rc < 0)
		return rc;
	for (;; house = house > 1 ? house / 2 : 0) {
		rc = with_house(m, req, house, plan, err);
		if (rc != -ENOSPC || !house || req->policy.housekeeping != SV_PLAN_AUTO)
			return rc;
	}
}

int sv_plan_make(const struct sv_machine *m, const struct sv_plan_request *req,
	struct sv_plan **plan, struct sv_error *err)
{
	int rc = sv_plan_try(m, req, plan, err);

	return rc == -ENOSPC ? sv_plan_refuse(m, req, rc, err) : rc;
}
