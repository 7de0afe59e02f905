/* SPDX-License-Identifier: BSD-3-Clause */
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Without H, S and X, which mean something else. */
static const char letters[] = "ABCDEFGIJKLMNOPQRTUVWYZ";
#define LETTERS ((unsigned)sizeof(letters) - 1)

static struct view_thread *at(struct view *v, unsigned core, unsigned thread)
{
	return &v->thread[core * SV_CORE_THREADS + thread];
}

const struct view_thread *view_at(const struct view *v, unsigned core, unsigned thread)
{
	return &v->thread[core * SV_CORE_THREADS + thread];
}

static struct view_thread *at_cpu(struct view *v, unsigned core, int cpu)
{
	for (unsigned t = 0; t < v->m->core[core].threads; t++)
		if (v->m->core[core].cpu[t] == cpu)
			return at(v, core, t);
	return NULL;
}

/* What a thread of a core does that nobody was put on by name. */
static enum view_use use_of_role(enum sv_role role)
{
	switch (role) {
	case SV_ROLE_HOUSEKEEPING:
		return VIEW_HOUSE;
	case SV_ROLE_EXCLUDED:
		return VIEW_EXCLUDED;
	case SV_ROLE_GUEST:
	case SV_ROLE_SIDECORE:
		return VIEW_IDLE;
	default:
		return VIEW_SPARE;
	}
}

int view_open(struct view *v, const struct sv_machine *m, const struct sv_plan *plan)
{
	*v = (struct view){.m = m, .plan = plan, .label_columns = plan->guests > LETTERS ? 2 : 1};
	v->thread = calloc(m->cores, SV_CORE_THREADS * sizeof(*v->thread));
	if (!v->thread)
		return -ENOMEM;
	for (unsigned i = 0; i < m->cores; i++)
		for (unsigned t = 0; t < SV_CORE_THREADS; t++)
			*at(v, i, t) = (struct view_thread){.use = use_of_role(plan->role[i]),
				.guest = -1,
				.vcpu = -1,
				.sidecore = -1};
	for (unsigned g = 0; g < plan->guests; g++)
		for (unsigned c = plan->guest[g].vcpus; c-- > 0;) {
			const struct sv_plan_vcpu *vcpu = &plan->guest[g].vcpu[c];
			struct view_thread *t = at_cpu(v, vcpu->core, vcpu->cpu);

			if (t)
				*t = (struct view_thread){VIEW_GUEST, (int)g, (int)c, -1};
		}
	for (unsigned s = 0; s < plan->sidecores; s++) {
		const struct sv_plan_sidecore *side = &plan->sidecore[s];
		struct view_thread *t =
			side->core >= 0 ? at_cpu(v, (unsigned)side->core, side->cpu) : NULL;

		if (t && t->use == VIEW_GUEST)
			t->sidecore = (int)s; /* one core for everything */
		else if (t)
			*t = (struct view_thread){VIEW_SIDECORE, -1, -1, (int)s};
	}
	return 0;
}

void view_close(struct view *v)
{
	free(v->thread);
}

void view_guest_label(const struct view *v, unsigned guest, char label[VIEW_LABEL])
{
	if (v->label_columns == 1) {
		snprintf(label, VIEW_LABEL, "%c", letters[guest % LETTERS]);
		return;
	}
	snprintf(label, VIEW_LABEL, "%c%c", letters[guest / LETTERS % LETTERS],
		letters[guest % LETTERS] | 0x20);
}

void view_label(const struct view *v, const struct view_thread *t, char label[VIEW_LABEL])
{
	static const char signs[VIEW_USES] = {[VIEW_SPARE] = '.',
		[VIEW_SIDECORE] = 'S',
		[VIEW_HOUSE] = 'H',
		[VIEW_IDLE] = '-',
		[VIEW_EXCLUDED] = 'x'};

	if (t->use == VIEW_GUEST)
		view_guest_label(v, (unsigned)t->guest, label);
	else
		snprintf(label, VIEW_LABEL, "%c", signs[t->use]);
}

static int ascending(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

char *view_list(const int *cpu, unsigned n)
{
	int *sorted = malloc((n + 1) * sizeof(*sorted));
	char *text = malloc((size_t)n * 12 + 1), *end = text;

	if (!sorted || !text) {
		free(sorted);
		free(text);
		return NULL;
	}
	*text = 0;
	if (n)
		memcpy(sorted, cpu, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), ascending);
	for (unsigned i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && sorted[k] <= sorted[k - 1] + 1; k++)
			;
		end += sprintf(end, "%s%d", i ? "," : "", sorted[i]);
		if (sorted[k - 1] > sorted[i])
			end += sprintf(end, "-%d", sorted[k - 1]);
	}
	free(sorted);
	return text;
}

static bool in_set(enum sv_role role, enum view_set set)
{
	bool isolated = role == SV_ROLE_GUEST || role == SV_ROLE_SIDECORE;

	switch (set) {
	case VIEW_SET_ISOLATED:
		return isolated;
	case VIEW_SET_REST:
		return !isolated;
	case VIEW_SET_SYSTEM:
		return role == SV_ROLE_HOUSEKEEPING || role == SV_ROLE_SIDECORE;
	case VIEW_SET_OURS:
		return isolated || role == SV_ROLE_HOUSEKEEPING;
	case VIEW_SET_SPARE:
		return role == SV_ROLE_SPARE;
	case VIEW_SET_EXCLUDED:
		return role == SV_ROLE_EXCLUDED;
	case VIEW_SET_HOUSE:
		return role == SV_ROLE_HOUSEKEEPING;
	}
	return false;
}

int view_cpus(const struct view *v, enum view_set set, int **cpu)
{
	int n = 0;

	*cpu = malloc((v->m->cpus + 1) * sizeof(**cpu));
	if (!*cpu)
		return -ENOMEM;
	for (unsigned i = 0; i < v->m->cores; i++)
		for (unsigned t = 0; in_set(v->plan->role[i], set) && t < v->m->core[i].threads;
			t++)
			(*cpu)[n++] = v->m->core[i].cpu[t];
	return n;
}

char *view_set_list(const struct view *v, enum view_set set)
{
	int *cpu, n = view_cpus(v, set, &cpu);
	char *text = n < 0 ? NULL : view_list(cpu, (unsigned)n);

	free(cpu);
	return text;
}

char *view_guest_list(const struct view *v, unsigned guest)
{
	const struct sv_plan_placed *g = &v->plan->guest[guest];
	int *cpu = malloc((g->vcpus + 1) * sizeof(*cpu));
	char *text = NULL;

	for (unsigned i = 0; cpu && i < g->vcpus; i++)
		cpu[i] = g->vcpu[i].cpu;
	if (cpu)
		text = view_list(cpu, g->vcpus);
	free(cpu);
	return text;
}

char *view_node_list(const struct view *v)
{
	const struct sv_machine *m = v->m;
	const struct sv_plan *plan = v->plan;
	bool *used = calloc(m->nodes + 1, sizeof(*used));
	int *node = malloc((m->nodes + 1) * sizeof(*node));
	char *text = NULL;
	unsigned n = 0;

	for (unsigned g = 0; used && g < plan->guests; g++)
		for (unsigned k = 0; k < plan->guest[g].nodes; k++)
			for (unsigned i = 0; i < m->nodes; i++)
				used[i] |= m->node[i].os == plan->guest[g].node[k];
	for (unsigned s = 0; used && s < plan->sidecores; s++)
		if (plan->sidecore[s].core >= 0 && m->core[plan->sidecore[s].core].node >= 0)
			used[m->core[plan->sidecore[s].core].node] = true;
	for (unsigned i = 0; used && node && i < m->nodes; i++)
		if (used[i])
			node[n++] = m->node[i].os;
	if (used && node)
		text = view_list(node, n);
	free(used);
	free(node);
	return text;
}

void view_name_packages(
	const struct sv_machine *m, const unsigned *domain, unsigned n, char *name, size_t bytes)
{
	int first = -1, last = -1;

	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < m->domain[domain[i]].cores; k++) {
			int package = m->core[m->domain[domain[i]].core[k]].package;

			if (package >= 0 && (first < 0 || package < first))
				first = package;
			if (package > last)
				last = package;
		}
	if (first < 0)
		snprintf(name, bytes, "machine");
	else if (first == last)
		snprintf(name, bytes, "package %d", first);
	else
		snprintf(name, bytes, "packages %d-%d", first, last);
}

/* How many bytes of valid UTF-8 stand at @s: 1 to 4, or 0 for none. */
static unsigned utf8_bytes(const unsigned char *s)
{
	unsigned n = *s < 0x80                 ? 1
		     : *s >= 0xc2 && *s < 0xe0 ? 2
		     : *s >= 0xe0 && *s < 0xf0 ? 3
		     : *s >= 0xf0 && *s < 0xf5 ? 4
					       : 0;

	for (unsigned i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] >= 0xa0) ||
		(*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] >= 0x90) ||
		(*s == 0xef && s[1] == 0xbf && s[2] >= 0xbe))
		return 0;
	return n;
}

void view_xml(FILE *f, const char *text)
{
	for (const unsigned char *s = (const unsigned char *)text; *s;) {
		unsigned n = utf8_bytes(s);

		if (*s == '&')
			fputs("&amp;", f);
		else if (*s == '<')
			fputs("&lt;", f);
		else if (*s == '>')
			fputs("&gt;", f);
		else if (*s == '"')
			fputs("&quot;", f);
		else if (*s == '\'')
			fputs("&#39;", f);
		else if (!n || *s < 0x20 || *s == 0x7f)
			fputc('?', f);
		else
			fwrite(s, 1, n, f);
		s += n ? n : 1;
	}
}
