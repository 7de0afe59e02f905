/* SPDX-License-Identifier: BSD-3-Clause */
#include <sidecore/placement.h>

#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define CORES_MAX 8192u

/* A core that may be used: its first allowed CPU, and the L3 (or package) it shares. */
struct core {
	int cpu, sibling; /* sibling: a second allowed CPU of the same core, -1: none */
	hwloc_obj_t group;
	int node;
};

struct cores {
	unsigned n;
	struct core core[CORES_MAX];
};

static hwloc_obj_t group_of(hwloc_topology_t topo, hwloc_obj_t obj)
{
	hwloc_obj_t o = hwloc_get_ancestor_obj_by_type(topo, HWLOC_OBJ_L3CACHE, obj);

	if (!o)
		o = hwloc_get_ancestor_obj_by_type(topo, HWLOC_OBJ_PACKAGE, obj);
	return o ? o : hwloc_get_root_obj(topo);
}

static int node_of(hwloc_topology_t topo, hwloc_obj_t pu)
{
	int node = pu->nodeset ? hwloc_bitmap_first(pu->nodeset) : -1;

	(void)topo;
	return node;
}

/* Every allowed CPU falls into a core; a machine that reports no cores has one CPU per core. */
static void list_cores(hwloc_topology_t topo, struct cores *c)
{
	hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(topo);
	hwloc_obj_t pu = NULL, last_core = NULL;

	c->n = 0;
	while ((pu = hwloc_get_next_obj_by_type(topo, HWLOC_OBJ_PU, pu)) && c->n < CORES_MAX) {
		hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topo, HWLOC_OBJ_CORE, pu);

		if (!hwloc_bitmap_isset(allowed, pu->os_index))
			continue;
		if (core && core == last_core) {
			struct core *same = &c->core[c->n - 1];

			if (same->sibling < 0)
				same->sibling = (int)pu->os_index;
			continue;
		}
		last_core = core;
		c->core[c->n++] = (struct core){.cpu = (int)pu->os_index,
			.sibling = -1,
			.group = group_of(topo, pu),
			.node = node_of(topo, pu)};
	}
}

static unsigned group_size(const struct cores *c, hwloc_obj_t group)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n; i++)
		n += c->core[i].group == group;
	return n;
}

/* The group for the guest: the smallest that holds @want cores, else the largest. */
static hwloc_obj_t choose_group(const struct cores *c, unsigned want)
{
	hwloc_obj_t best = NULL;
	unsigned best_n = 0;

	for (unsigned i = 0; i < c->n; i++) {
		unsigned n = group_size(c, c->core[i].group);
		bool fits = n >= want, best_fits = best_n >= want;

		if (!best || (fits && !best_fits) || (fits && n < best_n) ||
			(!fits && !best_fits && n > best_n)) {
			best = c->core[i].group;
			best_n = n;
		}
	}
	return best;
}

static void remove_core(struct cores *c, unsigned i)
{
	c->n--;
	memmove(&c->core[i], &c->core[i + 1], (c->n - i) * sizeof(c->core[0]));
}

static int find_cpu(const struct cores *c, int cpu)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->core[i].cpu == cpu || c->core[i].sibling == cpu)
			return (int)i;
	return -1;
}

/* How far a core is from the one that the guest gathers around. */
static unsigned distance(const struct core *core, const struct core *around)
{
	if (core->cpu == around->cpu)
		return 0;
	if (core->group == around->group)
		return 1;
	return core->node == around->node ? 2 : 3;
}

/* The nearest cores first, each distance in order. */
static void sort_by_distance(struct cores *c, const struct core *around)
{
	struct cores *s = malloc(sizeof(*s));

	if (!s)
		return;
	s->n = 0;
	for (unsigned d = 0; d <= 3; d++)
		for (unsigned i = 0; i < c->n; i++)
			if (distance(&c->core[i], around) == d)
				s->core[s->n++] = c->core[i];
	memcpy(c, s, sizeof(*c));
	free(s);
}

/* Some core of @group, the last one. */
static int core_of_group(const struct cores *c, hwloc_obj_t group)
{
	int i = (int)c->n - 1;

	while (i > 0 && c->core[i].group != group)
		i--;
	return i;
}

/*
 * The sidecore's core leaves the list, unless its sibling may be a guest core.
 * Return: the core that the guest gathers around: that sibling's, or one that is gone.
 */
static struct core place_sidecore(struct cores *c, const struct sv_placement_request *req,
	struct sv_placement *out)
{
	struct core around = {.cpu = -1};
	int i;

	if (req->sidecore >= 0) {
		out->sidecore_cpu = req->sidecore;
		i = find_cpu(c, req->sidecore);
	} else {
		i = core_of_group(c, choose_group(c, req->vcpus + 1));
		out->sidecore_cpu = c->core[i].cpu;
		if (req->smt_sibling && c->core[i].sibling >= 0)
			out->sidecore_cpu = c->core[i].sibling;
	}
	if (i < 0) { /* not one of the allowed ones */
		around = c->core[core_of_group(c, choose_group(c, req->vcpus))];
		around.cpu = -1;
	} else if (req->smt_sibling && c->core[i].sibling >= 0) {
		if (c->core[i].cpu == out->sidecore_cpu)
			c->core[i].cpu = c->core[i].sibling;
		c->core[i].sibling = -1;
		around = c->core[i];
	} else {
		around = c->core[i];
		if (c->n > 1)
			remove_core(c, (unsigned)i);
	}
	return around;
}

/* Is there but one core, with no second thread that could be the sidecore? */
static bool must_share(const struct cores *c, const struct sv_placement_request *req)
{
	return c->n == 1 && c->core[0].cpu != req->sidecore && !req->overcommit &&
	       !(req->smt_sibling && c->core[0].sibling >= 0);
}

static int place_guest(const struct cores *c, const struct sv_placement_request *req,
	struct sv_placement *out, struct sv_error *err)
{
	if (req->vcpus > c->n && !req->overcommit)
		return sv_fail(err, ENOSPC,
			"--vcpus %u: this node has %u guest core%s beside its sidecore (CPU %d); ask for "
			"fewer, or let vCPUs share cores with --overcommit",
			req->vcpus, c->n, c->n == 1 ? "" : "s", out->sidecore_cpu);
	out->guest_cores = req->vcpus < c->n ? req->vcpus : c->n;
	out->numa_node = c->core[0].node;
	for (unsigned i = 0; i < req->vcpus; i++) {
		out->vcpu_cpu[i] = c->core[i % out->guest_cores].cpu;
		if (c->core[i % out->guest_cores].node != out->numa_node)
			out->numa_node = -1;
	}
	return 0;
}

int sv_placement_choose(hwloc_topology_t topo, const struct sv_placement_request *req,
	struct sv_placement *out, struct sv_error *err)
{
	struct cores *c = malloc(sizeof(*c));
	struct core around;
	int rc;

	if (!c)
		return sv_fail(err, ENOMEM, "out of memory");
	list_cores(topo, c);
	if (!c->n || !req->vcpus || req->vcpus > SV_PLACEMENT_VCPUS) {
		free(c);
		return sv_fail(err, EINVAL, "nothing to place: %u vCPUs", req->vcpus);
	}
	if (must_share(c, req)) {
		free(c);
		return sv_fail(err, ENOSPC,
			"this node has one core: guest and sidecore share it only with --overcommit");
	}
	around = place_sidecore(c, req, out);
	for (unsigned i = 0; i < req->nothers; i++) {
		int taken = find_cpu(c, req->others[i]);

		if (taken >= 0 && c->n > 1)
			remove_core(c, (unsigned)taken);
	}
	sort_by_distance(c, &around);
	/* Housekeeping: the last core that the guest does not need; else beside the sidecore. */
	out->control_cpu = out->sidecore_cpu;
	if (c->n > req->vcpus) {
		unsigned spare = c->n - 1;

		for (unsigned i = req->vcpus; i < c->n; i++)
			if (c->core[i].cpu == 0)
				spare = i;
		out->control_cpu = c->core[spare].cpu;
		remove_core(c, spare);
	}
	rc = place_guest(c, req, out, err);
	free(c);
	return rc;
}

/* --- which sidecore serves whom -------------------------------------------------------------- */

/* How many CPUs the smallest object over both has: SMT sibling, L3, node, package, machine. */
static int span(hwloc_topology_t topo, hwloc_obj_t a, hwloc_obj_t b)
{
	hwloc_obj_t both = a && b ? hwloc_get_common_ancestor_obj(topo, a, b) : NULL;

	return both ? hwloc_bitmap_weight(both->cpuset) : INT_MAX;
}

static unsigned served_by(const int *serves, unsigned n, int cpu)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++)
		count += serves[i] == cpu;
	return count;
}

void sv_placement_nearest(hwloc_topology_t topo, const int *vcpu_cpu, unsigned nvcpus,
	const int *sidecore, unsigned nsidecores, int *serves)
{
	for (unsigned i = 0; i < nvcpus; i++) {
		hwloc_obj_t at = vcpu_cpu[i] < 0 ? NULL
						 : hwloc_get_pu_obj_by_os_index(topo, (unsigned)vcpu_cpu[i]);
		unsigned best_load = 0;
		int best_span = 0, best = -1;

		for (unsigned k = 0; serves[i] < 0 && k < nsidecores; k++) {
			int s = span(topo, at, hwloc_get_pu_obj_by_os_index(topo, (unsigned)sidecore[k]));
			unsigned load = served_by(serves, nvcpus, sidecore[k]);

			if (best >= 0 && (s > best_span || (s == best_span && load >= best_load)))
				continue;
			best = sidecore[k];
			best_span = s;
			best_load = load;
		}
		if (serves[i] < 0)
			serves[i] = best;
	}
}

/* --- this machine ---------------------------------------------------------------------------- */

static int load_here(hwloc_topology_t *out, struct sv_error *err)
{
	hwloc_topology_t topo;
	int rc;

	if (hwloc_topology_init(&topo) < 0)
		return sv_fail(err, ENOMEM, "hwloc: out of memory");
	/* It asks each CPU by running on it, and waits for those that are busy; sysfs says the same. */
	hwloc_topology_set_components(topo, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
	hwloc_topology_set_all_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_NONE);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_L3CACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_flags(topo, HWLOC_TOPOLOGY_FLAG_RESTRICT_TO_CPUBINDING |
					       HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM);
	if (hwloc_topology_load(topo) < 0) {
		rc = sv_fail(err, EIO, "hwloc cannot read this machine's topology: %s",
			strerror(errno));
		hwloc_topology_destroy(topo);
		return rc;
	}
	*out = topo;
	return 0;
}

int sv_placement_here(const struct sv_placement_request *req, struct sv_placement *out,
	struct sv_error *err)
{
	hwloc_topology_t topo;
	int rc = load_here(&topo, err);

	if (rc < 0)
		return rc;
	rc = sv_placement_choose(topo, req, out, err);
	hwloc_topology_destroy(topo);
	return rc;
}

int sv_placement_nearest_here(const int *vcpu_cpu, unsigned nvcpus, const int *sidecore,
	unsigned nsidecores, int *serves, struct sv_error *err)
{
	hwloc_topology_t topo;
	int rc;

	if (nsidecores == 1) {
		for (unsigned i = 0; i < nvcpus; i++)
			serves[i] = serves[i] < 0 ? sidecore[0] : serves[i];
		return 0;
	}
	rc = load_here(&topo, err);
	if (rc < 0)
		return rc;
	sv_placement_nearest(topo, vcpu_cpu, nvcpus, sidecore, nsidecores, serves);
	hwloc_topology_destroy(topo);
	return 0;
}
