/* SPDX-License-Identifier: BSD-3-Clause */
/* What `bench io --report DIR` leaves behind: the record, and bars of operations per second. */
#include "io.h"
#include "report_file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define WIDTH 900.0
#define LEFT 330.0
#define ROW 18.0

static double of(json_t *row, const char *which)
{
	return json_number_value(json_object_get(json_object_get(row, "iops"), which));
}

/* Each workload on a scale of its own; a line from the slowest to the fastest round. */
static double plot_workload(FILE *f, json_t *workload, double y)
{
	json_t *rows = json_object_get(workload, "rows"), *row;
	json_t *ratio = json_object_get(json_object_get(workload, "ours_over_peer"), "median");
	double most = 1;
	size_t i;

	json_array_foreach(rows, i, row)
		most = of(row, "most") > most ? of(row, "most") : most;
	fprintf(f, "<text x=\"10\" y=\"%g\" font-weight=\"bold\">%s: %.2f of the better peer</text>\n", y + 13,
		json_string_value(json_object_get(workload, "workload")), json_number_value(ratio));
	y += ROW + 2;
	json_array_foreach(rows, i, row) {
		double scale = (WIDTH - LEFT - 80) / most, mid = y + 7;

		fprintf(f, "<text x=\"20\" y=\"%g\">%s</text><rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"13\" "
			   "fill=\"%s\"/><line x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\" stroke=\"#000\"/>"
			   "<text x=\"%g\" y=\"%g\">%.0f</text>\n",
			y + 11, json_string_value(json_object_get(row, "what")), LEFT, y,
			of(row, "median") * scale, i < 2 ? "#4c72b0" : "#c44e52", LEFT + of(row, "least") * scale,
			mid, LEFT + of(row, "most") * scale, mid, LEFT + of(row, "most") * scale + 6, y + 11,
			of(row, "median"));
		y += ROW;
	}
	return y + 10;
}

static void plot(FILE *f, json_t *record)
{
	json_t *all = json_object_get(record, "workloads"), *w;
	double y = 34;
	size_t i;

	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
		   "font-family=\"sans-serif\" font-size=\"12\">\n<text x=\"10\" y=\"20\" font-size=\"14\">"
		   "operations per second; %s</text>\n",
		WIDTH, 40 + (double)json_array_size(all) * (5 * ROW + 12),
		json_string_value(json_object_get(record, "substrate")));
	json_array_foreach(all, i, w)
		y = plot_workload(f, w, y);
	fprintf(f, "</svg>\n");
}

int io_report(const char *dir, json_t *record, struct sv_error *err)
{
	FILE *f;
	int rc;

	if (mkdir(dir, 0777) < 0 && errno != EEXIST)
		return sv_fail(err, errno, "--report %s: %s", dir, strerror(errno));
	f = bench_report_create(dir, "io.json", err);
	if (!f)
		return -EIO;
	json_dumpf(record, f, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	fputc('\n', f);
	rc = bench_report_finish(f, dir, err);
	f = rc == 0 ? bench_report_create(dir, "io.svg", err) : NULL;
	if (!f)
		return rc ? rc : -EIO;
	plot(f, record);
	return bench_report_finish(f, dir, err);
}
