/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest cores: which part of the machine a guest gets, and which cores there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

/* What speaks against a way to place a guest, the weightiest first. Compared in this order. */
struct cost {
	double short_of_memory; /* 1: its nodes have too little */
	double no_memory;	/* cores without local memory */
	double nodes;		/* NUMA nodes */
	double near;		/* distance to the device, over its cores */
	double slow;		/* cores of a slower kind */
	double domains;
	double left;		/* room that stays in those domains: the best fit leaves least */
};

#define COSTS (sizeof(struct cost) / sizeof(double))

struct choice {
	const struct sv_plan_guest *guest;
	const unsigned *room; /* of each domain */
	unsigned want;
	unsigned *take, *best; /* of each domain */
	unsigned *node_room, *node_take; /* of each node; the last: no node */
	float *node_near;		 /* of each node: of its nearest domain with room */
	bool anywhere;			 /* all domains are as near */
	bool near_first;		 /* nodes by distance rather than by room */
};

unsigned sv_plan_need(const struct sv_planning *p, unsigned d, unsigned cores)
{
	if (!p->reserve[d] || !cores || p->req->policy.kind == SV_PLAN_SMT_SIBLING)
		return 0;
	return p->per ? (cores + p->per - 1) / p->per : 1;
}

unsigned sv_plan_room(const struct sv_planning *p, unsigned d)
{
	unsigned n = p->free[d];

	while (n && n + sv_plan_need(p, d, p->load[d] + n) > p->free[d])
		n--;
	return n;
}

static unsigned widest_core(const struct sv_machine *m)
{
	unsigned threads = 1;

	for (unsigned i = 0; i < m->cores; i++)
		if (m->core[i].threads > threads)
			threads = m->core[i].threads;
	return threads;
}

unsigned sv_plan_want(const struct sv_planning *p, const struct sv_plan_guest *g)
{
	unsigned threads = g->smt ? widest_core(p->m) : 1;

	return (g->vcpus + threads - 1) / threads;
}

static unsigned node_slot(const struct sv_machine *m, unsigned d)
{
	return m->domain[d].node >= 0 ? (unsigned)m->domain[d].node : m->nodes;
}

/* How far node @n is from what the guest already has, by the SLIT. */
static double node_distance(const struct sv_machine *m, const struct choice *c, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; m->slit && n < m->nodes && i < m->nodes; i++)
		if (c->node_take[i])
			sum += (double)m->slit[i * m->nodes + n] * c->node_take[i];
	return sum;
}

/*
 * The node to go on with: one that holds all of @rest, the nearest and then the fullest; else the
 * one with most room. With near_first: of those nearest to what the guest is to be near.
 */
static unsigned next_node(const struct sv_machine *m, const struct choice *c, unsigned rest)
{
	unsigned best = m->nodes + 1;
	double best_far = 0;

	for (unsigned n = 0; n <= m->nodes; n++) {
		unsigned room = c->node_room[n], best_room;
		bool fits = room >= rest, best_fits;
		double far;

		if (!room)
			continue;
		far = node_distance(m, c, n);
		if (best > m->nodes)
			goto take;
		best_room = c->node_room[best];
		best_fits = best_room >= rest;
		if (n == m->nodes)
			continue; /* cores without memory come last */
		if (c->near_first && c->node_near[n] < c->node_near[best])
			goto take;
		if ((c->near_first && c->node_near[n] > c->node_near[best]) || (best_fits && !fits))
			continue;
		if (fits != best_fits || (fits && far < best_far) ||
			(fits && far <= best_far && room < best_room) ||
			(!fits && room > best_room) ||
			(!fits && room == best_room && far < best_far))
			goto take;
		continue;
take:
		best = n;
		best_far = far;
	}
	return best;
}

/* The same among the domains of a node: the fullest that holds the rest, else the emptiest. */
static unsigned next_domain(const struct sv_planning *p, const struct choice *c,
	const struct sv_region *r, unsigned node, unsigned rest)
{
	const float *near = p->guest_near_ns;
	unsigned best = UINT32_MAX;

	for (unsigned i = 0; i < r->domains; i++) {
		unsigned d = r->domain[i], room = c->room[d] - c->take[d], best_room;
		bool fits = room >= rest, best_fits;

		if (!room || node_slot(p->m, d) != node)
			continue;
		if (best == UINT32_MAX) {
			best = d;
			continue;
		}
		best_room = c->room[best] - c->take[best];
		best_fits = best_room >= rest;
		if (near[d] < near[best] || (near[d] <= near[best] &&
			((fits && !best_fits) || (fits && room < best_room) ||
				(!fits && !best_fits && room > best_room))))
			best = d;
	}
	return best;
}

static void count_node_room(const struct sv_planning *p, struct choice *c,
	const struct sv_region *r)
{
	const struct sv_machine *m = p->m;
	const float *near = p->guest_near_ns;

	memset(c->take, 0, m->domains * sizeof(*c->take));
	memset(c->node_room, 0, (m->nodes + 1) * sizeof(*c->node_room));
	memset(c->node_take, 0, (m->nodes + 1) * sizeof(*c->node_take));
	for (unsigned i = 0; i < r->domains; i++) {
		unsigned d = r->domain[i], n = node_slot(m, d);

		if (c->room[d] && (!c->node_room[n] || near[d] < c->node_near[n]))
			c->node_near[n] = near[d];
		c->node_room[n] += c->room[d];
	}
}

/* Few nodes, in each few domains. The region has room for all. */
static void pack(const struct sv_planning *p, struct choice *c, const struct sv_region *r)
{
	unsigned rest = c->want;

	count_node_room(p, c, r);
	while (rest) {
		unsigned node = next_node(p->m, c, rest);
		unsigned here = c->node_room[node] < rest ? c->node_room[node] : rest;

		rest -= here;
		c->node_take[node] += here;
		c->node_room[node] -= here;
		while (here) {
			unsigned d = next_domain(p, c, r, node, here);
			unsigned n = c->room[d] - c->take[d];

			n = n < here ? n : here;
			c->take[d] += n;
			here -= n;
		}
	}
}

/* One core after the other, each to the node and then to the domain where the guest has fewest. */
static void spread(const struct sv_planning *p, struct choice *c, const struct sv_region *r)
{
	const struct sv_machine *m = p->m;

	count_node_room(p, c, r);
	for (unsigned rest = c->want; rest; rest--) {
		unsigned node = m->nodes + 1, best = UINT32_MAX;

		for (unsigned n = 0; n <= m->nodes; n++)
			if (c->node_room[n] && (node > m->nodes ||
				(n < m->nodes && c->node_take[n] < c->node_take[node])))
				node = n;
		for (unsigned i = 0; i < r->domains; i++) {
			unsigned d = r->domain[i];

			if (c->room[d] == c->take[d] || node_slot(m, d) != node)
				continue;
			if (best == UINT32_MAX || c->take[d] < c->take[best] ||
				(c->take[d] == c->take[best] && p->load[d] < p->load[best]))
				best = d;
		}
		c->take[best]++;
		c->node_take[node]++;
		c->node_room[node]--;
	}
}

static unsigned slow_cores(const struct sv_planning *p, unsigned d, unsigned take)
{
	unsigned fast = 0;

	for (unsigned i = 0; i < p->m->domain[d].cores; i++) {
		unsigned core = p->m->domain[d].core[i];

		fast += p->role[core] == SV_ROLE_SPARE && p->m->core[core].rank == 0;
	}
	return take > fast ? take - fast : 0;
}

static struct cost cost_of(const struct sv_planning *p, const struct choice *c)
{
	const struct sv_machine *m = p->m;
	struct cost cost = {0};
	uint64_t memory = 0;
	bool known = true;

	for (unsigned d = 0; d < m->domains; d++) {
		if (!c->take[d])
			continue;
		cost.domains++;
		cost.left += c->room[d] - c->take[d];
		cost.near += (double)p->guest_near_ns[d] * c->take[d];
		if (m->hybrid)
			cost.slow += slow_cores(p, d, c->take[d]);
	}
	for (unsigned n = 0; n < m->nodes; n++)
		if (c->node_take[n]) {
			cost.nodes++;
			memory += m->node[n].bytes;
			known &= m->node[n].bytes > 0;
		}
	cost.no_memory = c->node_take[m->nodes];
	cost.short_of_memory = known && c->guest->memory_bytes > memory;
	return cost;
}

static bool cheaper(const struct cost *a, const struct cost *b)
{
	const double *x = (const double *)a, *y = (const double *)b;

	for (unsigned i = 0; i < COSTS; i++)
		if (x[i] < y[i] || x[i] > y[i])
			return x[i] < y[i];
	return false;
}

/* Place the guest in @r; keep it in best[] when it costs less than @best, which is then its cost. */
static void attempt(const struct sv_planning *p, struct choice *c, const struct sv_region *r,
	struct cost *best, bool *found)
{
	struct cost cost;

	if (p->req->policy.kind == SV_PLAN_SPREAD)
		spread(p, c, r);
	else
		pack(p, c, r);
	cost = cost_of(p, c);
	if (!*found || cheaper(&cost, best)) {
		*best = cost;
		memcpy(c->best, c->take, p->m->domains * sizeof(*c->best));
	}
	*found = true;
}

/* The best of all regions that have room. Return: is there one? best[] is filled. */
static bool choose(const struct sv_planning *p, struct choice *c)
{
	const struct sv_machine *m = p->m;
	struct cost best = {0};
	bool found = false;

	for (unsigned i = 0; i < m->regions; i++) {
		const struct sv_region *r = &m->region[i];
		unsigned room = 0;

		if (p->req->policy.kind == SV_PLAN_SPREAD && i + 1 < m->regions)
			continue;
		for (unsigned k = 0; k < r->domains && room < c->want; k++)
			room += c->room[r->domain[k]];
		if (room < c->want)
			continue;
		c->near_first = false;
		attempt(p, c, r, &best, &found);
		c->near_first = !c->anywhere && p->req->policy.kind != SV_PLAN_SPREAD;
		if (c->near_first)
			attempt(p, c, r, &best, &found);
	}
	return found;
}

/* With memory first. CPU 0 takes what the kernel cannot move: a guest gets it last. */
static bool better_core(const struct sv_machine *m, unsigned a, unsigned b)
{
	const struct sv_core *x = &m->core[a], *y = &m->core[b];

	if ((x->node < 0) != (y->node < 0))
		return x->node >= 0;
	if (x->rank != y->rank)
		return x->rank < y->rank;
	return x->cpu[0] != 0 && y->cpu[0] == 0;
}

/* The core that a guest in domain @d gets next. It has one to spare. */
static unsigned next_core(const struct sv_planning *p, const struct sv_domain *d)
{
	unsigned best = UINT32_MAX;

	for (unsigned i = 0; i < d->cores; i++)
		if (p->role[d->core[i]] == SV_ROLE_SPARE &&
			(best == UINT32_MAX || better_core(p->m, d->core[i], best)))
			best = d->core[i];
	return best;
}

static void take_cores(struct sv_planning *p, unsigned g, const unsigned *take)
{
	const struct sv_machine *m = p->m;

	for (unsigned d = 0; d < m->domains; d++)
		for (unsigned n = 0; n < take[d]; n++) {
			unsigned core = next_core(p, &m->domain[d]);

			p->role[core] = SV_ROLE_GUEST;
			p->owner[core] = (int)g;
			p->load[d]++;
			p->free[d]--;
		}
}

/* Threads of the cores that take_cores() would take. */
static unsigned threads_taken(struct sv_planning *p, const unsigned *take)
{
	const struct sv_machine *m = p->m;
	unsigned threads = 0;

	for (unsigned d = 0; d < m->domains; d++) {
		const struct sv_domain *domain = &m->domain[d];

		for (unsigned n = 0; n < take[d]; n++) {
			unsigned core = next_core(p, domain);

			threads += m->core[core].threads;
			p->role[core] = SV_ROLE_GUEST; /* for now: nobody owns it */
		}
		for (unsigned i = 0; i < domain->cores && take[d]; i++)
			if (p->role[domain->core[i]] == SV_ROLE_GUEST && p->owner[domain->core[i]] < 0)
				p->role[domain->core[i]] = SV_ROLE_SPARE;
	}
	return threads;
}

/* A guest that may share: cores of other guests that may, when nothing is spare. */
static bool someone_shares(const struct sv_planning *p)
{
	for (unsigned i = 0; i < p->m->cores; i++)
		if (p->role[i] == SV_ROLE_GUEST && p->req->guest[p->owner[i]].share)
			return true;
	return false;
}

static bool place(struct sv_planning *p, unsigned g, struct choice *c, unsigned room)
{
	const struct sv_plan_guest *guest = c->guest;

	c->want = sv_plan_want(p, guest);
	if (guest->share && c->want > room)
		c->want = room;
	while (c->want && choose(p, c)) {
		/* Cores with fewer threads than the widest ones: more of them. */
		if (!guest->smt || guest->share || threads_taken(p, c->best) >= guest->vcpus) {
			take_cores(p, g, c->best);
			return true;
		}
		c->want++;
	}
	return guest->share && someone_shares(p);
}

int sv_plan_guest(struct sv_planning *p, unsigned g, struct sv_error *err)
{
	const struct sv_machine *m = p->m;
	unsigned n = m->domains, nodes = m->nodes + 1, total = 0, want;
	unsigned *space = calloc(3 * (size_t)n + 2 * (size_t)nodes, sizeof(*space));
	struct choice c = {.guest = &p->req->guest[g], .anywhere = true};
	bool placed;

	c.node_near = calloc(nodes, sizeof(*c.node_near));
	if (!space || !c.node_near) {
		free(space);
		free(c.node_near);
		return sv_fail(err, ENOMEM, "out of memory");
	}
	for (unsigned d = 0; d < n; d++) {
		total += space[d] = sv_plan_room(p, d);
		c.anywhere &= !memcmp(&p->guest_near_ns[d], p->guest_near_ns, sizeof(float));
	}
	c.room = space;
	c.take = space + n;
	c.best = space + 2 * n;
	c.node_room = space + 3 * n;
	c.node_take = c.node_room + nodes;
	want = sv_plan_want(p, c.guest);
	placed = place(p, g, &c, total);
	free(space);
	free(c.node_near);
	if (placed)
		return 0;
	return sv_fail(err, ENOSPC, "guest %s needs %u core%s, %u %s left beside the "
		"sidecores%s", c.guest->name, want, want == 1 ? "" : "s", total,
		total == 1 ? "is" : "are", p->house ? " and housekeeping" : "");
}
