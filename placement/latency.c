/* SPDX-License-Identifier: BSD-3-Clause */
/* How far cores are from each other: what they share, and what that costs. */
#include "private.h"

/*
 * One way of a cache line, in nanoseconds, when nothing was measured: the middle of what is
 * published and measured for such machines (docs/placement.md names the sources). Only the order
 * and the rough distances count: they choose, they do not promise.
 */
static const double model_ns[SV_NEARS] = {
	[SV_NEAR_CORE] = 8,
	[SV_NEAR_L2] = 18,
	[SV_NEAR_L3] = 30,
	[SV_NEAR_NODE] = 80,
	[SV_NEAR_PACKAGE] = 105,
	[SV_NEAR_MACHINE] = 200, /* at twice the local distance of the SLIT; in proportion beyond */
};

const char *sv_near_name(enum sv_near near)
{
	static const char *const names[SV_NEARS] = {[SV_NEAR_CORE] = "core",
		[SV_NEAR_L2] = "L2",
		[SV_NEAR_L3] = "L3",
		[SV_NEAR_NODE] = "node",
		[SV_NEAR_PACKAGE] = "package",
		[SV_NEAR_MACHINE] = "machine"};

	return near < SV_NEARS ? names[near] : "?";
}

enum sv_near sv_machine_near(const struct sv_machine *m, unsigned a, unsigned b)
{
	const struct sv_core *x = &m->core[a], *y = &m->core[b];

	if (a == b)
		return SV_NEAR_CORE;
	if (x->l2 >= 0 && x->l2 == y->l2)
		return SV_NEAR_L2;
	if (x->l3 >= 0 && x->l3 == y->l3)
		return SV_NEAR_L3;
	if (x->node >= 0 ? x->node == y->node : x->domain == y->domain)
		/* One node over several packages: a description without memory, or interleaved. */
		return x->package == y->package || m->nodes > 1 ? SV_NEAR_NODE : SV_NEAR_MACHINE;
	return x->package >= 0 && x->package == y->package ? SV_NEAR_PACKAGE : SV_NEAR_MACHINE;
}

static double modelled_ns(const struct sv_machine *m, unsigned a, unsigned b)
{
	enum sv_near near = sv_machine_near(m, a, b);
	int i = m->core[a].node, k = m->core[b].node;
	double ns = m->measured && m->measured->level[near] > 0 ? m->measured->level[near]
								 : model_ns[near];

	if (near >= SV_NEAR_PACKAGE && m->slit && i >= 0 && k >= 0) {
		double slit = (double)m->slit[(unsigned)i * m->nodes + (unsigned)k];

		if (slit >= 10 && slit <= 1000)
			ns *= near == SV_NEAR_PACKAGE ? slit / 12 : slit / 20;
	}
	return ns;
}

static int measured_index(const struct sv_latencies *l, int cpu)
{
	unsigned low = 0, high = l->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (l->cpu[mid] < cpu)
			low = mid + 1;
		else
			high = mid;
	}
	return low < l->n && l->cpu[low] == cpu ? (int)low : -1;
}

double sv_machine_line_ns(const struct sv_machine *m, unsigned a, unsigned b)
{
	const struct sv_latencies *l = m->measured;

	if (l && a != b) {
		int i = measured_index(l, m->core[a].cpu[0]), k = measured_index(l, m->core[b].cpu[0]);

		if (i >= 0 && k >= 0 && l->ns[(unsigned)i * l->n + (unsigned)k] > 0)
			return (double)l->ns[(unsigned)i * l->n + (unsigned)k];
	}
	return modelled_ns(m, a, b);
}

double sv_domain_line_ns(const struct sv_machine *m, unsigned a, unsigned b)
{
	const struct sv_domain *x = &m->domain[a], *y = &m->domain[b];

	if (a == b)
		return x->cores > 1 ? sv_machine_line_ns(m, x->core[0], x->core[x->cores - 1]) : 0;
	return sv_machine_line_ns(m, x->core[0], y->core[0]);
}
