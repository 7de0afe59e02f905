/* SPDX-License-Identifier: BSD-3-Clause */
/* What the node counts, as JSON: per sidecore, per VM, per service. */
#include "node.h"

#include <stdlib.h>

#include <jansson.h>

#include <channels/atomics.h>

static void set_u64(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *sidecore_json(const struct sv_sidecore *s)
{
	struct sv_reactor_stats st = sv_reactor_stats(s->reactor);
	json_t *o = json_object();

	json_object_set_new(o, "cpu", json_integer(sv_reactor_cpu(s->reactor)));
	set_u64(o, "vms", s->vms);
	set_u64(o, "turns", st.turns);
	set_u64(o, "busy_ticks", st.busy_ticks);
	set_u64(o, "idle_ticks", st.idle_ticks);
	set_u64(o, "sleep_ticks", st.sleep_ticks);
	set_u64(o, "sleeps", st.sleeps);
	set_u64(o, "wakes", st.wakes);
	return o;
}

static json_t *channel_json(const struct sv_endpoint *e)
{
	json_t *o = json_object();

	set_u64(o, "vcpu", e->call.vcpu);
	set_u64(o, "requests", sv_load_relaxed(&e->counts.requests));
	set_u64(o, "rejected", sv_load_relaxed(&e->counts.rejected));
	set_u64(o, "bad_seq", sv_load_relaxed(&e->counts.bad_seq));
	set_u64(o, "bad_consumed", sv_load_relaxed(&e->counts.bad_consumed));
	set_u64(o, "stalls", sv_load_relaxed(&e->counts.stalls));
	set_u64(o, "busy_ticks", sv_load_relaxed(&e->poller.ticks.busy_ticks));
	set_u64(o, "idle_ticks", sv_load_relaxed(&e->poller.ticks.idle_ticks));
	return o;
}

static json_t *lease_json(const struct sv_lease *l)
{
	json_t *o = json_object(), *channels = json_array(), *devices = json_array();

	for (unsigned i = 0; i < l->channels; i++)
		json_array_append_new(channels, channel_json(&l->endpoint[i]));
	for (unsigned i = 0; i < l->devices; i++) {
		char *text = l->device[i].class->stats
				     ? l->device[i].class->stats(l->device[i].handle)
				     : NULL;
		json_t *d = text ? json_loads(text, 0, NULL) : NULL;

		if (!d)
			d = json_object();
		json_object_set_new(d, "name", json_string(l->device[i].name));
		json_object_set_new(d, "class", json_string(l->device[i].class->name));
		json_array_append_new(devices, d);
		free(text);
	}
	json_object_set_new(o, "vm", json_string(l->vm));
	json_object_set_new(o, "sidecore_cpu", json_integer(sv_reactor_cpu(l->sidecore->reactor)));
	json_object_set_new(o, "channels", channels);
	json_object_set_new(o, "devices", devices);
	return o;
}

char *sv_node_stats_json(struct sv_node *n)
{
	json_t *o = json_object(), *sidecores = json_array(), *vms = json_array();
	char *text;

	for (unsigned i = 0; i < n->config.sidecores; i++)
		json_array_append_new(sidecores, sidecore_json(&n->sidecore[i]));
	for (const struct sv_lease *l = n->leases; l; l = l->next)
		if (l->hello)
			json_array_append_new(vms, lease_json(l));
	set_u64(o, "ticks_per_us", sv_reactor_ticks_per_us());
	json_object_set_new(o, "sidecores", sidecores);
	json_object_set_new(o, "vms", vms);
	text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
	json_decref(o);
	return text;
}
