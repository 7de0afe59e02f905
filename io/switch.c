/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread's part of a switch: ports come and go. */
#include "switch_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_NS 1000000u
#define SWEEP_ENTRIES 64u

static unsigned own_bucket(const uint8_t mac[6])
{
	uint64_t h = 0;

	memcpy(&h, mac, 6);
	return (unsigned)(h * 0x9e3779b97f4a7c15u >> 54) % OWN_BUCKETS;
}

struct sv_port *switch_own(const struct port_table *t, const uint8_t mac[6])
{
	unsigned b = own_bucket(mac);

	/* At most a quarter of the places is taken: an empty one ends this. */
	for (; t->own[b]; b = (b + 1) % OWN_BUCKETS)
		if (!memcmp(t->own[b]->mac, mac, 6))
			return t->own[b];
	return NULL;
}

static bool has_address(const struct sv_port *p)
{
	static const uint8_t none[6];

	return memcmp(p->mac, none, 6) != 0;
}

/* Make @t the list @old without @gone and with @come; either may be NULL. */
static void fill_table(struct port_table *t, const struct port_table *old, struct sv_port *gone,
	struct sv_port *come)
{
	memset(t, 0, sizeof(*t));
	for (unsigned i = 0; i < old->n; i++)
		if (old->port[i] != gone)
			t->port[t->n++] = old->port[i];
	if (come)
		t->port[t->n++] = come;
	for (unsigned i = 0; i < t->n; i++) {
		struct sv_port *p = t->port[i];
		unsigned b = own_bucket(p->mac);

		t->slot[p->slot] = p;
		if (!has_address(p))
			continue;
		while (t->own[b])
			b = (b + 1) % OWN_BUCKETS;
		t->own[b] = p;
	}
}

/* Publish the list with this change. When this returns nobody reads the one before. */
static void change_ports(struct sv_switch *sw, struct sv_port *gone, struct sv_port *come)
{
	struct port_table *t = &sw->tables[sw->table == &sw->tables[0]];
	struct sv_poller_host *host = sw->config.host;

	fill_table(t, sw->table, gone, come);
	sv_store_release(&sw->table, t);
	if (host && host->sync)
		host->sync(host);
}

int sv_switch_create(struct sv_switch **out, const struct sv_switch_config *config,
	struct sv_error *err)
{
	struct sv_switch *sw;

	if (!config->name[0] || strlen(config->name) >= SV_SWITCH_NAME)
		return sv_fail(err, EINVAL, "switch '%s': a name has 1 to %u bytes", config->name,
			SV_SWITCH_NAME - 1);
	sw = calloc(1, sizeof(*sw));
	if (!sw)
		return sv_fail(err, ENOMEM, "out of memory");
	sw->config = *config;
	strcpy(sw->name, config->name);
	sw->config.name = sw->name;
	sw->table = &sw->tables[0];
	if (learn_init(&sw->learned, SV_SWITCH_ADDRESSES) < 0) {
		free(sw);
		return sv_fail(err, ENOMEM, "out of memory");
	}
	*out = sw;
	return 0;
}

void sv_switch_destroy(struct sv_switch *sw)
{
	SV_BUG_ON(sw->table->n);
	learn_fini(&sw->learned);
	free(sw);
}

struct sv_poller_host *sv_switch_host(const struct sv_switch *sw)
{
	return sw->config.host;
}

const char *sv_switch_name(const struct sv_switch *sw)
{
	return sw->name;
}

unsigned sv_switch_learned(const struct sv_switch *sw)
{
	return sv_load_relaxed(&sw->learned.held);
}

static uint32_t promise_of(const struct sv_port *p)
{
	if (!(p->flags & SV_PORT_LEARN))
		return 0;
	if (p->learn_max)
		return p->learn_max;
	return p->flags & SV_PORT_UPLINK ? 2048 : 64;
}

static int check_port(const struct sv_switch *sw, const struct sv_port *p, struct sv_error *err)
{
	const struct sv_port *other;
	const uint8_t *m = p->mac;

	if (p->vlan > 4094)
		return sv_fail(err, EINVAL, "%s: vlan=%u: 1 to 4094, or 0 for none", p->name, p->vlan);
	if (m[0] & 1)
		return sv_fail(err, EINVAL,
			"%s: mac=%02x:%02x:%02x:%02x:%02x:%02x is a group address; clear the lowest bit of its "
			"first byte", p->name, m[0], m[1], m[2], m[3], m[4], m[5]);
	if (!has_address(p) && !(p->flags & SV_PORT_LEARN))
		return sv_fail(err, EINVAL, "%s: it needs an address (mac=)", p->name);
	other = has_address(p) ? switch_own(sw->table, p->mac) : NULL;
	if (other)
		return sv_fail(err, EADDRINUSE,
			"%s: mac=%02x:%02x:%02x:%02x:%02x:%02x is %s's already on switch '%s'; give it "
			"another", p->name, m[0], m[1], m[2], m[3], m[4], m[5], other->name, sw->name);
	if (sw->table->n == SV_SWITCH_PORTS)
		return sv_fail(err, ENOSPC, "%s: switch '%s' has all its %u ports", p->name, sw->name,
			SV_SWITCH_PORTS);
	if (promise_of(p) > SV_SWITCH_ADDRESSES - sw->promised)
		return sv_fail(err, ENOSPC,
			"%s: switch '%s' learns at most %u addresses, and %u are other ports' share", p->name,
			sw->name, SV_SWITCH_ADDRESSES, sw->promised);
	return 0;
}

int sv_switch_attach(struct sv_switch *sw, struct sv_port *port, struct sv_error *err)
{
	int rc = check_port(sw, port, err);

	if (rc < 0)
		return rc;
	port->sw = sw;
	port->slot = 0;
	while (sw->table->slot[port->slot])
		port->slot++;
	port->generation = ++sw->generation;
	port->learn_max = promise_of(port);
	port->addresses = 0;
	port->flood_per_s = port->flood_per_s ? port->flood_per_s : SV_FLOOD_PER_S;
	port->flood_burst = port->flood_burst ? port->flood_burst : SV_FLOOD_BURST;
	port->flood_tokens = (uint64_t)port->flood_burst * 1000000000u;
	port->flood_at = 0;
	port->max_frame = port->max_frame ? port->max_frame : SV_FRAME_MAX;
	port->touched = false;
	memset(&port->counters, 0, sizeof(port->counters));
	sw->promised += port->learn_max;
	change_ports(sw, NULL, port);
	return 0;
}

void sv_switch_detach(struct sv_switch *sw, struct sv_port *port)
{
	SV_BUG_ON(port->sw != sw || sw->table->slot[port->slot] != port);
	sw->promised -= port->learn_max;
	change_ports(sw, port, NULL);
	port->sw = NULL;
}

/* --- time ------------------------------------------------------------------------------------ */

static bool entry_is_dead(struct learned *e, void *ctx)
{
	struct sv_switch *sw = ctx;
	struct sv_port *p = switch_learned_port(sv_load_acquire(&sw->table), e);

	if (p && sw->now_ns / 1000000000u - e->seen_s <= switch_age_s(sw))
		return false;
	if (p)
		p->addresses--;
	return true;
}

void sv_switch_age(struct sv_switch *sw, uint64_t now_ns)
{
	sw->now_ns = now_ns;
	if (now_ns - sw->swept_ns < SWEEP_NS)
		return;
	sw->swept_ns = now_ns;
	learn_sweep(&sw->learned, SWEEP_ENTRIES, entry_is_dead, sw);
}
