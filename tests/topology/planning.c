/* SPDX-License-Identifier: BSD-3-Clause */
#include "planning.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void parse_guest(const char *word, struct planning_request *r)
{
	struct sv_plan_guest *g = &r->guest[r->req.guests++];
	char *end;

	cr_assert(r->req.guests <= PLANNING_GUESTS);
	*g = (struct sv_plan_guest){.name = {word[0]}, .vcpus = (unsigned)strtoul(word + 2, &end, 10)};
	for (; *end; end++) {
		g->smt |= *end == 't';
		g->share |= *end == 's';
		g->untrusted |= *end == 'u';
	}
}

static void parse_word(const char *word, struct planning_request *r)
{
	struct sv_plan_policy *p = &r->req.policy;
	const char *value = strchr(word, '=');
	int n = value ? atoi(value + 1) : 0;

	if (word[0] && word[1] == ':')
		parse_guest(word, r);
	else if (!strcmp(word, "locality"))
		p->kind = SV_PLAN_LOCALITY;
	else if (!strcmp(word, "spread"))
		p->kind = SV_PLAN_SPREAD;
	else if (!strcmp(word, "sibling"))
		p->kind = SV_PLAN_SMT_SIBLING;
	else if (!strncmp(word, "house=", 6))
		p->housekeeping = n;
	else if (!strncmp(word, "side=", 5))
		p->sidecores = n;
	else if (!strncmp(word, "k=", 2))
		p->guest_cores_per_sidecore = (unsigned)n;
	else if (!strncmp(word, "x=", 2))
		r->exclude[p->exclude_cpus++] = n;
	else if (!strncmp(word, "keep=", 5))
		r->keep[p->housekeeping_cpus++] = n;
	else if (!strncmp(word, "given=", 6))
		r->given[p->sidecore_cpus++] = n;
	else if (!strncmp(word, "mem=", 4) && r->req.guests)
		r->guest[r->req.guests - 1].memory_bytes = (uint64_t)n << 30;
	else
		cr_assert_fail("a request has the word %s", word);
}

void planning_parse(const char *text, struct planning_request *r)
{
	char copy[512], *word, *rest = copy;

	memset(r, 0, sizeof(*r));
	snprintf(copy, sizeof(copy), "%s", text);
	r->req.guest = r->guest;
	r->req.policy.sidecores = SV_PLAN_AUTO;
	r->req.policy.housekeeping = SV_PLAN_AUTO;
	r->req.policy.exclude_cpu = r->exclude;
	r->req.policy.housekeeping_cpu = r->keep;
	r->req.policy.sidecore_cpu = r->given;
	while ((word = strsep(&rest, " ")))
		if (*word)
			parse_word(word, r);
}

static char letter(const struct sv_machine *m, const struct sv_plan *plan, unsigned core)
{
	bool side = false;

	(void)m;
	for (unsigned s = 0; s < plan->sidecores; s++)
		side |= plan->sidecore[s].core == (int)core;
	switch ((enum sv_role)plan->role[core]) {
	case SV_ROLE_SPARE:
		return '.';
	case SV_ROLE_GUEST:
		if (plan->shared_core)
			return '*';
		return (char)((side ? 'A' : 'a') + plan->owner[core] % 26);
	case SV_ROLE_SIDECORE:
		return 'S';
	case SV_ROLE_HOUSEKEEPING:
		return 'H';
	case SV_ROLE_EXCLUDED:
		return 'x';
	}
	return '?';
}

static void domain_map(const struct sv_machine *m, const struct sv_plan *plan, unsigned d, char *out,
	size_t size)
{
	const struct sv_domain *domain = &m->domain[d];
	size_t used = 0;

	out[0] = 0;
	for (unsigned i = 0, n; i < domain->cores && used + 8 < size; i += n) {
		char c = letter(m, plan, domain->core[i]);

		for (n = 1; i + n < domain->cores && letter(m, plan, domain->core[i + n]) == c; n++)
			;
		if (n >= 4)
			used += (size_t)snprintf(out + used, size - used, "%c*%u", c, n);
		for (unsigned k = 0; n < 4 && k < n; k++)
			used += (size_t)snprintf(out + used, size - used, "%c", c);
	}
}

const char *planning_map(const struct sv_machine *m, const struct sv_plan *plan)
{
	static char map[8192];
	char one[512], next[512];
	size_t used = 0;

	for (unsigned d = 0, n; d < m->domains && used + 600 < sizeof(map); d += n) {
		domain_map(m, plan, d, one, sizeof(one));
		for (n = 1; d + n < m->domains; n++) {
			domain_map(m, plan, d + n, next, sizeof(next));
			if (strcmp(one, next))
				break;
		}
		used += (size_t)snprintf(map + used, sizeof(map) - used, n > 1 ? "%s(%s)*%u" : "%s%s",
			d ? "|" : "", one, n);
	}
	for (unsigned g = 0; g < plan->guests && used + 64 < sizeof(map); g++) {
		const struct sv_plan_placed *placed = &plan->guest[g];

		used += (size_t)snprintf(map + used, sizeof(map) - used, " %s@", placed->name);
		for (unsigned i = 0; i < placed->nodes && used + 16 < sizeof(map); i++)
			used += (size_t)snprintf(map + used, sizeof(map) - used, "%s%d", i ? "," : "",
				placed->node[i]);
	}
	return map;
}

bool planning_same(const struct sv_machine *m, const struct sv_plan *a, const struct sv_plan *b)
{
	if (a->kind != b->kind || a->sidecores != b->sidecores || a->guests != b->guests ||
		a->housekeepings != b->housekeepings || a->idles != b->idles || a->notes != b->notes ||
		a->shared_house != b->shared_house || a->shared_core != b->shared_core ||
		a->measured != b->measured || memcmp(&a->mean_ns, &b->mean_ns, sizeof(double)) ||
		memcmp(&a->worst_ns, &b->worst_ns, sizeof(double)) ||
		memcmp(a->role, b->role, m->cores) ||
		memcmp(a->owner, b->owner, m->cores * sizeof(*a->owner)) ||
		memcmp(a->housekeeping, b->housekeeping, a->housekeepings * sizeof(int)) ||
		memcmp(a->idle, b->idle, a->idles * sizeof(int)))
		return false;
	for (unsigned s = 0; s < a->sidecores; s++)
		if (a->sidecore[s].cpu != b->sidecore[s].cpu ||
			a->sidecore[s].guest_cores != b->sidecore[s].guest_cores ||
			strcmp(a->sidecore[s].why, b->sidecore[s].why))
			return false;
	for (unsigned i = 0; i < a->notes; i++)
		if (strcmp(a->note[i], b->note[i]))
			return false;
	for (unsigned g = 0; g < a->guests; g++) {
		const struct sv_plan_placed *x = &a->guest[g], *y = &b->guest[g];

		if (strcmp(x->name, y->name) || x->vcpus != y->vcpus || x->cores != y->cores ||
			x->nodes != y->nodes || memcmp(x->node, y->node, x->nodes * sizeof(int)) ||
			x->control_cpu != y->control_cpu || x->device_sidecore != y->device_sidecore ||
			x->shares != y->shares || strcmp(x->why, y->why))
			return false;
		for (unsigned v = 0; v < x->vcpus; v++)
			if (x->vcpu[v].cpu != y->vcpu[v].cpu || x->vcpu[v].core != y->vcpu[v].core ||
				x->vcpu[v].sidecore != y->vcpu[v].sidecore ||
				x->vcpu[v].near != y->vcpu[v].near)
				return false;
	}
	return true;
}

static void run_case(const struct sv_machine *m, const struct planning_case *c)
{
	struct planning_request r;
	struct sv_plan *plan = NULL, *again = NULL;
	struct sv_error err = {0};
	const char *broken;
	int rc;

	planning_parse(c->request, &r);
	rc = sv_plan_make(m, &r.req, &plan, &err);
	if (!strncmp(c->expected, "refused: ", 9)) {
		cr_expect(rc < 0 && strstr(err.text, c->expected + 9), "%s, %s\n  expected %s\n  got      "
			"%d %s", m->name, c->request, c->expected, rc, rc ? err.text : planning_map(m, plan));
		sv_plan_free(plan);
		return;
	}
	cr_expect(rc == 0, "%s, %s: %s", m->name, c->request, err.text);
	if (rc < 0)
		return;
	cr_expect_str_eq(planning_map(m, plan), c->expected, "%s, %s\n  expected %s\n  got      %s",
		m->name, c->request, c->expected, planning_map(m, plan));
	broken = planning_broken(m, &r.req, plan);
	cr_expect(!broken, "%s, %s: %s", m->name, c->request, broken);
	cr_assert_eq(sv_plan_make(m, &r.req, &again, &err), 0);
	cr_expect(planning_same(m, plan, again), "%s, %s: not the same twice", m->name, c->request);
	sv_plan_free(plan);
	sv_plan_free(again);
}

void planning_run(const struct planning_case *cases, unsigned n, const char *folder)
{
	struct sv_machine *m = NULL;
	struct sv_error err = {0};

	for (unsigned i = 0; i < n; i++) {
		char name[600];

		if (cases[i].machine) {
			sv_machine_free(m);
			m = NULL;
			snprintf(name, sizeof(name), "%s%s%s", folder ? folder : "", folder ? "/" : "",
				cases[i].machine);
			cr_assert_eq(sv_machine_load(name, &m, &err), 0, "%s", err.text);
		}
		run_case(m, &cases[i]);
	}
	sv_machine_free(m);
}
