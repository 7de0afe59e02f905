/* SPDX-License-Identifier: BSD-3-Clause */
/* What is not for guests: excluded cores, given sidecores, housekeeping. */
#include <errno.h>
#include <string.h>

#include "private.h"

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

bool sv_plan_all_share(const struct sv_planning *p)
{
	for (unsigned g = 0; g < p->req->guests; g++)
		if (!p->req->guest[g].share)
			return false;
	return true;
}

/* Guests that may share do so with the last of the given sidecores, when these take all cores. */
static void leave_one(struct sv_planning *p)
{
	int last = -1;

	for (unsigned i = 0; i < p->m->cores; i++) {
		if (p->role[i] == SV_ROLE_SPARE)
			return;
		if (p->role[i] == SV_ROLE_SIDECORE)
			last = (int)i;
	}
	if (last >= 0)
		p->role[last] = SV_ROLE_SPARE;
}

int sv_plan_reset(struct sv_planning *p, struct sv_error *err)
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
	if (sv_plan_all_share(p))
		leave_one(p);
	for (unsigned i = 0; i < m->cores; i++)
		p->free[m->core[i].domain] += p->role[i] == SV_ROLE_SPARE;
	return rc;
}
