/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan for people: a map per package, then who is where and why. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "view.h"

#define WRAP_INDENT 10u
#define LIST_COLUMNS 64u
#define ROW_COLUMNS 14u

struct page {
	FILE *f;
	struct view v;
	bool colour;
	unsigned spaces; /* before what comes next, if something does in this line */
};

static const char *escape_of(const struct view_thread *t)
{
	static const char *const guest[] = {
		"\033[32m", "\033[36m", "\033[33m", "\033[34m", "\033[35m"};

	switch (t->use) {
	case VIEW_GUEST:
		return guest[(unsigned)t->guest % (sizeof(guest) / sizeof(guest[0]))];
	case VIEW_SIDECORE:
		return "\033[1;31m";
	case VIEW_HOUSE:
		return "\033[1m";
	default:
		return "\033[2m";
	}
}

#define GLUE '\1' /* a space where a line is not broken */

/* @text from column @column on, broken after commas and spaces. Bytes that are no text become '?'.
 */
static void put_wrapped(const struct page *p, unsigned column, const char *text)
{
	while (*text) {
		size_t room = SV_REPORT_COLUMNS - column, n = strlen(text);

		if (n > room) {
			for (n = room; n > 1 && text[n - 1] != ',' && text[n - 1] != ' '; n--)
				;
			if (n == 1)
				n = room;
		}
		for (size_t i = 0; i < n && (text[i] != ' ' || i + 1 < n); i++)
			fputc(text[i] == GLUE                                      ? ' '
				: (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?'
										   : text[i],
				p->f);
		text += n;
		if (*text) {
			column = WRAP_INDENT;
			fprintf(p->f, "\n%*s", (int)column, "");
		}
	}
	fputc('\n', p->f);
}

static void put_line(const struct page *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void put_line(const struct page *p, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	put_wrapped(p, 0, text);
	free(text);
}

/* A long list is cut in its middle: the map shows the rest, and JSON has it all. Takes @list. */
static char *shorten(char *list, unsigned cpus)
{
	size_t n = list ? strlen(list) : 0, head, tail;
	char *text;

	if (n <= LIST_COLUMNS)
		return list;
	for (head = LIST_COLUMNS / 2; list[head - 1] != ','; head--)
		;
	for (tail = n - LIST_COLUMNS / 3; list[tail] != ','; tail++)
		;
	if (asprintf(&text, "%.*s...%s (%u CPUs)", (int)head, list, list + tail, cpus) < 0)
		return list;
	free(list);
	return text;
}

/* --- the map -----------------------------------------------------------------------------------
 */

/* How wide a domain's row is, so that rows align. */
struct shape {
	unsigned name, cpus, cell, cells; /* columns; cells in a row */
};

static void first_cpus(const struct sv_machine *m, const struct sv_domain *d, unsigned from,
	unsigned n, char *text, size_t bytes)
{
	int *cpu = malloc((n + 1) * sizeof(*cpu));
	char *list = NULL;

	for (unsigned i = 0; cpu && i < n; i++)
		cpu[i] = m->core[d->core[from + i]].cpu[0];
	if (cpu)
		list = view_list(cpu, n);
	if (cpu && list && strlen(list) > ROW_COLUMNS)
		snprintf(text, bytes, "%d .. %d", cpu[0], cpu[n - 1]);
	else
		snprintf(text, bytes, "%s", list ? list : "");
	free(cpu);
	free(list);
}

static struct shape measure(const struct page *p)
{
	const struct sv_machine *m = p->v.m;
	struct shape s = {0};
	unsigned most = 0, threads = 1;
	char cpus[24];

	for (unsigned i = 0; i < m->cores; i++)
		threads = m->core[i].threads > threads ? m->core[i].threads : threads;
	s.cell = threads * p->v.label_columns + (threads > 1 || p->v.label_columns > 1);
	for (unsigned d = 0; d < m->domains; d++) {
		unsigned n = (unsigned)strlen(m->domain[d].name);

		s.name = n > s.name ? n : s.name;
		most = m->domain[d].cores > most ? m->domain[d].cores : most;
	}
	s.cells = most;
	while (s.cells > 1 && s.name + sizeof(cpus) + 6 + s.cells * s.cell > SV_REPORT_COLUMNS)
		s.cells = (s.cells + 1) / 2;
	for (unsigned d = 0; d < m->domains; d++)
		for (unsigned k = 0; k < m->domain[d].cores; k += s.cells) {
			unsigned n = m->domain[d].cores - k;

			first_cpus(
				m, &m->domain[d], k, n < s.cells ? n : s.cells, cpus, sizeof(cpus));
			s.cpus = strlen(cpus) > s.cpus ? (unsigned)strlen(cpus) : s.cpus;
		}
	return s;
}

static void put_spaces(struct page *p)
{
	fprintf(p->f, "%*s", (int)p->spaces, "");
	p->spaces = 0;
}

static void put_core(struct page *p, const struct shape *s, unsigned core)
{
	const struct sv_core *c = &p->v.m->core[core];
	unsigned written = 0;

	for (unsigned t = 0; t < c->threads; t++) {
		const struct view_thread *thread = view_at(&p->v, core, t);
		char label[VIEW_LABEL];

		view_label(&p->v, thread, label);
		put_spaces(p);
		fprintf(p->f, "%s%s%s", p->colour ? escape_of(thread) : "", label,
			p->colour ? "\033[0m" : "");
		written += (unsigned)strlen(label);
		for (; written < (t + 1) * p->v.label_columns; written++)
			fputc(label[0], p->f);
	}
	p->spaces = s->cell - written;
}

/* The part of a domain that is one row: @from of its cores on. */
static void put_row(struct page *p, const struct shape *s, unsigned domain, unsigned from)
{
	const struct sv_domain *d = &p->v.m->domain[domain];
	unsigned n = d->cores - from < s->cells ? d->cores - from : s->cells;
	char cpus[24];

	first_cpus(p->v.m, d, from, n, cpus, sizeof(cpus));
	put_spaces(p);
	fprintf(p->f, "  %-*s  %*s  ", (int)s->name, from ? "" : d->name, (int)s->cpus, cpus);
	for (unsigned i = 0; i < n; i++)
		put_core(p, s, d->core[from + i]);
	p->spaces += (s->cells - n) * s->cell;
}

/* Rows of the domains [from, to), as many beside each other as there is room for. */
static void put_domains(struct page *p, const struct shape *s, unsigned from, unsigned to)
{
	unsigned width = s->name + s->cpus + 6 + s->cells * s->cell;
	unsigned beside = SV_REPORT_COLUMNS / width, column = 0;

	for (unsigned d = from; d < to; d++)
		for (unsigned k = 0; k < p->v.m->domain[d].cores; k += s->cells) {
			put_row(p, s, d, k);
			if (++column == (beside ? beside : 1) ||
				(d + 1 == to && k + s->cells >= p->v.m->domain[d].cores)) {
				fputc('\n', p->f);
				column = p->spaces = 0;
			}
		}
}

static void put_package(struct page *p, const struct shape *s, unsigned from, unsigned to)
{
	const struct sv_machine *m = p->v.m;
	unsigned *domain = malloc((to - from + 1) * sizeof(*domain)), cores = 0, nodes = 0;
	int *node = malloc((to - from + 1) * sizeof(*node));
	char name[48], *list = NULL;

	for (unsigned d = from; domain && node && d < to; d++) {
		domain[d - from] = d;
		cores += m->domain[d].cores;
		if (m->domain[d].node >= 0)
			node[nodes++] = m->node[m->domain[d].node].os;
	}
	if (domain && node) {
		view_name_packages(m, domain, to - from, name, sizeof(name));
		list = view_list(node, nodes);
		fprintf(p->f, "%s: %u core%s%s%s\n", name, cores, cores == 1 ? "" : "s",
			!list || !*list       ? ""
			: strpbrk(list, ",-") ? ", memory of nodes "
					      : ", memory of node ",
			list ? list : "");
	}
	free(list);
	free(node);
	free(domain);
	put_domains(p, s, from, to);
}

static void put_map(struct page *p)
{
	const struct sv_machine *m = p->v.m;
	struct shape s = measure(p);
	unsigned packages = 0;

	for (unsigned d = 0; d < m->domains; d++)
		packages += !d || m->domain[d].package != m->domain[d - 1].package;
	if (packages == m->domains && packages > 4) {
		put_domains(p, &s, 0, m->domains);
		return;
	}
	for (unsigned from = 0, to; from < m->domains; from = to) {
		for (to = from + 1;
			to < m->domains && m->domain[to].package == m->domain[from].package; to++)
			;
		put_package(p, &s, from, to);
	}
}

/* Only the signs that the map has. */
static void put_legend(const struct page *p)
{
	static const char *const what[VIEW_USES] = {[VIEW_SPARE] = ". spare",
		[VIEW_GUEST] = "letter guest",
		[VIEW_SIDECORE] = "S sidecore",
		[VIEW_HOUSE] = "H housekeeping",
		[VIEW_IDLE] = "- sibling left idle",
		[VIEW_EXCLUDED] = "x excluded"};
	static const enum view_use order[] = {
		VIEW_GUEST, VIEW_SIDECORE, VIEW_HOUSE, VIEW_SPARE, VIEW_IDLE, VIEW_EXCLUDED};
	bool seen[VIEW_USES] = {false};

	for (unsigned i = 0; i < p->v.m->cores; i++)
		for (unsigned t = 0; t < p->v.m->core[i].threads; t++)
			seen[view_at(&p->v, i, t)->use] = true;
	fputs(" ", p->f);
	for (unsigned i = 0; i < VIEW_USES; i++)
		if (seen[order[i]])
			fprintf(p->f, " %s;", what[order[i]]);
	fputs(p->v.m->smt ? " one sign per thread\n\n" : " one sign per core\n\n", p->f);
}

/* --- who and why -------------------------------------------------------------------------------
 */

static void put_sidecores(const struct page *p)
{
	const struct sv_plan *plan = p->v.plan;

	fputs("sidecores\n", p->f);
	for (unsigned i = 0; i < plan->sidecores; i++) {
		const struct sv_plan_sidecore *s = &plan->sidecore[i];

		put_line(p, "  CPU %-5d%3u guest core%s %s", s->cpu, s->guest_cores,
			s->guest_cores == 1 ? " " : "s", s->why);
	}
}

static void put_guests(const struct page *p)
{
	const struct sv_plan *plan = p->v.plan;

	fputs("guests\n", p->f);
	for (unsigned i = 0; i < plan->guests; i++) {
		const struct sv_plan_placed *g = &plan->guest[i];
		char *cpus = shorten(view_guest_list(&p->v, i), g->vcpus);
		char *nodes = view_list(g->node, g->nodes);
		char label[VIEW_LABEL];

		view_guest_label(&p->v, i, label);
		put_line(p,
			"  %-2s %s: %u vCPU%s on %u core%s, CPU%s %s;%s%s%s control\1CPU\1%d, devices by "
			"sidecore\1%d",
			label, g->name, g->vcpus, g->vcpus == 1 ? "" : "s", g->cores,
			g->cores == 1 ? "" : "s", cpus && strpbrk(cpus, ",-") ? "s" : "",
			cpus ? cpus : "?",
			g->nodes > 1 ? " memory of nodes "
			: g->nodes   ? " memory of node "
				     : "",
			g->nodes && nodes ? nodes : "", g->nodes ? ";" : "", g->control_cpu,
			plan->sidecore[g->device_sidecore].cpu);
		put_line(p, "       %s", g->why);
		free(cpus);
		free(nodes);
	}
}

static void put_set(const struct page *p, const char *what, char *list)
{
	unsigned n = 0;

	/* How many: shorten() says it. */
	for (const char *s = list; s && *s;) {
		char *end;
		long first = strtol(s, &end, 10),
		     last = *end == '-' ? strtol(end + 1, &end, 10) : first;

		n += (unsigned)(last - first + 1);
		s = *end ? end + 1 : end;
	}
	list = shorten(list, n);
	if (list && *list)
		put_line(p, "%-15s CPU%s %s", what, n == 1 ? "" : "s", list);
	free(list);
}

static void put_rest(const struct page *p)
{
	const struct sv_plan *plan = p->v.plan;

	put_set(p, "housekeeping", view_list(plan->housekeeping, plan->housekeepings));
	put_set(p, "idle siblings", view_list(plan->idle, plan->idles));
	put_set(p, "spare", view_set_list(&p->v, VIEW_SET_SPARE));
	put_set(p, "excluded", view_set_list(&p->v, VIEW_SET_EXCLUDED));
	put_line(p,
		"%-15s a line takes %.0f ns between guest core and sidecore, at worst %.0f ns (%s)",
		"predicted", plan->mean_ns, plan->worst_ns,
		plan->measured ? "measured" : "modelled");
	for (unsigned i = 0; i < plan->notes; i++)
		put_line(p, "note: %s", plan->note[i]);
}

int sv_report_text(FILE *f, const struct sv_machine *m, const struct sv_plan *plan, bool colour,
	struct sv_error *err)
{
	struct page p = {.f = f, .colour = colour};

	if (view_open(&p.v, m, plan) < 0)
		return sv_fail(err, ENOMEM, "out of memory");
	put_line(&p, "%s: %s", m->name, m->identity);
	put_line(&p, "policy %s: %u guest%s, %u sidecore%s", sv_plan_policy_name(plan->kind),
		plan->guests, plan->guests == 1 ? "" : "s", plan->sidecores,
		plan->sidecores == 1 ? "" : "s");
	fputc('\n', f);
	put_map(&p);
	put_legend(&p);
	put_sidecores(&p);
	put_guests(&p);
	put_rest(&p);
	view_close(&p.v);
	return 0;
}
