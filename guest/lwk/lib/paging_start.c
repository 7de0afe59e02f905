/* SPDX-License-Identifier: BSD-3-Clause */
/* From the kernel's page tables to those of the service, and what kind of host this is. */
#include "paging.h"

#define PAGE 4096ull
#define PAGE_2M 0x200000ull
#define GIB 0x40000000ull
#define HIGH (4 * GIB)
#define KERNEL_BYTES (2 * PAGE_2M)

static uint32_t map_page(uint64_t at, unsigned level, uint64_t flags)
{
	uint64_t large = level > 1 ? SV_PTE_LARGE : 0;
	uint32_t status = paging_make_tables(at, level);
	struct sv_cpl cpl;

	if (status != SV_STATUS_OK)
		return status;
	return lwk_paging_call(SV_PAGING_UPDATE,
		(uint64_t[5]){paging_state.root, at | SV_PAGING_MAP | SV_PAGING_LEVEL(level),
			at | flags | large | SV_PTE_PRESENT},
		&cpl);
}

/* The lowest page of every stack is not there. */
static bool is_guard(uint64_t at)
{
	uint64_t off = at - lwk_stacks();

	return off < lwk_vcpus() * LWK_STACK_BYTES && off % LWK_STACK_BYTES < PAGE;
}

static bool has_guards(uint64_t at)
{
	return at + PAGE_2M > lwk_stacks() && at < lwk_stacks() + lwk_vcpus() * LWK_STACK_BYTES;
}

/* One to one, as kernel/paging.c does it. */
static uint32_t map_same(uint64_t from, uint64_t to, uint64_t flags)
{
	uint32_t status = SV_STATUS_OK;

	while (from < to && status == SV_STATUS_OK) {
		if (paging_state.info & SV_PAGING_I_GIB && from % GIB == 0 && to - from >= GIB) {
			status = map_page(from, 3, flags);
			from += GIB;
		} else if (has_guards(from)) {
			for (uint64_t i = 0; i < PAGE_2M && status == SV_STATUS_OK; i += PAGE)
				status = is_guard(from + i) ? SV_STATUS_OK
							    : map_page(from + i, 1, flags);
			from += PAGE_2M;
		} else {
			status = map_page(from, 2, flags);
			from += PAGE_2M;
		}
	}
	return status;
}

static uint64_t up(uint64_t v)
{
	return (v + PAGE_2M - 1) & ~(PAGE_2M - 1);
}

static uint32_t map_machine(void)
{
	const struct sv_boot *b = &lwk_boot;
	uint64_t doorbells = ((struct sv_channel *)b->channel_gpa)->info.doorbell_gpa;
	uint64_t user = SV_PTE_WRITE | SV_PTE_USER;
	const struct {
		uint64_t from, to, flags;
	} map[] = {{0, KERNEL_BYTES, SV_PTE_WRITE},
		{KERNEL_BYTES, KERNEL_BYTES + PAGE_2M, SV_PTE_USER},
		{KERNEL_BYTES + PAGE_2M, b->memory_low_bytes & ~(PAGE_2M - 1), user},
		{HIGH - GIB, HIGH, user},
		{HIGH, HIGH + (b->memory_high_bytes & ~(PAGE_2M - 1)), user},
		{b->channel_gpa, b->channel_gpa + up(b->channel_stride * b->vcpus), user},
		{doorbells, doorbells + up(b->vcpus * PAGE), user},
		{b->tables_gpa, b->tables_gpa + b->tables_bytes, SV_PTE_USER},
		{b->trap_gpa, b->trap_gpa + b->tables_bytes, user}};
	struct sv_cpl cpl;
	uint32_t status = lwk_paging_call(SV_PAGING_RESERVE, (uint64_t[5]){0, KERNEL_BYTES}, &cpl);

	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]) && status == SV_STATUS_OK; i++)
		status = map_same(map[i].from, map[i].to, map[i].flags);
	return status;
}

static uint32_t refused;

static void activate(void *arg)
{
	struct sv_cpl cpl;

	(void)arg;
	if (lwk_paging_call(SV_PAGING_ACTIVATE, (uint64_t[5]){paging_state.root}, &cpl) !=
			SV_STATUS_OK ||
		lwk_kcall(LWK_KCALL_ROOT, 0, 0) != 0)
		__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
}

/* One page elsewhere without telling anybody: is a flush enough to see it? */
static const char *try_host(void)
{
	uint64_t va = LWK_PAGING_FROM, root = paging_state.root;
	uint8_t *a = lwk_alloc(PAGE, PAGE), *b = lwk_alloc(PAGE, PAGE), seen = 0;
	uint64_t flags = LWK_READ | SV_PTE_PRESENT, where = va | SV_PAGING_LEVEL(1);
	struct sv_cpl cpl;

	if (!a || !b)
		return "no memory";
	*a = 'a';
	*b = 'b';
	if (lwk_map(va, (uint64_t)a, PAGE, LWK_READ) != SV_STATUS_OK ||
		!lwk_probe_read(va, &seen) || seen != 'a')
		return "a page that was mapped is not there";
	lwk_paging_call(SV_PAGING_UPDATE,
		(uint64_t[5]){root, where | SV_PAGING_REMAP, (uint64_t)b | flags}, &cpl);
	paging_flush(0, 0);
	lwk_probe_read(va, &seen);
	paging_state.shadowed = seen != 'b';
	if (paging_state.shadowed && !(paging_state.info & SV_PAGING_I_FORGET))
		return "KVM shadows page tables here and cannot be made to forget (userfaultfd)";
	/* What KVM may still have is `a`: that is what must go last. */
	if (!paging_state.shadowed && paging_state.info & SV_PAGING_I_SHADOWED)
		paging_state.shadowed = true;
	paging_state.tried = true;
	lwk_paging_call(SV_PAGING_UPDATE,
		(uint64_t[5]){root, where | SV_PAGING_REMAP, (uint64_t)a | flags}, &cpl);
	if (lwk_unmap(va, PAGE) != SV_STATUS_OK || lwk_probe_read(va, &seen))
		return "a page that was unmapped is still there";
	return NULL;
}

const char *lwk_paging_start(enum lwk_paging_via via)
{
	struct sv_cpl cpl;

	if (!lwk_boot.tables_bytes)
		return "the machine has none (`sidevisor run --direct-paging`)";
	paging_state.via = via;
	if (lwk_paging_call(SV_PAGING_INFO, (uint64_t[5]){0}, &cpl) != SV_STATUS_OK)
		return "there is no such service";
	paging_state.info = cpl.value[0];
	paging_state.root = cpl.value[1];
	paging_state.next_table = cpl.value[1] + PAGE;
	paging_state.pool_end = cpl.value[1] + cpl.value[2];
	paging_state.shadowed = paging_state.info & SV_PAGING_I_SHADOWED;
	if (lwk_paging_call(SV_PAGING_PIN, (uint64_t[5]){paging_state.root, 4}, &cpl) !=
		SV_STATUS_OK)
		return "the root is refused";
	if (map_machine() != SV_STATUS_OK)
		return "the machine's memory cannot be mapped";
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_start(i, activate, NULL);
	activate(NULL);
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_join(i);
	return refused ? "the root cannot be activated" : try_host();
}
