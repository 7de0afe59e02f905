/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_PAGING_REPORT_H
#define BENCH_PAGING_REPORT_H

#include <stdbool.h>

#include <base/error.h>

struct bench_bar {
	const char *what;
	double p50, p99; /* ns per update */
	bool exit;	 /* the method exits: another colour */
};

/*
 * paging.json and paging.svg in @dir, which is made if it is not there. @json, @title, @bar: texts without
 * markup of their own. Return: 0, or -errno with a sentence.
 */
int bench_paging_report(const char *dir, const char *json, const char *title,
	const struct bench_bar *bar, unsigned n, struct sv_error *err);

#endif
