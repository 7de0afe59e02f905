/* SPDX-License-Identifier: BSD-3-Clause */
#include "plan_guests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

static int add_guest(struct plan_options *o, const struct sv_plan_guest *g, struct sv_error *err)
{
	struct sv_plan_guest *more;

	if (o->guests == SV_PLAN_GUESTS)
		return sv_fail(err, EINVAL, "more than %u guests", SV_PLAN_GUESTS);
	more = realloc(o->guest, (o->guests + 1) * sizeof(*more));
	if (!more)
		return sv_fail(err, ENOMEM, "out of memory");
	o->guest = more;
	o->guest[o->guests++] = *g;
	return 0;
}

static int set_name(struct sv_plan_guest *g, const char *option, const char *name, size_t n,
	struct sv_error *err)
{
	static const char good[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	if (!n || n >= sizeof(g->name) || strspn(name, good) < n)
		return sv_fail(err, EINVAL,
			"%s name=%.64s: give 1 to %zu letters, digits, '.', '_' or '-'", option,
			name, sizeof(g->name) - 1);
	snprintf(g->name, sizeof(g->name), "%.*s", (int)n, name);
	return 0;
}

static int parse_switch(const char *key, const char *value, bool *on, struct sv_error *err)
{
	*on = !strcmp(value, "on");
	if (!*on && strcmp(value, "off") != 0)
		return sv_fail(err, EINVAL, "--guest %s=%s: give on or off", key, value);
	return 0;
}

int plan_guest_parse(struct plan_options *o, char *text, struct sv_error *err)
{
	enum { NAME, VCPUS, MEMORY, SMT, SHARE, UNTRUSTED, NEAR };
	static const char *const keys[] = {[NAME] = "name",
		[VCPUS] = "vcpus",
		[MEMORY] = "memory",
		[SMT] = "smt",
		[SHARE] = "share",
		[UNTRUSTED] = "untrusted",
		[NEAR] = "near",
		NULL};
	struct sv_plan_guest g = {.vcpus = 1};
	char *whole = strdup(text), *value;
	uint64_t n = 1;
	int rc = whole ? 0 : sv_fail(err, ENOMEM, "out of memory");

	while (rc == 0 && *text) {
		int key = getsubopt(&text, (char *const *)(uintptr_t)keys, &value);

		if (key < 0 || !value || !*value)
			rc = sv_fail(err, EINVAL,
				"--guest %s: write name=NAME, then vcpus=N, memory=SIZE, "
				"smt=on, share=on, untrusted=on or near=DEVICE, with commas",
				whole);
		else if (key == NAME)
			rc = set_name(&g, "--guest", value, strlen(value), err);
		else if (key == VCPUS)
			rc = cli_parse_number("--guest vcpus", value, 1, SV_MACHINE_CORES, &n, err);
		else if (key == MEMORY)
			rc = cli_parse_size("--guest memory", value, &g.memory_bytes, err);
		else if (key == NEAR)
			g.near = value;
		else
			rc = parse_switch(keys[key], value,
				key == SMT     ? &g.smt
				: key == SHARE ? &g.share
					       : &g.untrusted,
				err);
	}
	if (rc == 0 && !*g.name)
		rc = sv_fail(err, EINVAL, "--guest %s: name=NAME is missing", whole);
	g.vcpus = (unsigned)n;
	if (rc == 0)
		rc = add_guest(o, &g, err);
	free(whole);
	return rc;
}

int plan_guests_alike(struct plan_options *o, const struct plan_alike *alike, struct sv_error *err)
{
	unsigned n = alike->guests ? alike->guests : 1;
	int rc = 0;

	for (unsigned i = 0; i < n && rc == 0; i++) {
		struct sv_plan_guest g = {.vcpus = alike->vcpus};

		snprintf(g.name, sizeof(g.name), n > 1 ? "guest%u" : "guest", i);
		rc = add_guest(o, &g, err);
	}
	return rc;
}

/* --- profiles ----------------------------------------------------------------------------------
 */

static int name_after_file(struct sv_plan_guest *g, const char *path, struct sv_error *err)
{
	const char *base = strrchr(path, '/'), *dot;

	base = base ? base + 1 : path;
	dot = strrchr(base, '.');
	return set_name(
		g, path, base, dot && dot > base ? (size_t)(dot - base) : strlen(base), err);
}

int plan_guest_profile(struct plan_options *o, const char *operand, struct sv_error *err)
{
	struct sv_profile_placement p;
	struct sv_profile **more;
	struct sv_plan_guest g = {0};
	struct sv_profile *profile;
	char path[PROFILE_PATH];
	int rc;

	more = realloc(o->profile, (o->profiles + 1) * sizeof(struct sv_profile *));
	if (!more)
		return sv_fail(err, ENOMEM, "out of memory");
	o->profile = more;
	rc = profile_load_one(operand, SV_PROFILE_GUEST, path, &profile, err);
	if (rc < 0)
		return rc == -EINVAL ? -EIO : rc;
	o->profile[o->profiles++] = profile;
	sv_profile_placement(profile, &p);
	g = (struct sv_plan_guest){.vcpus = p.vcpus,
		.smt = p.smt,
		.share = p.share_cores,
		.untrusted = p.untrusted,
		.memory_bytes = p.memory_bytes,
		.near = p.near};
	rc = p.name ? set_name(&g, operand, p.name, strlen(p.name), err)
		    : name_after_file(&g, path, err);
	if (rc < 0)
		return rc;
	/* What a profile says of its own sidecores holds where nobody says more. */
	if (p.policy_given && !o->policy_given) {
		o->policy.kind = (enum sv_plan_policy_kind)p.policy;
		o->policy_given = true;
	} else if (p.policy_given && o->profiles > 1 && !o->node &&
		   o->policy.kind != (enum sv_plan_policy_kind)p.policy) {
		return sv_fail(err, EINVAL,
			"%s: its sidecore_policy is %s, another's is %s; say --policy", operand,
			sv_plan_policy_name((enum sv_plan_policy_kind)p.policy),
			sv_plan_policy_name(o->policy.kind));
	}
	if (p.sidecores > 0 && !o->sidecores_given)
		o->policy.sidecores =
			(o->policy.sidecores > 0 ? o->policy.sidecores : 0) + p.sidecores;
	return add_guest(o, &g, err);
}

int plan_node_profile(struct plan_options *o, const char *file, struct sv_error *err)
{
	struct sv_profile_node_policy *n = &o->node_policy;
	char path[PROFILE_PATH];
	int rc;

	if (o->node)
		return sv_fail(err, EINVAL, "--node %s: one node profile is enough", file);
	rc = profile_load_one(file, SV_PROFILE_NODE_KIND, path, &o->node, err);
	if (rc < 0)
		return rc == -EINVAL ? -EIO : rc;
	if (sv_profile_node_policy(o->node, n) < 0)
		return sv_fail(err, ENOMEM, "out of memory");
	o->sidecores_given = n->sidecores > 0 || n->sidecore_cpus;
	o->policy_given = true;
	o->policy = profile_plan_policy(n);
	return 0;
}

int plan_guests_check(const struct plan_options *o, struct sv_error *err)
{
	for (unsigned i = 0; i < o->guests; i++)
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(o->guest[i].name, o->guest[k].name))
				return sv_fail(err, EINVAL,
					"two guests are called %s; name them apart",
					o->guest[i].name);
	return 0;
}

/* --- as many as fit ----------------------------------------------------------------------------
 */

/* What a small guest would have: the plan of a larger one must not have less of it. */
struct comfort {
	unsigned housekeepings;
	bool own_house, near;
};

static bool is_near(const struct sv_machine *m, const struct sv_plan *plan)
{
	for (unsigned g = 0; g < plan->guests; g++)
		for (unsigned v = 0; v < plan->guest[g].vcpus; v++) {
			const struct sv_plan_vcpu *vcpu = &plan->guest[g].vcpu[v];
			int side = plan->sidecore[vcpu->sidecore].core;

			if (side < 0 || m->core[side].domain != m->core[vcpu->core].domain)
				return false;
		}
	return true;
}

static int attempt(struct plan_options *o, const struct sv_machine *m, unsigned vcpus,
	struct comfort *c, struct sv_error *err)
{
	struct sv_plan_request req = {o->policy, o->guest, o->guests};
	struct sv_plan *plan;
	int rc;

	for (unsigned i = 0; i < o->guests; i++)
		o->guest[i].vcpus = vcpus;
	rc = sv_plan_make(m, &req, &plan, err);
	if (rc < 0)
		return rc;
	*c = (struct comfort){plan->housekeepings, !plan->shared_house, is_near(m, plan)};
	sv_plan_free(plan);
	return 0;
}

int plan_guests_fill(
	struct plan_options *o, const struct sv_machine *m, bool *said, struct sv_error *err)
{
	struct plan_alike one = {.guests = 1};
	struct comfort first = {0}, c = {0};
	unsigned low = 1, high;
	int rc = 0;

	*said = !o->guests || !o->guest[o->guests - 1].vcpus;
	if (!*said)
		return 0;
	if (!o->guests)
		rc = plan_guests_alike(o, &one, err);
	if (rc == 0 && o->guest[0].vcpus)
		return sv_fail(
			err, EINVAL, "--guests: say --vcpus too, beside guests of other kinds");
	if (rc == 0 && m->cores == 1)
		o->guest[0].share = true;
	if (rc == 0)
		rc = attempt(o, m, 1, &first, err);
	if (rc < 0)
		return rc;
	high = m->cores / (o->guests ? o->guests : 1);
	while (low < high) {
		unsigned mid = (low + high + 1) / 2;
		bool fits = attempt(o, m, mid, &c, NULL) == 0 &&
			    c.housekeepings >= first.housekeepings &&
			    c.own_house == first.own_house && c.near == first.near;

		if (fits)
			low = mid;
		else
			high = mid - 1;
	}
	return attempt(o, m, low, &c, err);
}
