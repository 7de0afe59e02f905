/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of `--report DIR`. */
#ifndef BENCH_REPORT_FILE_H
#define BENCH_REPORT_FILE_H

#include <stdio.h>

#include <base/error.h>

/* Return: NULL with a sentence. */
FILE *bench_report_create(const char *dir, const char *name, struct sv_error *err);
/* Close it. Return: 0; -EIO with a sentence: not all of it is there. */
int bench_report_finish(FILE *f, const char *dir, struct sv_error *err);

#endif
