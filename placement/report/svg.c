/* SPDX-License-Identifier: BSD-3-Clause */
/* The page: title, machine, legend, heat map. */
#include "svg.h"

#include <errno.h>

static const char style[] =
	"<style>\n"
	"text{font-family:'DejaVu Sans',Verdana,Helvetica,Arial,sans-serif}\n"
	".title{font-size:18px;font-weight:bold;fill:#222}.line{font-size:11.5px;fill:#444}\n"
	".name{font-size:12px;font-weight:bold;fill:#222}.dname{font-size:10.5px;fill:#444}\n"
	".sub{font-size:10.5px;text-anchor:end;fill:#444}.what{font-size:11px}\n"
	".role{font-size:11px;font-weight:bold}.mid{text-anchor:middle}\n"
	".vcpu{font-size:8px;text-anchor:end}.cpu{font-size:9px;text-anchor:middle}\n"
	".device{font-size:10px;text-anchor:middle}"
	".address{font-size:8px;text-anchor:middle;fill:#555}\n"
	".machine{fill:#fbfbfa;stroke:#8a8a8a}.package{fill:#eceff2;stroke:#7b8794}\n"
	".node{fill:#e2e7ec;stroke:#98a3ae}.domain{fill:#f9fafb;stroke:#b4bcc4}\n"
	".core{stroke:#45505b;stroke-width:.8}.side{stroke:#5e1405;stroke-width:2}\n"
	".thread{fill-opacity:.94;stroke:#45505b;stroke-width:.5}\n"
	".idle{stroke:#45505b;stroke-width:.8;stroke-dasharray:2 2}"
	".swatch{stroke:#45505b;stroke-width:.8}\n"
	".dev{fill:#e3efdc;stroke:#7a9a66}.mem{fill:#f3e9d2;stroke:#b0975a}\n"
	".over{pointer-events:none}.heat{shape-rendering:crispEdges}\n"
	"</style>\n"
	"<defs>\n"
	"<pattern id=\"p1\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<path d=\"M0 6L6 0\" stroke=\"#fff\" stroke-width=\"1.6\" stroke-opacity=\".75\"/></pattern>\n"
	"<pattern id=\"p2\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<circle cx=\"3\" cy=\"3\" r=\"1.4\" fill=\"#fff\" fill-opacity=\".8\"/></pattern>\n"
	"<pattern id=\"p3\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<path d=\"M0 3H6M3 0V6\" stroke=\"#fff\" stroke-width=\"1.1\" stroke-opacity=\".75\"/></pattern>\n"
	"<pattern id=\"px\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<path d=\"M0 0L6 6\" stroke=\"#999\" stroke-width=\"1.2\"/></pattern>\n"
	"</defs>\n";

static void put_title(FILE *f, const struct sv_machine *m, const struct sv_plan *plan, double w)
{
	char line[192];

	fputs("<text class=\"title\" x=\"16\" y=\"30\">", f);
	/* At 18 pixels, bold, a letter is 12.5 wide at most. */
	snprintf(line, sizeof(line), "%.*s", (int)((w - 32) / 12.5), m->name);
	view_xml(f, line);
	fputs("</text>\n<text class=\"line\" x=\"16\" y=\"50\">", f);
	snprintf(line, sizeof(line),
		"policy %s: %u guest%s, %u sidecore%s; a line takes %.0f ns to the "
		"sidecore, at worst %.0f ns (%s)",
		sv_plan_policy_name(plan->kind), plan->guests, plan->guests == 1 ? "" : "s",
		plan->sidecores, plan->sidecores == 1 ? "" : "s", plan->mean_ns, plan->worst_ns,
		plan->measured ? "measured" : "modelled");
	view_xml(f, line);
	fputs("</text>\n<text class=\"line\" x=\"16\" y=\"66\">", f);
	view_xml(f, m->identity);
	fputs("</text>\n", f);
}

static void put_page(FILE *f, const struct view *v, const struct svg_box *machine)
{
	double w = machine->w > SVG_MIN_WIDTH ? machine->w : SVG_MIN_WIDTH;
	double y = machine->y + machine->h + 12, legend, heat;

	legend = svg_legend(NULL, v, SVG_MARGIN, y, w);
	heat = svg_heat(NULL, v, SVG_MARGIN, y, w);
	fprintf(f,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\">\n",
		w + 2 * SVG_MARGIN, y + legend + heat + (heat > 0 ? 20 : 0) + SVG_MARGIN,
		w + 2 * SVG_MARGIN, y + legend + heat + (heat > 0 ? 20 : 0) + SVG_MARGIN);
	fputs("<title>", f);
	view_xml(f, v->m->name);
	fputs(": sidecores, guests and housekeeping</title>\n", f);
	fputs(style, f);
	fputs("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n", f);
	put_title(f, v->m, v->plan, w + 2 * SVG_MARGIN);
	svg_draw(f, v, machine);
	svg_legend(f, v, SVG_MARGIN, y, w);
	svg_heat(f, v, SVG_MARGIN, y + legend + 20, w);
	fputs("</svg>\n", f);
}

int sv_report_svg(
	FILE *f, const struct sv_machine *m, const struct sv_plan *plan, struct sv_error *err)
{
	struct svg_box machine;
	struct view v;
	int rc = view_open(&v, m, plan);

	if (rc < 0)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = svg_build(&machine, &v);
	if (rc == 0) {
		svg_lay_out(&machine, &v, SVG_MARGIN, SVG_TITLE + SVG_MARGIN);
		put_page(f, &v, &machine);
	}
	svg_free(&machine);
	view_close(&v);
	return rc < 0 ? sv_fail(err, ENOMEM, "out of memory") : 0;
}
