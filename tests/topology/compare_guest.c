/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is what a guest sees the truth? Compares the topology that lstopo wrote in a guest with the part of
 * the host's that hwloc leaves when it is restricted to the vCPUs' CPUs: packages, dies, caches with their
 * sizes, cores, threads, NUMA nodes with their distances and figures. Guest CPU i stands for vCPU i.
 *
 * usage: compare_guest GUEST.xml CPU,CPU... [HOST.xml]
 * Exit status: 0 the same, 1 not (the differences are printed), 2 wrong usage.
 */
#include <hwloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VCPUS 1024u
#define LINES 8192u
#define LINE 256u

struct facts {
	unsigned n;
	char line[LINES][LINE];
};

static int vcpu_of[65536]; /* of each CPU of the machine that is being looked at; -1: none */

static hwloc_topology_t load(const char *xml)
{
	hwloc_topology_t t;

	if (hwloc_topology_init(&t) < 0 || (xml && hwloc_topology_set_xml(t, xml) < 0))
		return NULL;
	hwloc_topology_set_all_types_filter(t, HWLOC_TYPE_FILTER_KEEP_ALL);
	if (!xml)
		hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
	return hwloc_topology_load(t) < 0 ? NULL : t;
}

/* The vCPUs of a set of CPUs, as a list. */
static const char *vcpus(hwloc_const_cpuset_t set)
{
	static char text[4][128];
	static unsigned turn;
	char *s = text[turn++ % 4];
	hwloc_bitmap_t of = hwloc_bitmap_alloc();
	int cpu = -1;

	while ((cpu = hwloc_bitmap_next(set, cpu)) >= 0)
		if (vcpu_of[cpu] >= 0)
			hwloc_bitmap_set(of, (unsigned)vcpu_of[cpu]);
	hwloc_bitmap_list_snprintf(s, sizeof(text[0]), of);
	hwloc_bitmap_free(of);
	return s;
}

static void add(struct facts *f, const char *text)
{
	if (f->n < LINES)
		snprintf(f->line[f->n++], LINE, "%s", text);
}

static void add_object(struct facts *f, hwloc_topology_t t, hwloc_obj_t o)
{
	hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_PACKAGE, o);
	const struct hwloc_cache_attr_s *c = &o->attr->cache;
	char text[LINE], name[32];

	/* One die to a package is no news. */
	if (o->type == HWLOC_OBJ_DIE && package && hwloc_bitmap_isequal(o->cpuset, package->cpuset))
		return;
	hwloc_obj_type_snprintf(name, sizeof(name), o, 0);
	if (hwloc_obj_type_is_cache(o->type))
		snprintf(text, sizeof(text), "%s of vCPUs %s: %llu KiB, lines of %u, %d ways", name,
			vcpus(o->cpuset), (unsigned long long)c->size >> 10, c->linesize,
			c->associativity);
	else
		snprintf(text, sizeof(text), "%s of vCPUs %s", name, vcpus(o->cpuset));
	add(f, text);
}

static void add_objects(struct facts *f, hwloc_topology_t t)
{
	static const hwloc_obj_type_t types[] = {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_DIE, HWLOC_OBJ_L3CACHE,
		HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L1ICACHE, HWLOC_OBJ_CORE, HWLOC_OBJ_PU,
		HWLOC_OBJ_NUMANODE};

	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		hwloc_obj_t o = NULL;

		while ((o = hwloc_get_next_obj_by_type(t, types[i], o)))
			if (!hwloc_bitmap_iszero(o->cpuset))
				add_object(f, t, o);
	}
}

static void add_distances(struct facts *f, hwloc_topology_t t)
{
	struct hwloc_distances_s *d = NULL;
	unsigned one = 1;
	char text[LINE];

	if (hwloc_distances_get_by_name(t, "NUMALatency", &one, &d, 0) < 0 || !one)
		return;
	for (unsigned i = 0; i < d->nbobjs * d->nbobjs; i++) {
		hwloc_obj_t from = d->objs[i / d->nbobjs], to = d->objs[i % d->nbobjs];

		snprintf(text, sizeof(text), "distance from vCPUs %s to %s: %llu", vcpus(from->cpuset),
			vcpus(to->cpuset), (unsigned long long)d->values[i]);
		add(f, text);
	}
	hwloc_distances_release(t, d);
}

static void add_figures(struct facts *f, hwloc_topology_t t)
{
	static const hwloc_memattr_id_t ids[] = {HWLOC_MEMATTR_ID_READ_LATENCY,
		HWLOC_MEMATTR_ID_WRITE_LATENCY, HWLOC_MEMATTR_ID_READ_BANDWIDTH,
		HWLOC_MEMATTR_ID_WRITE_BANDWIDTH};
	hwloc_obj_t node = NULL;
	char text[LINE];

	while ((node = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, node))) {
		for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
			struct hwloc_location from = {.type = HWLOC_LOCATION_TYPE_CPUSET,
				.location.cpuset = node->cpuset};
			const char *name = "?";
			hwloc_uint64_t v;

			hwloc_memattr_get_name(t, ids[i], &name);
			if (hwloc_memattr_get_value(t, ids[i], node, &from, 0, &v) < 0)
				continue;
			snprintf(text, sizeof(text), "%s of the memory of vCPUs %s: %llu", name,
				vcpus(node->cpuset), (unsigned long long)v);
			add(f, text);
		}
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static struct facts *facts_of(hwloc_topology_t t)
{
	struct facts *f = calloc(1, sizeof(*f));

	if (!f)
		exit(2);
	add_objects(f, t);
	add_distances(f, t);
	add_figures(f, t);
	qsort(f->line, f->n, LINE, by_text);
	return f;
}

static unsigned parse(char *list, int *cpu)
{
	unsigned n = 0;

	for (char *s = strtok(list, ","); s && n < VCPUS; s = strtok(NULL, ","))
		cpu[n++] = atoi(s) & 0xffff;
	return n;
}

static struct facts *expected(const char *xml, const int *cpu, unsigned n)
{
	hwloc_topology_t host = load(xml);
	hwloc_bitmap_t set = hwloc_bitmap_alloc();
	struct facts *f;

	memset(vcpu_of, -1, sizeof(vcpu_of));
	for (unsigned i = 0; i < n; i++) {
		vcpu_of[cpu[i]] = (int)i;
		hwloc_bitmap_set(set, (unsigned)cpu[i]);
	}
	if (!host || hwloc_topology_restrict(host, set, HWLOC_RESTRICT_FLAG_REMOVE_CPULESS) < 0) {
		fprintf(stderr, "compare_guest: the host's topology cannot be read or restricted\n");
		exit(2);
	}
	f = facts_of(host);
	hwloc_bitmap_free(set);
	hwloc_topology_destroy(host);
	return f;
}

static struct facts *seen(const char *xml, unsigned n)
{
	hwloc_topology_t guest = load(xml);
	struct facts *f;

	memset(vcpu_of, -1, sizeof(vcpu_of));
	for (unsigned i = 0; i < n; i++)
		vcpu_of[i] = (int)i;
	if (!guest) {
		fprintf(stderr, "compare_guest: %s: no topology\n", xml);
		exit(2);
	}
	f = facts_of(guest);
	hwloc_topology_destroy(guest);
	return f;
}

int main(int argc, char **argv)
{
	static int cpu[VCPUS];
	unsigned n = argc >= 3 ? parse(argv[2], cpu) : 0, i = 0, k = 0, wrong = 0;
	struct facts *want, *got;

	if (!n) {
		fprintf(stderr, "usage: compare_guest GUEST.xml CPU,CPU... [HOST.xml]\n");
		return 2;
	}
	want = expected(argc > 3 ? argv[3] : NULL, cpu, n);
	got = seen(argv[1], n);
	while (i < want->n || k < got->n) {
		int c = i == want->n ? 1 : k == got->n ? -1 : strcmp(want->line[i], got->line[k]);

		wrong += c != 0;
		if (c < 0)
			printf("missing: %s\n", want->line[i]);
		if (c > 0)
			printf("too much: %s\n", got->line[k]);
		i += c <= 0;
		k += c >= 0;
	}
	printf("%u facts about %u vCPUs, %u wrong\n", want->n, n, wrong);
	free(want);
	free(got);
	return wrong ? 1 : 0;
}
