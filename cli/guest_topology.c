/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_topology.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NODE_STEP (2ull << 20) /* memory of a node is whole huge pages */

_Static_assert(SV_GUEST_VCPUS == SV_MAX_VCPUS && SV_GUEST_NODES == SV_MAX_NODES &&
		       SV_GUEST_CACHES == SV_MAX_CACHES && SV_GUEST_CACHE_SETS == SV_MAX_CACHE_SETS,
	"the two speak of the same guests");

static bool pinned_apart(const struct sv_vm_config *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++) {
		if (vm->vcpu_cpu[i] < 0)
			return false;
		for (unsigned k = 0; k < i; k++)
			if (vm->vcpu_cpu[i] == vm->vcpu_cpu[k])
				return false;
	}
	return true;
}

static void copy_places(struct sv_topology *t, const struct sv_guest_topology *g)
{
	t->placed = g->vcpus;
	for (unsigned i = 0; i < g->vcpus; i++) {
		const struct sv_guest_place *p = &g->place[i];

		t->place[i] = (struct sv_place){.package = (uint16_t)p->package,
			.die = (uint16_t)p->die,
			.l3 = (uint16_t)p->l3,
			.l2 = (uint16_t)p->l2,
			.core = (uint16_t)p->core,
			.thread = (uint16_t)p->thread,
			.node = (uint16_t)p->node,
			.caches = (uint16_t)p->caches};
	}
}

static void copy_caches(struct sv_topology *t, const struct sv_guest_topology *g)
{
	for (unsigned s = 0; s < g->cache_sets; s++) {
		t->caches[s].n = g->caches[s].n;
		for (unsigned i = 0; i < g->caches[s].n; i++) {
			const struct sv_guest_cache *c = &g->caches[s].cache[i];

			t->caches[s].cache[i] = (struct sv_cache){.bytes = c->bytes,
				.level = (uint8_t)c->level,
				.type = (uint8_t)c->type,
				.line = (uint16_t)c->line,
				.ways = (uint16_t)c->ways};
		}
	}
}

void copy_topology(struct sv_vm_config *vm, const struct sv_guest_topology *g)
{
	struct sv_topology *t = &vm->topology;

	memset(t, 0, sizeof(*t));
	copy_places(t, g);
	copy_caches(t, g);
	t->nodes = g->nodes;
	for (unsigned i = 0; i < g->nodes; i++) {
		const struct sv_guest_node *n = &g->node[i];
		uint64_t share = vm->memory_bytes / g->vcpus * n->vcpus / NODE_STEP * NODE_STEP;

		t->node_bytes[i] = share ? share : NODE_STEP;
		t->figures[i] = (struct sv_node_figures){.read_latency_ns = n->read_latency_ns,
			.write_latency_ns = n->write_latency_ns,
			.read_mb_s = n->read_mb_s,
			.write_mb_s = n->write_mb_s};
		vm->memory_node[i] = n->os;
		memcpy(t->distance[i], g->distance[i], g->nodes);
	}
}

int give_topology(struct run_options *o, struct sv_error *err)
{
	struct sv_guest_topology *g;
	int rc;

	if (o->topology_given || !pinned_apart(&o->vm))
		return 0;
	g = malloc(sizeof(*g));
	if (!g)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = sv_guest_topology_here(o->vm.vcpu_cpu, o->vm.vcpus, g, err);
	if (rc == 0)
		copy_topology(&o->vm, g);
	else
		sv_warn("the guest is told a flat topology: %s", err->text);
	free(g);
	return rc == -ENOMEM ? rc : 0;
}
