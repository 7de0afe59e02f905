/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan in the terms of its reader: CPUs of vCPUs, nodes, control threads, reasons. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

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

int sv_plan_give_vcpus(struct sv_planning *p, unsigned g)
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
int sv_plan_give_nodes(struct sv_planning *p, unsigned g)
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

int sv_plan_list_rest(struct sv_planning *p)
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

void sv_plan_explain(struct sv_planning *p)
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
	add_notes(p);
}
