/* SPDX-License-Identifier: BSD-3-Clause */
/* What the node counts, as JSON: per sidecore, per VM, per service. */
#include "node.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <channels/atomics.h>

/* What one message of a Unix socket carries for certain; beyond it less is told. */
#define MESSAGE_MAX (128u << 10)

static void set_u64(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *cpu_of(const struct sv_sidecore *s)
{
	return json_integer(sv_reactor_cpu(s->reactor));
}

static json_t *channel_json(const struct sv_endpoint *e, const struct sv_sidecore *polled_by)
{
	const struct sv_server_counts *c = &e->server.counts;
	json_t *o = json_object();

	set_u64(o, "vcpu", e->call.vcpu);
	json_object_set_new(o, "sidecore_cpu", cpu_of(polled_by));
	set_u64(o, "requests", sv_load_relaxed(&c->requests));
	set_u64(o, "rejected", sv_load_relaxed(&c->rejected));
	set_u64(o, "unknown_service", sv_load_relaxed(&e->unknown));
	set_u64(o, "bad_seq", sv_load_relaxed(&c->bad_seq));
	set_u64(o, "bad_consumed", sv_load_relaxed(&c->bad_consumed));
	set_u64(o, "stalls", sv_load_relaxed(&c->stalls));
	set_u64(o, "busy_ticks", sv_load_relaxed(&e->poller.ticks.busy_ticks));
	set_u64(o, "idle_ticks", sv_load_relaxed(&e->poller.ticks.idle_ticks));
	return o;
}

/* Requests by the service that answered them, over all channels of a VM. */
static json_t *services_json(const struct sv_lease *l)
{
	json_t *o = json_object();

	for (unsigned s = 0; s < ENDPOINT_SERVICES; s++) {
		uint64_t n = 0;

		const struct sv_service_ops *ops = NULL;

		for (unsigned i = 0; i < l->channels; i++) {
			ops = l->endpoint[i].services->ops[s];
			n += sv_load_relaxed(&l->endpoint[i].served[s]);
		}
		if (ops)
			set_u64(o, ops->name, n);
	}
	return o;
}

static void add_u64(json_t *o, const char *key, uint64_t v)
{
	set_u64(o, key, v + (uint64_t)json_integer_value(json_object_get(o, key)));
}

/* One poller's ticks into the account of its VM and service. */
static void add_account(const struct sv_poller *p, void *ctx)
{
	json_t *vms = ctx, *vm = json_object_get(vms, p->vm), *service;

	if (!vm) {
		vm = json_object();
		json_object_set_new(vms, p->vm, vm);
	}
	service = json_object_get(vm, p->ops->service);
	if (!service) {
		service = json_object();
		json_object_set_new(vm, p->ops->service, service);
	}
	add_u64(service, "pollers", 1);
	add_u64(service, "busy_ticks", sv_load_relaxed(&p->ticks.busy_ticks));
	add_u64(service, "idle_ticks", sv_load_relaxed(&p->ticks.idle_ticks));
	add_u64(service, "busy_polls", sv_load_relaxed(&p->ticks.busy_polls));
}

static json_t *sidecore_json(const struct sv_sidecore *s)
{
	struct sv_reactor_stats st = sv_reactor_stats(s->reactor);
	json_t *o = json_object(), *accounts = json_object();

	json_object_set_new(o, "cpu", cpu_of(s));
	set_u64(o, "vms", s->vms);
	set_u64(o, "turns", st.turns);
	set_u64(o, "busy_ticks", st.busy_ticks);
	set_u64(o, "idle_ticks", st.idle_ticks);
	set_u64(o, "sleep_ticks", st.sleep_ticks);
	set_u64(o, "sleeps", st.sleeps);
	set_u64(o, "wakes", st.wakes);
	sv_reactor_each(s->reactor, add_account, accounts);
	json_object_set_new(o, "accounts", accounts);
	return o;
}

static json_t *pager_json(const struct sv_lease *l)
{
	char *text = l->node->config.pager->stats(l->pager);
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return o ? o : json_object();
}

/* How much is told: names alone, also what devices count, also single channels. */
enum detail { NAMES, DEVICES, CHANNELS };

static json_t *device_json(const struct sv_device_class *class, void *handle, const char *name,
	const struct sv_sidecore *sidecore, enum detail detail)
{
	char *text = detail >= DEVICES && class->stats ? class->stats(handle) : NULL;
	json_t *d = text ? json_loads(text, 0, NULL) : NULL;

	if (!d)
		d = json_object();
	json_object_set_new(d, "name", json_string(name));
	json_object_set_new(d, "class", json_string(class->name));
	if (sidecore)
		json_object_set_new(d, "sidecore_cpu", cpu_of(sidecore));
	free(text);
	return d;
}

char *sv_node_device_json(const struct sv_device_class *class, void *handle, const char *name,
	const struct sv_sidecore *sidecore)
{
	json_t *o = device_json(class, handle, name, sidecore, DEVICES);
	char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(o);
	return text;
}

/* The node's own: on its first sidecore. */
static json_t *own_devices_json(const struct sv_node *n, enum detail detail)
{
	const struct sv_node_config *c = &n->config;
	const struct sv_device_class *class;
	json_t *all = json_array();
	const char *name;
	void *handle;

	for (unsigned i = 0; c->own_device && (class = c->own_device(c->devices, i, &name, &handle)); i++)
		json_array_append_new(all, device_json(class, handle, name, &n->sidecore[0], detail));
	return all;
}

static json_t *lease_json(const struct sv_lease *l, enum detail detail)
{
	json_t *o = json_object(), *channels = json_array(), *devices = json_array();
	json_t *sidecores = json_array();

	for (unsigned i = 0; i < l->node->config.sidecores; i++)
		if (l->share[i].used)
			json_array_append_new(sidecores, cpu_of(&l->node->sidecore[i]));
	for (unsigned i = 0; detail >= CHANNELS && i < l->channels; i++)
		json_array_append_new(channels, channel_json(&l->endpoint[i], l->polled_by[i]));
	for (unsigned i = 0; i < l->devices; i++)
		json_array_append_new(devices, device_json(l->device[i].class, l->device[i].handle,
						       l->device[i].name, l->device[i].sidecore, detail));
	json_object_set_new(o, "vm", json_string(l->vm));
	json_object_set_new(o, "sidecore_cpu", cpu_of(l->home));
	json_object_set_new(o, "sidecore_cpus", sidecores);
	json_object_set_new(o, "services", services_json(l));
	json_object_set_new(o, "channels", channels);
	json_object_set_new(o, "devices", devices);
	if (l->pager)
		json_object_set_new(o, "pager", pager_json(l));
	return o;
}

static char *stats_text(const struct sv_node *n, enum detail detail)
{
	json_t *o = json_object(), *sidecores = json_array(), *vms = json_array();
	char *text;

	for (unsigned i = 0; i < n->config.sidecores; i++)
		json_array_append_new(sidecores, sidecore_json(&n->sidecore[i]));
	for (const struct sv_lease *l = n->leases; l; l = l->next)
		if (l->hello)
			json_array_append_new(vms, lease_json(l, detail));
	set_u64(o, "refused_connections", n->refused);
	set_u64(o, "ticks_per_us", sv_reactor_ticks_per_us());
	json_object_set_new(o, "sidecores", sidecores);
	json_object_set_new(o, "vms", vms);
	json_object_set_new(o, "devices", own_devices_json(n, detail));
	json_object_set_new(o, "detail", json_boolean(detail == CHANNELS));
	text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(o);
	return text;
}

char *sv_node_stats_json(struct sv_node *n)
{
	enum detail detail = CHANNELS;
	char *text = stats_text(n, detail);

	while (text && strlen(text) > MESSAGE_MAX && detail > NAMES) {
		free(text);
		text = stats_text(n, --detail);
	}
	return text;
}
