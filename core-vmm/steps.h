/* SPDX-License-Identifier: BSD-3-Clause */
/* Start-up as an ordered table, teardown as its mirror. */
#ifndef CORE_VMM_STEPS_H
#define CORE_VMM_STEPS_H

#include <stddef.h>

#include <base/error.h>

struct sv_step {
	const char *name;
	/* All or nothing: a step that fails leaves nothing of itself behind. */
	int (*up)(void *ctx, struct sv_error *err);
	void (*down)(void *ctx); /* NULL: nothing to undo */
};

/*
 * Run the steps in order; on failure undo those that succeeded, last first. Tests set
 * sv_steps_fail_at to the number of a step that then fails instead of running (-1: none).
 * Return: 0, or the -errno of the step that failed, with its sentence.
 */
int sv_steps_up(const struct sv_step *steps, size_t n, void *ctx, struct sv_error *err);
void sv_steps_down(const struct sv_step *steps, size_t n, void *ctx);
extern int sv_steps_fail_at;

#endif
