/* SPDX-License-Identifier: BSD-3-Clause */
/* What `bench paging --report DIR` leaves behind: the record, and a bar per method. */
#include "paging_report.h"
#include "report_file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define WIDTH 860.0
#define LEFT 330.0
#define ROW 26.0
#define DECADES 7 /* 1 ns to 10 ms */

static double x_of(double ns)
{
	double at = log10(ns < 1 ? 1 : ns) / DECADES;

	return LEFT + (at > 1 ? 1 : at) * (WIDTH - LEFT - 90);
}

static void plot(FILE *f, const char *title, const struct bench_bar *bar, unsigned n)
{
	double bottom = 50 + n * ROW;

	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
		   "font-family=\"sans-serif\" font-size=\"12\">\n<text x=\"10\" y=\"20\" "
		   "font-size=\"14\">%s</text>\n",
		WIDTH, bottom + 40, title);
	for (unsigned d = 0; d <= DECADES; d++) {
		static const char *const label[] = {"1 ns", "10 ns", "100 ns", "1 µs", "10 µs",
			"100 µs", "1 ms", "10 ms"};
		double x = x_of(pow(10, d));

		fprintf(f, "<line x1=\"%g\" y1=\"34\" x2=\"%g\" y2=\"%g\" stroke=\"#ccc\"/>"
			   "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\">%s</text>\n",
			x, x, bottom, x, bottom + 18, label[d]);
	}
	for (unsigned i = 0; i < n; i++) {
		double y = 40 + i * ROW;

		fprintf(f, "<text x=\"10\" y=\"%g\">%s</text><rect x=\"%g\" y=\"%g\" width=\"%g\" "
			   "height=\"14\" fill=\"%s\"/><line x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\" "
			   "stroke=\"#000\"/><text x=\"%g\" y=\"%g\">%.*f</text>\n",
			y + 12, bar[i].what, LEFT, y, x_of(bar[i].p50) - LEFT,
			bar[i].exit ? "#c44e52" : "#4c72b0", x_of(bar[i].p50), y + 7,
			x_of(bar[i].p99), y + 7, x_of(bar[i].p99) + 6, y + 12, bar[i].p50 < 100 ? 1 : 0, bar[i].p50);
	}
	fprintf(f, "</svg>\n");
}

int bench_paging_report(const char *dir, const char *json, const char *title,
	const struct bench_bar *bar, unsigned n, struct sv_error *err)
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
	plot(f, title, bar, n);
	return bench_report_finish(f, dir, err);
}
