/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The application changes its own page tables: what it maps is there, what it unmaps is gone, what
 * is not allowed is refused; then n= updates in batches. via=port makes the same requests by exit,
 * via=trap by stores.
 */
#include "apps.h"

#include <lwk/paging.h>

#define PAGE 4096ull
#define PAGES 64u
#define VA (LWK_PAGING_FROM + 0x10000000ull)

static uint64_t errors;

static void check(bool ok, const char *what)
{
	if (!ok && errors++ < 10)
		lwk_printf("WRONG: %s\n", what);
}

static void translations(uint8_t *frames)
{
	uint8_t v;

	for (unsigned round = 0; round < 20; round++) {
		uint64_t va = VA + round % 4 * 0x200000;

		check(lwk_map(va, (uint64_t)frames, PAGES * PAGE, LWK_WRITE) == SV_STATUS_OK,
			"map");
		for (unsigned i = 0; i < PAGES; i++)
			check(lwk_probe_write(va + i * PAGE, (uint8_t)(round + i)) &&
					frames[i * PAGE] == (uint8_t)(round + i),
				"write through a mapping");
		check(lwk_map(va, (uint64_t)frames, PAGE, LWK_READ) == SV_STATUS_EXISTS,
			"map twice");
		check(lwk_protect(va, PAGES * PAGE, LWK_READ) == SV_STATUS_OK, "protect");
		check(!lwk_probe_write(va + PAGE, 1) && lwk_probe_read(va + PAGE, &v), "read-only");
		check(lwk_protect(va, PAGES * PAGE, LWK_WRITE) == SV_STATUS_OK, "unprotect");
		check(lwk_probe_write(va + PAGE, 77) && frames[PAGE] == 77, "writable again");
		check(lwk_remap(va, (uint64_t)frames + PAGE, PAGE, LWK_READ) == SV_STATUS_OK &&
				lwk_probe_read(va, &v) && v == 77,
			"remap");
		check(lwk_unmap(va, PAGES * PAGE) == SV_STATUS_OK, "unmap");
		for (unsigned i = 0; i < PAGES; i++)
			check(!lwk_probe_read(va + i * PAGE, &v), "gone after unmap");
	}
}

static uint32_t update(uint64_t where, uint64_t entry)
{
	struct sv_cpl cpl;

	return lwk_paging_call(
		SV_PAGING_UPDATE, (uint64_t[5]){lwk_paging_root(), where, entry}, &cpl);
}

static void refusals(uint8_t *frames)
{
	uint64_t root = lwk_paging_root(), rw = LWK_WRITE | SV_PTE_PRESENT, at = VA | 1u << 4;
	uint64_t before = *(volatile uint64_t *)root;

	check(lwk_map(VA, (uint64_t)frames, PAGE, LWK_READ) == SV_STATUS_OK, "map");
	check(lwk_unmap(VA, PAGE) == SV_STATUS_OK, "unmap");
	check(update(at | SV_PAGING_MAP, root | rw) == SV_STATUS_DENIED, "a table mapped writable");
	check(update(at | SV_PAGING_MAP, 0x200000 | rw) == SV_STATUS_DENIED, "the kernel's memory");
	check(update(at | SV_PAGING_MAP, 0x7000000000ull | rw) == SV_STATUS_BAD_ADDRESS,
		"no memory");
	check(update(at | SV_PAGING_MAP, (uint64_t)frames | rw | 1ull << 58) == SV_STATUS_INVALID,
		"a reserved bit");
	check(update((at ^ 1ull << 60) | SV_PAGING_MAP, (uint64_t)frames | rw) == SV_STATUS_INVALID,
		"an address that is not canonical");
	check(!lwk_probe_write(root, 0xff) && *(volatile uint64_t *)root == before,
		"a store into a table");
}

/*
 * From CPL 0, past the guest's own page tables: under shadow paging the memory itself is read-only.
 */
static void kernel_stores(void)
{
	volatile uint64_t *entry = (volatile uint64_t *)lwk_paging_root() + 200;

	if (!lwk_paging_shadowed())
		return;
	lwk_kcall(LWK_KCALL_PRIVILEGED, 2, (uint64_t)entry);
	check(*entry == 0, "the kernel stored into a table");
}

static void memory_calls(void)
{
	uint8_t *m = lwk_mmap(300 * PAGE, LWK_WRITE), *heap = lwk_sbrk(0), v;
	uint64_t sum = 0;

	check(m != NULL, "mmap");
	for (unsigned i = 0; m && i < 300; i++) {
		sum += m[i * PAGE];
		m[i * PAGE] = (uint8_t)i;
	}
	check(sum == 0, "mmap gives zeroes");
	check(m && lwk_munmap(m + 100 * PAGE, 50 * PAGE) == SV_STATUS_OK, "munmap");
	check(!lwk_probe_read((uint64_t)m + 120 * PAGE, &v), "gone after munmap");
	check(lwk_probe_read((uint64_t)m + 99 * PAGE, &v) && v == 99, "the rest is there");
	check(lwk_sbrk(10000) == heap && lwk_probe_write((uint64_t)heap + 9999, 1), "sbrk");
	check(!lwk_probe_read((uint64_t)heap + 3 * PAGE, &v), "behind the heap");
	check(lwk_sbrk(-10000) == heap + 10000 && !lwk_probe_read((uint64_t)heap, &v), "sbrk back");
	lwk_munmap(m, 100 * PAGE);
	lwk_munmap(m + 150 * PAGE, 150 * PAGE);
}

/* --- another vCPU that reads what goes away -------------------------------------------------- */

static struct {
	uint8_t *frame;
	uint32_t stop;
	uint64_t seen_old, seen_new, faults;
} race;

static void reader(void *arg)
{
	unsigned turns = 0;
	uint8_t v;

	(void)arg;
	while (!__atomic_load_n(&race.stop, __ATOMIC_ACQUIRE)) {
		if (!lwk_probe_read(VA, &v))
			race.faults++;
		else
			__atomic_add_fetch(
				v == 1 ? &race.seen_old : &race.seen_new, 1, __ATOMIC_RELAXED);
		lwk_relax(&turns);
	}
}

static void other_vcpu(uint8_t *frames)
{
	unsigned turns = 0;

	race.frame = frames;
	lwk_thread_start(1, reader, NULL);
	for (unsigned i = 0; i < 50; i++) {
		uint64_t old = __atomic_load_n(&race.seen_old, __ATOMIC_RELAXED);
		uint64_t until = lwk_tsc() + lwk_boot.tsc_hz;

		*(volatile uint8_t *)frames = 1;
		check(lwk_map(VA, (uint64_t)frames, PAGE, LWK_READ) == SV_STATUS_OK, "map");
		while (__atomic_load_n(&race.seen_old, __ATOMIC_RELAXED) == old &&
			lwk_tsc() < until)
			lwk_relax(&turns);
		check(lwk_unmap(VA, PAGE) == SV_STATUS_OK, "unmap");
		*(volatile uint8_t *)frames = 2; /* the frame is used for something else */
		for (unsigned k = 0; k < 4096; k++)
			lwk_relax(&turns);
	}
	__atomic_store_n(&race.stop, 1, __ATOMIC_RELEASE);
	lwk_thread_join(1);
	check(race.seen_new == 0, "another vCPU saw a frame after it was unmapped");
	check(race.seen_old >= 25, "the other vCPU saw the page");
}

/* --- many ------------------------------------------------------------------------------------ */

static void churn(uint64_t n, unsigned batch, uint8_t *frames)
{
	static struct sv_paging_op ops[SV_PAGING_BATCH_MAX] __attribute__((aligned(64)));
	uint64_t left = n, done, start = lwk_tsc();

	check(lwk_paging_tables(VA, batch * PAGE) == SV_STATUS_OK, "tables");
	for (bool map = true; left; map = !map) {
		for (unsigned i = 0; i < batch; i++)
			ops[i] = (struct sv_paging_op){
				.where = (VA + i * PAGE) | 1u << 4 |
					 (map ? SV_PAGING_MAP : SV_PAGING_UNMAP),
				.entry = map ? ((uint64_t)frames + i % PAGES * PAGE) | LWK_WRITE | 1
					     : 0};
		check(lwk_paging_batch(ops, batch, !map, &done) == SV_STATUS_OK && done == batch,
			"batch");
		left -= left < batch ? left : batch;
		if (errors)
			break;
	}
	lwk_printf("%lu updates in %lu ms, tables %s, %lu errors\n", n,
		lwk_ticks_to_ns(lwk_tsc() - start) / 1000000,
		lwk_paging_shadowed() ? "shadowed" : "walked by the processor", errors);
}

int app_paging(void)
{
	const char *why = lwk_paging_start(lwk_arg_is("via", "port")   ? LWK_VIA_PORT
					   : lwk_arg_is("via", "trap") ? LWK_VIA_TRAP
								       : LWK_VIA_RING);
	uint64_t batch = lwk_arg_u64("batch", 64);
	uint8_t *frames;

	if (why) {
		lwk_printf("no direct paging: %s\n", why);
		return 1;
	}
	frames = lwk_alloc(PAGES * PAGE, PAGE);
	if (!frames || !batch || batch > SV_PAGING_BATCH_MAX)
		return 1;
	refusals(frames);
	translations(frames);
	memory_calls();
	if (lwk_arg_word("msrprobe"))
		kernel_stores();
	if (lwk_vcpus() > 1)
		other_vcpu(frames);
	churn(lwk_arg_u64("n", 100000), (unsigned)batch, frames);
	return errors != 0;
}
