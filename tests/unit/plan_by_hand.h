/* SPDX-License-Identifier: BSD-3-Clause */
/* Four cores of two threads, and a plan for them that no planner made. */
#ifndef TESTS_PLAN_BY_HAND_H
#define TESTS_PLAN_BY_HAND_H

#include <report/report.h>

/* CPUs 0-3 are the first threads, 4-7 the second. Name and identity are fixed. */
struct sv_machine *machine_by_hand(void);
struct sv_machine *machine_of(const char *synthetic);
/*
 * Core 0 keeps house, cores 1 and 2 are guest @name's vCPUs, CPU 3 is the sidecore. Owned by the
 * test: sv_plan_free().
 */
struct sv_plan *plan_by_hand(const char *name);
/* The same with the planner, for @guests guests of @vcpus. */
struct sv_plan *plan_of(
	const struct sv_machine *m, unsigned guests, unsigned vcpus, enum sv_plan_policy_kind kind);
/* Measured latencies for all CPUs: an arbitrary but fixed matrix. */
void measure_by_hand(struct sv_machine *m);

typedef int report_fn(
	FILE *f, const struct sv_machine *m, const struct sv_plan *plan, struct sv_error *err);
/* What a report writes; the caller's. Fails the test when the report does. */
char *report_text(report_fn *fn, const struct sv_machine *m, const struct sv_plan *plan);

#endif
