/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_PAGING_REPORT_H
#define BENCH_PAGING_REPORT_H

#include <stdbool.h>

#include <base/error.h>

#define BENCH_BARS 16u

struct bench_bar {
	char what[64];
	double ns, p99; /* the bar; a line from there to the 99th percentile */
	bool exit;	/* the guest exits for it: another colour */
	char note[48];	/* behind the number; may be empty */
};

/* Bars under a title of their own. */
struct bench_bars {
	char title[160];
	struct bench_bar bar[BENCH_BARS];
	unsigned n;
};

/*
 * paging.json and paging.svg in @dir, which is made if it is not there. @json and the texts of @part: without
 * markup of their own. Return: 0, or -errno with a sentence.
 */
int bench_paging_report(const char *dir, const char *json, const struct bench_bars *part,
	unsigned parts, struct sv_error *err);

#endif
