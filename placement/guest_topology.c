/* SPDX-License-Identifier: BSD-3-Clause */
#include <placement/guest_topology.h>

#include <errno.h>
#include <hwloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PACKAGE, DIE, L3, L2, CORE, THREAD, LEVELS };

/* What a vCPU's CPU lies in, from the outside in; a level that is missing is the one around it. */
struct where {
	hwloc_obj_t in[LEVELS];
	hwloc_obj_t node; /* NULL: none */
	unsigned number[LEVELS];
};

static hwloc_obj_t above(hwloc_topology_t topo, hwloc_obj_t pu, hwloc_obj_type_t type)
{
	return hwloc_get_ancestor_obj_by_type(topo, type, pu);
}

static bool within(hwloc_obj_t inner, hwloc_obj_t outer)
{
	return hwloc_bitmap_isincluded(inner->cpuset, outer->cpuset);
}

/* @obj where it lies within @outer and around @inner: a hierarchy is all that APIC ids can say. */
static hwloc_obj_t level(hwloc_obj_t obj, hwloc_obj_t outer, hwloc_obj_t inner)
{
	return obj && within(obj, outer) && within(inner, obj) ? obj : NULL;
}

static void look_around(hwloc_topology_t topo, hwloc_obj_t pu, struct where *w)
{
	hwloc_obj_t core = above(topo, pu, HWLOC_OBJ_CORE), o;

	o = above(topo, pu, HWLOC_OBJ_PACKAGE);
	w->in[PACKAGE] = o ? o : hwloc_get_root_obj(topo);
	w->in[THREAD] = pu;
	w->in[CORE] = core ? core : pu;
	o = level(above(topo, pu, HWLOC_OBJ_L3CACHE), w->in[PACKAGE], w->in[CORE]);
	w->in[L3] = o;
	o = level(above(topo, pu, HWLOC_OBJ_L2CACHE), w->in[L3] ? w->in[L3] : w->in[PACKAGE],
		w->in[CORE]);
	w->in[L2] = o ? o : w->in[CORE];
	o = level(above(topo, pu, HWLOC_OBJ_DIE), w->in[PACKAGE],
		w->in[L3] ? w->in[L3] : w->in[L2]);
	w->in[DIE] = o ? o : w->in[PACKAGE];
	if (!w->in[L3])
		w->in[L3] = w->in[DIE];
}

/* Ordinary memory first: what has a kind of its own (HBM, CXL) is nobody's by default. */
static hwloc_obj_t node_beside(hwloc_topology_t topo, hwloc_obj_t pu)
{
	hwloc_obj_t node = NULL, special = NULL;

	while ((node = hwloc_get_next_obj_by_type(topo, HWLOC_OBJ_NUMANODE, node))) {
		if (!hwloc_bitmap_isset(node->cpuset, pu->os_index))
			continue;
		if (!node->subtype)
			return node;
		special = special ? special : node;
	}
	return special;
}

/* Number of @w at @at: of the object it shares with an earlier vCPU, or the next one. */
static unsigned number(const struct where *all, unsigned i, unsigned at)
{
	const struct where *w = &all[i];
	unsigned next = 0;

	for (unsigned k = 0; k < i; k++) {
		if (at && all[k].in[at - 1] != w->in[at - 1])
			continue;
		if (all[k].in[at] == w->in[at])
			return all[k].number[at];
		if (all[k].number[at] >= next)
			next = all[k].number[at] + 1;
	}
	return next;
}

/* --- caches ---------------------------------------------------------------------------------- */

static unsigned cpuid_type(hwloc_obj_cache_type_t type)
{
	return type == HWLOC_OBJ_CACHE_UNIFIED ? 3 : type == HWLOC_OBJ_CACHE_DATA ? 1 : 2;
}

static void add_cache(struct sv_guest_caches *c, const struct hwloc_cache_attr_s *a)
{
	struct sv_guest_cache new = {.bytes = a->size,
		.level = a->depth,
		.type = cpuid_type(a->type),
		.line = a->linesize,
		.ways = a->associativity > 0 ? (unsigned)a->associativity : 0};
	unsigned at = c->n;

	_Static_assert(sizeof(new) == 8 + 4 * sizeof(unsigned), "no padding: compared as bytes");
	if (c->n == SV_GUEST_CACHES)
		return;
	while (at && (c->cache[at - 1].level > new.level ||
			     (c->cache[at - 1].level == new.level && c->cache[at - 1].type > new.type)))
		at--;
	memmove(&c->cache[at + 1], &c->cache[at], (c->n - at) * sizeof(new));
	c->cache[at] = new;
	c->n++;
}

/* Nothing at all unless the sizes are known from the first level on. */
static struct sv_guest_caches caches_of(hwloc_obj_t pu)
{
	struct sv_guest_caches c = {0}, none = {0};
	bool known = true;

	for (hwloc_obj_t o = pu->parent; o; o = o->parent) {
		if (!hwloc_obj_type_is_cache(o->type))
			continue;
		known &= o->attr->cache.size > 0;
		add_cache(&c, &o->attr->cache);
	}
	return known && c.n && c.cache[0].level == 1 ? c : none;
}

static int find_caches(struct sv_guest_topology *g, hwloc_obj_t pu)
{
	struct sv_guest_caches c = caches_of(pu);

	for (unsigned i = 0; i < g->cache_sets; i++)
		if (g->caches[i].n == c.n &&
			!memcmp(g->caches[i].cache, c.cache, c.n * sizeof(c.cache[0])))
			return (int)i;
	if (g->cache_sets == SV_GUEST_CACHE_SETS)
		return -1;
	g->caches[g->cache_sets] = c;
	return (int)g->cache_sets++;
}

/* --- nodes ----------------------------------------------------------------------------------- */

static uint32_t figure(hwloc_topology_t topo, hwloc_obj_t node, hwloc_obj_t pu,
	hwloc_memattr_id_t id, hwloc_memattr_id_t otherwise)
{
	struct hwloc_location from = {
		.type = HWLOC_LOCATION_TYPE_CPUSET, .location.cpuset = pu->cpuset};
	hwloc_uint64_t v = 0;

	if (hwloc_memattr_get_value(topo, id, node, &from, 0, &v) < 0 &&
		hwloc_memattr_get_value(topo, otherwise, node, &from, 0, &v) < 0)
		return 0;
	return v <= UINT32_MAX ? (uint32_t)v : 0;
}

static int find_node(hwloc_topology_t topo, struct sv_guest_topology *g, hwloc_obj_t node,
	hwloc_obj_t pu, struct sv_error *err)
{
	int os = node ? (int)node->os_index : -1;
	struct sv_guest_node *n;

	for (unsigned i = 0; i < g->nodes; i++)
		if (g->node[i].os == os)
			return (int)i;
	if (g->nodes == SV_GUEST_NODES)
		return sv_fail(err, EINVAL, "the guest's cores lie on more than %u NUMA nodes",
			SV_GUEST_NODES);
	n = &g->node[g->nodes];
	n->os = os;
	if (node) {
		n->read_latency_ns = figure(topo, node, pu, HWLOC_MEMATTR_ID_READ_LATENCY,
			HWLOC_MEMATTR_ID_LATENCY);
		n->write_latency_ns = figure(topo, node, pu, HWLOC_MEMATTR_ID_WRITE_LATENCY,
			HWLOC_MEMATTR_ID_LATENCY);
		n->read_mb_s = figure(topo, node, pu, HWLOC_MEMATTR_ID_READ_BANDWIDTH,
			HWLOC_MEMATTR_ID_BANDWIDTH);
		n->write_mb_s = figure(topo, node, pu, HWLOC_MEMATTR_ID_WRITE_BANDWIDTH,
			HWLOC_MEMATTR_ID_BANDWIDTH);
	}
	return (int)g->nodes++;
}

static int row_of(const struct hwloc_distances_s *d, int os)
{
	for (unsigned i = 0; i < d->nbobjs; i++)
		if (d->objs[i] && (int)d->objs[i]->os_index == os)
			return (int)i;
	return -1;
}

/* A SLIT has 10 for a node with itself, and more for all others. */
static uint8_t slit_value(hwloc_uint64_t v, hwloc_uint64_t local)
{
	hwloc_uint64_t scaled = local && v < UINT32_MAX ? v * 10 / local : v;

	return (uint8_t)(scaled < 11 ? 11 : scaled > 254 ? 254 : scaled);
}

static void fill_distances(hwloc_topology_t topo, struct sv_guest_topology *g)
{
	struct hwloc_distances_s *d = NULL;
	unsigned one = 1;

	if (g->nodes < 2 || hwloc_distances_get_by_type(topo, HWLOC_OBJ_NUMANODE, &one, &d,
				    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) < 0 || !one || !d)
		return;
	for (unsigned i = 0; i < g->nodes; i++) {
		int from = row_of(d, g->node[i].os);

		for (unsigned k = 0; k < g->nodes && from >= 0; k++) {
			int to = row_of(d, g->node[k].os);
			hwloc_uint64_t *row = &d->values[(unsigned)from * d->nbobjs];

			if (to >= 0)
				g->distance[i][k] =
					i == k ? 10 : slit_value(row[to], row[from]);
		}
	}
	hwloc_distances_release(topo, d);
}

/* --- all of it ------------------------------------------------------------------------------- */

static int place(hwloc_topology_t topo, int cpu, unsigned i, struct where *all,
	struct sv_guest_topology *g, struct sv_error *err)
{
	hwloc_obj_t pu = cpu < 0 ? NULL : hwloc_get_pu_obj_by_os_index(topo, (unsigned)cpu);
	struct where *w = &all[i];
	int node, caches;

	if (!pu)
		return sv_fail(err, EINVAL, "vCPU %u: there is no CPU %d that may be used", i, cpu);
	look_around(topo, pu, w);
	for (unsigned k = 0; k < i; k++)
		if (all[k].in[THREAD] == pu)
			return sv_fail(err, EINVAL, "vCPUs %u and %u are both on CPU %d", k, i, cpu);
	for (unsigned at = 0; at < LEVELS; at++)
		w->number[at] = number(all, i, at);
	node = find_node(topo, g, node_beside(topo, pu), pu, err);
	if (node < 0)
		return node;
	caches = find_caches(g, pu);
	if (caches < 0)
		return sv_fail(err, EINVAL, "the guest's cores have more than %u kinds of caches",
			SV_GUEST_CACHE_SETS);
	g->node[node].vcpus++;
	g->place[i] = (struct sv_guest_place){.package = w->number[PACKAGE],
		.die = w->number[DIE],
		.l3 = w->number[L3],
		.l2 = w->number[L2],
		.core = w->number[CORE],
		.thread = w->number[THREAD],
		.node = (unsigned)node,
		.caches = (unsigned)caches};
	return 0;
}

static bool several_cores(const struct sv_guest_topology *g, unsigned package)
{
	const struct sv_guest_place *first = NULL;

	for (unsigned i = 0; i < g->vcpus; i++) {
		const struct sv_guest_place *p = &g->place[i];

		if (p->package != package)
			continue;
		first = first ? first : p;
		if (p->die != first->die || p->l3 != first->l3 || p->l2 != first->l2 ||
			p->core != first->core)
			return true;
	}
	return false;
}

/* See the header: the first package has more than one core where any has. */
static void order_packages(struct sv_guest_topology *g)
{
	unsigned packages = 0, wide = 0;

	for (unsigned i = 0; i < g->vcpus; i++)
		packages = g->place[i].package >= packages ? g->place[i].package + 1 : packages;
	while (wide < packages && !several_cores(g, wide))
		wide++;
	for (unsigned i = 0; i < g->vcpus && wide < packages; i++) {
		unsigned *p = &g->place[i].package;

		*p = *p == wide ? 0 : *p == 0 ? wide : *p;
	}
}

int sv_guest_topology_make(hwloc_topology_t topo, const int *cpu, unsigned vcpus,
	struct sv_guest_topology *out, struct sv_error *err)
{
	struct where *all;
	int rc = 0;

	if (!vcpus || vcpus > SV_GUEST_VCPUS)
		return sv_fail(err, EINVAL, "%u vCPUs: from 1 to %u are possible", vcpus, SV_GUEST_VCPUS);
	all = calloc(vcpus, sizeof(*all));
	if (!all)
		return sv_fail(err, ENOMEM, "out of memory");
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < vcpus && rc == 0; i++)
		rc = place(topo, cpu[i], i, all, out, err);
	out->vcpus = vcpus;
	if (rc == 0) {
		order_packages(out);
		fill_distances(topo, out);
	}
	free(all);
	return rc;
}

int sv_guest_topology_here(const int *cpu, unsigned vcpus, struct sv_guest_topology *out,
	struct sv_error *err)
{
	static const hwloc_obj_type_t wanted[] = {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_DIE, HWLOC_OBJ_CORE};
	hwloc_topology_t topo;
	int rc;

	if (hwloc_topology_init(&topo) < 0)
		return sv_fail(err, ENOMEM, "hwloc: out of memory");
	/* It asks each CPU by running on it, and waits for those that are busy; sysfs says the same. */
	hwloc_topology_set_components(topo, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
	hwloc_topology_set_all_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_NONE);
	hwloc_topology_set_cache_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_icache_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_ALL);
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		hwloc_topology_set_type_filter(topo, wanted[i], HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_flags(topo, HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM);
	if (hwloc_topology_load(topo) < 0)
		rc = sv_fail(err, EIO, "hwloc cannot read this machine's topology: %s", strerror(errno));
	else
		rc = sv_guest_topology_make(topo, cpu, vcpus, out, err);
	hwloc_topology_destroy(topo);
	return rc;
}
