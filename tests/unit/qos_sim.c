/* SPDX-License-Identifier: BSD-3-Clause */
#include "qos_sim.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct sim *sim_new(unsigned servers, uint64_t service_ns)
{
	struct sim *s = calloc(1, sizeof(*s));

	cr_assert_not_null(s);
	s->q = sv_qos_create();
	s->now = SECOND;
	s->servers = servers;
	s->service_ns = service_ns;
	s->visit_ns = 200;
	s->request_ns = 1000;
	return s;
}

void sim_free(struct sim *s)
{
	for (unsigned i = 0; i < s->n; i++)
		sv_qos_close(s->flow[i].flow);
	sv_qos_destroy(s->q);
	free(s);
}

void sim_set(struct sim_flow *f, const char *set)
{
	struct sv_qos_params p;
	struct sv_error err = {""};
	char *copy = strdup(set), *save = NULL;

	sv_qos_get_params(f->flow, &p);
	for (char *s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		char *equals = strchr(s, '=');

		*equals = 0;
		cr_assert_eq(sv_qos_param(&p, s, equals + 1, &err), 0, "%s", err.text);
	}
	cr_assert_eq(sv_qos_check(&p, &err), 0, "%s", err.text);
	sv_qos_set_params(f->flow, &p);
	free(copy);
}

struct sim_flow *sim_add(struct sim *s, unsigned depth, uint32_t bytes, const char *set)
{
	struct sim_flow *f = &s->flow[s->n++];
	struct sv_error err = {""};

	*f = (struct sim_flow){.depth = depth, .bytes = bytes, .next_ns = s->now};
	cr_assert_eq(sv_qos_open(&f->flow, s->q, 1, SV_QOS_COST_REQUEST, NULL, &err), 0, "%s", err.text);
	if (set)
		sim_set(f, set);
	return f;
}

static void post(struct sim_flow *f, uint64_t now)
{
	f->posted[f->tail++ % SIM_RING] = now;
}

/* The guest puts what it has to put. */
static void guest(struct sim *s, struct sim_flow *f)
{
	if (f->off)
		return;
	if (f->every_ns) {
		while (f->next_ns <= s->now && f->tail - f->head < SIM_RING) {
			post(f, f->next_ns);
			f->next_ns += f->every_ns;
		}
		return;
	}
	while (f->tail - f->head + f->inside < f->depth)
		post(f, s->now);
}

static void complete(struct sim *s, unsigned i)
{
	struct sim_flow *f = &s->flow[s->out[i].flow];

	sv_qos_done(f->flow, &s->out[i].ticket);
	sv_histogram_add(&f->latency, s->now - s->out[i].posted);
	f->inside--;
	f->ops++;
	f->moved += f->bytes;
	s->out[i] = s->out[--s->nout];
}

static void reap(struct sim *s, unsigned flow)
{
	for (unsigned i = s->nout; i--;)
		if (s->out[i].flow == flow && s->out[i].end_ns <= s->now)
			complete(s, i);
}

static void begin(struct sim *s, unsigned flow)
{
	struct sim_flow *f = &s->flow[flow];
	uint64_t service = s->service_ns + s->ns_per_kib * (f->bytes >> 10), *server = s->free_at;

	for (unsigned i = 1; i < s->servers; i++)
		if (s->free_at[i] < *server)
			server = &s->free_at[i];
	s->out[s->nout].flow = flow;
	s->out[s->nout].posted = f->posted[f->head++ % SIM_RING];
	sv_qos_taken(f->flow, &s->out[s->nout].ticket, SV_QOS_READ, 1, f->bytes);
	s->now += s->request_ns + (s->inline_store ? service : 0);
	if (*server < s->now)
		*server = s->now;
	*server += s->inline_store ? 0 : service;
	s->out[s->nout++].end_ns = *server;
	f->inside++;
}

static void visit(struct sim *s, unsigned flow)
{
	struct sim_flow *f = &s->flow[flow];

	sv_qos_visit(f->flow, s->now);
	reap(s, flow);
	guest(s, f);
	for (unsigned n = 0; n < 64 && f->head != f->tail; n++) {
		if (!s->unfair && !sv_qos_admit(f->flow))
			break;
		begin(s, flow);
	}
	sv_qos_leave(f->flow);
	s->now += s->visit_ns;
	if (s->inline_store) {
		sv_qos_tick(f->flow, s->now);
		reap(s, flow);
	}
}

void sim_run(struct sim *s, uint64_t ns)
{
	uint64_t end = s->now + ns;

	while (s->now < end)
		for (unsigned i = 0; i < s->n; i++)
			visit(s, i);
}

void sim_mark(struct sim *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		s->flow[i].ops = s->flow[i].moved = 0;
		memset(&s->flow[i].latency, 0, sizeof(s->flow[i].latency));
	}
}
