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

#define LEAF_KVM KVM_CPUID_SIGNATURE
#define LEAF_KVM_FEATURES KVM_CPUID_FEATURES
#define LEAF_KVM_FREQUENCY 0x40000010u
#define APIC_BUS_HZ 1000000000ull /* KVM's local APIC timer counts nanoseconds */

struct edit {
	const struct sv_vm *vm;
	const struct sv_topology *topo;
	struct sv_apic_widths w;
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

static unsigned package_threads(const struct edit *e)
{
	return e->topo->dies * e->topo->cores * e->topo->threads;
}

static unsigned package_width(const struct edit *e)
{
	return e->w.thread + e->w.core + e->w.die;
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
		 least(1u << package_width(e), 255) << 16;
	c->edx = package_threads(e) > 1 ? c->edx | LEAF1_EDX_HTT : c->edx & ~LEAF1_EDX_HTT;
	l7 = find(e, 7, 0);
	if (l7) {
		l7->ebx &= ~LEAF7_EBX_SGX;
		l7->ecx &= ~LEAF7_ECX_SGX_LC;
	}
	drop(e, 0x12);
}

/*
 * Who shares a cache: the threads of a core share levels 1 and 2, the cores of a die level 3.
 * The field holds the span of APIC ids, less one. Leaf 4 of Intel, 0x8000001d of AMD.
 */
static void edit_caches(struct edit *e, uint32_t function)
{
	uint32_t cores = least((1u << (e->w.core + e->w.die)) - 1, 63);

	for (unsigned i = 0; i < e->t->nent; i++) {
		struct kvm_cpuid_entry2 *c = &e->t->entries[i];
		uint32_t level = c->eax >> 5 & 7, shared;

		if (c->function != function || (c->eax & 0x1f) == 0)
			continue;
		shared = (1u << (level >= 3 ? e->w.thread + e->w.core : e->w.thread)) - 1;
		c->eax = (c->eax & 0x3fff) | least(shared, 0xfff) << 14;
		if (function == 4)
			c->eax |= cores << 26;
	}
}

static void put_level(struct edit *e, uint32_t leaf, uint32_t index, uint32_t type, uint32_t shift,
	uint32_t threads)
{
	put(e, leaf, index, true, shift, threads, index | type << 8, e->apic_id);
}

static void edit_levels(struct edit *e)
{
	const struct sv_topology *t = e->topo;

	drop(e, 0xb);
	drop(e, 0x1f);
	raise_max_leaf(e, 0, 0xb);
	put_level(e, 0xb, 0, LEVEL_THREAD, e->w.thread, t->threads);
	put_level(e, 0xb, 1, LEVEL_CORE, package_width(e), package_threads(e));
	put_level(e, 0xb, 2, 0, 0, 0);
	if (is_amd(e) || t->dies < 2)
		return;
	raise_max_leaf(e, 0, 0x1f);
	put_level(e, 0x1f, 0, LEVEL_THREAD, e->w.thread, t->threads);
	put_level(e, 0x1f, 1, LEVEL_CORE, e->w.thread + e->w.core, t->threads * t->cores);
	put_level(e, 0x1f, 2, LEVEL_DIE, package_width(e), package_threads(e));
	put_level(e, 0x1f, 3, 0, 0, 0);
}

static void edit_amd(struct edit *e)
{
	struct kvm_cpuid_entry2 *c = find(e, 0x80000001, 0), *size = find(e, 0x80000008, 0);
	const struct sv_topology *t = e->topo;
	unsigned core = e->vcpu / t->threads % (t->cores * t->dies);

	drop(e, 0x8000000a);
	drop(e, 0x8000001f);
	c = find(e, 0x80000001, 0);
	if (c)
		c->ecx &= ~(EXT1_ECX_SVM | EXT1_ECX_CMP_LEGACY);
	if (!is_amd(e))
		return;
	if (c && package_threads(e) > 1)
		c->ecx |= EXT1_ECX_CMP_LEGACY;
	size = find(e, 0x80000008, 0);
	if (size)
		size->ecx = (size->ecx & ~0xf0ffu) | least(package_threads(e) - 1, 255) |
			    least(package_width(e), 15) << 12;
	if (!find(e, 0x8000001d, 0))
		return;
	if (c)
		c->ecx |= EXT1_ECX_TOPOEXT;
	edit_caches(e, 0x8000001d);
	raise_max_leaf(e, 0x80000000, 0x8000001e);
	put(e, 0x8000001e, 0, false, e->apic_id, (core & 0xff) | (t->threads - 1) << 8,
		e->vcpu / package_threads(e) & 0xff, 0);
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
	const struct sv_topology *t = e->topo;
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
	if (e->vm->caps.x2apic_api && sv_apic_id(t, t->sockets * package_threads(e) - 1) > 254)
		c->eax |= 1u << KVM_FEATURE_MSI_EXT_DEST_ID;
}

int sv_cpuid_edit(const struct sv_vm *vm, unsigned vcpu, struct kvm_cpuid2 *table,
	unsigned capacity, struct sv_error *err)
{
	const struct sv_topology *topo = &vm->config->topology;
	struct edit e = {.vm = vm,
		.topo = topo,
		.w = sv_apic_widths(topo),
		.vcpu = vcpu,
		.capacity = capacity,
		.apic_id = sv_apic_id(topo, vcpu),
		.t = table};
	struct kvm_cpuid_entry2 *c = find(&e, 0, 0);

	if (!c)
		return sv_fail(err, EIO, "vCPU %u: KVM reports no CPUID leaf 0", vcpu);
	e.vendor = c->ebx;
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
