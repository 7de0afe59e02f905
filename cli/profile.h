/* SPDX-License-Identifier: BSD-3-Clause */
/* Profiles as verbs find and load them. */
#ifndef CLI_PROFILE_H
#define CLI_PROFILE_H

#include <channels/control.h>
#include <placement/plan.h>
#include <profiles/profile.h>

#define PROFILE_PATH 4096u

/*
 * The path of the profile that the user means with @operand: a file, or the name of a guest of this
 * node. Return: @path.
 */
const char *profile_path(const char *operand, char path[PROFILE_PATH]);

/* What a node profile asks of the planner, as the planner takes it. Arrays stay @n's. */
struct sv_plan_policy profile_plan_policy(const struct sv_profile_node_policy *n);

/*
 * Load it. @want: a kind or -1. Return: 0, or -errno with one sentence: the first problem, and how
 * many there are.
 */
int profile_load_one(const char *operand, int want, char path[PROFILE_PATH], struct sv_profile **p,
	struct sv_error *err);

/* Keys of quality of service, in the order of sv_qos_keys. Return: 0, or -EINVAL with a sentence. */
int profile_take_qos(const char *what, char *const qos[SV_PROFILE_QOS], struct sv_control_qos *wish,
	struct sv_error *err);
/* A checked entry of `nets` as what a device is asked for. Return: 0, or -errno with a sentence. */
int profile_take_net(const struct sv_profile_net *from, struct sv_control_net *net, unsigned *pairs,
	struct sv_error *err);

#endif
