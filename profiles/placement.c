/* SPDX-License-Identifier: BSD-3-Clause */
/* What the planner asks of profiles, in numbers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "schema.h"

static int auto_or_number(const char *text)
{
	return !strcmp(text, "auto") ? SV_PROFILE_AUTO : (int)strtoul(text, NULL, 10);
}

void sv_profile_placement(const struct sv_profile *p, struct sv_profile_placement *out)
{
	const struct sv_profile_guest *g = sv_profile_guest(p);

	*out = (struct sv_profile_placement){.name = g->name,
		.vcpus = *g->vcpus,
		.smt = *g->smt,
		.share_cores = *g->share_cores,
		.untrusted = *g->untrusted,
		.near = g->near,
		.sidecores = auto_or_number(g->sidecores),
		.policy_given = g->sidecore_policy != NULL};
	if (g->sidecore_policy)
		out->policy = *g->sidecore_policy;
	form_size(g->memory, &out->memory_bytes);
}

static int cpu_list(const char *text, int **cpu, unsigned *n)
{
	int count = text ? form_cpus(text, NULL, 0) : 0;

	*cpu = NULL;
	*n = 0;
	if (count <= 0)
		return 0;
	*cpu = calloc((size_t)count, sizeof(**cpu));
	if (!*cpu)
		return -ENOMEM;
	*n = (unsigned)form_cpus(text, *cpu, (unsigned)count);
	return 0;
}

int sv_profile_node_policy(const struct sv_profile *p, struct sv_profile_node_policy *out)
{
	const struct sv_profile_node *n = sv_profile_node(p);
	bool list = n->housekeeping[strcspn(n->housekeeping, ",-")];

	*out = (struct sv_profile_node_policy){.policy = *n->policy,
		.sidecores = auto_or_number(n->sidecores),
		.guest_cores_per_sidecore =
			n->guest_cores_per_sidecore ? *n->guest_cores_per_sidecore : 0,
		.housekeeping = list ? SV_PROFILE_AUTO : auto_or_number(n->housekeeping),
		.near = n->near};
	if (cpu_list(list ? n->housekeeping : NULL, &out->housekeeping_cpu,
		    &out->housekeeping_cpus) == 0 &&
		cpu_list(n->exclude, &out->exclude_cpu, &out->exclude_cpus) == 0 &&
		cpu_list(n->cpus, &out->sidecore_cpu, &out->sidecore_cpus) == 0)
		return 0;
	sv_profile_node_policy_free(out);
	return -ENOMEM;
}

void sv_profile_node_policy_free(struct sv_profile_node_policy *out)
{
	free(out->housekeeping_cpu);
	free(out->exclude_cpu);
	free(out->sidecore_cpu);
	*out = (struct sv_profile_node_policy){0};
}
