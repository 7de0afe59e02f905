/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's half of `sidevisor bench paging`: rounds of every item, one after the other, so that
 * drift hits all alike. The exits' tables are their own instance's, in the other half of the
 * window, and valid but not active: what an exit costs does not depend on it.
 */
#include "apps.h"

#include <lwk/paging.h>
#include <lwk/paging_bench.h>

#define PAGE 4096ull
#define VA (LWK_PAGING_FROM + 0x40000000ull)
#define STREAMS 16u

static struct lwk_paging_bench *b;
static struct sv_paging_op map_ops[STREAMS][512] __attribute__((aligned(64)));
static struct sv_paging_op unmap_ops[512] __attribute__((aligned(64)));
static uint8_t *frames;
static uint64_t exit_root, exit_leaf; /* of the instance in the VM process */
static bool counting;

static void sample(enum lwk_paging_item item, uint64_t ticks)
{
	uint64_t *n = &b->n[item];

	if (!counting && *n < b->room)
		((uint64_t *)b->samples[item])[(*n)++] = ticks;
}

static void check(uint32_t status)
{
	if (status != SV_STATUS_OK && !b->error)
		b->error = status;
}

static uint32_t update(enum lwk_paging_via via, uint64_t root, uint64_t where, uint64_t entry,
	uint64_t flags, uint64_t count)
{
	struct sv_cpl cpl;

	return lwk_paging_call_via(
		via, SV_PAGING_UPDATE, (uint64_t[5]){root, where, entry, flags, count}, &cpl);
}

/* Take away without a word to anybody: nobody used it. */
static void clear(unsigned n)
{
	check(update(LWK_VIA_RING, lwk_paging_root(), VA | SV_PAGING_UNMAP | SV_PAGING_LEVEL(1), 0,
		0, n));
}

static uint64_t page(unsigned i)
{
	return ((uint64_t)frames + i % 64 * PAGE) | LWK_WRITE | SV_PTE_PRESENT;
}

static void ring_one(unsigned count)
{
	struct sv_req empty = {.service = SV_SERVICE_CORE, .opcode = SV_CORE_NOP};
	uint64_t where = VA | SV_PAGING_LEVEL(1), root = lwk_paging_root();
	struct sv_cpl cpl;

	for (unsigned i = 0; i < count; i++) {
		uint64_t at = where + i % 512 * PAGE, t = lwk_tsc();

		lwk_submit(&empty, 1);
		lwk_wait(&cpl);
		sample(LWK_PB_EMPTY, lwk_tsc() - t);
		t = lwk_tsc();
		check(update(LWK_VIA_RING, root, at | SV_PAGING_MAP, page(i), 0, 0));
		sample(LWK_PB_RING_MAP, lwk_tsc() - t);
		t = lwk_tsc();
		check(update(LWK_VIA_RING, root, at | SV_PAGING_UNMAP, 0, 0, 0));
		sample(LWK_PB_RING_UNMAP, lwk_tsc() - t);
	}
}

/* As an application would have just written it: the lines are in our cache, and changed. */
static void write_ops(struct sv_paging_op *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		*(volatile uint64_t *)&ops[i].entry = ops[i].entry ^ 1ull << 9;
}

static void ring_batch(enum lwk_paging_item item, unsigned n)
{
	uint64_t done, t;

	write_ops(map_ops[0], n);
	t = lwk_tsc();
	check(lwk_paging_batch(map_ops[0], n, false, &done));
	sample(item, lwk_tsc() - t);
	clear(n);
}

static void ring_range(void)
{
	uint64_t t = lwk_tsc();

	check(update(LWK_VIA_RING, lwk_paging_root(), VA | SV_PAGING_MAP | SV_PAGING_LEVEL(1),
		(uint64_t)frames | LWK_READ | SV_PTE_PRESENT, 0, 512));
	sample(LWK_PB_RANGE_512, lwk_tsc() - t);
	clear(512);
}

static void ring_stream(void)
{
	struct sv_req req[STREAMS];
	struct sv_cpl cpl;
	uint64_t t;

	for (unsigned i = 0; i < STREAMS; i++)
		write_ops(map_ops[i], 64);
	for (unsigned i = 0; i < STREAMS; i++)
		req[i] = (struct sv_req){.service = SV_SERVICE_PAGING,
			.opcode = SV_PAGING_BATCH,
			.arg = {lwk_paging_root(), (uint64_t)map_ops[i], 64}};
	while (lwk_channel_room(STREAMS) < STREAMS)
		;
	t = lwk_tsc();
	lwk_submit(req, STREAMS);
	for (unsigned i = 0; i < STREAMS; i++) {
		lwk_wait(&cpl);
		check(cpl.status);
	}
	sample(LWK_PB_STREAM_64, lwk_tsc() - t);
	for (unsigned i = 0; i < STREAMS * 64 / 512; i++)
		check(update(LWK_VIA_RING, lwk_paging_root(),
			(VA + i * 512 * PAGE) | SV_PAGING_UNMAP | SV_PAGING_LEVEL(1), 0, 0, 512));
}

static void settle(enum lwk_paging_item item, unsigned n)
{
	uint64_t done, t;

	check(lwk_paging_batch(map_ops[0], n, false, &done));
	for (unsigned i = 0; i < n; i++)
		*(volatile uint8_t *)(VA + i * PAGE) = 1;
	t = lwk_tsc();
	check(lwk_paging_batch(unmap_ops, n, true, &done));
	sample(item, lwk_tsc() - t);
}

static void by_port(unsigned i)
{
	uint64_t at = VA | SV_PAGING_LEVEL(1), t = lwk_tsc();
	uint64_t flags = lwk_paging_shadowed() ? SV_PAGING_F_FORGET : 0;

	check(update(LWK_VIA_PORT, exit_root, at | SV_PAGING_MAP, page(i), 0, 0));
	sample(LWK_PB_PORT_MAP, lwk_tsc() - t);
	t = lwk_tsc();
	check(update(LWK_VIA_PORT, exit_root, at | SV_PAGING_UNMAP, 0, flags, 0));
	sample(LWK_PB_PORT_SETTLE, lwk_tsc() - t);
}

static void by_trap(unsigned i)
{
	uint64_t window = lwk_boot.trap_gpa + (exit_leaf - lwk_boot.tables_gpa);
	volatile uint64_t *entry = (volatile uint64_t *)(window + 8 * (1 + i % 511));
	volatile uint64_t *real = (volatile uint64_t *)(exit_leaf + 8 * (1 + i % 511));
	uint64_t t = lwk_tsc();

	*entry = page(i);
	sample(LWK_PB_TRAP_MAP, lwk_tsc() - t);
	if (!(*real & SV_PTE_PRESENT))
		check(SV_STATUS_ABSENT);
	check(update(LWK_VIA_PORT, exit_root,
		(VA + (1 + i % 511) * PAGE) | SV_PAGING_UNMAP | SV_PAGING_LEVEL(1), 0, 0, 0));
}

static void one_slow(enum lwk_paging_item item, unsigned i)
{
	switch (item) {
	case LWK_PB_RING_SETTLE:
		settle(item, 1);
		break;
	case LWK_PB_SETTLE_64:
		settle(item, 64);
		break;
	case LWK_PB_PORT_MAP:
		by_port(i);
		break;
	default:
		by_trap(i);
	}
}

static void round_of_all(unsigned count, unsigned slow)
{
	ring_one(count);
	for (unsigned i = 0; i < count / 8; i++) {
		ring_batch(LWK_PB_BATCH_8, 8);
		ring_batch(LWK_PB_BATCH_64, 64);
		ring_batch(LWK_PB_BATCH_512, 512);
		ring_range();
		ring_stream();
	}
	for (unsigned i = 0; i < slow; i++) {
		one_slow(LWK_PB_RING_SETTLE, i);
		one_slow(LWK_PB_SETTLE_64, i);
		one_slow(LWK_PB_PORT_MAP, i);
		one_slow(LWK_PB_TRAP_MAP, i);
	}
}

static void mark(enum lwk_paging_item item)
{
	lwk_out32(SV_PORT_BENCH, LWK_PB_MARK + item);
}

/* Exits of ours around LWK_PB_COUNTED samples of each item. */
static void count_exits(void)
{
	counting = true;
	mark(LWK_PB_RING_MAP);
	ring_one(LWK_PB_COUNTED);
	mark(LWK_PB_RING_MAP);
	mark(LWK_PB_STREAM_64);
	for (unsigned i = 0; i < LWK_PB_COUNTED; i++) {
		ring_batch(LWK_PB_BATCH_8, 8);
		ring_stream();
	}
	mark(LWK_PB_STREAM_64);
	for (unsigned item = LWK_PB_RING_SETTLE; item < LWK_PB_ITEMS; item++) {
		if (item == LWK_PB_PORT_SETTLE)
			continue;
		mark(item);
		for (unsigned i = 0; i < LWK_PB_COUNTED; i++)
			one_slow(item, i);
		mark(item);
	}
	counting = false;
}

/* A root of the VM process's instance, with one table of each level. */
static void build_exit_tables(void)
{
	struct sv_cpl cpl;
	uint64_t at;

	check(lwk_paging_call_via(LWK_VIA_PORT, SV_PAGING_INFO, (uint64_t[5]){0}, &cpl));
	exit_root = at = cpl.value[1];
	for (uint64_t level = 4; level >= 1; level--, at += PAGE) {
		check(lwk_paging_call_via(
			LWK_VIA_PORT, SV_PAGING_PIN, (uint64_t[5]){at, level}, &cpl));
		if (level < 4)
			check(update(LWK_VIA_PORT, exit_root,
				(VA & ~((1ull << (12 + 9 * level)) - 1)) | SV_PAGING_LINK |
					SV_PAGING_LEVEL(level + 1),
				at, 0, 0));
		exit_leaf = at;
	}
}

static bool prepare(unsigned rounds, unsigned count, unsigned slow)
{
	b = lwk_alloc(sizeof(*b), 64);
	frames = lwk_alloc(512 * PAGE, PAGE);
	if (!b || !frames)
		return false;
	b->room = (uint64_t)rounds * (count > slow ? count : slow);
	for (unsigned i = 0; i < LWK_PB_ITEMS; i++) {
		b->samples[i] = (uint64_t)lwk_alloc(b->room * sizeof(uint64_t), 64);
		if (!b->samples[i])
			return false;
	}
	for (unsigned i = 0; i < 512; i++) {
		unmap_ops[i].where = (VA + i * PAGE) | SV_PAGING_UNMAP | SV_PAGING_LEVEL(1);
		for (unsigned k = 0; k < STREAMS; k++)
			map_ops[k][i] =
				(struct sv_paging_op){.where = (VA + (k * 64 + i) * PAGE) |
							       SV_PAGING_MAP | SV_PAGING_LEVEL(1),
					.entry = page(i)};
	}
	check(lwk_paging_tables(VA, STREAMS * 64 * PAGE + 512 * PAGE));
	build_exit_tables();
	b->shadowed = lwk_paging_shadowed();
	return !b->error;
}

int app_paging_bench(void)
{
	unsigned rounds = (unsigned)lwk_arg_u64("rounds", 20);
	unsigned count = (unsigned)lwk_arg_u64("count", 1000);
	unsigned slow = (unsigned)lwk_arg_u64("exits", 40);
	const char *why = lwk_paging_start(LWK_VIA_RING);

	if (why || !prepare(rounds, count, slow)) {
		lwk_printf("pagingbench: %s\n", why ? why : "no memory, or tables are refused");
		return 1;
	}
	lwk_out32(SV_PORT_BENCH, (uint32_t)(uint64_t)b);
	for (unsigned r = 0; r < rounds && !b->error; r++)
		round_of_all(count, slow);
	if (!b->error)
		count_exits();
	lwk_out32(SV_PORT_BENCH, LWK_PB_DONE);
	return b->error ? 1 : 0;
}
