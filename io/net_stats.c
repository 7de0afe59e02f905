/* SPDX-License-Identifier: BSD-3-Clause */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>

#include <channels/atomics.h>
#include <io/net_filter.h>

char *net_stats(void *handle)
{
	struct net *n = handle;
	const struct net_counters *c = &n->counts;
	const struct sv_poller *p = &n->session.poller;
	struct sv_virtq_stats q = sv_vhost_stats(&n->session.vhost);
	const uint8_t *mac = n->port.mac;
	uint64_t defects = 0;
	char *text = NULL, *qos = qos_device_json(&n->qos, false);
	char *filter = sv_net_filter_json(n->port.filter), *drops = sv_port_drops_json(&n->port);
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f) {
		free(qos);
		free(filter);
		free(drops);
		return NULL;
	}
	for (unsigned i = 0; i < SV_VIRTQ_DEFECTS; i++)
		defects += q.defects[i];
	fprintf(f,
		"{\"switch\": \"%s\", \"mac\": \"%02x:%02x:%02x:%02x:%02x:%02x\", \"vlan\": %u, "
		"\"pairs\": %u, \"active_pairs\": %u, \"link\": \"%s\", ",
		sv_switch_name(n->sw), mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], n->port.vlan,
		n->pairs, sv_load_relaxed(&n->active), n->link_down ? "down" : "up");
#define N(key, x) fprintf(f, "\"" key "\": %llu, ", (unsigned long long)sv_load_relaxed(&(x)))
	N("rx_frames", c->rx_frames);
	N("rx_bytes", c->rx_bytes);
	N("rx_buffers", c->rx_buffers);
	N("rx_full", c->rx_full);
	N("tx_frames", c->tx_frames);
	N("tx_bytes", c->tx_bytes);
	N("control", c->control);
	N("control_refused", c->control_refused);
	N("interrupts", q.calls);
	N("interrupts_saved", q.calls_saved);
	N("kicks", n->session.vhost.kicks);
	N("defects", defects);
	N("busy_ticks", p->ticks.busy_ticks);
	N("idle_ticks", p->ticks.idle_ticks);
#undef N
	fprintf(f, "\"drops\": %s, \"filter\": %s, \"qos\": %s}", drops ? drops : "{}",
		filter ? filter : "[]", qos ? qos : "{}");
	free(qos);
	free(filter);
	free(drops);
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
