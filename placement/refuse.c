/* SPDX-License-Identifier: BSD-3-Clause */
/* What a refusal says: the constraint that prevents the placement, and the nearest that can be had. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

/* A request with one constraint less. */
struct relaxed {
	struct sv_plan_request req;
	struct sv_plan_guest *guest; /* a copy */
	char what[160];
};

static bool fits(const struct sv_machine *m, const struct sv_plan_request *req)
{
	struct sv_plan *plan = NULL;
	struct sv_error ignored;
	bool ok = sv_plan_try(m, req, &plan, &ignored) == 0;

	sv_plan_free(plan);
	return ok;
}

static bool fewer_sidecores(const struct sv_machine *m, struct relaxed *r)
{
	if (r->req.policy.sidecores == SV_PLAN_AUTO && !r->req.policy.guest_cores_per_sidecore)
		return false;
	if (r->req.policy.sidecores != SV_PLAN_AUTO || r->req.policy.guest_cores_per_sidecore)
		snprintf(r->what, sizeof(r->what), "with --sidecores auto and no limit of guest cores per "
			"sidecore");
	r->req.policy.sidecores = SV_PLAN_AUTO;
	r->req.policy.guest_cores_per_sidecore = 0;
	return fits(m, &r->req);
}

static bool no_house(const struct sv_machine *m, struct relaxed *r)
{
	if (r->req.policy.housekeeping == SV_PLAN_AUTO || r->req.policy.housekeeping == 0)
		return false;
	r->req.policy.housekeeping = SV_PLAN_AUTO;
	snprintf(r->what, sizeof(r->what), "with --housekeeping auto");
	return fits(m, &r->req);
}

static bool packed(const struct sv_machine *m, struct relaxed *r)
{
	if (r->req.policy.kind == SV_PLAN_LOCALITY)
		return false;
	r->req.policy.kind = SV_PLAN_LOCALITY;
	snprintf(r->what, sizeof(r->what), "with --policy locality");
	return fits(m, &r->req);
}

static bool all_threads(const struct sv_machine *m, struct relaxed *r)
{
	if (!m->smt)
		return false;
	for (unsigned g = 0; g < r->req.guests; g++)
		r->guest[g].smt = true;
	snprintf(r->what, sizeof(r->what), "with vCPUs on all threads of their cores (smt: on)");
	return fits(m, &r->req);
}

/* The largest guest, smaller. */
static bool smaller(const struct sv_machine *m, struct relaxed *r)
{
	unsigned low = 0, high, g = 0;

	for (unsigned i = 1; i < r->req.guests; i++)
		if (r->guest[i].vcpus > r->guest[g].vcpus)
			g = i;
	high = r->guest[g].vcpus;
	if (high > m->cpus + 1)
		high = m->cpus + 1;
	while (low + 1 < high) {
		r->guest[g].vcpus = low + (high - low) / 2;
		if (fits(m, &r->req))
			low = r->guest[g].vcpus;
		else
			high = r->guest[g].vcpus;
	}
	r->guest[g].vcpus = low;
	snprintf(r->what, sizeof(r->what), "with %u vCPU%s for guest %s", low, low == 1 ? "" : "s",
		r->guest[g].name);
	return low > 0;
}

static bool fewer_guests(const struct sv_machine *m, struct relaxed *r)
{
	unsigned low = 0, high = r->req.guests;

	while (low + 1 < high) {
		r->req.guests = low + (high - low) / 2;
		if (fits(m, &r->req))
			low = r->req.guests;
		else
			high = r->req.guests;
	}
	r->req.guests = low;
	snprintf(r->what, sizeof(r->what), "with the first %u guest%s alone", low, low == 1 ? "" : "s");
	return low > 0;
}

static bool shared(const struct sv_machine *m, struct relaxed *r)
{
	for (unsigned g = 0; g < r->req.guests; g++)
		r->guest[g].share = true;
	snprintf(r->what, sizeof(r->what), "when vCPUs may share cores (--overcommit)");
	return fits(m, &r->req);
}

int sv_plan_refuse(const struct sv_machine *m, const struct sv_plan_request *req, int rc,
	struct sv_error *err)
{
	static bool (*const ways[])(const struct sv_machine *, struct relaxed *) = {fewer_sidecores,
		no_house, packed, all_threads, smaller, fewer_guests, shared};
	size_t bytes = req->guests * sizeof(*req->guest);
	char can[360] = "";

	for (size_t i = 0; err && i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct relaxed r = {.req = *req, .guest = malloc(bytes)};

		if (!r.guest)
			break;
		memcpy(r.guest, req->guest, bytes);
		r.req.guest = r.guest;
		if (ways[i](m, &r) && strlen(can) + strlen(r.what) + 8 < sizeof(can))
			snprintf(can + strlen(can), sizeof(can) - strlen(can), "%s%s",
				*can ? ", or " : "; it fits ", r.what);
		free(r.guest);
		if (*can && ways[i] == smaller)
			i++; /* fewer guests: only where nothing else helps */
	}
	if (err && strlen(err->text) + strlen(can) < sizeof(err->text))
		strcat(err->text, can);
	return rc;
}
