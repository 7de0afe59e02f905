/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "steps.h"

static char trace[64];

static void note(char c)
{
	size_t n = strlen(trace);

	trace[n] = c;
	trace[n + 1] = 0;
}

#define STEP(c, C) \
	static int up_##c(void *ctx, struct sv_error *err) \
	{ \
		(void)ctx; \
		(void)err; \
		note(#c[0]); \
		return 0; \
	} \
	static void down_##c(void *ctx) \
	{ \
		(void)ctx; \
		note(#C[0]); \
	}

STEP(a, A)
STEP(b, B)
STEP(c, C)

static const struct sv_step steps[] = {
	{"a", up_a, down_a}, {"b", up_b, down_b}, {"none", up_b, NULL}, {"c", up_c, down_c}};

Test(steps, teardown_mirrors_start_up)
{
	struct sv_error err;

	cr_assert_eq(sv_steps_up(steps, 4, NULL, &err), 0);
	sv_steps_down(steps, 4, NULL);
	cr_assert_str_eq(trace, "abbcCBA");
}

Test(steps, failure_undoes_what_was_done_last_first)
{
	static const char *const want[] = {"", "aA", "abBA", "abbBA"};
	struct sv_error err;

	for (int k = 0; k < 4; k++) {
		trace[0] = 0;
		sv_steps_fail_at = k;
		cr_assert_eq(sv_steps_up(steps, 4, NULL, &err), -ECANCELED);
		cr_assert_str_eq(trace, want[k]);
		cr_assert(strstr(err.text, steps[k].name));
	}
}
