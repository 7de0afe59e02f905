/* SPDX-License-Identifier: BSD-3-Clause */
/* Core-to-core latencies as a heat map: a cell per pair, a mean of several pairs on large machines.
 */
#include <math.h>
#include <stdlib.h>

#include "svg.h"

#define SIDE 128u    /* cells, at most */
#define WIDEST 576.0 /* pixels */
#define COLOURS 9u
#define HEAD 22.0

/* Dark to light as in viridis, which keeps its order in grey and for colour-blind eyes. */
static const char *const colours[COLOURS] = {"#fde725", "#addc30", "#5ec962", "#28ae80", "#21918c",
	"#2c728e", "#3b528b", "#472d7b", "#440154"};

struct heat {
	const struct sv_latencies *l;
	unsigned side, per; /* cells; CPUs in each */
	double low, high;   /* ns */
	bool used[COLOURS];
};

/* Mean of the measured pairs of a cell; 0: none was. */
static double cell(const struct heat *h, unsigned row, unsigned column)
{
	double sum = 0;
	unsigned n = 0;

	for (unsigned i = row * h->per; i < (row + 1) * h->per && i < h->l->n; i++)
		for (unsigned k = column * h->per; k < (column + 1) * h->per && k < h->l->n; k++)
			if (i != k && h->l->ns[(size_t)i * h->l->n + k] > 0) {
				sum += (double)h->l->ns[(size_t)i * h->l->n + k];
				n++;
			}
	return n ? sum / n : 0;
}

static void find_range(struct heat *h)
{
	h->low = 1e18;
	h->high = 0;
	for (unsigned i = 0; i < h->side; i++)
		for (unsigned k = 0; k < h->side; k++) {
			double ns = cell(h, i, k);

			h->low = ns > 0 && ns < h->low ? ns : h->low;
			h->high = ns > h->high ? ns : h->high;
		}
}

/* By ratio: 20 to 40 ns is as far as 200 to 400. -1: not measured. */
static int colour_of(const struct heat *h, double ns)
{
	double at;

	if (!(ns > 0))
		return -1;
	at = h->high > h->low * 1.01 ? log(ns / h->low) / log(h->high / h->low) : 0;
	return at >= 1 ? (int)COLOURS - 1 : (int)(at * COLOURS);
}

static void put_cells(FILE *f, struct heat *h, double x, double y, double size)
{
	for (unsigned i = 0; i < h->side; i++)
		for (unsigned k = 0, end; k < h->side; k = end) {
			int c = colour_of(h, cell(h, i, k));

			for (end = k + 1; end < h->side && colour_of(h, cell(h, i, end)) == c;
				end++)
				;
			if (c >= 0)
				h->used[c] = true;
			fprintf(f,
				"<rect class=\"heat\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
				"height=\"%.1f\" fill=\"%s\"/>\n",
				x + k * size, y + i * size, (end - k) * size, size,
				c < 0 ? "#eee" : colours[c]);
		}
}

static void put_scale(FILE *f, const struct heat *h, double x, double y)
{
	unsigned row = 0;

	for (unsigned c = 0; c < COLOURS; c++) {
		double ns = h->low * pow(h->high / h->low, (double)c / COLOURS);

		if (!h->used[c])
			continue;
		fprintf(f,
			"<rect class=\"heat\" x=\"%.1f\" y=\"%.1f\" width=\"18\" height=\"14\" fill=\"%s\"/>"
			"<text class=\"what\" x=\"%.1f\" y=\"%.1f\">from %.0f ns</text>\n",
			x, y + row * 18, colours[c], x + 24, y + row * 18 + 11, ns);
		row++;
	}
}

static void put_axis(FILE *f, const struct heat *h, double x, double y, double size)
{
	unsigned step = h->side <= 16 ? 1 : (h->side + 15) / 16;

	for (unsigned i = 0; i < h->side; i += step) {
		int cpu = h->l->cpu[i * h->per];

		fprintf(f,
			"<text class=\"cpu\" x=\"%.1f\" y=\"%.1f\">%d</text>"
			"<text class=\"cpu\" x=\"%.1f\" y=\"%.1f\">%d</text>\n",
			x - 14, y + (i + 0.5) * size + 3, cpu, x + (i + 0.5) * size, y - 4, cpu);
	}
}

double svg_heat(FILE *f, const struct view *v, double x, double y, double w)
{
	const struct sv_latencies *l = v->m->measured;
	struct heat h = {.l = l};
	double size;

	if (!l || !l->n)
		return 0;
	h.per = (l->n + SIDE - 1) / SIDE;
	h.side = (l->n + h.per - 1) / h.per;
	size = (w - 180 > WIDEST ? WIDEST : w - 180) / h.side;
	size = size > 26 ? 26 : size;
	if (!f)
		return HEAD + 14 +
		       (h.side * size > COLOURS * 18.0 ? h.side * size : COLOURS * 18.0);
	find_range(&h);
	fprintf(f,
		"<text class=\"name\" x=\"%.1f\" y=\"%.1f\">One way of a cache line between CPUs, measured%s"
		"</text>\n",
		x, y + 12, h.per > 1 ? " (means)" : "");
	if (h.high > 0) {
		put_axis(f, &h, x + 30, y + HEAD + 10, size);
		put_cells(f, &h, x + 30, y + HEAD + 10, size);
		put_scale(f, &h, x + 30 + h.side * size + 20, y + HEAD + 10);
	}
	return 0;
}
