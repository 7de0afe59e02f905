/* SPDX-License-Identifier: BSD-3-Clause */
#include "cpuid.h"

#include <asm/kvm_para.h>
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpuid_edit.h"

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

#define LEAF_BRAND 0x80000002u /* and the two that follow: the name of the processor */
#define LEAF_KVM KVM_CPUID_SIGNATURE
#define LEAF_KVM_FEATURES KVM_CPUID_FEATURES
#define LEAF_KVM_FREQUENCY 0x40000010u
#define APIC_BUS_HZ 1000000000ull /* KVM's local APIC timer counts nanoseconds */

struct kvm_cpuid_entry2 *sv_cpuid_find(struct sv_cpuid_edit *e, uint32_t function, uint32_t index)
{
	for (unsigned i = 0; i < e->t->nent; i++) {
		struct kvm_cpuid_entry2 *c = &e->t->entries[i];

		if (c->function == function &&
			(!(c->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || c->index == index))
			return c;
	}
	return NULL;
}

void sv_cpuid_drop(struct sv_cpuid_edit *e, uint32_t function)
{
	unsigned n = 0;

	for (unsigned i = 0; i < e->t->nent; i++)
		if (e->t->entries[i].function != function)
			e->t->entries[n++] = e->t->entries[i];
	e->t->nent = n;
}

void sv_cpuid_put(struct sv_cpuid_edit *e, uint32_t function, uint32_t index, bool indexed,
	uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	struct kvm_cpuid_entry2 *c = sv_cpuid_find(e, function, index);

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

bool sv_cpuid_is_amd(const struct sv_cpuid_edit *e)
{
	return e->vendor == VENDOR_AMD || e->vendor == VENDOR_HYGON;
}

void sv_cpuid_raise(struct sv_cpuid_edit *e, uint32_t base, uint32_t least_max)
{
	struct kvm_cpuid_entry2 *c = sv_cpuid_find(e, base, 0);

	if (c && c->eax < least_max)
		c->eax = least_max;
}

static bool guest_may_mwait(const struct sv_vm *vm)
{
	return vm->caps.mwait_exits && !vm->config->overcommit;
}

static void edit_features(struct sv_cpuid_edit *e)
{
	struct kvm_cpuid_entry2 *c = sv_cpuid_find(e, 1, 0), *pmu = sv_cpuid_find(e, 0xa, 0), *l7;

	if (!c)
		return;
	c->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_X2APIC;
	c->ecx &= ~(LEAF1_ECX_VMX | LEAF1_ECX_MWAIT);
	if (guest_may_mwait(e->vm))
		c->ecx |= LEAF1_ECX_MWAIT;
	else
		sv_cpuid_drop(e, 5);
	c = sv_cpuid_find(e, 1, 0);
	/* The emulator of that back end, which runs CPL 0, does not know it. */
	if (e->vm->substrate && !strcmp(e->vm->substrate, "kvm_pvm"))
		c->ecx &= ~LEAF1_ECX_CX16;
	if (!pmu || (pmu->eax & 0xff) == 0)
		c->ecx &= ~LEAF1_ECX_PDCM;
	c->ebx = (c->ebx & 0xffff) | e->apic_id << 24 |
		 sv_cpuid_least(1u << e->shape.package_width, 255) << 16;
	c->edx = e->shape.package_threads > 1 ? c->edx | LEAF1_EDX_HTT : c->edx & ~LEAF1_EDX_HTT;
	l7 = sv_cpuid_find(e, 7, 0);
	if (l7) {
		l7->ebx &= ~LEAF7_EBX_SGX;
		l7->ecx &= ~LEAF7_ECX_SGX_LC;
	}
	sv_cpuid_drop(e, 0x12);
}

static void edit_amd(struct sv_cpuid_edit *e)
{
	struct kvm_cpuid_entry2 *c, *size;

	sv_cpuid_drop(e, 0x8000000a);
	sv_cpuid_drop(e, 0x8000001f);
	c = sv_cpuid_find(e, 0x80000001, 0);
	if (c)
		c->ecx &= ~(EXT1_ECX_SVM | EXT1_ECX_CMP_LEGACY);
	if (!sv_cpuid_is_amd(e))
		return;
	if (c && e->shape.package_threads > 1)
		c->ecx |= EXT1_ECX_CMP_LEGACY;
	size = sv_cpuid_find(e, 0x80000008, 0);
	if (size)
		size->ecx = (size->ecx & ~0xf0ffu) |
			    sv_cpuid_least(e->shape.package_threads - 1, 255) |
			    sv_cpuid_least(e->shape.package_width, 15) << 12;
	if (!sv_cpuid_find(e, 0x8000001d, 0))
		return;
	if (c)
		c->ecx |= EXT1_ECX_TOPOEXT;
	sv_cpuid_caches(e, 0x8000001d);
	sv_cpuid_amd_levels(e);
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

static void edit_frequency(struct sv_cpuid_edit *e)
{
	uint32_t n, d;

	sv_cpuid_drop(e, 0x15);
	if (!e->vm->tsc_hz)
		return;
	sv_cpuid_put(e, LEAF_KVM_FREQUENCY, 0, false, (uint32_t)(e->vm->tsc_hz / 1000),
		APIC_BUS_HZ / 1000, 0, 0);
	if (sv_cpuid_is_amd(e))
		return;
	/* The crystal is what the local APIC timer counts, as on hardware. */
	fraction(e->vm->tsc_hz, APIC_BUS_HZ, 4000, &n, &d);
	if (n && d) {
		sv_cpuid_raise(e, 0, 0x15);
		sv_cpuid_put(e, 0x15, 0, false, d, n, APIC_BUS_HZ, 0);
	}
}

static void edit_kvm(struct sv_cpuid_edit *e)
{
	struct kvm_cpuid_entry2 *c = sv_cpuid_find(e, LEAF_KVM_FEATURES, 0);
	uint32_t sig[3];

	memcpy(sig, KVM_SIGNATURE, sizeof(sig));
	sv_cpuid_put(e, LEAF_KVM, 0, false, LEAF_KVM_FREQUENCY, sig[0], sig[1], sig[2]);
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
	struct sv_cpuid_edit e = {.vm = vm,
		.place = sv_place_of(topo, vcpu),
		.shape = sv_topology_shape(topo, vcpu),
		.vcpu = vcpu,
		.capacity = capacity,
		.apic_id = sv_apic_id(topo, vcpu),
		.t = table};
	struct kvm_cpuid_entry2 *c = sv_cpuid_find(&e, 0, 0);

	if (!c)
		return sv_fail(err, EIO, "vCPU %u: KVM reports no CPUID leaf 0", vcpu);
	e.vendor = c->ebx;
	e.caches = &topo->caches[e.place.caches < SV_MAX_CACHE_SETS ? e.place.caches : 0];
	edit_features(&e);
	sv_cpuid_caches(&e, 4);
	sv_cpuid_levels(&e);
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
	struct sv_cpuid_edit e = {.t = t, .capacity = capacity};
	struct kvm_cpuid_entry2 *c = sv_cpuid_find(&e, 1, 0);
	unsigned eax, ebx, ecx, edx;

	if (c && ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		c->ecx |= LEAF1_ECX_TSC_DEADLINE;
	if (guest_may_mwait(vm) && __get_cpuid(5, &eax, &ebx, &ecx, &edx))
		sv_cpuid_put(&e, 5, 0, false, eax, ebx, ecx, edx);
	for (uint32_t leaf = LEAF_BRAND; leaf < LEAF_BRAND + 3; leaf++)
		if (__get_cpuid(leaf, &eax, &ebx, &ecx, &edx))
			sv_cpuid_put(&e, leaf, 0, false, eax, ebx, ecx, edx);
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
