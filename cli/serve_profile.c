/* SPDX-License-Identifier: BSD-3-Clause */
#include "serve_profile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

const char *serve_profile_text(const struct sv_profile *p, const char *key)
{
	const struct sv_profile_value *v = sv_profile_find(p, key);

	return v ? v->text : NULL;
}

void serve_profile_policy(const struct sv_profile *p, const struct sv_profile_node_policy *n,
	struct sv_plan_policy *out)
{
	*out = profile_plan_policy(n);
	if (!sv_profile_find(p, "sidecores")->file)
		out->sidecores = 1;
}

static uint32_t flag_if(const bool *value, uint32_t flag)
{
	return value && *value ? flag : 0;
}

static int take_disks(const struct sv_profile_node *n, struct sv_blk_export_config *disk,
	struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < n->disks_count && rc == 0; i++) {
		const struct sv_profile_disk *from = &n->disks[i];

		disk[i] = (struct sv_blk_export_config){.image = from->path,
			.format = from->format,
			.filters = from->filters,
			.deadline_s = from->deadline ? *from->deadline : 0,
			.socket = from->socket,
			.flags = flag_if(from->readonly, SV_DEVICE_F_READONLY) |
				 flag_if(from->direct, SV_DEVICE_F_DIRECT) |
				 flag_if(from->discard, SV_DEVICE_F_DISCARD) |
				 flag_if(from->writethrough, SV_DEVICE_F_WRITETHROUGH) |
				 flag_if(from->pinned, SV_DEVICE_F_PINNED) |
				 flag_if(from->iopoll, SV_DEVICE_F_IOPOLL),
			.queues = from->queues ? *from->queues : 0,
			.serial = from->serial};
		rc = profile_take_qos("disks", from->qos, &disk[i].qos, err);
	}
	return rc;
}

int serve_profile_nets(const struct sv_profile *p, struct sv_net_export_config *net, unsigned *nets,
	struct sv_error *err)
{
	const struct sv_profile_node *n = sv_profile_node(p);
	int rc = 0;

	for (unsigned i = 0; i < n->nets_count && rc == 0; i++) {
		const struct sv_profile_net *from = &n->nets[i];

		net[i] = (struct sv_net_export_config){.socket = from->socket,
			.flags = flag_if(from->spoof, SV_DEVICE_F_SPOOF) |
				 flag_if(from->trunk, SV_DEVICE_F_TRUNK)};
		rc = profile_take_net(from, &net[i].net, &net[i].pairs, err);
		if (rc == 0)
			rc = profile_take_qos("nets", from->qos, &net[i].qos, err);
	}
	*nets = n->nets_count;
	return rc;
}

static int take_uplink(const struct sv_profile_uplink *from, struct sv_uplink_config *to,
	struct sv_error *err)
{
	static const enum sv_uplink_type type[] = {[SV_PROFILE_TAP] = SV_UPLINK_TAP,
		[SV_PROFILE_PACKET] = SV_UPLINK_PACKET,
		[SV_PROFILE_SLIRP] = SV_UPLINK_SLIRP};
	int rc = 0;

	*to = (struct sv_uplink_config){.type = type[*from->type],
		.sw = from->sw,
		.dev = from->dev,
		.filter = from->filter,
		.queues = from->queues ? *from->queues : 0,
		.vlan = (uint16_t)(from->vlan ? *from->vlan : 0),
		.restricted = from->restrict_ && *from->restrict_,
		.host_loopback = from->host_loopback && *from->host_loopback};
	if (from->net)
		rc = sv_uplink_key("uplinks", "net", from->net, to, err);
	if (rc == 0 && from->forward)
		rc = sv_uplink_key("uplinks", "forward", from->forward, to, err);
	return rc < 0 ? rc : sv_uplink_check("uplinks", to, err);
}

int serve_profile_uplinks(const struct sv_profile *p, struct sv_uplink_config *uplink,
	unsigned *uplinks, struct sv_error *err)
{
	const struct sv_profile_node *n = sv_profile_node(p);
	int rc = 0;

	for (unsigned i = 0; i < n->uplinks_count && rc == 0; i++)
		rc = take_uplink(&n->uplinks[i], &uplink[i], err);
	*uplinks = n->uplinks_count;
	return rc;
}

static int take_cpus(const struct sv_profile *p, struct sv_node_config *c, struct sv_error *err)
{
	struct sv_profile_node_policy policy;
	int rc = sv_profile_node_policy(p, &policy);

	if (rc < 0)
		return sv_fail(err, ENOMEM, "out of memory");
	if (policy.sidecore_cpus > SV_NODE_SIDECORES) {
		const struct sv_profile_value *v = sv_profile_find(p, "cpus");

		rc = sv_fail(err, EINVAL, "%s:%u:%u: cpus: at most %u sidecores", v->file, v->line,
			v->column, SV_NODE_SIDECORES);
	}
	for (unsigned i = 0; i < policy.sidecore_cpus && rc == 0; i++)
		c->cpu[c->sidecores++] = policy.sidecore_cpu[i];
	sv_profile_node_policy_free(&policy);
	return rc;
}

int serve_profile_apply(const char *path, struct sv_node_config *c,
	struct sv_blk_export_config *disk, unsigned *disks, struct sv_profile **p,
	struct sv_error *err)
{
	const struct sv_profile_node *n;
	char buf[PROFILE_PATH];
	int rc = profile_load_one(path, SV_PROFILE_NODE_KIND, buf, p, err);

	if (rc < 0)
		return rc;
	n = sv_profile_node(*p);
	c->socket = n->socket;
	c->idle_spin_us = strcmp(n->idle, "never") ? strtoull(n->idle, NULL, 10) : SV_IDLE_NEVER;
	c->allow_bench = *n->allow_bench;
	if (n->control_cpu)
		c->control_cpu = (int)*n->control_cpu;
	rc = take_disks(n, disk, err);
	if (rc < 0)
		return rc;
	*disks = n->disks_count;
	return take_cpus(*p, c, err);
}
