/* SPDX-License-Identifier: BSD-3-Clause */
#include "cpuid.h"

#include <asm/kvm_para.h>
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "acpi.h"

#define VENDOR_INTEL 0x756e6547u /* EBX of leaf 0: "Genu" */
#define VENDOR_AMD 0x68747541u	 /* "Auth" */
#define VENDOR_HYGON 0x6f677948u /* "Hygo" */

#define LEAF1_ECX_MWAIT (1u << 3)
#define LEAF1_ECX_VMX (1u << 5)
#define LEAF1_ECX_CX16 (1u << 13)
#define LEAF1_ECX_PDCM (1u << 15)
#define LEAF1_ECX_X2APIC (1u << 21)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR (1u << 31)
#define LEAF1_EDX_HTT (1u << 28)
#define LEAF7_EBX_SGX (1u << 2)
#define LEAF7_ECX_SGX_LC (1u << 30)
#define EXT1_ECX_CMP_LEGACY (1u << 1)
#define EXT1_ECX_SVM (1u << 2)
#define EXT1_ECX_TOPOEXT (1u << 22)

#define LEVEL_THREAD 1u
#define LEVEL_CORE 2u
#define LEVEL_DIE 5u
#define AMD_CORE 1u /* of leaf 0x80000026 */
#define AMD_COMPLEX 2u
#define AMD_DIE 3u
#define AMD_SOCKET 4u

#define LEAF_BRAND 0x80000002u /* and the two that follow: the name of the processor */
#define LEAF_KVM KVM_CPUID_SIGNATURE
#define LEAF_KVM_FEATURES KVM_CPUID_FEATURES
#define LEAF_KVM_FREQUENCY 0x40000010u
#define APIC_BUS_HZ 1000000000ull /* KVM's local APIC timer counts nanoseconds */

struct edit {
	const struct sv_vm *vm;
	struct sv_place place;
	struct sv_shape shape;
	const struct sv_caches *caches; /* n 0: KVM's */
	unsigned vcpu, capacity;
	uint32_t apic_id, vendor;
	struct kvm_cpuid2 *t;
	bool full; /* a leaf did not fit */
};

static struct kvm_cpuid_entry2 *find(struct edit *e, uint32_t function, uint32_t index)
{
	for (unsigned i = 0; i < e->t->nent; i++) {
		struct kvm_cpuid_entry2 *c = &e->t->entries[i];

		if (c->function == function &&
			(!(c->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || c->index == index))
			return c;
	}
	return NULL;
}

static void drop(struct edit *e, uint32_t function)
{
	unsigned n = 0;

	for (unsigned i = 0; i < e->t->nent; i++)
		if (e->t->entries[i].function != function)
			e->t->entries[n++] = e->t->entries[i];
	e->t->nent = n;
}

static void put(struct edit *e, uint32_t function, uint32_t index, bool indexed, uint32_t eax,
	uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	struct kvm_cpuid_entry2 *c = find(e, function, index);

	if (!c && e->t->nent == e->capacity) {
		e->full = true;
		return;
	}
	if (!c)
		c = &e->t->entries[e->t->nent++];
	*c = (struct kvm_cpuid_entry2){.function = function,
		.index = index,
		.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = eax,
		.ebx = ebx,
		.ecx = ecx,
		.edx = edx};
}

static bool is_amd(const struct edit *e)
{
	return e->vendor == VENDOR_AMD || e->vendor == VENDOR_HYGON;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void raise_max_leaf(struct edit *e, uint32_t base, uint32_t least_max)
{
	struct kvm_cpuid_entry2 *c = find(e, base, 0);

	if (c && c->eax < least_max)
		c->eax = least_max;
}

static bool guest_may_mwait(const struct sv_vm *vm)
{
	return vm->caps.mwait_exits && !vm->config->overcommit;
}

static void edit_features(struct edit *e)
{
	struct kvm_cpuid_entry2 *c = find(e, 1, 0), *pmu = find(e, 0xa, 0), *l7 = find(e, 7, 0);

	if (!c)
		return;
	c->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_X2APIC;
	c->ecx &= ~(LEAF1_ECX_VMX | LEAF1_ECX_MWAIT);
	if (guest_may_mwait(e->vm))
		c->ecx |= LEAF1_ECX_MWAIT;
	else
		drop(e, 5);
	c = find(e, 1, 0);
	/* The emulator of that back end, which runs CPL 0, does not know it. */
	if (e->vm->substrate && !strcmp(e->vm->substrate, "kvm_pvm"))
		c->ecx &= ~LEAF1_ECX_CX16;
	if (!pmu || (pmu->eax & 0xff) == 0)
		c->ecx &= ~LEAF1_ECX_PDCM;
	c->ebx = (c->ebx & 0xffff) | e->apic_id << 24 |
		 least(1u << e->shape.package_width, 255) << 16;
	c->edx = e->shape.package_threads > 1 ? c->edx | LEAF1_EDX_HTT : c->edx & ~LEAF1_EDX_HTT;
	l7 = find(e, 7, 0);
	if (l7) {
		l7->ebx &= ~LEAF7_EBX_SGX;
		l7->ecx &= ~LEAF7_ECX_SGX_LC;
	}
	drop(e, 0x12);
}

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
 * are. The span of ids, less one. Linux 6.1 takes the span of a shared L3 on AMD from a number that is one
 * too small: with four at least it comes to the same.
 */
static uint32_t cache_span(const struct edit *e, uint32_t level)
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
	return least((1u << bits) - 1, 0xfff);
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

/* The caches of @function that the guest is told, at most CACHES_MAX. Return: how many. */
static unsigned choose_caches(const struct edit *e, uint32_t function, struct kvm_cpuid_entry2 *out)
{
	const struct kvm_cpuid_entry2 *of_kvm = e->t->entries;
	unsigned n = 0, has_instructions = 0;

	for (unsigned i = 0; i < e->caches->n; i++)
		has_instructions |= e->caches->cache[i].type == CACHE_INSTRUCTIONS;
	for (unsigned i = 0; i < e->caches->n; i++) {
		const struct sv_cache *c = &e->caches->cache[i];
		struct kvm_cpuid_entry2 entry = {.function = function};

		/* hwloc does not look at caches of instructions unless told to. */
		for (unsigned k = 0; k < e->t->nent; k++) {
			uint32_t eax = of_kvm[k].eax;

			if (of_kvm[k].function != function || CACHE_LEVEL(eax) != c->level)
				continue;
			if (CACHE_TYPE(eax) == c->type)
				entry = of_kvm[k];
			else if (!has_instructions && CACHE_TYPE(eax) == CACHE_INSTRUCTIONS)
				out[n + 1] = of_kvm[k];
		}
		set_geometry(&entry, c);
		entry.eax = (entry.eax & ~0xffu) | c->type | (uint32_t)c->level << 5;
		out[n++] = entry;
		if (n < CACHES_MAX && CACHE_TYPE(out[n].eax) == CACHE_INSTRUCTIONS)
			n++;
	}
	return n;
}

static void replace_caches(struct edit *e, uint32_t function)
{
	struct kvm_cpuid_entry2 chosen[CACHES_MAX + 1] = {{0}};
	unsigned n;

	if (!e->caches->n || !find(e, function, 0))
		return;
	n = choose_caches(e, function, chosen);
	drop(e, function);
	for (unsigned i = 0; i < n; i++)
		put(e, function, i, true, chosen[i].eax, chosen[i].ebx, chosen[i].ecx, chosen[i].edx);
	put(e, function, n, true, 0, 0, 0, 0);
}

/* Leaf 4 of Intel, 0x8000001d of AMD. */
static void edit_caches(struct edit *e, uint32_t function)
{
	uint32_t cores = least((1u << (e->shape.package_width - e->shape.w.thread)) - 1, 63);

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

static void put_level(struct edit *e, uint32_t leaf, uint32_t index, uint32_t type, uint32_t shift,
	uint32_t threads)
{
	put(e, leaf, index, true, shift, threads, index | type << 8, e->apic_id);
}

static void edit_levels(struct edit *e)
{
	const struct sv_shape *s = &e->shape;

	drop(e, 0xb);
	drop(e, 0x1f);
	raise_max_leaf(e, 0, 0xb);
	put_level(e, 0xb, 0, LEVEL_THREAD, s->w.thread, s->core_threads);
	put_level(e, 0xb, 1, LEVEL_CORE, s->package_width, s->package_threads);
	put_level(e, 0xb, 2, 0, 0, 0);
	if (is_amd(e) || s->package_dies < 2)
		return;
	raise_max_leaf(e, 0, 0x1f);
	put_level(e, 0x1f, 0, LEVEL_THREAD, s->w.thread, s->core_threads);
	put_level(e, 0x1f, 1, LEVEL_CORE, s->package_width - s->w.die, s->die_threads);
	put_level(e, 0x1f, 2, LEVEL_DIE, s->package_width, s->package_threads);
	put_level(e, 0x1f, 3, 0, 0, 0);
}

/* Core and node in the old way, and, for several dies, the extended topology of newer models. */
static void put_amd_levels(struct edit *e)
{
	const struct sv_shape *s = &e->shape;
	unsigned core = (e->apic_id & ((1u << s->package_width) - 1)) >> s->w.thread;
	unsigned die = e->place.package * s->package_dies + e->place.die;

	raise_max_leaf(e, 0x80000000, 0x8000001e);
	put(e, 0x8000001e, 0, false, e->apic_id, (core & 0xff) | (s->core_threads - 1) << 8,
		(die & 0xff) | least(s->package_dies - 1, 7) << 8, 0);
	drop(e, 0x80000026);
	if (s->package_dies < 2)
		return;
	raise_max_leaf(e, 0x80000000, 0x80000026);
	put_level(e, 0x80000026, 0, AMD_CORE, s->w.thread, s->core_threads);
	put_level(e, 0x80000026, 1, AMD_COMPLEX, s->w.thread + s->w.core + s->w.l2, s->l3_threads);
	put_level(e, 0x80000026, 2, AMD_DIE, s->package_width - s->w.die, s->die_threads);
	put_level(e, 0x80000026, 3, AMD_SOCKET, s->package_width, s->package_threads);
	put_level(e, 0x80000026, 4, 0, 0, 0);
}

static void edit_amd(struct edit *e)
{
	struct kvm_cpuid_entry2 *c, *size;

	drop(e, 0x8000000a);
	drop(e, 0x8000001f);
	c = find(e, 0x80000001, 0);
	if (c)
		c->ecx &= ~(EXT1_ECX_SVM | EXT1_ECX_CMP_LEGACY);
	if (!is_amd(e))
		return;
	if (c && e->shape.package_threads > 1)
		c->ecx |= EXT1_ECX_CMP_LEGACY;
	size = find(e, 0x80000008, 0);
	if (size)
		size->ecx = (size->ecx & ~0xf0ffu) | least(e->shape.package_threads - 1, 255) |
			    least(e->shape.package_width, 15) << 12;
	if (!find(e, 0x8000001d, 0))
		return;
	if (c)
		c->ecx |= EXT1_ECX_TOPOEXT;
	edit_caches(e, 0x8000001d);
	put_amd_levels(e);
}

/*
 * The fraction n/d nearest to a/b with n at most @max, by continued fraction: guests multiply n by
 * the crystal's kHz in 32 bits.
 */
static void fraction(uint64_t a, uint64_t b, uint64_t max, uint32_t *n, uint32_t *d)
{
	uint64_t n0 = 0, d0 = 1, n1 = 1, d1 = 0;

	while (b) {
		uint64_t q = a / b, r = a % b, n2 = q * n1 + n0, d2 = q * d1 + d0;

		if (n2 > max)
			break;
		n0 = n1, d0 = d1, n1 = n2, d1 = d2;
		a = b, b = r;
	}
	*n = (uint32_t)n1;
	*d = (uint32_t)d1;
}

static void edit_frequency(struct edit *e)
{
	uint32_t n, d;

	drop(e, 0x15);
	if (!e->vm->tsc_hz)
		return;
	put(e, LEAF_KVM_FREQUENCY, 0, false, (uint32_t)(e->vm->tsc_hz / 1000), APIC_BUS_HZ / 1000, 0,
		0);
	if (is_amd(e))
		return;
	/* The crystal is what the local APIC timer counts, as on hardware. */
	fraction(e->vm->tsc_hz, APIC_BUS_HZ, 4000, &n, &d);
	if (n && d) {
		raise_max_leaf(e, 0, 0x15);
		put(e, 0x15, 0, false, d, n, APIC_BUS_HZ, 0);
	}
}

static void edit_kvm(struct edit *e)
{
	struct kvm_cpuid_entry2 *c = find(e, LEAF_KVM_FEATURES, 0);
	uint32_t sig[3];

	memcpy(sig, KVM_SIGNATURE, sizeof(sig));
	put(e, LEAF_KVM, 0, false, LEAF_KVM_FREQUENCY, sig[0], sig[1], sig[2]);
	if (!c)
		return;
	/* A vCPU with a core of its own: nobody is to yield to it, and HLT does not come to KVM. */
	if (!e->vm->config->overcommit) {
		c->eax &= ~(1u << KVM_FEATURE_PV_UNHALT);
		c->edx |= 1u << KVM_HINTS_REALTIME;
	}
	/* MSIs reach the processors above 254 without interrupt remapping: irq.c sees to it. */
	if (e->vm->caps.x2apic_api && e->shape.max_apic_id > 254)
		c->eax |= 1u << KVM_FEATURE_MSI_EXT_DEST_ID;
}

int sv_cpuid_edit(const struct sv_vm *vm, unsigned vcpu, struct kvm_cpuid2 *table,
	unsigned capacity, struct sv_error *err)
{
	const struct sv_topology *topo = &vm->config->topology;
	struct edit e = {.vm = vm,
		.place = sv_place_of(topo, vcpu),
		.shape = sv_topology_shape(topo, vcpu),
		.vcpu = vcpu,
		.capacity = capacity,
		.apic_id = sv_apic_id(topo, vcpu),
		.t = table};
	struct kvm_cpuid_entry2 *c = find(&e, 0, 0);

	if (!c)
		return sv_fail(err, EIO, "vCPU %u: KVM reports no CPUID leaf 0", vcpu);
	e.vendor = c->ebx;
	e.caches = &topo->caches[e.place.caches < SV_MAX_CACHE_SETS ? e.place.caches : 0];
	edit_features(&e);
	edit_caches(&e, 4);
	edit_levels(&e);
	edit_amd(&e);
	edit_kvm(&e);
	edit_frequency(&e);
	if (e.full)
		return sv_fail(err, E2BIG, "vCPU %u: CPUID has more than %u leaves", vcpu, capacity);
	return 0;
}

/* What KVM_GET_SUPPORTED_CPUID leaves to capabilities. */
static void add_capabilities(const struct sv_vm *vm, struct kvm_cpuid2 *t, unsigned capacity)
{
	struct edit e = {.t = t, .capacity = capacity};
	struct kvm_cpuid_entry2 *c = find(&e, 1, 0);
	unsigned eax, ebx, ecx, edx;

	if (c && ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		c->ecx |= LEAF1_ECX_TSC_DEADLINE;
	if (guest_may_mwait(vm) && __get_cpuid(5, &eax, &ebx, &ecx, &edx))
		put(&e, 5, 0, false, eax, ebx, ecx, edx);
	for (uint32_t leaf = LEAF_BRAND; leaf < LEAF_BRAND + 3; leaf++)
		if (__get_cpuid(leaf, &eax, &ebx, &ecx, &edx))
			put(&e, leaf, 0, false, eax, ebx, ecx, edx);
}

int sv_cpuid_build(const struct sv_vm *vm, unsigned vcpu, struct kvm_cpuid2 *out,
	struct sv_error *err)
{
	unsigned capacity = out->nent;

	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, out) < 0)
		return sv_fail(err, errno, "KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	add_capabilities(vm, out, capacity);
	return sv_cpuid_edit(vm, vcpu, out, capacity, err);
}
