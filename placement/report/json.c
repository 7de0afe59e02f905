/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan for programs: everything in struct sv_plan, keys in a fixed order (docs/plan-json.md).
 */
#include <report/report.h>

#include <errno.h>
#include <jansson.h>
#include <math.h>

static json_t *number_or_null(int n)
{
	return n < 0 ? json_null() : json_integer(n);
}

static json_t *nanoseconds(double ns)
{
	return json_real(round(ns * 10) / 10);
}

static json_t *numbers(const int *v, unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_integer(v[i]));
	return list;
}

/* A name from a file or the command line: JSON holds UTF-8 only. */
static json_t *name(const char *text)
{
	json_t *s = json_string(text);

	return s ? s : json_string("?");
}

static int os_node(const struct sv_machine *m, int node)
{
	return node < 0 ? -1 : m->node[node].os;
}

static json_t *machine(const struct sv_machine *m)
{
	json_t *nodes = json_array(), *domains = json_array();

	for (unsigned i = 0; i < m->nodes; i++)
		json_array_append_new(nodes,
			json_pack("{s:i, s:o, s:o, s:i}", "node", m->node[i].os, "bytes",
				m->node[i].bytes ? json_integer((json_int_t)m->node[i].bytes)
						 : json_null(),
				"kind", name(m->node[i].kind), "cores", (int)m->node[i].cores));
	for (unsigned d = 0; d < m->domains; d++)
		json_array_append_new(
			domains, json_pack("{s:o, s:o, s:o, s:i}", "name", name(m->domain[d].name),
					 "package", number_or_null(m->domain[d].package), "node",
					 number_or_null(os_node(m, m->domain[d].node)), "cores",
					 (int)m->domain[d].cores));
	return json_pack("{s:o, s:o, s:b, s:i, s:i, s:i, s:b, s:b, s:o, s:o}", "name",
		name(m->name), "identity", name(m->identity), "here", m->here, "packages",
		(int)m->packages, "cores", (int)m->cores, "cpus", (int)m->cpus, "smt", m->smt,
		"hybrid", m->hybrid, "nodes", nodes, "domains", domains);
}

static json_t *sidecores(const struct sv_machine *m, const struct sv_plan *plan)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < plan->sidecores; i++) {
		const struct sv_plan_sidecore *s = &plan->sidecore[i];
		const struct sv_core *c = s->core < 0 ? NULL : &m->core[s->core];

		json_array_append_new(
			list, json_pack("{s:i, s:o, s:o, s:o, s:o, s:i, s:o, s:o}", "cpu", s->cpu,
				      "core", number_or_null(s->core), "domain",
				      c ? name(m->domain[c->domain].name) : json_null(), "package",
				      number_or_null(c ? c->package : -1), "node",
				      number_or_null(c ? os_node(m, c->node) : -1), "guest_cores",
				      (int)s->guest_cores, "line_ns", nanoseconds(s->line_ns),
				      "why", name(s->why)));
	}
	return list;
}

static json_t *guests(const struct sv_plan *plan)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < plan->guests; i++) {
		const struct sv_plan_placed *g = &plan->guest[i];
		json_t *vcpus = json_array();

		for (unsigned v = 0; v < g->vcpus; v++)
			json_array_append_new(vcpus,
				json_pack("{s:i, s:i, s:i, s:i, s:s, s:o}", "vcpu", (int)v, "cpu",
					g->vcpu[v].cpu, "core", (int)g->vcpu[v].core,
					"sidecore_cpu", plan->sidecore[g->vcpu[v].sidecore].cpu,
					"shares", sv_near_name(g->vcpu[v].near), "line_ns",
					nanoseconds(g->vcpu[v].line_ns)));
		json_array_append_new(list,
			json_pack("{s:o, s:i, s:b, s:o, s:i, s:i, s:o, s:o}", "name", name(g->name),
				"cores", (int)g->cores, "shares_cores", g->shares, "nodes",
				numbers(g->node, g->nodes), "control_cpu", g->control_cpu,
				"device_sidecore_cpu", plan->sidecore[g->device_sidecore].cpu,
				"why", name(g->why), "vcpus", vcpus));
	}
	return list;
}

static json_t *cores(const struct sv_machine *m, const struct sv_plan *plan)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->cores; i++) {
		const struct sv_core *c = &m->core[i];

		json_array_append_new(
			list, json_pack("{s:i, s:o, s:s, s:o, s:o, s:o, s:o, s:i}", "core", (int)i,
				      "cpus", numbers(c->cpu, c->threads), "role",
				      sv_role_name((enum sv_role)plan->role[i]), "guest",
				      plan->owner[i] < 0 ? json_null()
							 : name(plan->guest[plan->owner[i]].name),
				      "domain", name(m->domain[c->domain].name), "package",
				      number_or_null(c->package), "node",
				      number_or_null(os_node(m, c->node)), "rank", (int)c->rank));
	}
	return list;
}

int sv_report_json(
	FILE *f, const struct sv_machine *m, const struct sv_plan *plan, struct sv_error *err)
{
	json_t *notes = json_array(), *all;
	int rc;

	for (unsigned i = 0; i < plan->notes; i++)
		json_array_append_new(notes, name(plan->note[i]));
	all = json_pack(
		"{s:s, s:o, s:s, s:{s:s, s:o, s:o}, s:o, s:o, s:o, s:b, s:b, s:o, s:o, s:o}",
		"schema", SV_REPORT_SCHEMA, "machine", machine(m), "policy",
		sv_plan_policy_name(plan->kind), "latency", "source",
		plan->measured ? "measured" : "modelled", "mean_ns", nanoseconds(plan->mean_ns),
		"worst_ns", nanoseconds(plan->worst_ns), "sidecores", sidecores(m, plan), "guests",
		guests(plan), "housekeeping", numbers(plan->housekeeping, plan->housekeepings),
		"shared_housekeeping", plan->shared_house, "shared_core", plan->shared_core, "idle",
		numbers(plan->idle, plan->idles), "cores", cores(m, plan), "notes", notes);
	if (!all)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = json_dumpf(all, f, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	json_decref(all);
	fputc('\n', f);
	return rc < 0 ? sv_fail(err, EIO, "the plan cannot be written as JSON") : 0;
}
