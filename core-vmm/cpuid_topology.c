/* SPDX-License-Identifier: BSD-3-Clause */
/* The leaves of CPUID that tell the topology: caches, levels. */
#include "cpuid_edit.h"

#define LEVEL_THREAD 1u
#define LEVEL_CORE 2u
#define LEVEL_DIE 5u
#define AMD_CORE 1u /* of leaf 0x80000026 */
#define AMD_COMPLEX 2u
#define AMD_DIE 3u
#define AMD_SOCKET 4u

/* --- caches ---------------------------------------------------------------------------------- */

#define CACHE_TYPE(eax) ((eax) & 0x1f)
#define CACHE_LEVEL(eax) ((eax) >> 5 & 7)
#define CACHE_SELF_INIT (1u << 8)
#define CACHE_INSTRUCTIONS 2u
#define CACHES_MAX (SV_MAX_CACHES + 1)

static uint64_t cache_bytes(const struct kvm_cpuid_entry2 *c)
{
	return ((c->ebx & 0xfff) + 1ull) * ((c->ebx >> 12 & 0x3ff) + 1ull) * ((c->ebx >> 22) + 1ull) *
	       (c->ecx + 1ull);
}

/*
 * Who shares a cache: a thread's core level 1, an L2 level 2, and so on, as the fields of APIC ids
 * are. The span of ids, less one. Linux 6.1 takes the span of a shared L3 on AMD from a number that
 * is one too small: with four at least it comes to the same.
 */
static uint32_t cache_span(const struct sv_cpuid_edit *e, uint32_t level)
{
	const struct sv_apic_widths *w = &e->shape.w;
	unsigned bits = w->thread;

	if (level >= 2)
		bits += w->core;
	if (level >= 3)
		bits += w->l2;
	if (level >= 4)
		bits += w->l3;
	if (level >= 3 && !e->shape.several_l3s && e->shape.package_threads > 1 && bits < 2)
		bits = 2;
	return sv_cpuid_least((1u << bits) - 1, 0xfff);
}

/* As KVM has it where that agrees with what is known of @c. */
static void set_geometry(struct kvm_cpuid_entry2 *out, const struct sv_cache *c)
{
	uint64_t line = c->line ? c->line : 64, ways = c->ways ? c->ways : 8, sets;

	if (CACHE_TYPE(out->eax) && cache_bytes(out) == c->bytes &&
		(!c->line || c->line == (out->ebx & 0xfff) + 1) &&
		(!c->ways || c->ways == (out->ebx >> 22) + 1))
		return;
	if (ways > 1024 || line > 4096 || c->bytes % (line * ways))
		ways = 1;
	sets = c->bytes / (line * ways);
	out->eax = CACHE_SELF_INIT;
	out->ebx = (uint32_t)((line - 1) | (ways - 1) << 22);
	out->ecx = (uint32_t)(sets ? sets - 1 : 0);
	out->edx = 0;
}

static const struct kvm_cpuid_entry2 *cache_of_kvm(const struct sv_cpuid_edit *e, uint32_t function,
	uint32_t level, uint32_t type)
{
	for (unsigned i = 0; i < e->t->nent; i++) {
		const struct kvm_cpuid_entry2 *c = &e->t->entries[i];

		if (c->function == function && CACHE_LEVEL(c->eax) == level &&
			CACHE_TYPE(c->eax) == type)
			return c;
	}
	return NULL;
}

/*
 * The caches of @function that the guest is told, at most CACHES_MAX. Those of instructions are
 * KVM's where nobody looked at them. Return: how many.
 */
static unsigned choose_caches(const struct sv_cpuid_edit *e, uint32_t function,
	struct kvm_cpuid_entry2 *out)
{
	const struct kvm_cpuid_entry2 *code = cache_of_kvm(e, function, 1, CACHE_INSTRUCTIONS);
	unsigned n = 0;

	for (unsigned i = 0; i < e->caches->n; i++)
		if (e->caches->cache[i].type == CACHE_INSTRUCTIONS)
			code = NULL;
	for (unsigned i = 0; i < e->caches->n; i++) {
		const struct sv_cache *c = &e->caches->cache[i];
		const struct kvm_cpuid_entry2 *old = cache_of_kvm(e, function, c->level, c->type);

		out[n] = old ? *old : (struct kvm_cpuid_entry2){.function = function};
		set_geometry(&out[n], c);
		out[n].eax = (out[n].eax & ~0xffu) | c->type | (uint32_t)c->level << 5;
		n++;
		if (c->level == 1 && code)
			out[n++] = *code;
		code = c->level == 1 ? NULL : code;
	}
	return n;
}

static void replace_caches(struct sv_cpuid_edit *e, uint32_t function)
{
	struct kvm_cpuid_entry2 chosen[CACHES_MAX];
	unsigned n;

	if (!e->caches->n || !sv_cpuid_find(e, function, 0))
		return;
	n = choose_caches(e, function, chosen);
	sv_cpuid_drop(e, function);
	for (unsigned i = 0; i < n; i++)
		sv_cpuid_put(e, function, i, true, chosen[i].eax, chosen[i].ebx, chosen[i].ecx,
			chosen[i].edx);
	sv_cpuid_put(e, function, n, true, 0, 0, 0, 0);
}

/* Leaf 4 of Intel, 0x8000001d of AMD. */
void sv_cpuid_caches(struct sv_cpuid_edit *e, uint32_t function)
{
	uint32_t cores = sv_cpuid_least((1u << (e->shape.package_width - e->shape.w.thread)) - 1, 63);

	replace_caches(e, function);
	for (unsigned i = 0; i < e->t->nent; i++) {
		struct kvm_cpuid_entry2 *c = &e->t->entries[i];

		if (c->function != function || !CACHE_TYPE(c->eax))
			continue;
		c->eax = (c->eax & 0x3fff) | cache_span(e, CACHE_LEVEL(c->eax)) << 14;
		if (function == 4)
			c->eax |= cores << 26;
	}
}

/* --- levels ---------------------------------------------------------------------------------- */

static void put_level(struct sv_cpuid_edit *e, uint32_t leaf, uint32_t index, uint32_t type,
	uint32_t shift, uint32_t threads)
{
	sv_cpuid_put(e, leaf, index, true, shift, threads, index | type << 8, e->apic_id);
}

void sv_cpuid_levels(struct sv_cpuid_edit *e)
{
	const struct sv_shape *s = &e->shape;

	sv_cpuid_drop(e, 0xb);
	sv_cpuid_drop(e, 0x1f);
	sv_cpuid_raise(e, 0, 0xb);
	put_level(e, 0xb, 0, LEVEL_THREAD, s->w.thread, s->core_threads);
	put_level(e, 0xb, 1, LEVEL_CORE, s->package_width, s->package_threads);
	put_level(e, 0xb, 2, 0, 0, 0);
	if (sv_cpuid_is_amd(e) || s->package_dies < 2)
		return;
	sv_cpuid_raise(e, 0, 0x1f);
	put_level(e, 0x1f, 0, LEVEL_THREAD, s->w.thread, s->core_threads);
	put_level(e, 0x1f, 1, LEVEL_CORE, s->package_width - s->w.die, s->die_threads);
	put_level(e, 0x1f, 2, LEVEL_DIE, s->package_width, s->package_threads);
	put_level(e, 0x1f, 3, 0, 0, 0);
}

/* Core and node in the old way, and, for several dies, the extended topology of newer models. */
void sv_cpuid_amd_levels(struct sv_cpuid_edit *e)
{
	const struct sv_shape *s = &e->shape;
	unsigned core = (e->apic_id & ((1u << s->package_width) - 1)) >> s->w.thread;
	unsigned die = e->place.package * s->package_dies + e->place.die;

	sv_cpuid_raise(e, 0x80000000, 0x8000001e);
	sv_cpuid_put(e, 0x8000001e, 0, false, e->apic_id, (core & 0xff) | (s->core_threads - 1) << 8,
		(die & 0xff) | sv_cpuid_least(s->package_dies - 1, 7) << 8, 0);
	sv_cpuid_drop(e, 0x80000026);
	if (s->package_dies < 2)
		return;
	sv_cpuid_raise(e, 0x80000000, 0x80000026);
	put_level(e, 0x80000026, 0, AMD_CORE, s->w.thread, s->core_threads);
	put_level(e, 0x80000026, 1, AMD_COMPLEX, s->w.thread + s->w.core + s->w.l2, s->l3_threads);
	put_level(e, 0x80000026, 2, AMD_DIE, s->package_width - s->w.die, s->die_threads);
	put_level(e, 0x80000026, 3, AMD_SOCKET, s->package_width, s->package_threads);
	put_level(e, 0x80000026, 4, 0, 0, 0);
}
