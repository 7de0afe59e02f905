/* SPDX-License-Identifier: BSD-3-Clause */
/* Boxes, threads and the legend, as SVG. Colours tell guests apart for colour-blind eyes too;
 * letters and patterns say the same again. */
#include <stdlib.h>
#include <string.h>

#include "svg.h"

#define SIDECORE_COLOUR "#c8371b"

struct paint {
	const char *fill, *ink; /* ink: of what is written on it */
};

static const struct paint guests[] = {{"#56b4e9", "#000"}, {"#3fae8a", "#000"}, {"#f0e442", "#000"},
	{"#d98fba", "#000"}, {"#1f6fb2", "#fff"}, {"#e8a33d", "#000"}, {"#b3a2dd", "#000"},
	{"#a7cf6a", "#000"}};
#define GUESTS ((unsigned)(sizeof(guests) / sizeof(guests[0])))
#define PATTERNS 4u /* the first is none */

static const struct paint uses[VIEW_USES] = {[VIEW_SPARE] = {"#ffffff", "#555"},
	[VIEW_SIDECORE] = {SIDECORE_COLOUR, "#fff"},
	[VIEW_HOUSE] = {"#5d6670", "#fff"},
	[VIEW_IDLE] = {"#ffffff", "#555"},
	[VIEW_EXCLUDED] = {"#d4d4d4", "#666"}};

static struct paint paint_of(const struct view_thread *t)
{
	return t->use == VIEW_GUEST ? guests[(unsigned)t->guest % GUESTS] : uses[t->use];
}

/* What the core as a whole is: its guest before a sidecore on its sibling. */
static struct view_thread core_use(const struct view *v, unsigned core)
{
	struct view_thread use = *view_at(v, core, 0);

	for (unsigned t = 0; t < v->m->core[core].threads; t++) {
		const struct view_thread *thread = view_at(v, core, t);

		if (thread->use == VIEW_GUEST)
			return *thread;
		if (thread->use == VIEW_SIDECORE)
			use = *thread;
	}
	return use;
}

static void rect(FILE *f, const char *class, double x, double y, double w, double h, double r,
	const char *fill)
{
	fprintf(f,
		"<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.1f\"",
		class, x, y, w, h, r);
	if (fill)
		fprintf(f, " fill=\"%s\"", fill);
	fputs("/>", f);
}

static void text(FILE *f, const char *class, double x, double y, const char *ink, const char *s)
{
	fprintf(f, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\"", class, x, y);
	if (ink)
		fprintf(f, " fill=\"%s\"", ink);
	fputc('>', f);
	view_xml(f, s);
	fputs("</text>", f);
}

/* What a pointer held over a core shows. */
static void put_tooltip(FILE *f, const struct view *v, unsigned core)
{
	const struct sv_plan *plan = v->plan;

	fputs("<title>", f);
	for (unsigned i = 0; i < v->m->core[core].threads; i++) {
		const struct view_thread *t = view_at(v, core, i);

		fprintf(f, "%sCPU %d: ", i ? "\n" : "", v->m->core[core].cpu[i]);
		if (t->use == VIEW_GUEST) {
			const struct sv_plan_vcpu *vcpu = &plan->guest[t->guest].vcpu[t->vcpu];

			view_xml(f, plan->guest[t->guest].name);
			fprintf(f, " vCPU %d, sidecore CPU %d in the same %s, %.0f ns", t->vcpu,
				plan->sidecore[vcpu->sidecore].cpu, sv_near_name(vcpu->near),
				vcpu->line_ns);
		} else if (t->use == VIEW_SIDECORE) {
			fprintf(f, "sidecore of %u guest cores, ",
				plan->sidecore[t->sidecore].guest_cores);
			view_xml(f, plan->sidecore[t->sidecore].why);
		} else {
			fputs(t->use == VIEW_HOUSE        ? "housekeeping"
				: t->use == VIEW_IDLE     ? "sibling left idle"
				: t->use == VIEW_EXCLUDED ? "excluded"
							  : "spare",
				f);
		}
	}
	fputs("</title>", f);
}

static void put_thread(
	FILE *f, const struct view_thread *t, const struct paint *core, double x, double y, int cpu)
{
	bool side = t->sidecore >= 0 && core->fill != uses[VIEW_SIDECORE].fill;
	bool idle = t->use == VIEW_IDLE;
	char number[12];

	snprintf(number, sizeof(number), "%d", cpu);
	rect(f, idle ? "idle" : "thread", x, y, SVG_THREAD_W, SVG_THREAD_H, 2,
		side   ? SIDECORE_COLOUR
		: idle ? "none"
		       : "#fff");
	text(f, "cpu", x + SVG_THREAD_W / 2, y + 10,
		side   ? "#fff"
		: idle ? core->ink
		       : "#000",
		number);
}

static void put_core(FILE *f, const struct view *v, const struct svg_box *b)
{
	unsigned i = (unsigned)b->core, n = v->m->core[i].threads, columns = svg_thread_columns(n);
	struct view_thread use = core_use(v, i);
	struct paint p = paint_of(&use);
	double inner = columns * (SVG_THREAD_W + 2) - 2;
	double left = b->x + (b->w - inner) / 2, top = b->y + SVG_CORE_HEAD + SVG_CORE_PAD - 1;
	char label[VIEW_LABEL], number[16];

	fprintf(f, "<g id=\"core-%u\">", i);
	put_tooltip(f, v, i);
	rect(f, use.use == VIEW_SIDECORE ? "core side" : "core", b->x, b->y, b->w, b->h, 3, p.fill);
	if (use.use == VIEW_GUEST && (unsigned)use.guest / GUESTS % PATTERNS) {
		snprintf(number, sizeof(number), "url(#p%u)",
			(unsigned)use.guest / GUESTS % PATTERNS);
		rect(f, "over", b->x, b->y, b->w, b->h, 3, number);
	} else if (use.use == VIEW_EXCLUDED) {
		rect(f, "over", b->x, b->y, b->w, b->h, 3, "url(#px)");
	}
	view_label(v, &use, label);
	text(f, "role", b->x + 5, b->y + 12, p.ink, use.use == VIEW_SPARE ? "" : label);
	if (use.use == VIEW_GUEST) {
		snprintf(number, sizeof(number), "v%d", use.vcpu);
		text(f, "vcpu", b->x + b->w - 4, b->y + 11, p.ink, number);
	}
	for (unsigned t = 0; t < n; t++) {
		unsigned row = t / columns, column = t % columns;

		put_thread(f, view_at(v, i, t), &p, left + column * (SVG_THREAD_W + 2),
			top + row * (SVG_THREAD_H + 2), v->m->core[i].cpu[t]);
	}
	fputs("</g>\n", f);
}

static void put_label(FILE *f, const struct svg_box *b)
{
	double y = b->y + (b->kind == SVG_DOMAIN ? 13 : 17);

	if (b->kind == SVG_DEVICE || b->kind == SVG_MEMORY) {
		text(f, "device", b->x + b->w / 2, *b->sub ? b->y + 12 : b->y + 18, NULL, b->label);
		if (*b->sub)
			text(f, "address", b->x + b->w / 2, b->y + 23, NULL, b->sub);
		return;
	}
	text(f, b->kind == SVG_DOMAIN ? "dname" : "name", b->x + 6, y, NULL, b->label);
	if (b->two_lines)
		text(f, "dname", b->x + 6, y + 15, NULL, b->sub);
	else if (*b->sub)
		text(f, "sub", b->x + b->w - 8, y, NULL, b->sub);
}

void svg_draw(FILE *f, const struct view *v, const struct svg_box *b)
{
	static const char *const classes[] = {[SVG_MACHINE] = "machine",
		[SVG_PACKAGE] = "package",
		[SVG_NODE] = "node",
		[SVG_DOMAIN] = "domain",
		[SVG_DEVICE] = "dev",
		[SVG_MEMORY] = "mem"};

	if (b->kind == SVG_CORE) {
		put_core(f, v, b);
		return;
	}
	rect(f, classes[b->kind], b->x, b->y, b->w, b->h, b->kind == SVG_DOMAIN ? 3 : 5, NULL);
	if (b->kind != SVG_MACHINE)
		put_label(f, b);
	fputc('\n', f);
	for (unsigned i = 0; i < b->children; i++)
		svg_draw(f, v, &b->child[i]);
}

/* --- the legend --------------------------------------------------------------------------------
 */

struct legend {
	FILE *f;
	double left, right, x, y;
};

static void entry(struct legend *l, const struct paint *p, const char *over, bool dashed,
	const char *letter, const char *what)
{
	double w = 34 + svg_text_width(what, 11) + 14;

	if (l->x > l->left && l->x + w > l->right) {
		l->x = l->left;
		l->y += 22;
	}
	if (l->f) {
		rect(l->f, dashed ? "swatch idle" : "swatch", l->x, l->y, 26, 16, 3, p->fill);
		if (over)
			rect(l->f, "over", l->x, l->y, 26, 16, 3, over);
		text(l->f, "role mid", l->x + 13, l->y + 12.5, p->ink, letter);
		text(l->f, "what", l->x + 32, l->y + 12, NULL, what);
		fputc('\n', l->f);
	}
	l->x += w;
}

static bool any(const struct view *v, enum view_use use)
{
	for (unsigned i = 0; i < v->m->cores; i++)
		for (unsigned t = 0; t < v->m->core[i].threads; t++)
			if (view_at(v, i, t)->use == use)
				return true;
	return false;
}

double svg_legend(FILE *f, const struct view *v, double x, double y, double w)
{
	static const char *const what[VIEW_USES] = {[VIEW_SPARE] = "spare",
		[VIEW_HOUSE] = "housekeeping",
		[VIEW_IDLE] = "SMT sibling left idle",
		[VIEW_EXCLUDED] = "excluded"};
	struct legend l = {.f = f, .left = x, .right = x + w, .x = x, .y = y};
	char label[VIEW_LABEL], line[80], over[16];

	for (unsigned g = 0; g < v->plan->guests; g++) {
		const struct sv_plan_placed *placed = &v->plan->guest[g];

		view_guest_label(v, g, label);
		snprintf(line, sizeof(line), "%s, %u vCPU%s", placed->name, placed->vcpus,
			placed->vcpus == 1 ? "" : "s");
		snprintf(over, sizeof(over), "url(#p%u)", g / GUESTS % PATTERNS);
		entry(&l, &guests[g % GUESTS], g / GUESTS % PATTERNS ? over : NULL, false, label,
			line);
	}
	entry(&l, &uses[VIEW_SIDECORE], NULL, false, "S",
		v->plan->shared_core ? "sidecore, on the guest's core" : "sidecore");
	for (unsigned u = VIEW_SPARE; u < VIEW_USES; u++)
		if (what[u] && any(v, (enum view_use)u))
			entry(&l, &uses[u], u == VIEW_EXCLUDED ? "url(#px)" : NULL, u == VIEW_IDLE,
				u == VIEW_HOUSE      ? "H"
				: u == VIEW_EXCLUDED ? "x"
						     : "",
				what[u]);
	return l.y + 16 - y;
}
