/* SPDX-License-Identifier: BSD-3-Clause */
/* From a tree of hardware to flat arrays of cores, domains and regions. */
#include <placement/machine.h>

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool shares_cache(hwloc_obj_type_t type)
{
	return type == HWLOC_OBJ_L3CACHE || type == HWLOC_OBJ_L4CACHE || type == HWLOC_OBJ_L5CACHE;
}

/* Is @o one of the sets that a sidecore may be responsible for? L2 counts where there is no L3. */
static bool is_scope(hwloc_obj_t o, bool any_l3)
{
	switch (o->type) {
	case HWLOC_OBJ_PU:
	case HWLOC_OBJ_CORE:
	case HWLOC_OBJ_L1CACHE:
	case HWLOC_OBJ_L1ICACHE:
	case HWLOC_OBJ_L2ICACHE:
	case HWLOC_OBJ_L3ICACHE:
		return false;
	case HWLOC_OBJ_L2CACHE:
		return !any_l3;
	default:
		return true;
	}
}

/* Cores below @o (CPUs where it has no cores), counted up to @most. */
static unsigned cores_in(hwloc_obj_t o, unsigned most)
{
	unsigned n = 0;

	if (o->type == HWLOC_OBJ_CORE || o->type == HWLOC_OBJ_PU)
		return 1;
	for (hwloc_obj_t c = o->first_child; c && n < most; c = c->next_sibling)
		n += cores_in(c, most - n);
	return n;
}

static hwloc_obj_t scope_of(hwloc_topology_t topo, hwloc_obj_t pu, bool any_l3)
{
	hwloc_obj_t o = pu->parent;

	while (o && o->parent && (!is_scope(o, any_l3) || cores_in(o, SV_DOMAIN_CORES) < SV_DOMAIN_CORES))
		o = o->parent;
	return o ? o : hwloc_get_root_obj(topo);
}

static int id_of(hwloc_topology_t topo, hwloc_obj_t pu, hwloc_obj_type_t type)
{
	hwloc_obj_t o = hwloc_get_ancestor_obj_by_type(topo, type, pu);

	return o ? (int)o->logical_index : -1;
}

/* Memory nodes, ordinary memory before the special kinds among those of the same place. */
static int read_nodes(struct sv_machine *m)
{
	hwloc_obj_t o = NULL;
	int n = hwloc_get_nbobjs_by_type(m->topo, HWLOC_OBJ_NUMANODE);

	m->node = calloc(n > 0 ? (size_t)n : 1, sizeof(*m->node));
	if (!m->node)
		return -ENOMEM;
	while ((o = hwloc_get_next_obj_by_type(m->topo, HWLOC_OBJ_NUMANODE, o))) {
		struct sv_mem_node *node = &m->node[m->nodes++];

		node->os = (int)o->os_index;
		node->bytes = o->attr->numanode.local_memory;
		if (o->subtype)
			snprintf(node->kind, sizeof(node->kind), "%s", o->subtype);
	}
	return 0;
}

/* The ordinary memory beside @pu; special memory only where there is no other. */
static int node_of(const struct sv_machine *m, hwloc_obj_t pu)
{
	hwloc_obj_t o = NULL;
	int best = -1;
	unsigned i = 0;

	while ((o = hwloc_get_next_obj_by_type(m->topo, HWLOC_OBJ_NUMANODE, o)) && i < m->nodes) {
		if (o->cpuset && hwloc_bitmap_isset(o->cpuset, pu->os_index) &&
			(best < 0 || (m->node[best].kind[0] && !m->node[i].kind[0])))
			best = (int)i;
		i++;
	}
	return best;
}

static void read_slit(struct sv_machine *m)
{
	struct hwloc_distances_s *d = NULL;
	unsigned nr = 1;

	if (hwloc_distances_get_by_type(m->topo, HWLOC_OBJ_NUMANODE, &nr, &d,
		    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) < 0 || !nr || !d)
		return;
	if (d->nbobjs == m->nodes)
		m->slit = calloc((size_t)m->nodes * m->nodes, sizeof(*m->slit));
	for (unsigned i = 0; m->slit && i < m->nodes; i++)
		for (unsigned k = 0; k < m->nodes; k++) {
			unsigned a = d->objs[i]->logical_index, b = d->objs[k]->logical_index;

			if (a < m->nodes && b < m->nodes)
				m->slit[a * m->nodes + b] = (float)d->values[i * m->nodes + k];
		}
	hwloc_distances_release(m->topo, d);
}

/* Kinds of cores as the platform ranks them: rank 0 is the fastest. */
static unsigned rank_of(struct sv_machine *m, hwloc_obj_t pu, int kinds)
{
	int kind = kinds > 1 ? hwloc_cpukinds_get_by_cpuset(m->topo, pu->cpuset, 0) : -1;
	int efficiency = -1;

	if (kind < 0 || hwloc_cpukinds_get_info(m->topo, (unsigned)kind, NULL, &efficiency, NULL, NULL,
				0) < 0 || efficiency < 0)
		return 0;
	return (unsigned)(kinds - 1 - efficiency);
}

static void name_domain(struct sv_domain *d, hwloc_obj_t o)
{
	const char *type = hwloc_obj_type_string(o->type);

	if (shares_cache(o->type) || o->type == HWLOC_OBJ_L2CACHE)
		snprintf(d->name, sizeof(d->name), "L%u %u", o->attr->cache.depth, o->logical_index);
	else if (o->type == HWLOC_OBJ_GROUP && o->memory_first_child)
		snprintf(d->name, sizeof(d->name), "node %u", o->memory_first_child->os_index);
	else if (o->type == HWLOC_OBJ_MACHINE)
		snprintf(d->name, sizeof(d->name), "machine");
	else
		snprintf(d->name, sizeof(d->name), "%c%s %u", type[0] | 0x20, type + 1, o->logical_index);
}

/* The flat list of cores; *scope[i]: the object that core i's domain is. */
static int read_cores(struct sv_machine *m, hwloc_obj_t *scope)
{
	hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(m->topo);
	bool any_l3 = hwloc_get_nbobjs_by_type(m->topo, HWLOC_OBJ_L3CACHE) > 0;
	int kinds = hwloc_cpukinds_get_nr(m->topo, 0);
	hwloc_obj_t pu = NULL, last = NULL;

	while ((pu = hwloc_get_next_obj_by_type(m->topo, HWLOC_OBJ_PU, pu))) {
		hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(m->topo, HWLOC_OBJ_CORE, pu);
		struct sv_core *c = &m->core[m->cores];

		if (!hwloc_bitmap_isset(allowed, pu->os_index))
			continue;
		m->cpus++;
		if (core && core == last) {
			c--;
			if (c->threads < SV_CORE_THREADS)
				c->cpu[c->threads++] = (int)pu->os_index;
			m->smt = true;
			continue;
		}
		last = core;
		if (m->cores == SV_MACHINE_CORES)
			return -E2BIG;
		*c = (struct sv_core){.cpu = {(int)pu->os_index},
			.threads = 1,
			.l2 = id_of(m->topo, pu, HWLOC_OBJ_L2CACHE),
			.l3 = id_of(m->topo, pu, HWLOC_OBJ_L3CACHE),
			.package = id_of(m->topo, pu, HWLOC_OBJ_PACKAGE),
			.node = node_of(m, pu),
			.rank = rank_of(m, pu, kinds)};
		m->hybrid |= c->rank > 0;
		if (c->node >= 0)
			m->node[c->node].cores++;
		scope[m->cores++] = scope_of(m->topo, pu, any_l3);
	}
	for (unsigned i = 0; i < m->cores; i++)
		for (unsigned k = 1; k < m->core[i].threads; k++)
			for (unsigned j = k; j && m->core[i].cpu[j] < m->core[i].cpu[j - 1]; j--) {
				int swap = m->core[i].cpu[j];

				m->core[i].cpu[j] = m->core[i].cpu[j - 1];
				m->core[i].cpu[j - 1] = swap;
			}
	return 0;
}

/* Cores with the same scope form a domain, in the order of their first cores. */
static int make_domains(struct sv_machine *m, hwloc_obj_t *scope, hwloc_obj_t *of_domain)
{
	m->domain = calloc(m->cores, sizeof(*m->domain));
	if (!m->domain)
		return -ENOMEM;
	for (unsigned i = 0; i < m->cores; i++) {
		struct sv_domain *d;
		unsigned k = m->domains;

		while (k && of_domain[k - 1] != scope[i])
			k--;
		if (!k) {
			of_domain[m->domains] = scope[i];
			k = ++m->domains;
			d = &m->domain[k - 1];
			name_domain(d, scope[i]);
			d->node = m->core[i].node;
			d->package = m->core[i].package;
			d->flat = true;
			d->core = malloc(m->cores * sizeof(*d->core));
			if (!d->core)
				return -ENOMEM;
		}
		d = &m->domain[k - 1];
		d->core[d->cores++] = i;
		d->flat &= m->core[i].l3 >= 0 && m->core[i].l3 == m->core[d->core[0]].l3 &&
			   (d->cores == 1 || m->core[i].l2 < 0 ||
				   m->core[i].l2 != m->core[d->core[d->cores - 2]].l2);
		m->core[i].domain = k - 1;
	}
	for (unsigned k = 0; k < m->domains; k++) {
		struct sv_domain *d = &m->domain[k];
		unsigned *fit = realloc(d->core, d->cores * sizeof(*fit));

		if (fit)
			d->core = fit;
	}
	return 0;
}

static int add_region(struct sv_machine *m, const unsigned *domain, unsigned n)
{
	struct sv_region *r = &m->region[m->regions];

	for (unsigned i = 0; i < m->regions; i++)
		if (m->region[i].domains == n &&
			!memcmp(m->region[i].domain, domain, n * sizeof(*domain)))
			return 0;
	r->domain = malloc(n * sizeof(*domain));
	if (!r->domain)
		return -ENOMEM;
	memcpy(r->domain, domain, n * sizeof(*domain));
	r->domains = n;
	for (unsigned i = 0; i < n; i++)
		r->cores += m->domain[domain[i]].cores;
	m->regions++;
	return 0;
}

static int by_size(const void *a, const void *b)
{
	const struct sv_region *x = a, *y = b;

	if (x->cores != y->cores)
		return x->cores < y->cores ? -1 : 1;
	return x->domain[0] < y->domain[0] ? -1 : x->domain[0] > y->domain[0];
}

/* Every domain, and the domains below every object above them. */
static int make_regions(struct sv_machine *m, hwloc_obj_t *of_domain)
{
	unsigned *below = malloc(m->domains * sizeof(*below));
	unsigned depth = (unsigned)hwloc_topology_get_depth(m->topo);
	hwloc_obj_t *done;
	size_t ndone = 0;
	int rc = 0;

	m->region = calloc((size_t)m->domains * (depth + 1) + 1, sizeof(*m->region));
	done = malloc(((size_t)m->domains * depth + 1) * sizeof(*done));
	if (!m->region || !done || !below) {
		free(below);
		free(done);
		return -ENOMEM;
	}
	for (unsigned d = 0; d < m->domains && rc == 0; d++)
		rc = add_region(m, &d, 1);
	for (unsigned d = 0; d < m->domains && rc == 0; d++)
		for (hwloc_obj_t o = of_domain[d]; o && rc == 0; o = o->parent) {
			unsigned n = 0;
			size_t k = ndone;

			while (k && done[k - 1] != o)
				k--;
			if (k)
				break; /* and all above it */
			done[ndone++] = o;
			for (unsigned i = 0; i < m->domains; i++)
				if (hwloc_bitmap_isincluded(of_domain[i]->cpuset, o->cpuset))
					below[n++] = i;
			rc = add_region(m, below, n);
		}
	free(below);
	free(done);
	qsort(m->region, m->regions, sizeof(*m->region), by_size);
	return rc;
}

static void identify(struct sv_machine *m)
{
	hwloc_obj_t pkg = hwloc_get_obj_by_type(m->topo, HWLOC_OBJ_PACKAGE, 0);
	const char *model = pkg ? hwloc_obj_get_info_by_name(pkg, "CPUModel") : NULL;

	snprintf(m->identity, sizeof(m->identity), "%.60s, %u CPUs, %u cores, %u nodes",
		model ? model : "unknown CPU", m->cpus, m->cores, m->nodes);
}

int sv_machine_from(hwloc_topology_t topo, const char *name, struct sv_machine **out,
	struct sv_error *err)
{
	int pus = hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_PU), rc = -ENOMEM;
	hwloc_obj_t *scope = calloc(pus > 0 ? (size_t)pus : 1, sizeof(*scope));
	hwloc_obj_t *of_domain = calloc(pus > 0 ? (size_t)pus : 1, sizeof(*of_domain));
	struct sv_machine *m = calloc(1, sizeof(*m));

	if (m) {
		m->topo = topo;
		snprintf(m->name, sizeof(m->name), "%s", name);
		m->core = calloc(pus > 0 ? (size_t)pus + 1 : 2, sizeof(*m->core));
	} else {
		hwloc_topology_destroy(topo);
	}
	if (m && m->core && scope && of_domain) {
		rc = read_nodes(m);
		if (rc == 0)
			rc = read_cores(m, scope);
		if (rc == 0 && !m->cores)
			rc = -ENODATA;
		if (rc == 0)
			rc = make_domains(m, scope, of_domain);
		if (rc == 0)
			rc = make_regions(m, of_domain);
		if (rc == 0) {
			int n = hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_PACKAGE);

			m->packages = n > 0 ? (unsigned)n : 1;
			read_slit(m);
			identify(m);
		}
	}
	free(scope);
	free(of_domain);
	if (rc < 0) {
		sv_machine_free(m);
		if (rc == -ENODATA)
			return sv_fail(err, EINVAL, "%s: no usable CPU in this topology", name);
		if (rc == -E2BIG)
			return sv_fail(err, EINVAL, "%s: more than %u cores", name, SV_MACHINE_CORES);
		return sv_fail(err, ENOMEM, "%s: out of memory", name);
	}
	*out = m;
	return 0;
}

void sv_machine_free(struct sv_machine *m)
{
	if (!m)
		return;
	for (unsigned i = 0; m->domain && i < m->domains; i++)
		free(m->domain[i].core);
	for (unsigned i = 0; m->region && i < m->regions; i++)
		free(m->region[i].domain);
	if (m->measured) {
		free(m->measured->cpu);
		free(m->measured->ns);
		free(m->measured);
	}
	free(m->domain);
	free(m->region);
	free(m->core);
	free(m->node);
	free(m->slit);
	hwloc_topology_destroy(m->topo);
	free(m);
}

int sv_machine_core_of(const struct sv_machine *m, int os)
{
	for (unsigned i = 0; i < m->cores; i++)
		for (unsigned k = 0; k < m->core[i].threads; k++)
			if (m->core[i].cpu[k] == os)
				return (int)i;
	return -1;
}
