/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the guests of a plan come from: options, profiles, and what the machine holds. */
#ifndef CLI_PLAN_GUESTS_H
#define CLI_PLAN_GUESTS_H

#include "plan_options.h"

struct plan_alike {
	unsigned guests, vcpus; /* 0: not given */
};

/* All return 0, or -errno with a sentence, and add to @o. */
int plan_guest_parse(struct plan_options *o, char *text, struct sv_error *err);
int plan_guest_profile(struct plan_options *o, const char *operand, struct sv_error *err);
int plan_guests_alike(struct plan_options *o, const struct plan_alike *alike, struct sv_error *err);
int plan_node_profile(struct plan_options *o, const char *file, struct sv_error *err);
int plan_guests_check(const struct plan_options *o, struct sv_error *err);

/*
 * With no guest, or guests without a number of vCPUs: as many vCPUs as the machine holds beside the
 * housekeeping and the sidecores that would suit even a small guest. *said: whether it did.
 */
int plan_guests_fill(
	struct plan_options *o, const struct sv_machine *m, bool *said, struct sv_error *err);

#endif
