/* SPDX-License-Identifier: BSD-3-Clause */
#include "steps.h"

#include <errno.h>

int sv_steps_fail_at = -1;

int sv_steps_up(const struct sv_step *steps, size_t n, void *ctx, struct sv_error *err)
{
	for (size_t i = 0; i < n; i++) {
		int rc;

		if (sv_steps_fail_at == (int)i)
			rc = sv_fail(err, ECANCELED, "step %s: failed on request", steps[i].name);
		else
			rc = steps[i].up(ctx, err);
		if (rc < 0) {
			sv_steps_down(steps, i, ctx);
			return rc;
		}
	}
	return 0;
}

void sv_steps_down(const struct sv_step *steps, size_t n, void *ctx)
{
	while (n--)
		if (steps[n].down)
			steps[n].down(ctx);
}
