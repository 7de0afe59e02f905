/* SPDX-License-Identifier: BSD-3-Clause */
/* Latencies between the cores of this machine: measured, kept, used again. */
#ifndef CLI_PLAN_MEASURE_H
#define CLI_PLAN_MEASURE_H

#include <stdbool.h>

#include <placement/machine.h>

/*
 * Measure @m (this machine), with progress on standard error, save to @path (NULL: the usual place)
 * and use the result. @all: every pair of cores; else a sample where there are many. Ends early,
 * with what it has, on SIGINT. Return: 0, or -errno with a sentence.
 */
int plan_measure(struct sv_machine *m, const char *path, bool all, struct sv_error *err);

/*
 * Use what was measured before. @path: NULL for the usual place, where having none, or another
 * machine's, is no failure. "none": the model. Return: 0, or -errno with a sentence.
 */
int plan_use_measured(struct sv_machine *m, const char *path, struct sv_error *err);

#endif
