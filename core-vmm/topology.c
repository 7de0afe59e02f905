/* SPDX-License-Identifier: BSD-3-Clause */
#include "topology.h"

#include "layout.h"

#define HUGE_2M 0x200000ull
#define L3_BITS_LEAST 3u

struct sv_place sv_place_of(const struct sv_topology *t, unsigned vcpu)
{
	struct sv_place p = {0};

	if (t->placed)
		return vcpu < t->placed ? t->place[vcpu] : p;
	p.thread = (uint16_t)(vcpu % t->threads);
	p.l2 = (uint16_t)(vcpu / t->threads % t->cores);
	p.die = (uint16_t)(vcpu / t->threads / t->cores % t->dies);
	p.package = (uint16_t)(vcpu / t->threads / t->cores / t->dies);
	return p;
}

/* The highest number of each level. */
static struct sv_place highest(const struct sv_topology *t)
{
	struct sv_place h = {0};

	if (!t->placed) {
		h.package = (uint16_t)(t->sockets - 1);
		h.die = (uint16_t)(t->dies - 1);
		h.l2 = (uint16_t)(t->cores - 1);
		h.thread = (uint16_t)(t->threads - 1);
	}
	for (unsigned i = 0; i < t->placed; i++) {
		const struct sv_place *p = &t->place[i];

		h.package = p->package > h.package ? p->package : h.package;
		h.die = p->die > h.die ? p->die : h.die;
		h.l3 = p->l3 > h.l3 ? p->l3 : h.l3;
		h.l2 = p->l2 > h.l2 ? p->l2 : h.l2;
		h.core = p->core > h.core ? p->core : h.core;
		h.thread = p->thread > h.thread ? p->thread : h.thread;
	}
	return h;
}

static bool several_l3s(const struct sv_place *highest)
{
	return highest->package || highest->die || highest->l3;
}

static unsigned width(unsigned highest)
{
	unsigned bits = 0;

	while (highest >> bits)
		bits++;
	return bits;
}

static struct sv_apic_widths widths(const struct sv_place *h)
{
	struct sv_apic_widths w = {
		width(h->thread), width(h->core), width(h->l2), width(h->l3), width(h->die)};

	/*
	 * With several L3s each gets at least three bits: Linux takes the APIC id from bit 3 up for the
	 * number of the L3 on the first Zen models, whatever CPUID says.
	 */
	if (several_l3s(h) && w.thread + w.core + w.l2 < L3_BITS_LEAST)
		w.l2 = L3_BITS_LEAST - w.thread - w.core;
	return w;
}

struct sv_apic_widths sv_apic_widths(const struct sv_topology *t)
{
	struct sv_place h = highest(t);

	return widths(&h);
}

static uint32_t id_of(const struct sv_apic_widths *w, const struct sv_place *p)
{
	uint32_t id = p->package;

	id = id << w->die | p->die;
	id = id << w->l3 | p->l3;
	id = id << w->l2 | p->l2;
	id = id << w->core | p->core;
	return id << w->thread | p->thread;
}

uint32_t sv_apic_id(const struct sv_topology *t, unsigned vcpu)
{
	struct sv_apic_widths w = sv_apic_widths(t);
	struct sv_place p = sv_place_of(t, vcpu);

	return id_of(&w, &p);
}

uint32_t sv_max_apic_id(const struct sv_topology *t, unsigned vcpus)
{
	struct sv_apic_widths w = sv_apic_widths(t);
	uint32_t max = 0;

	for (unsigned i = 0; i < vcpus; i++) {
		struct sv_place p = sv_place_of(t, i);
		uint32_t id = id_of(&w, &p);

		max = id > max ? id : max;
	}
	return max;
}

static void count_threads(const struct sv_topology *t, const struct sv_place *mine,
	struct sv_shape *s)
{
	uint16_t in_package[SV_MAX_VCPUS] = {0};

	s->package_threads = 1;
	for (unsigned i = 0; i < t->placed; i++) {
		const struct sv_place *p = &t->place[i];
		bool my_die = p->package == mine->package && p->die == mine->die;
		unsigned n = ++in_package[p->package % SV_MAX_VCPUS];

		s->package_threads = n > s->package_threads ? n : s->package_threads;
		s->die_threads += my_die;
		s->l3_threads += my_die && p->l3 == mine->l3;
	}
}

struct sv_shape sv_topology_shape(const struct sv_topology *t, unsigned vcpu)
{
	struct sv_place h = highest(t), mine = sv_place_of(t, vcpu);
	struct sv_shape s = {.w = widths(&h),
		.core_threads = h.thread + 1u,
		.package_dies = h.die + 1u,
		.several_l3s = several_l3s(&h)};

	s.package_width = s.w.thread + s.w.core + s.w.l2 + s.w.l3 + s.w.die;
	if (t->placed) {
		count_threads(t, &mine, &s);
	} else {
		s.die_threads = s.l3_threads = t->cores * t->threads;
		s.package_threads = t->dies * s.die_threads;
	}
	s.max_apic_id = sv_max_apic_id(t,
		t->placed ? t->placed : t->sockets * s.package_threads);
	return s;
}

/* --- nodes ----------------------------------------------------------------------------------- */

unsigned sv_nodes(const struct sv_vm *vm)
{
	return vm->config->topology.nodes ? vm->config->topology.nodes : 1;
}

unsigned sv_node_of_vcpu(const struct sv_vm *vm, unsigned vcpu)
{
	const struct sv_topology *t = &vm->config->topology;

	if (t->placed)
		return sv_place_of(t, vcpu).node;
	return vcpu * sv_nodes(vm) / vm->nvcpus;
}

/* Where the RAM of a node begins, counted over all RAM. Split in whole 2 MiB. */
static uint64_t node_begin(const struct sv_vm *vm, unsigned node)
{
	const struct sv_topology *t = &vm->config->topology;
	uint64_t total = vm->ram_low_bytes + vm->ram_high_bytes, given = 0, at = 0;

	if (node >= sv_nodes(vm))
		return total;
	for (unsigned i = 0; i < sv_nodes(vm); i++)
		given |= t->node_bytes[i];
	if (!given)
		return node * (total / sv_nodes(vm) & ~(HUGE_2M - 1));
	for (unsigned i = 0; i < node; i++)
		at += t->node_bytes[i] & ~(HUGE_2M - 1);
	return at < total ? at : total;
}

uint64_t sv_node_bytes(const struct sv_vm *vm, unsigned node)
{
	return node_begin(vm, node + 1) - node_begin(vm, node);
}

void sv_node_memory_range(const struct sv_vm *vm, unsigned node, unsigned piece, uint64_t *gpa,
	uint64_t *bytes)
{
	uint64_t first = node_begin(vm, node), end = node_begin(vm, node + 1);

	if (piece == 0) {
		end = end < vm->ram_low_bytes ? end : vm->ram_low_bytes;
		*gpa = first;
	} else {
		first = first > vm->ram_low_bytes ? first : vm->ram_low_bytes;
		*gpa = LAYOUT_HIGH + (first - vm->ram_low_bytes);
	}
	*bytes = end > first ? end - first : 0;
}
