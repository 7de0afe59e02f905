/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The drawing: boxes in boxes, laid out first (svg_layout.c), then written (svg_draw.c).
 * Coordinates are absolute, in pixels of the view box; a parent's rectangle contains its
 * children's.
 */
#ifndef REPORT_SVG_H
#define REPORT_SVG_H

#include "view.h"

#define SVG_MARGIN 16.0
#define SVG_TITLE 62.0 /* height of what stands above the machine */
#define SVG_MIN_WIDTH 640.0

enum svg_kind { SVG_MACHINE, SVG_PACKAGE, SVG_NODE, SVG_DOMAIN, SVG_CORE, SVG_DEVICE, SVG_MEMORY };

struct svg_box {
	enum svg_kind kind;
	double x, y, w, h;
	int core; /* of SVG_CORE */
	char label[96], sub[64];
	bool two_lines;        /* sub under label, not beside it */
	unsigned like;         /* devices that this box stands for */
	struct svg_box *child; /* one array; owned */
	unsigned children, room;
};

/* Everything but positions. Return: 0 or -ENOMEM; *machine is to be freed in any case. */
int svg_build(struct svg_box *machine, const struct view *v);
/* Sizes, then positions, with the top left corner at (@x, @y). */
void svg_lay_out(struct svg_box *machine, const struct view *v, double x, double y);
void svg_free(struct svg_box *machine);

/* Width of @text at @size pixels, roughly, and never too little for the fonts that are named. */
double svg_text_width(const char *text, double size);
/* Threads of a core stand in so many columns. */
unsigned svg_thread_columns(unsigned threads);

#define SVG_THREAD_W 26.0
#define SVG_THREAD_H 14.0
#define SVG_CORE_PAD 3.0
#define SVG_CORE_HEAD 14.0

void svg_draw(FILE *f, const struct view *v, const struct svg_box *box);
/* Return: the height it takes. @f NULL: only that. */
double svg_legend(FILE *f, const struct view *v, double x, double y, double w);
/* The matrix of measured latencies. Return: the height it takes, 0 when nothing was measured. */
double svg_heat(FILE *f, const struct view *v, double x, double y, double w);

#endif
