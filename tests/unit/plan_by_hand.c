/* SPDX-License-Identifier: BSD-3-Clause */
#include "plan_by_hand.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct sv_machine *machine_of(const char *synthetic)
{
	struct sv_machine *m = NULL;
	struct sv_error err;

	cr_assert_eq(sv_machine_load(synthetic, &m, &err), 0, "%s", err.text);
	return m;
}

struct sv_machine *machine_by_hand(void)
{
	struct sv_machine *m =
		machine_of("pack:1 numa:1(memory=8589934592) l3:1 core:4 pu:2(indexes=2*4:1*2)");

	snprintf(m->name, sizeof(m->name), "small");
	snprintf(m->identity, sizeof(m->identity), "Test CPU, 8 CPUs");
	return m;
}

static void *copy(const void *p, size_t bytes)
{
	void *c = malloc(bytes);

	cr_assert(c);
	memcpy(c, p, bytes);
	return c;
}

struct sv_plan *plan_by_hand(const char *name)
{
	static const unsigned char role[] = {
		SV_ROLE_HOUSEKEEPING, SV_ROLE_GUEST, SV_ROLE_GUEST, SV_ROLE_SIDECORE};
	static const int owner[] = {-1, 0, 0, -1}, house[] = {0, 4}, idle[] = {5, 6, 7},
			 node[] = {0};
	static const struct sv_plan_vcpu vcpu[] = {
		{.cpu = 1, .core = 1, .near = SV_NEAR_L3, .line_ns = 30},
		{.cpu = 2, .core = 2, .near = SV_NEAR_L3, .line_ns = 30}};
	static const struct sv_plan_sidecore side = {
		.cpu = 3, .core = 3, .guest_cores = 2, .line_ns = 30, .why = "near its guest"};
	struct sv_plan_placed guest = {.vcpus = 2, .cores = 2, .nodes = 1, .why = "all in one L3"};
	struct sv_plan plan = {.kind = SV_PLAN_LOCALITY,
		.sidecores = 1,
		.guests = 1,
		.housekeepings = 2,
		.idles = 3,
		.mean_ns = 30,
		.worst_ns = 30,
		.note = {"a note"},
		.notes = 1};

	snprintf(guest.name, sizeof(guest.name), "%s", name);
	guest.vcpu = copy(vcpu, sizeof(vcpu));
	guest.node = copy(node, sizeof(node));
	plan.guest = copy(&guest, sizeof(guest));
	plan.sidecore = copy(&side, sizeof(side));
	plan.role = copy(role, sizeof(role));
	plan.owner = copy(owner, sizeof(owner));
	plan.housekeeping = copy(house, sizeof(house));
	plan.idle = copy(idle, sizeof(idle));
	return copy(&plan, sizeof(plan));
}

struct sv_plan *plan_of(
	const struct sv_machine *m, unsigned guests, unsigned vcpus, enum sv_plan_policy_kind kind)
{
	struct sv_plan_guest *guest = calloc(guests, sizeof(*guest));
	struct sv_plan_request req = {
		.policy = {.kind = kind, .sidecores = SV_PLAN_AUTO, .housekeeping = SV_PLAN_AUTO},
		.guest = guest,
		.guests = guests};
	struct sv_plan *plan = NULL;
	struct sv_error err;

	cr_assert(guest);
	for (unsigned i = 0; i < guests; i++) {
		snprintf(guest[i].name, sizeof(guest[i].name), "g%u", i);
		guest[i].vcpus = vcpus;
		guest[i].share = m->cores < 3;
	}
	cr_assert_eq(sv_plan_make(m, &req, &plan, &err), 0, "%s", err.text);
	free(guest);
	return plan;
}

void measure_by_hand(struct sv_machine *m)
{
	struct sv_latencies *l = calloc(1, sizeof(*l));
	unsigned n = 0;

	cr_assert(l);
	l->n = m->cpus;
	l->cpu = calloc(l->n, sizeof(*l->cpu));
	l->ns = calloc((size_t)l->n * l->n, sizeof(*l->ns));
	cr_assert(l->cpu && l->ns);
	for (unsigned i = 0; i < m->cores; i++)
		for (unsigned t = 0; t < m->core[i].threads; t++)
			l->cpu[n++] = m->core[i].cpu[t];
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++)
			l->ns[(size_t)i * n + k] = i == k ? 0 : 20.0f + (float)((i ^ k) * 3);
	m->measured = l;
}

char *report_text(report_fn *fn, const struct sv_machine *m, const struct sv_plan *plan)
{
	struct sv_error err;
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	cr_assert(f);
	cr_assert_eq(fn(f, m, plan, &err), 0, "%s", err.text);
	fclose(f);
	return text;
}
