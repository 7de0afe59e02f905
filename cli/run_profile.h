/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest profile as options of `sidevisor run`. */
#ifndef CLI_RUN_PROFILE_H
#define CLI_RUN_PROFILE_H

#include "run_options.h"

/*
 * Load the profile @operand, a path or the name of one of this node's guests, and set what it says
 * in @o; the profile stays in @o->profile, for its placement keys. Return: 0 or -errno with a
 * sentence.
 */
int run_profile_apply(struct run_options *o, const char *operand, struct sv_error *err);

/*
 * The long option that a key of guest profiles sets. *inverted: the option says the opposite.
 * Return: @name, filled; it may name no option: then the key is for the planner alone.
 */
const char *run_profile_option(const char *key, bool *inverted, char name[32]);

#endif
