/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules of direct paging one by one, with the status that each refusal has. */
#include <criterion/criterion.h>

#include <string.h>
#include <sys/mman.h>

#include <paging/paging.h>
#include <sidevisor/paging.h>

#define PAGE 4096ull
#define MEMORY (2ull << 30)
#define POOL 0x40200000ull
#define ROOT POOL
#define L3 (POOL + PAGE)
#define L2 (POOL + 2 * PAGE)
#define L1 (POOL + 3 * PAGE)
#define SPARE (POOL + 4 * PAGE)
#define RW (SV_PTE_PRESENT | SV_PTE_WRITE | SV_PTE_USER)
#define RO (SV_PTE_PRESENT | SV_PTE_USER)
#define AT(op, level) (SV_PAGING_##op | SV_PAGING_LEVEL(level))

static struct sv_gmem gmem;
static struct sv_paging *p;
static unsigned forgets;
static struct sv_cpl cpl;

static int forget(void *ctx, uint64_t gpa, uint64_t bytes)
{
	(void)ctx;
	cr_assert(gpa + bytes <= MEMORY);
	forgets++;
	return 0;
}

static uint32_t ask(uint16_t opcode, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct sv_req req = {.opcode = opcode, .arg = {a, b, c, d}};

	sv_paging_handle(p, 0, &req, &cpl);
	return cpl.status;
}

static uint32_t up(uint64_t where, uint64_t entry)
{
	return ask(SV_PAGING_UPDATE, ROOT, where, entry, 0);
}

/* A batch whose translations are to be forgotten. */
static uint32_t many(uint64_t ops, uint64_t n)
{
	return ask(SV_PAGING_BATCH, ROOT, ops, n, SV_PAGING_F_FORGET);
}

static void start(bool shadowed)
{
	struct sv_paging_config c = {.gmem = &gmem,
		.pool_gpa = POOL,
		.pool_bytes = 16 * PAGE,
		.closed_gpa = POOL + 16 * PAGE,
		.closed_bytes = PAGE,
		.page_gpa = POOL + 32 * PAGE,
		.levels = 4,
		.vcpus = 2,
		.gib_pages = true,
		.shadowed = shadowed,
		.forget = forget};
	void *ram = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	gmem.n = 1;
	gmem.region[0] = (struct sv_gmem_region){.gpa = 0, .size = MEMORY, .host = ram, .fd = -1};
	cr_assert(sv_paging_create(&p, &c, NULL) == 0);
	for (uint64_t level = 4; level >= 1; level--) {
		cr_assert(
			ask(SV_PAGING_PIN, POOL + (4 - level) * PAGE, level, 0, 0) == SV_STATUS_OK);
		if (level < 4)
			cr_assert(up(SV_PAGING_LINK | SV_PAGING_LEVEL(level + 1),
					  POOL + (4 - level) * PAGE) == SV_STATUS_OK);
	}
}

static void start_nested(void)
{
	start(false);
}

static void start_shadowed(void)
{
	start(true);
}

static void stop(void)
{
	cr_expect(sv_paging_audit(p, true) == 0);
	sv_paging_destroy(p);
	munmap(gmem.region[0].host, MEMORY);
}

static uint64_t entry_of(uint64_t table, unsigned i)
{
	return ((uint64_t *)sv_gmem_ptr(&gmem, sv_gpa(table), PAGE))[i];
}

Test(paging, map_protect_remap_unmap, .init = start_nested, .fini = stop)
{
	cr_expect(up(AT(MAP, 1), PAGE | RW) == SV_STATUS_OK);
	cr_expect(entry_of(L1, 0) == (PAGE | RW | SV_PTE_ACCESSED | SV_PTE_DIRTY));
	cr_expect(up(AT(MAP, 1), PAGE | RW) == SV_STATUS_EXISTS);
	cr_expect(up(AT(PROTECT, 1), RO) == SV_STATUS_OK);
	cr_expect(entry_of(L1, 0) == (PAGE | RO | SV_PTE_ACCESSED | SV_PTE_DIRTY));
	cr_expect(up(AT(PROTECT, 1), PAGE | RO) == SV_STATUS_INVALID);
	cr_expect(up(AT(REMAP, 1), 2 * PAGE | RW) == SV_STATUS_OK);
	cr_expect(up(AT(UNMAP, 1), PAGE) == SV_STATUS_INVALID);
	cr_expect(up(AT(UNMAP, 1), 0) == SV_STATUS_OK);
	cr_expect(up(AT(UNMAP, 1), 0) == SV_STATUS_ABSENT);
	cr_expect(entry_of(L1, 0) == 0);
	cr_expect(up(AT(PROTECT, 1), RO) == SV_STATUS_ABSENT);
	cr_expect(up(AT(REMAP, 1), PAGE | RO) == SV_STATUS_ABSENT);
}

Test(paging, what_is_no_page_is_refused, .init = start_nested, .fini = stop)
{
	static const uint64_t bad[] = {SV_PTE_WRITE, RW | 1ull << 3, RW | 1ull << 4,
		RW | SV_PTE_LARGE, RW | 1ull << 8, RW | 1ull << 52, RW | 1ull << 59,
		RW | 1ull << 62};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect(up(AT(MAP, 1), PAGE | bad[i]) == SV_STATUS_INVALID, "%u", i);
	cr_expect(up(AT(MAP, 1), MEMORY | RW) == SV_STATUS_BAD_ADDRESS);
	cr_expect(up(AT(MAP, 1), SV_PTE_FRAME | RW) == SV_STATUS_BAD_ADDRESS);
	cr_expect(up(AT(MAP, 1) | 1ull << 47, PAGE | RW) == SV_STATUS_INVALID);
	cr_expect(up(AT(MAP, 1) | 1ull << 7, PAGE | RW) == SV_STATUS_INVALID);
	cr_expect(up(AT(MAP, 1) | 0xffff800000000000, PAGE | RW) == SV_STATUS_ABSENT);
	cr_expect(up(AT(MAP, 2) | PAGE, RW | SV_PTE_LARGE) == SV_STATUS_INVALID);
	cr_expect(up(AT(MAP, 2) | 0x200000, PAGE | RW | SV_PTE_LARGE) == SV_STATUS_INVALID);
	cr_expect(up(AT(MAP, 4) | 1ull << 39, RW | SV_PTE_LARGE) == SV_STATUS_INVALID);
	cr_expect(up(SV_PAGING_LEVEL(1), PAGE | RW) == SV_STATUS_INVALID);
	cr_expect(ask(SV_PAGING_UPDATE, L3, AT(MAP, 1), PAGE | RW, 0) == SV_STATUS_INVALID);
	cr_expect(ask(SV_PAGING_UPDATE, ROOT, AT(MAP, 1), PAGE | RW, 4) == SV_STATUS_INVALID);
}

Test(paging, tables_are_never_writable, .init = start_nested, .fini = stop)
{
	cr_expect(up(AT(MAP, 1), L1 | RW) == SV_STATUS_DENIED);
	cr_expect(up(AT(MAP, 1), L1 | RO) == SV_STATUS_OK);
	cr_expect(up(AT(PROTECT, 1), RW) == SV_STATUS_DENIED);
	cr_expect(up(AT(MAP, 2) | 0x200000, POOL | RW | SV_PTE_LARGE) == SV_STATUS_DENIED);
	cr_expect(up(AT(MAP, 2) | 0x200000, POOL | RO | SV_PTE_LARGE) == SV_STATUS_OK);
	cr_expect(up(AT(MAP, 3) | 1ull << 30, 0x40000000 | RW | SV_PTE_LARGE) == SV_STATUS_DENIED);
	cr_expect(up(AT(MAP, 3) | 1ull << 30, RW | SV_PTE_LARGE) == SV_STATUS_OK);
	cr_expect(up(AT(MAP, 1) | PAGE, (POOL + 16 * PAGE) | RW) == SV_STATUS_DENIED, "closed");
}

Test(paging, a_frame_that_is_or_was_writable_is_no_table, .init = start_nested, .fini = stop)
{
	cr_expect(up(AT(MAP, 1), SPARE | RW) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_PIN, SPARE, 1, 0, 0) == SV_STATUS_DENIED);
	cr_expect(ask(SV_PAGING_UPDATE, ROOT, AT(UNMAP, 1), 0, SV_PAGING_F_EPOCH) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_PIN, SPARE, 1, 0, 0) == SV_STATUS_AGAIN, "not flushed yet");
	cr_expect(ask(SV_PAGING_FLUSHED, 2, 0, 0, 0) == SV_STATUS_INVALID, "not closed yet");
	cr_expect(ask(SV_PAGING_FLUSHED, 1, 0, 0, 0) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_PIN, SPARE, 1, 0, 0) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_PIN, SPARE, 1, 0, 0) == SV_STATUS_EXISTS);
	cr_expect(ask(SV_PAGING_PIN, PAGE, 1, 0, 0) == SV_STATUS_BAD_ADDRESS, "not of the pool");
	cr_expect(ask(SV_PAGING_PIN, SPARE + PAGE, 5, 0, 0) == SV_STATUS_INVALID);
}

Test(paging, tables_have_one_place, .init = start_nested, .fini = stop)
{
	cr_expect(up(AT(LINK, 2) | 0x200000, L1) == SV_STATUS_DENIED, "linked already");
	cr_expect(up(AT(LINK, 2) | 0x200000, L2) == SV_STATUS_DENIED, "of another level");
	cr_expect(up(AT(LINK, 2) | 0x200000, PAGE) == SV_STATUS_BAD_ADDRESS);
	cr_expect(up(AT(LINK, 2), L1) == SV_STATUS_EXISTS);
	cr_expect(up(AT(MAP, 1), PAGE | RW) == SV_STATUS_OK);
	cr_expect(up(AT(UNLINK, 2), 0) == SV_STATUS_DENIED, "not empty");
	cr_expect(ask(SV_PAGING_UNPIN, L1, 0, 0, 0) == SV_STATUS_DENIED);
	cr_expect(up(AT(UNMAP, 1), 0) == SV_STATUS_OK);
	cr_expect(up(AT(UNLINK, 2), 0) == SV_STATUS_OK);
	cr_expect(up(AT(LINK, 2) | 0x200000, L1) == SV_STATUS_AGAIN, "walkers may know it");
	cr_expect(ask(SV_PAGING_UNPIN, L1, 0, 0, 0) == SV_STATUS_AGAIN);
	up(AT(UNMAP, 1), 0);
	ask(SV_PAGING_UPDATE, ROOT, AT(UNMAP, 1), 0, SV_PAGING_F_EPOCH);
	cr_expect(ask(SV_PAGING_FLUSHED, cpl.value[1], 0, 0, 0) == SV_STATUS_OK);
	cr_expect(up(AT(LINK, 2) | 0x200000, L1) == SV_STATUS_OK);
}

Test(paging, split_and_merge, .init = start_nested, .fini = stop)
{
	cr_assert(ask(SV_PAGING_PIN, SPARE, 1, 0, 0) == SV_STATUS_OK);
	cr_expect(up(AT(MAP, 2) | 0x200000, 0x600000 | RW | SV_PTE_LARGE) == SV_STATUS_OK);
	cr_expect(up(AT(SPLIT, 2) | 0x200000, SPARE) == SV_STATUS_OK);
	cr_expect(entry_of(SPARE, 511) == (0x7ff000 | RW | SV_PTE_ACCESSED | SV_PTE_DIRTY));
	cr_expect(up(AT(PROTECT, 1) | 0x201000, RO) == SV_STATUS_OK);
	cr_expect(up(AT(MERGE, 2) | 0x200000, 0) == SV_STATUS_DENIED, "one differs");
	cr_expect(up(AT(PROTECT, 1) | 0x201000, RW) == SV_STATUS_OK);
	cr_expect(up(AT(MERGE, 2) | 0x200000, 0) == SV_STATUS_OK);
	cr_expect(
		entry_of(L2, 1) == (0x600000 | RW | SV_PTE_LARGE | SV_PTE_ACCESSED | SV_PTE_DIRTY));
	cr_expect(up(AT(MERGE, 2), 0) == SV_STATUS_DENIED, "empty");
	cr_expect(up(AT(UNMAP, 2) | 0x200000, 0) == SV_STATUS_OK);
}

Test(paging, the_kernels_frames, .init = start_nested, .fini = stop)
{
	cr_expect(up(AT(MAP, 1), 5 * PAGE | RO) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_RESERVE, 4 * PAGE, 4 * PAGE, 0, 0) == SV_STATUS_DENIED, "mapped");
	cr_expect(ask(SV_PAGING_RESERVE, 6 * PAGE, 2 * PAGE, 0, 0) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_RESERVE, POOL, PAGE, 0, 0) == SV_STATUS_DENIED);
	cr_expect(up(AT(MAP, 1) | PAGE, 6 * PAGE | RO) == SV_STATUS_DENIED);
	cr_expect(up(AT(MAP, 1) | PAGE, 6 * PAGE | SV_PTE_PRESENT | SV_PTE_WRITE) == SV_STATUS_OK);
	cr_expect(up(AT(MAP, 2) | 0x200000, RO | SV_PTE_LARGE) == SV_STATUS_DENIED);
}

Test(paging, activation, .init = start_nested, .fini = stop)
{
	const struct sv_paging_page *page =
		sv_gmem_ptr(&gmem, sv_gpa(POOL + 32 * PAGE), sizeof(*page));

	cr_expect(page->magic == SV_PAGING_MAGIC);
	cr_expect(ask(SV_PAGING_ACTIVATE, L3, 0, 0, 0) == SV_STATUS_DENIED);
	cr_expect(ask(SV_PAGING_ACTIVATE, SPARE, 0, 0, 0) == SV_STATUS_INVALID);
	cr_expect(ask(SV_PAGING_ACTIVATE, ROOT, 0, 0, 0) == SV_STATUS_OK && page->root[0] == ROOT);
	cr_expect(ask(SV_PAGING_UNPIN, ROOT, 0, 0, 0) == SV_STATUS_DENIED);
	cr_expect(ask(SV_PAGING_ACTIVATE, 0, 0, 0, 0) == SV_STATUS_OK && page->root[0] == 0);
}

Test(paging, a_store_is_the_operation_that_it_means, .init = start_nested, .fini = stop)
{
	cr_expect(ask(SV_PAGING_STORE, L1 + 8, PAGE | RW, 0, 0) == SV_STATUS_OK);
	cr_expect(entry_of(L1, 1) == (PAGE | RW | SV_PTE_ACCESSED | SV_PTE_DIRTY));
	cr_expect(ask(SV_PAGING_STORE, L1 + 8, PAGE | RO, 0, 0) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_STORE, L1 + 8, L2 | RW, 0, 0) == SV_STATUS_DENIED);
	cr_expect(ask(SV_PAGING_STORE, L1 + 8, 0, 0, 0) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_STORE, L1 + 4, 0, 0, 0) == SV_STATUS_INVALID);
	cr_expect(ask(SV_PAGING_STORE, SPARE, PAGE | RW, 0, 0) == SV_STATUS_ABSENT);
	cr_expect(ask(SV_PAGING_STORE, L2, 0, 0, 0) == SV_STATUS_OK, "unlink");
	cr_expect(ask(SV_PAGING_STORE, L2 + 8, L1 | 0x27, 0, 0) == SV_STATUS_AGAIN,
		"link, too early");
}

Test(paging, a_batch_ends_at_what_is_refused, .init = start_nested, .fini = stop)
{
	struct sv_paging_op *ops = sv_gmem_ptr(&gmem, sv_gpa(0x10000), 3 * sizeof(*ops));

	ops[0] = (struct sv_paging_op){AT(MAP, 1), PAGE | RW};
	ops[1] = (struct sv_paging_op){AT(MAP, 1), PAGE | RW};
	ops[2] = (struct sv_paging_op){AT(MAP, 1) | PAGE, PAGE | RW};
	cr_expect(
		ask(SV_PAGING_BATCH, ROOT, 0x10000, 3, 0) == SV_STATUS_EXISTS && cpl.value[0] == 1);
	cr_expect(entry_of(L1, 1) == 0);
	cr_expect(ask(SV_PAGING_BATCH, ROOT, 0x10008, 1, 0) == SV_STATUS_INVALID);
	cr_expect(ask(SV_PAGING_BATCH, ROOT, MEMORY - 16, 2, 0) == SV_STATUS_BAD_ADDRESS);
	cr_expect(ask(SV_PAGING_BATCH, ROOT, 0x10000, 0, 0) == SV_STATUS_INVALID);
	cr_expect(ask(SV_PAGING_BATCH, ROOT, 0x10000, SV_PAGING_BATCH_MAX + 1, 0) ==
		  SV_STATUS_INVALID);
}

Test(paging, under_shadow_paging_places_are_for_good, .init = start_shadowed, .fini = stop)
{
	cr_expect(up(AT(UNLINK, 2), 0) == SV_STATUS_OK);
	cr_expect(up(AT(MAP, 2), RW | SV_PTE_LARGE) == SV_STATUS_DENIED, "it was a table here");
	cr_expect(up(AT(LINK, 2) | 0x200000, L1) == SV_STATUS_DENIED, "elsewhere");
	cr_expect(up(AT(LINK, 2), L1) == SV_STATUS_OK, "where it was");
	cr_expect(up(AT(UNLINK, 2), 0) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_UNPIN, L1, 0, 0, 0) == SV_STATUS_DENIED, "it was used");
	cr_expect(up(AT(MAP, 2) | 0x400000, 0x600000 | RW | SV_PTE_LARGE) == SV_STATUS_OK);
	cr_expect(up(AT(REMAP, 2) | 0x400000, 0x800000 | RW | SV_PTE_LARGE) == SV_STATUS_DENIED);
	cr_expect(up(AT(PROTECT, 2) | 0x400000, RO | SV_PTE_LARGE) == SV_STATUS_OK);
	cr_expect(up(AT(SPLIT, 2) | 0x400000, SPARE) == SV_STATUS_DENIED);
	cr_expect(ask(SV_PAGING_FLUSHED, 0, 0, 0, 0) == SV_STATUS_DENIED, "a flush proves nothing");
}

Test(paging, forgetting, .init = start_shadowed, .fini = stop)
{
	uint64_t *frames = sv_gmem_ptr(&gmem, sv_gpa(0x10000), 16);

	forgets = 0;
	cr_expect(up(AT(MAP, 1), SPARE | RW) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_UPDATE, ROOT, AT(PROTECT, 1), RO, SV_PAGING_F_FORGET) == 0);
	cr_expect(forgets == 1);
	cr_expect(ask(SV_PAGING_UPDATE, ROOT, AT(PROTECT, 1), RW, SV_PAGING_F_FORGET) == 0);
	cr_expect(forgets == 1, "rights that are gained need no forgetting");
	cr_expect(ask(SV_PAGING_UPDATE, ROOT, AT(UNMAP, 1), 0, SV_PAGING_F_EPOCH) == 0);
	cr_expect(ask(SV_PAGING_PIN, SPARE, 1, 0, 0) == SV_STATUS_AGAIN);
	frames[0] = SPARE;
	frames[1] = SPARE + PAGE;
	cr_expect(ask(SV_PAGING_FORGET, 0x10000, 2, 0, 0) == SV_STATUS_OK && forgets == 2);
	cr_expect(ask(SV_PAGING_PIN, SPARE, 1, 0, 0) == SV_STATUS_AGAIN, "of an older epoch");
	cr_expect(ask(SV_PAGING_FORGET, 0x10000, 2, 1, 0) == SV_STATUS_OK && forgets == 3);
	cr_expect(ask(SV_PAGING_PIN, SPARE, 1, 0, 0) == SV_STATUS_OK);
	cr_expect(ask(SV_PAGING_FORGET, 0x10004, 1, 0, 0) == SV_STATUS_INVALID);
	cr_expect(ask(SV_PAGING_FORGET, MEMORY, 1, 0, 0) == SV_STATUS_BAD_ADDRESS);
}

Test(paging, one_request_has_so_much_to_forget, .init = start_shadowed, .fini = stop)
{
	struct sv_paging_op *ops = sv_gmem_ptr(&gmem, sv_gpa(0x10000), 200 * sizeof(*ops));
	uint64_t *frames = sv_gmem_ptr(&gmem, sv_gpa(0x20000), 100 * sizeof(*frames));

	for (uint64_t i = 0; i < 100; i++) {
		ops[i] = (struct sv_paging_op){i << 12 | AT(MAP, 1), (0x100 + 2 * i) << 12 | RO};
		ops[100 + i] = (struct sv_paging_op){i << 12 | AT(UNMAP, 1), 0};
		frames[i] = (0x100 + 2 * i) << 12;
	}
	cr_expect(many(0x10000, 100) == SV_STATUS_OK);
	forgets = 0;
	cr_expect(many(0x10000 + 100 * sizeof(*ops), 100) == SV_STATUS_AGAIN);
	cr_expect(cpl.value[0] == 64 && forgets == 64);
	cr_expect(many(0x10000 + 164 * sizeof(*ops), 36) == SV_STATUS_OK && forgets == 100);
	cr_expect(
		ask(SV_PAGING_FORGET, 0x20000, 100, 0, 0) == SV_STATUS_AGAIN && cpl.value[0] == 64);
}

Test(paging, bad_configurations)
{
	struct sv_paging_config c = {.gmem = &gmem, .pool_gpa = POOL, .levels = 4, .vcpus = 1};
	struct sv_error err;

	gmem.n = 0;
	cr_expect(sv_paging_create(&p, &c, &err) < 0 && strstr(err.text, "pool"));
	c.levels = 3;
	cr_expect(sv_paging_create(&p, &c, &err) < 0 && strstr(err.text, "levels"));
}
