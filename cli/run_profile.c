/* SPDX-License-Identifier: BSD-3-Clause */
/* A key of a guest profile is the long option of its name, with '_' for '-', but for those below.
 */
#include "run_profile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <io/net_export.h>
#include <io/qos.h>

#include "profile.h"

_Static_assert(SV_PROFILE_VCPUS == SV_MAX_VCPUS && SV_PROFILE_GUEST_DISKS == SV_MAX_DISKS &&
		       SV_PROFILE_GUEST_NETS == SV_MAX_NETS,
	"profiles allow what the VM allows");

const char *run_profile_option(const char *key, bool *inverted, char name[32])
{
	*inverted = !strcmp(key, "populate");
	if (*inverted)
		key = "no_populate";
	else if (!strcmp(key, "disks"))
		key = "disk";
	else if (!strcmp(key, "nets"))
		key = "net";
	else if (!strcmp(key, "uplinks"))
		key = "uplink";
	snprintf(name, 32, "%s", key);
	for (char *s = name; *s; s++)
		if (*s == '_')
			*s = '-';
	return name;
}

static bool is_on(const bool *value)
{
	return value && *value;
}

/* Not through --disk: a path may have commas. */
static int take_disks(struct run_options *o, const struct sv_profile_guest *g, struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < g->disks_count && rc == 0; i++) {
		const struct sv_profile_disk *from = &g->disks[i];

		o->vm.disk[i] = (struct sv_disk_config){.path = from->path,
			.format = from->format,
			.filters = from->filters,
			.deadline_s = from->deadline ? *from->deadline : 0,
			.serial = from->serial,
			.readonly = is_on(from->readonly),
			.direct = is_on(from->direct),
			.writethrough = is_on(from->writethrough),
			.no_discard = is_on(from->nodiscard),
			.pinned = is_on(from->pinned),
			.iopoll = is_on(from->iopoll),
			.queues = from->queues ? *from->queues : 0,
			.sidecore_given = from->sidecore != NULL,
			.sidecore_cpu = from->sidecore ? (int)*from->sidecore : 0};
		rc = profile_take_qos("disks", from->qos, &o->vm.disk[i].qos, err);
	}
	o->vm.ndisks = g->disks_count;
	return rc;
}

int profile_take_qos(const char *what, char *const qos[SV_PROFILE_QOS], struct sv_control_qos *wish,
	struct sv_error *err)
{
	struct sv_error why = {""};
	int rc = 0;

	for (unsigned i = 0; i < SV_PROFILE_QOS && rc == 0; i++)
		if (qos[i])
			rc = sv_qos_wish(wish, sv_qos_keys[i], qos[i], &why);
	if (rc == 0)
		rc = sv_qos_check_wish(wish, &why);
	return rc < 0 ? sv_fail(err, -rc, "%s: %.400s", what, why.text) : 0;
}

int profile_take_net(const struct sv_profile_net *from, struct sv_control_net *net, unsigned *pairs,
	struct sv_error *err)
{
	int rc = sv_net_key("nets", "switch", from->sw, net, pairs, err);

	if (rc == 0 && from->mac)
		rc = sv_net_key("nets", "mac", from->mac, net, pairs, err);
	if (rc == 0 && from->filter)
		rc = sv_net_key("nets", "filter", from->filter, net, pairs, err);
	net->vlan = from->vlan ? (uint16_t)*from->vlan : 0;
	net->mtu = from->mtu ? (uint16_t)*from->mtu : 0;
	*pairs = from->queues ? *from->queues : 0;
	return rc;
}

static int take_nets(struct run_options *o, const struct sv_profile_guest *g, struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < g->nets_count && rc == 0; i++) {
		const struct sv_profile_net *from = &g->nets[i];
		struct sv_net_config *n = &o->vm.net[i];

		*n = (struct sv_net_config){.spoof = is_on(from->spoof), .trunk = is_on(from->trunk)};
		rc = profile_take_net(from, &n->at, &n->queues, err);
		if (rc == 0)
			rc = profile_take_qos("nets", from->qos, &n->qos, err);
	}
	o->vm.nnets = g->nets_count;
	return rc;
}

static int take_value(struct run_options *o, const struct sv_profile_value *v, struct sv_error *err)
{
	struct sv_error why = {""};
	bool inverted;
	char name[32];
	/* Options keep their values, and none of those that keys reach writes into them. */
	char *text = (char *)(uintptr_t)v->text;
	int rc;

	run_profile_option(v->key, &inverted, name);
	if (inverted)
		text = (char *)(uintptr_t)(strcmp(v->text, "true") ? "true" : "false");
	rc = run_options_set(o, name, text, &why);
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? sv_fail(err, -rc, "%.200s:%u:%u: %s: %.200s", v->file, v->line, v->column,
				v->key, why.text)
		      : 0;
}

/* The VM is named like its file, when that is a name. */
static void take_name(struct run_options *o, const char *path)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	const char *end = strrchr(base, '.');
	struct sv_error ignored;
	char name[sizeof(o->name)];

	if (!end)
		end = base + strlen(base);
	if (end == base || (size_t)(end - base) >= sizeof(name))
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(end - base), base);
	run_options_set(o, "name", name, &ignored);
}

int run_profile_apply(struct run_options *o, const char *operand, struct sv_error *err)
{
	const struct sv_profile_value *v;
	char path[PROFILE_PATH];
	size_t n;
	int rc = profile_load_one(operand, SV_PROFILE_GUEST, path, &o->profile, err);

	if (rc < 0)
		return rc;
	snprintf(o->profile_path, sizeof(o->profile_path), "%s", path);
	take_name(o, path);
	v = sv_profile_values(o->profile, &n);
	for (size_t i = 0; i < n && rc == 0; i++)
		if (v[i].file && !v[i].list && !v[i].is_list)
			rc = take_value(o, &v[i], err);
	if (rc == 0)
		rc = take_disks(o, sv_profile_guest(o->profile), err);
	return rc < 0 ? rc : take_nets(o, sv_profile_guest(o->profile), err);
}
