/* SPDX-License-Identifier: BSD-3-Clause */
/* The drawing, read back with an XML parser: everything is there once, and nothing lies on another.
 */
#include <criterion/criterion.h>
#include <glob.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#include "plan_by_hand.h"

struct rect {
	double x, y, w, h;
};

struct drawing {
	xmlDocPtr doc;
	double w, h;
	struct rect *core; /* by number */
	unsigned *seen;
	unsigned cores, ncore;
	struct rect dev[512], thread_in;
	unsigned devs, threads, heats;
};

static double number(xmlNodePtr n, const char *name)
{
	xmlChar *text = xmlGetProp(n, (const xmlChar *)name);
	double v = text ? strtod((const char *)text, NULL) : -1;

	xmlFree(text);
	return v;
}

static bool has_class(xmlNodePtr n, const char *class)
{
	xmlChar *text = xmlGetProp(n, (const xmlChar *)"class");
	size_t len = strlen(class);
	bool yes = text && !strncmp((const char *)text, class, len) &&
		   (text[len] == 0 || text[len] == ' ');

	xmlFree(text);
	return yes;
}

static bool inside(const struct rect *a, const struct rect *b)
{
	return a->x >= b->x - 0.11 && a->y >= b->y - 0.11 && a->x + a->w <= b->x + b->w + 0.11 &&
	       a->y + a->h <= b->y + b->h + 0.11;
}

static bool overlap(const struct rect *a, const struct rect *b)
{
	return a->x < b->x + b->w - 0.11 && b->x < a->x + a->w - 0.11 &&
	       a->y < b->y + b->h - 0.11 && b->y < a->y + a->h - 0.11;
}

/* @core: of the group that @n is in; -1. @around: the box that was drawn around it last. */
static void walk(struct drawing *d, xmlNodePtr n, int core)
{
	for (; n; n = n->next) {
		struct rect r = {
			number(n, "x"), number(n, "y"), number(n, "width"), number(n, "height")};
		struct rect page = {0, 0, d->w, d->h};
		int in = core;

		if (n->type != XML_ELEMENT_NODE)
			continue;
		if (!strcmp((const char *)n->name, "g")) {
			xmlChar *id = xmlGetProp(n, (const xmlChar *)"id");

			cr_assert(id && sscanf((const char *)id, "core-%d", &in) == 1);
			xmlFree(id);
			cr_assert_lt((unsigned)in, d->cores);
			d->seen[in]++;
		}
		if (!strcmp((const char *)n->name, "rect") && has_class(n, "core")) {
			cr_assert_geq(in, 0);
			d->core[in] = r;
			cr_expect(inside(&r, &page), "core %d is on the page", in);
		} else if (in >= 0 && (has_class(n, "thread") || has_class(n, "idle"))) {
			cr_expect(inside(&r, &d->core[in]), "a thread in core %d", in);
			d->threads++;
		} else if ((has_class(n, "dev") || has_class(n, "mem")) && d->devs < 512) {
			cr_expect(inside(&r, &page));
			d->dev[d->devs++] = r;
		} else if (has_class(n, "heat")) {
			cr_expect(inside(&r, &page));
			d->heats++;
		}
		walk(d, n->children, in);
	}
}

static struct drawing read_svg(const struct sv_machine *m, const struct sv_plan *plan)
{
	char *text = report_text(sv_report_svg, m, plan);
	struct drawing d = {.cores = m->cores};
	xmlNodePtr root;

	d.doc = xmlReadMemory(text, (int)strlen(text), "x", NULL, XML_PARSE_NONET | XML_PARSE_HUGE);
	cr_assert(d.doc, "not well-formed XML");
	free(text);
	root = xmlDocGetRootElement(d.doc);
	cr_assert_str_eq((const char *)root->name, "svg");
	d.w = number(root, "width");
	d.h = number(root, "height");
	d.core = calloc(m->cores, sizeof(*d.core));
	d.seen = calloc(m->cores, sizeof(*d.seen));
	walk(&d, root->children, -1);
	return d;
}

static void check(const struct sv_machine *m, const struct sv_plan *plan)
{
	struct drawing d = read_svg(m, plan);

	for (unsigned i = 0; i < m->cores; i++) {
		cr_expect_eq(d.seen[i], 1, "core %u: %u times", i, d.seen[i]);
		cr_expect(d.core[i].w > 10 && d.core[i].h > 10);
		for (unsigned k = 0; k < i; k++)
			cr_expect(!overlap(&d.core[i], &d.core[k]), "cores %u and %u", k, i);
		for (unsigned k = 0; k < d.devs; k++)
			cr_expect(!overlap(&d.core[i], &d.dev[k]), "core %u and a device", i);
	}
	for (unsigned i = 0; i < d.devs; i++)
		for (unsigned k = 0; k < i; k++)
			cr_expect(!overlap(&d.dev[i], &d.dev[k]), "two devices");
	cr_expect_eq(d.threads, m->cpus);
	/* A shape that a screen shows: not a ribbon. */
	cr_expect_lt(d.w / d.h, 5);
	cr_expect_lt(d.h / d.w, 3);
	xmlFreeDoc(d.doc);
	free(d.core);
	free(d.seen);
}

static void check_machine(
	const char *synthetic, unsigned guests, unsigned vcpus, enum sv_plan_policy_kind kind)
{
	struct sv_machine *m = machine_of(synthetic);
	struct sv_plan *plan = plan_of(m, guests, vcpus, kind);

	check(m, plan);
	sv_plan_free(plan);
	sv_machine_free(m);
}

Test(report_svg, one_core)
{
	check_machine("core:1 pu:2", 1, 1, SV_PLAN_LOCALITY);
}

Test(report_svg, two_cores)
{
	check_machine("pack:1 core:2 pu:1", 1, 1, SV_PLAN_LOCALITY);
}

Test(report_svg, sixty_four_cores)
{
	check_machine("pack:2 numa:2 l3:2 core:8 pu:2", 5, 7, SV_PLAN_LOCALITY);
	check_machine("pack:2 numa:1 l3:1 core:32 pu:4", 5, 7, SV_PLAN_SMT_SIBLING);
}

Test(report_svg, five_hundred_and_twelve_cores)
{
	check_machine("pack:8 numa:1 l3:8 core:8 pu:2", 40, 8, SV_PLAN_LOCALITY);
	check_machine("pack:128 core:4 pu:1", 30, 8, SV_PLAN_SPREAD);
	check_machine("pack:2 l2:256 pu:8", 3, 8, SV_PLAN_SPREAD);
}

/* Real ones: sparse numbers, nodes without cores, packages without memory, hybrid cores, devices.
 */
Test(report_svg, the_machines_of_the_collection)
{
	glob_t found;

	if (glob(SV_TOPOLOGIES "/*.xml", 0, NULL, &found) != 0) {
		fprintf(stderr,
			"SKIPPED BECAUSE there is no %s here: real machines are not drawn\n",
			SV_TOPOLOGIES);
		cr_skip_test("no topologies");
	}
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct sv_machine *m = machine_of(found.gl_pathv[i]);

		for (unsigned kind = SV_PLAN_LOCALITY; kind <= SV_PLAN_SPREAD; kind++) {
			struct sv_plan *plan =
				plan_of(m, 2, m->cores / 4, (enum sv_plan_policy_kind)kind);

			check(m, plan);
			sv_plan_free(plan);
		}
		sv_machine_free(m);
	}
	globfree(&found);
}

Test(report_svg, heat_map_of_what_was_measured)
{
	struct sv_machine *m = machine_of("pack:2 l3:2 core:4 pu:2");
	struct sv_plan *plan = plan_of(m, 1, 4, SV_PLAN_LOCALITY);
	struct drawing d = read_svg(m, plan);

	cr_expect_eq(d.heats, 0);
	xmlFreeDoc(d.doc);
	free(d.core);
	free(d.seen);
	measure_by_hand(m);
	d = read_svg(m, plan);
	cr_expect_gt(d.heats, m->cpus);
	xmlFreeDoc(d.doc);
	free(d.core);
	free(d.seen);
	sv_plan_free(plan);
	sv_machine_free(m);
}

Test(report_svg, names_cannot_break_out)
{
	struct sv_machine *m = machine_by_hand();
	struct sv_plan *plan = plan_by_hand("</svg><script>&\"'");
	char *text;

	snprintf(m->name, sizeof(m->name), "]]><script>alert(1)</script>\x01\xff\xed\xa0\x80");
	check(m, plan);
	text = report_text(sv_report_svg, m, plan);
	cr_expect(!strstr(text, "<script"));
	free(text);
	sv_plan_free(plan);
	sv_machine_free(m);
}
