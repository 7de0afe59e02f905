/* SPDX-License-Identifier: BSD-3-Clause */
/* The switches of this process by name, what makes them age, and their counters. Control thread. */
#include "switch_private.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <io/net_filter.h>

static struct sv_switch *switches;

static enum sv_poll poll_age(struct sv_poller *p, unsigned budget)
{
	struct sv_switch *sw =
		(struct sv_switch *)(void *)((char *)p - offsetof(struct sv_switch, poller));

	(void)budget;
	sv_switch_age(sw, sv_clock_ns());
	return SV_POLL_IDLE;
}

/* While the sidecore sleeps no frame comes, and nothing needs to age. */
static const struct sv_poller_ops age_ops = {.service = "switch", .poll = poll_age};

static int make(struct sv_switch **out, const char *name, struct sv_poller_host *host,
	struct sv_error *err)
{
	struct sv_switch_config config = {.name = name, .host = host};
	struct sv_switch *sw;
	int rc = sv_switch_create(&sw, &config, err);

	if (rc < 0)
		return rc;
	sw->poller.ops = &age_ops;
	strcpy(sw->poller.vm, "(switch)");
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		sw->poller.wake_fds[i] = -1;
	sw->now_ns = sv_clock_ns();
	rc = host ? host->attach(host, &sw->poller) : 0;
	if (rc < 0) {
		sv_switch_destroy(sw);
		return sv_fail(err, -rc, "switch '%s': its sidecore takes no more pollers: %s", name,
			strerror(-rc));
	}
	sw->next = switches;
	switches = sw;
	*out = sw;
	return 0;
}

int sv_switch_get(struct sv_switch **out, const char *name, struct sv_poller_host *host,
	struct sv_error *err)
{
	struct sv_switch *sw = switches;
	int rc = 0;

	while (sw && strcmp(sw->name, name) != 0)
		sw = sw->next;
	if (!sw)
		rc = make(&sw, name, host, err);
	if (rc < 0)
		return rc;
	sw->users++;
	*out = sw;
	return 0;
}

void sv_switch_put(struct sv_switch *sw)
{
	struct sv_switch **at = &switches;

	if (--sw->users)
		return;
	while (*at != sw)
		at = &(*at)->next;
	*at = sw->next;
	if (sw->config.host)
		sw->config.host->detach(sw->config.host, &sw->poller);
	sv_switch_destroy(sw);
}

void sv_switch_each(void (*each)(struct sv_switch *sw, void *ctx), void *ctx)
{
	for (struct sv_switch *sw = switches, *next; sw; sw = next) {
		next = sw->next;
		each(sw, ctx);
	}
}

/* --- counters -------------------------------------------------------------------------------- */

static void set_count(json_t *o, const char *key, const uint64_t *counter)
{
	json_object_set_new(o, key, json_integer((json_int_t)sv_load_relaxed(counter)));
}

static json_t *drops_of(const struct sv_port *p)
{
	json_t *o = json_object();

	for (unsigned why = 0; why < SV_DROPS; why++)
		if (sv_load_relaxed(&p->counters.drops[why]))
			set_count(o, sv_drop_name((enum sv_drop)why), &p->counters.drops[why]);
	return o;
}

char *sv_port_drops_json(const struct sv_port *p)
{
	json_t *o = drops_of(p);
	char *text = json_dumps(o, 0);

	json_decref(o);
	return text;
}

static json_t *filter_of(const struct sv_port *p)
{
	char *text = p->filter ? sv_net_filter_json(p->filter) : NULL;
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return o;
}

static json_t *port_of(const struct sv_port *p)
{
	const struct sv_port_counters *c = &p->counters;
	const uint8_t *m = p->mac;
	json_t *o = json_pack("{s:s, s:s*, s:o, s:i, s:b, s:b}", "port", p->name, "switch",
		p->sw ? p->sw->name : NULL, "mac",
		json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]), "vlan",
		p->vlan, "uplink", !!(p->flags & SV_PORT_UPLINK), "link", !sv_load_relaxed(&p->link_down));

	set_count(o, "in_frames", &c->in_frames);
	set_count(o, "in_bytes", &c->in_bytes);
	set_count(o, "out_frames", &c->out_frames);
	set_count(o, "out_bytes", &c->out_bytes);
	set_count(o, "flooded", &c->flooded);
	set_count(o, "software", &c->software);
	set_count(o, "learned", &c->learned);
	set_count(o, "moved", &c->moved);
	json_object_set_new(o, "drops", drops_of(p));
	if (p->filter)
		json_object_set_new(o, "filter", filter_of(p));
	return o;
}

char *sv_port_json(const struct sv_port *p)
{
	json_t *o = port_of(p);
	char *text = json_dumps(o, JSON_COMPACT);

	json_decref(o);
	return text;
}

char *sv_switch_json(struct sv_switch *sw)
{
	json_t *o = json_object(), *ports = json_array();
	char *text;

	json_object_set_new(o, "switch", json_string(sw->name));
	json_object_set_new(o, "addresses", json_integer(sv_switch_learned(sw)));
	for (unsigned i = 0; i < sw->table->n; i++)
		json_array_append_new(ports, port_of(sw->table->port[i]));
	json_object_set_new(o, "ports", ports);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}
