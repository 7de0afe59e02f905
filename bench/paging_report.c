/* SPDX-License-Identifier: BSD-3-Clause */
/* What `bench paging --report DIR` leaves behind: the record, and its rows as bars. */
#include "paging_report.h"
#include "report_file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define WIDTH 1000.0
#define LEFT 330.0
#define RIGHT 230.0 /* for the number and the note */
#define ROW 26.0
#define HEAD 50.0
#define SCALE 40.0
#define DECADES 7 /* 1 ns to 10 ms */

static double x_of(double ns)
{
	double at = log10(ns < 1 ? 1 : ns) / DECADES;

	return LEFT + (at > 1 ? 1 : at) * (WIDTH - LEFT - RIGHT);
}

static void plot_scale(FILE *f, double top, double bottom)
{
	static const char *const label[] = {"1 ns", "10 ns", "100 ns", "1 µs", "10 µs", "100 µs",
		"1 ms", "10 ms"};

	for (unsigned d = 0; d <= DECADES; d++) {
		double x = x_of(pow(10, d));

		fprintf(f, "<line x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\" stroke=\"#ccc\"/>"
			   "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\">%s</text>\n",
			x, top, x, bottom, x, bottom + 18, label[d]);
	}
}

static void plot_bar(FILE *f, const struct bench_bar *b, double y)
{
	double end = x_of(b->ns), tail = x_of(b->p99), text = end > tail ? end : tail;

	fprintf(f, "<text x=\"10\" y=\"%g\">%s</text><rect x=\"%g\" y=\"%g\" width=\"%g\" "
		   "height=\"14\" fill=\"%s\"/><line x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\" "
		   "stroke=\"#000\"/><text x=\"%g\" y=\"%g\">%.*f%s%s</text>\n",
		y + 12, b->what, LEFT, y, end - LEFT, b->exit ? "#c44e52" : "#4c72b0", end, y + 7, tail,
		y + 7, text + 6, y + 12, b->ns < 100 ? 1 : 0, b->ns, b->note[0] ? "; " : "", b->note);
}

/* Return: where the next part begins. */
static double plot_part(FILE *f, const struct bench_bars *part, double top)
{
	double bottom = top + HEAD + part->n * ROW;

	fprintf(f, "<text x=\"10\" y=\"%g\" font-size=\"14\">%s</text>\n", top + 20, part->title);
	plot_scale(f, top + 34, bottom);
	for (unsigned i = 0; i < part->n; i++)
		plot_bar(f, &part->bar[i], top + 40 + i * ROW);
	return bottom + SCALE;
}

static void plot(FILE *f, const struct bench_bars *part, unsigned parts)
{
	double height = 0, top = 0;

	for (unsigned i = 0; i < parts; i++)
		height += HEAD + part[i].n * ROW + SCALE;
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
		   "font-family=\"sans-serif\" font-size=\"12\">\n",
		WIDTH, height);
	for (unsigned i = 0; i < parts; i++)
		top = plot_part(f, &part[i], top);
	fprintf(f, "</svg>\n");
}

int bench_paging_report(const char *dir, const char *json, const struct bench_bars *part,
	unsigned parts, struct sv_error *err)
{
	FILE *f;
	int rc;

	if (mkdir(dir, 0777) < 0 && errno != EEXIST)
		return sv_fail(err, errno, "--report %s: %s", dir, strerror(errno));
	f = bench_report_create(dir, "paging.json", err);
	if (!f)
		return -EIO;
	fprintf(f, "%s\n", json);
	rc = bench_report_finish(f, dir, err);
	f = rc == 0 ? bench_report_create(dir, "paging.svg", err) : NULL;
	if (!f)
		return rc ? rc : -EIO;
	plot(f, part, parts);
	return bench_report_finish(f, dir, err);
}
