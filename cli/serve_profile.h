/* SPDX-License-Identifier: BSD-3-Clause */
/* A node profile as the configuration of `sidevisor serve`. */
#ifndef CLI_SERVE_PROFILE_H
#define CLI_SERVE_PROFILE_H

#include <getopt.h>

#include <io/blk_export.h>
#include <io/net_export.h>
#include <io/uplink.h>
#include <placement/plan.h>
#include <profiles/profile.h>
#include <sidecore/node.h>

/*
 * Load the node profile @path and set in @c and @disk (of SV_PROFILE_NODE_DISKS) what it says. Their
 * strings belong to *p, to be freed after them. Return: 0, or -errno with a sentence.
 */
int serve_profile_apply(const char *path, struct sv_node_config *c,
	struct sv_blk_export_config *disk, unsigned *disks, struct sv_profile **p,
	struct sv_error *err);

/*
 * What the planner is asked for the node of @p, in @n. Without a number of sidecores in it, one: that
 * of the service without a profile. *out points into both.
 */
void serve_profile_policy(const struct sv_profile *p, const struct sv_profile_node_policy *n,
	struct sv_plan_policy *out);

/* All long options of `serve`; the last has no name. */
const struct option *serve_options_table(void);

/* The text of a key; NULL: it was not given and has no default. */
const char *serve_profile_text(const struct sv_profile *p, const char *key);

/* The uplinks of --uplink (@uplink: of SV_PROFILE_NODE_UPLINKS). */
int serve_profile_uplinks(const struct sv_profile *p, struct sv_uplink_config *uplink,
	unsigned *uplinks, struct sv_error *err);
/* The interfaces of --net likewise (@net: of SV_PROFILE_NODE_NETS). */
int serve_profile_nets(const struct sv_profile *p, struct sv_net_export_config *net, unsigned *nets,
	struct sv_error *err);

#endif
