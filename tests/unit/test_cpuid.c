/* SPDX-License-Identifier: BSD-3-Clause */
/* CPUID on tables as KVM_GET_SUPPORTED_CPUID returns them on Intel and on AMD. */
#include <criterion/criterion.h>

#include <asm/kvm_para.h>
#include <string.h>

#include "acpi.h"
#include "cpuid.h"
#include "machine_by_hand.h"

#define CAPACITY 128u
#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX

static _Alignas(struct kvm_cpuid2) uint8_t room[sizeof(struct kvm_cpuid2) +
	CAPACITY * sizeof(struct kvm_cpuid_entry2)];

static const struct kvm_cpuid_entry2 intel[] = {
	{.function = 0, .eax = 0x14, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69},
	{.function = 1, .eax = 0x606a6, .ebx = 0x07400800, .ecx = 0xfffa3223, .edx = 0x0f8bfbff},
	{.function = 4, .index = 0, .flags = INDEXED, .eax = 0x7c004121, .ebx = 0x02c0003f, .ecx = 63},
	{.function = 4, .index = 2, .flags = INDEXED, .eax = 0x7c004143, .ebx = 0x04c0003f, .ecx = 1023},
	{.function = 4, .index = 3, .flags = INDEXED, .eax = 0x7c0fc163, .ebx = 0x02c0003f},
	{.function = 4, .index = 4, .flags = INDEXED},
	{.function = 5, .eax = 64, .ebx = 64, .ecx = 3},
	{.function = 7, .flags = INDEXED, .ebx = 0xffffffff, .ecx = 0xffffffff},
	{.function = 0xa},
	{.function = 0xb, .index = 0, .flags = INDEXED, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 99},
	{.function = 0xb, .index = 1, .flags = INDEXED, .eax = 6, .ebx = 40, .ecx = 0x201, .edx = 99},
	{.function = 0x12, .index = 0, .flags = INDEXED, .eax = 3},
	{.function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d},
	{.function = 0x40000001, .eax = 0x01007efb},
	{.function = 0x80000000, .eax = 0x80000008},
	{.function = 0x80000001, .ecx = 0x121, .edx = 0x2c100800},
	{.function = 0x80000008, .eax = 0x3039},
};

static const struct kvm_cpuid_entry2 amd[] = {
	{.function = 0, .eax = 0x10, .ebx = 0x68747541, .ecx = 0x444d4163, .edx = 0x69746e65},
	{.function = 1, .eax = 0xa00f11, .ebx = 0x00080800, .ecx = 0x7ef8320b, .edx = 0x178bfbff},
	{.function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d},
	{.function = 0x40000001, .eax = 0x01007efb},
	{.function = 0x80000000, .eax = 0x80000021},
	{.function = 0x80000001, .ecx = 0x004003f7, .edx = 0x2fd3fbff},
	{.function = 0x80000008, .eax = 0x3030, .ecx = 0x603f},
	{.function = 0x8000000a, .eax = 1, .ebx = 8, .edx = 0xff},
	{.function = 0x8000001d, .index = 0, .flags = INDEXED, .eax = 0x4121},
	{.function = 0x8000001d, .index = 2, .flags = INDEXED, .eax = 0x4143},
	{.function = 0x8000001d, .index = 3, .flags = INDEXED, .eax = 0x3c163},
	{.function = 0x8000001d, .index = 4, .flags = INDEXED},
	{.function = 0x8000001e},
	{.function = 0x8000001f, .eax = 0xf},
};

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct kvm_cpuid2 *edit(struct by_hand *m, const struct kvm_cpuid_entry2 *from, unsigned n,
	unsigned vcpu)
{
	struct kvm_cpuid2 *t = (struct kvm_cpuid2 *)(void *)room;
	struct sv_error err;

	memset(room, 0, sizeof(room));
	memcpy(t->entries, from, n * sizeof(*from));
	t->nent = n;
	cr_assert_eq(sv_cpuid_edit(&m->vm, vcpu, t, CAPACITY, &err), 0, "%s", err.text);
	return t;
}

static struct kvm_cpuid_entry2 *leaf(struct kvm_cpuid2 *t, uint32_t function, uint32_t index)
{
	for (unsigned i = 0; i < t->nent; i++)
		if (t->entries[i].function == function && t->entries[i].index == index)
			return &t->entries[i];
	return NULL;
}

/* 2 sockets of 2 dies of 4 cores of 2 threads. */
static struct by_hand *machine(void)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);

	by_hand_topology(m, 2, 2, 4, 2, 2);
	return m;
}

Test(cpuid, intel_levels_follow_the_topology)
{
	struct by_hand *m = machine();
	struct kvm_cpuid2 *t = edit(m, intel, N(intel), 21);
	uint32_t id = sv_apic_id(&m->config.topology, 21);

	cr_assert_eq(leaf(t, 1, 0)->ebx >> 24, id);
	cr_assert_eq(leaf(t, 1, 0)->ebx >> 16 & 0xff, 16);
	cr_assert_eq(leaf(t, 1, 0)->ebx & 0xffff, 0x0800);
	cr_assert(leaf(t, 1, 0)->edx & 1u << 28);
	cr_assert_eq(leaf(t, 0, 0)->eax, 0x1f);
	cr_assert(leaf(t, 0xb, 0)->eax == 1 && leaf(t, 0xb, 0)->ebx == 2);
	cr_assert(leaf(t, 0xb, 1)->eax == 4 && leaf(t, 0xb, 1)->ebx == 16);
	cr_assert_eq(leaf(t, 0xb, 1)->ecx, 0x201);
	cr_assert_eq(leaf(t, 0xb, 2)->ebx, 0);
	cr_assert(leaf(t, 0x1f, 1)->eax == 3 && leaf(t, 0x1f, 1)->ebx == 8);
	cr_assert(leaf(t, 0x1f, 2)->eax == 4 && leaf(t, 0x1f, 2)->ebx == 16);
	cr_assert_eq(leaf(t, 0x1f, 2)->ecx, 0x502);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(leaf(t, 0xb, i)->edx, id);
	by_hand_free(m);
}

Test(cpuid, intel_caches_are_shared_as_the_topology_says)
{
	struct by_hand *m = machine();
	struct kvm_cpuid2 *t = edit(m, intel, N(intel), 0);

	cr_assert_eq(leaf(t, 4, 0)->eax >> 14 & 0xfff, 1); /* L1: two threads */
	cr_assert_eq(leaf(t, 4, 2)->eax >> 14 & 0xfff, 1); /* L2 */
	cr_assert_eq(leaf(t, 4, 3)->eax >> 14 & 0xfff, 7); /* L3: a die */
	cr_assert_eq(leaf(t, 4, 3)->eax >> 26, 7);	   /* cores in a package, less one */
	cr_assert_eq(leaf(t, 4, 0)->eax & 0x3fff, 0x0121);
	cr_assert_eq(leaf(t, 4, 4)->eax, 0);
	by_hand_free(m);
}

Test(cpuid, one_die_needs_no_leaf_1f)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 4);
	struct kvm_cpuid2 *t = edit(m, intel, N(intel), 3);

	cr_assert(leaf(t, 0x1f, 0) == NULL);
	cr_assert(leaf(t, 0xb, 0)->eax == 0 && leaf(t, 0xb, 0)->ebx == 1);
	cr_assert(leaf(t, 0xb, 1)->eax == 2 && leaf(t, 0xb, 1)->ebx == 4);
	by_hand_free(m);
}

Test(cpuid, a_single_vcpu_has_no_siblings)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct kvm_cpuid2 *t = edit(m, intel, N(intel), 0);

	cr_assert(!(leaf(t, 1, 0)->edx & 1u << 28));
	cr_assert_eq(leaf(t, 1, 0)->ebx >> 16, 1);
	by_hand_free(m);
}

Test(cpuid, virtualisation_mwait_sgx_and_absent_pmu_are_hidden)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct kvm_cpuid2 *t = edit(m, intel, N(intel), 0);
	uint32_t ecx = leaf(t, 1, 0)->ecx;

	cr_assert(!(ecx & (1u << 5 | 1u << 3 | 1u << 15)));
	cr_assert(ecx & 1u << 31 && ecx & 1u << 21 && ecx & 1u << 13);
	cr_assert(leaf(t, 5, 0) == NULL && leaf(t, 0x12, 0) == NULL);
	cr_assert(!(leaf(t, 7, 0)->ebx & 1u << 2) && !(leaf(t, 7, 0)->ecx & 1u << 30));
	t = edit(m, amd, N(amd), 0);
	cr_assert(!(leaf(t, 0x80000001, 0)->ecx & 1u << 2));
	cr_assert(leaf(t, 0x8000000a, 0) == NULL && leaf(t, 0x8000001f, 0) == NULL);
	by_hand_free(m);
}

Test(cpuid, mwait_is_shown_when_it_does_not_exit)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct kvm_cpuid2 *t;

	m->vm.caps.mwait_exits = true;
	t = edit(m, intel, N(intel), 0);
	cr_assert(leaf(t, 1, 0)->ecx & 1u << 3 && leaf(t, 5, 0));
	m->config.overcommit = true;
	t = edit(m, intel, N(intel), 0);
	cr_assert(!(leaf(t, 1, 0)->ecx & 1u << 3) && !leaf(t, 5, 0));
	by_hand_free(m);
}

Test(cpuid, cmpxchg16b_is_hidden_where_cpl0_is_emulated)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);

	m->vm.substrate = "kvm_pvm";
	cr_assert(!(leaf(edit(m, intel, N(intel), 0), 1, 0)->ecx & 1u << 13));
	by_hand_free(m);
}

Test(cpuid, amd_levels_and_caches_follow_the_topology)
{
	struct by_hand *m = machine();
	struct kvm_cpuid2 *t = edit(m, amd, N(amd), 21);
	uint32_t id = sv_apic_id(&m->config.topology, 21);

	cr_assert_eq(leaf(t, 0x80000008, 0)->ecx, 15u | 4u << 12);
	cr_assert_eq(leaf(t, 0x8000001d, 0)->eax >> 14 & 0xfff, 1);
	cr_assert_eq(leaf(t, 0x8000001d, 3)->eax >> 14 & 0xfff, 7);
	cr_assert_eq(leaf(t, 0x8000001e, 0)->eax, id);
	cr_assert_eq(leaf(t, 0x8000001e, 0)->ebx, 2u | 1u << 8);
	cr_assert_eq(leaf(t, 0x8000001e, 0)->ecx, 2u | 1u << 8); /* die 2, two to a package */
	cr_assert(leaf(t, 0x80000001, 0)->ecx & 1u << 22);
	cr_assert_eq(leaf(t, 0xb, 1)->ebx, 16);
	cr_assert(leaf(t, 0x1f, 0) == NULL && leaf(t, 0x15, 0) == NULL);
	by_hand_free(m);
}

Test(cpuid, pv_unhalt_is_offered_only_when_hlt_exits)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct kvm_cpuid2 *t = edit(m, intel, N(intel), 0);

	cr_assert(!(leaf(t, 0x40000001, 0)->eax & 1u << KVM_FEATURE_PV_UNHALT));
	cr_assert(leaf(t, 0x40000001, 0)->edx & 1u << KVM_HINTS_REALTIME);
	m->config.overcommit = true;
	t = edit(m, intel, N(intel), 0);
	cr_assert(leaf(t, 0x40000001, 0)->eax & 1u << KVM_FEATURE_PV_UNHALT);
	cr_assert(!(leaf(t, 0x40000001, 0)->edx & 1u << KVM_HINTS_REALTIME));
	by_hand_free(m);
}

Test(cpuid, kvm_signature_and_frequency_are_told)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct kvm_cpuid2 *t = edit(m, intel, N(intel), 0);

	cr_assert(!memcmp(&leaf(t, 0x40000000, 0)->ebx, "KVMKVMKVM\0\0\0", 12));
	cr_assert_eq(leaf(t, 0x40000000, 0)->eax, 0x40000010);
	cr_assert_eq(leaf(t, 0x40000010, 0)->eax, 2500000);
	by_hand_free(m);
}

Test(cpuid, leaf_15_is_within_two_millionths_of_the_tsc_frequency_and_does_not_overflow)
{
	static const uint64_t hz[] = {2500000000u, 2095078000u, 1000000000u, 999999000u, 3891234567u,
		800000000u, 5123456000u};
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);

	for (unsigned i = 0; i < N(hz); i++) {
		struct kvm_cpuid_entry2 *c;
		double got;

		m->vm.tsc_hz = hz[i];
		c = leaf(edit(m, intel, N(intel), 0), 0x15, 0);
		cr_assert(c && c->eax && c->ebx);
		got = (double)c->ecx * c->ebx / c->eax;
		cr_assert(got / (double)hz[i] > 0.999998 && got / (double)hz[i] < 1.000002, "%f", got);
		cr_assert((uint64_t)c->ecx / 1000 * c->ebx <= UINT32_MAX);
	}
	m->vm.tsc_hz = 0;
	cr_assert(leaf(edit(m, intel, N(intel), 0), 0x15, 0) == NULL);
	by_hand_free(m);
}

Test(cpuid, no_leaf_is_there_twice_for_any_vcpu)
{
	struct by_hand *m = machine();

	for (unsigned v = 0; v < m->vm.nvcpus; v++)
		for (unsigned a = 0; a < 2; a++) {
			struct kvm_cpuid2 *t = a ? edit(m, amd, N(amd), v) : edit(m, intel, N(intel), v);

			for (unsigned i = 0; i < t->nent; i++)
				cr_assert(leaf(t, t->entries[i].function, t->entries[i].index) ==
					  &t->entries[i]);
		}
	by_hand_free(m);
}

Test(cpuid, a_full_table_is_refused_with_a_sentence)
{
	struct by_hand *m = machine();
	struct kvm_cpuid2 *t = (struct kvm_cpuid2 *)(void *)room;
	struct sv_error err;

	memcpy(t->entries, intel, sizeof(intel));
	t->nent = N(intel);
	cr_assert_lt(sv_cpuid_edit(&m->vm, 0, t, N(intel), &err), 0);
	cr_assert(strstr(err.text, "leaves"));
	t->nent = 0;
	cr_assert_lt(sv_cpuid_edit(&m->vm, 0, t, CAPACITY, &err), 0);
	by_hand_free(m);
}

/* --- a machine that is not symmetric -------------------------------------------------------------- */

static struct by_hand *asymmetric(void)
{
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);

	by_hand_asymmetric(m);
	return m;
}

Test(cpuid, apic_ids_of_an_asymmetric_machine_have_gaps_and_nothing_twice)
{
	/* thread 1 bit, core 2, L3 1, package above */
	static const uint32_t ids[] = {0, 2, 4, 8, 10, 16, 18, 20, 24, 26, 28, 29};
	struct by_hand *m = asymmetric();

	cr_assert_eq(m->vm.nvcpus, N(ids));
	for (unsigned i = 0; i < N(ids); i++) {
		cr_expect_eq(sv_apic_id(&m->config.topology, i), ids[i], "vCPU %u", i);
		cr_expect_eq(leaf(edit(m, intel, N(intel), i), 0xb, 0)->edx, ids[i]);
		cr_expect_eq(leaf(edit(m, amd, N(amd), i), 0x8000001e, 0)->eax, ids[i]);
	}
	cr_expect_eq(sv_max_apic_id(&m->config.topology, m->vm.nvcpus), 29);
	by_hand_free(m);
}

Test(cpuid, levels_of_an_asymmetric_machine_name_its_widest_parts)
{
	struct by_hand *m = asymmetric();
	struct kvm_cpuid2 *t = edit(m, amd, N(amd), 6); /* core 1 of package 1 */

	cr_expect(leaf(t, 0xb, 0)->eax == 1 && leaf(t, 0xb, 0)->ebx == 2);
	cr_expect(leaf(t, 0xb, 1)->eax == 4 && leaf(t, 0xb, 1)->ebx == 7);
	cr_expect_eq(leaf(t, 0x80000008, 0)->ecx, 6u | 4u << 12);
	cr_expect_eq(leaf(t, 0x8000001d, 0)->eax >> 14 & 0xfff, 1);
	cr_expect_eq(leaf(t, 0x8000001d, 3)->eax >> 14 & 0xfff, 7);
	cr_expect_eq(leaf(t, 0x8000001e, 0)->ebx, 1u | 1u << 8);
	cr_expect_eq(leaf(t, 0x8000001e, 0)->ecx, 1);
	cr_expect_eq(leaf(t, 1, 0)->ebx >> 16, 18u << 8 | 16u);
	cr_expect_null(leaf(t, 0x80000026, 0), "one die to a package");
	t = edit(m, intel, N(intel), 6);
	cr_expect_eq(leaf(t, 4, 3)->eax >> 14 & 0xfff, 7);
	cr_expect_eq(leaf(t, 4, 3)->eax >> 26, 7);
	cr_expect_null(leaf(t, 0x1f, 0));
	by_hand_free(m);
}

/* Two dies in package 0, one in package 1, two cores to each L2. */
Test(cpuid, dies_and_shared_l2s_are_told)
{
	static const struct sv_place places[] = {{.core = 0}, {.core = 1}, {.die = 1}, {.die = 1, .l2 = 1},
		{.package = 1}, {.package = 1, .l2 = 1, .core = 1}};
	struct by_hand *m = by_hand_new(16 * MIB, 0, 1);
	struct kvm_cpuid2 *t;

	memcpy(m->config.topology.place, places, sizeof(places));
	m->config.topology.placed = m->vm.nvcpus = N(places);
	t = edit(m, amd, N(amd), 3); /* no thread bit, core 1, L2 2 (three below an L3), die 1 */
	cr_expect_eq(sv_apic_id(&m->config.topology, 3), 8 + 2);
	cr_expect_eq(leaf(t, 0x8000001d, 0)->eax >> 14 & 0xfff, 0);
	cr_expect_eq(leaf(t, 0x8000001d, 2)->eax >> 14 & 0xfff, 1);
	cr_expect_eq(leaf(t, 0x8000001d, 3)->eax >> 14 & 0xfff, 7);
	cr_expect_eq(leaf(t, 0x8000001e, 0)->ecx, 1u | 1u << 8);
	cr_expect_eq(leaf(t, 0x80000000, 0)->eax, 0x80000026);
	cr_expect(leaf(t, 0x80000026, 0)->eax == 0 && leaf(t, 0x80000026, 0)->ecx == 0x100);
	cr_expect(leaf(t, 0x80000026, 1)->eax == 3 && leaf(t, 0x80000026, 1)->ebx == 2);
	cr_expect(leaf(t, 0x80000026, 2)->eax == 3 && leaf(t, 0x80000026, 2)->ecx == 0x302);
	cr_expect(leaf(t, 0x80000026, 3)->eax == 4 && leaf(t, 0x80000026, 3)->ebx == 4);
	cr_expect_eq(leaf(t, 0x80000026, 3)->edx, 10);
	t = edit(m, intel, N(intel), 4);
	cr_expect(leaf(t, 0x1f, 1)->eax == 3 && leaf(t, 0x1f, 1)->ebx == 2);
	cr_expect(leaf(t, 0x1f, 2)->eax == 4 && leaf(t, 0x1f, 2)->ebx == 4);
	cr_expect_eq(leaf(t, 4, 2)->eax >> 14 & 0xfff, 1);
	by_hand_free(m);
}

Test(cpuid, caches_are_those_that_were_given)
{
	static const struct sv_caches small = {
		.n = 2,
		.cache = {{.bytes = 48 << 10, .level = 1, .type = 1, .line = 64, .ways = 12},
			{.bytes = 3 << 20, .level = 2, .type = 3, .line = 64, .ways = 12}}};
	struct by_hand *m = asymmetric();
	struct kvm_cpuid_entry2 *c;
	struct kvm_cpuid2 *t;

	m->config.topology.caches[1] = small;
	m->config.topology.place[3].caches = 1;
	t = edit(m, intel, N(intel), 2);
	cr_expect_neq(leaf(t, 4, 3)->eax, 0, "vCPU 2 has those of KVM");
	t = edit(m, intel, N(intel), 3);
	c = leaf(t, 4, 0);
	cr_expect_eq(c->eax & 0xff, 0x21);
	cr_expect_eq(c->ebx, 63u | 11u << 22);
	cr_expect_eq(c->ecx, 63);
	c = leaf(t, 4, 1);
	cr_expect_eq(c->eax & 0xff, 0x43);
	cr_expect_eq((c->ebx >> 22) + 1, 12);
	cr_expect_eq(c->ecx + 1, (3u << 20) / 64 / 12);
	cr_expect_eq(leaf(t, 4, 2)->eax, 0, "and no third");
	cr_expect_null(leaf(t, 4, 3));
	by_hand_free(m);
}

Test(cpuid, instruction_caches_that_nobody_looked_at_stay)
{
	static const struct sv_caches given = {
		.n = 2,
		.cache = {{.bytes = 32 << 10, .level = 1, .type = 1, .line = 64, .ways = 8},
			{.bytes = 512 << 10, .level = 2, .type = 3, .line = 64, .ways = 8}}};
	static const struct kvm_cpuid_entry2 l1i = {
		.function = 0x8000001d, .index = 1, .flags = INDEXED, .eax = 0x4122, .ebx = 0x00c0003f, .ecx = 255};
	struct kvm_cpuid_entry2 table[N(amd) + 1];
	struct by_hand *m = asymmetric();
	struct kvm_cpuid2 *t;

	memcpy(table, amd, sizeof(amd));
	table[N(amd)] = l1i;
	m->config.topology.caches[0] = given;
	t = edit(m, table, N(table), 0);
	cr_expect_eq(leaf(t, 0x8000001d, 0)->eax & 0xff, 0x21);
	cr_expect_eq(leaf(t, 0x8000001d, 1)->eax & 0xff, 0x22);
	cr_expect_eq(leaf(t, 0x8000001d, 1)->ecx, 255);
	cr_expect_eq(leaf(t, 0x8000001d, 2)->eax & 0xff, 0x43);
	cr_expect_eq(leaf(t, 0x8000001d, 3)->eax, 0);
	by_hand_free(m);
}
