/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plans in a few characters, so that a test can show what it expects and say why.
 *
 * A request: words, such as "spread side=2 a:4 b:2t".
 *   locality, spread, sibling   the policy; house=N, side=N, k=N (guest cores per sidecore)
 *   x=CPU, keep=CPU, given=CPU  excluded; keeps house; is a sidecore already
 *   NAME:vCPUs[tsu]             a guest: t on all threads, s may share cores, u untrusted
 *   mem=N                       GiB of the guest before it
 * Without house= and side= they are auto.
 *
 * A plan: one character for each core, a bar between domains, then each guest's NUMA nodes:
 * "Haaa...S|........ a@0". H keeps house, S is a sidecore, x is excluded, . is spare, small letters
 * are guest cores, capital letters those whose SMT sibling is a sidecore, * is a core of both. Four
 * and more alike are "a*4"; domains that are alike follow each other as "(.*8)*3".
 */
#ifndef TEST_PLANNING_H
#define TEST_PLANNING_H

#include <placement/plan.h>

#define PLANNING_GUESTS 64u
#define PLANNING_CPUS 64u

struct planning_request {
	struct sv_plan_request req;
	struct sv_plan_guest guest[PLANNING_GUESTS];
	int exclude[PLANNING_CPUS], keep[PLANNING_CPUS], given[PLANNING_CPUS];
};

/* Fails the test on a word that it does not know. */
void planning_parse(const char *text, struct planning_request *r);

/* The map of @plan in a static buffer. */
const char *planning_map(const struct sv_machine *m, const struct sv_plan *plan);

/*
 * What must hold for any plan. Return: NULL, or what does not, in a static buffer.
 */
const char *planning_broken(const struct sv_machine *m, const struct sv_plan_request *req,
	const struct sv_plan *plan);

/* Are they the same in every field? */
bool planning_same(const struct sv_machine *m, const struct sv_plan *a, const struct sv_plan *b);

struct planning_case {
	const char *machine; /* NULL: that of the case before */
	const char *request;
	const char *expected; /* a map, or "refused: " and a part of the sentence */
};

/* Plans every case and compares; @folder: before the machine's name, or NULL. */
void planning_run(const struct planning_case *cases, unsigned n, const char *folder);

#endif
