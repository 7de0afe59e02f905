/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's half of `sidevisor bench exit`: rounds of every item, one after the other, so that
 * drift hits all alike. Samples are TSC differences of single operations, left in memory; the
 * address of struct lwk_bench is told through SV_PORT_BENCH, where the VM process does its own items
 * in between (raw ping-pong in host mode).
 */
#include "apps.h"

#include <lwk/bench.h>
#include <lwk/lwk.h>

#include "../lib/internal.h"

#define RING_ENTRIES 64u
#define AWAY 8u /* slots between the rings' positions and a ping-pong */

static struct lwk_bench *b;

static void sample(enum lwk_bench_item item, uint64_t ticks)
{
	uint64_t *n = &b->n[item];

	if (*n < b->room)
		((uint64_t *)b->samples[item])[(*n)++] = ticks;
}

static void ring(unsigned count)
{
	struct sv_req req = {.service = SV_SERVICE_CORE, .opcode = SV_CORE_NOP};
	struct sv_cpl cpl;

	for (unsigned i = 0; i < count; i++) {
		uint64_t t = lwk_tsc();

		req.tag = i;
		lwk_submit(&req, 1);
		lwk_wait(&cpl);
		sample(LWK_BENCH_RING, lwk_tsc() - t);
	}
}

/*
 * Where a line has its home on the chip decides half of what it costs to pass it on. So that the ring is
 * compared with its like, the ping-pongs go round the rings' own slots, requests and completions in turn:
 * the first word of two that nobody looks at before they are written again.
 */
static uint64_t *next_lines(void)
{
	static uint64_t spare[16] __attribute__((aligned(64)));
	static unsigned turn;
	const struct sv_client *c = &lwk_this()->client;
	const uint8_t *ring = (const uint8_t *)(turn / 2 % 2 ? c->tx.slot : c->rx.slot);
	uint64_t slot = (c->tx.pos + AWAY + turn / 4 * 2) % RING_ENTRIES & ~1ull;

	if (c->tx.entries != RING_ENTRIES || c->rx.entries != RING_ENTRIES)
		return spare;
	turn = (turn + 1) % (2 * (RING_ENTRIES - 2 * AWAY));
	return (uint64_t *)((uint64_t)ring + slot * SV_CACHE_LINE);
}

/*
 * Two lines at rest, and a sidecore that waits for the first bounce. It gives up when we are kept from
 * our core for 100 ms, and so do we a second later: the rest of that round is lost.
 */
static uint64_t *start_pingpong(unsigned count)
{
	uint64_t *lines = next_lines(), arg[5] = {(uint64_t)lines, count};
	struct sv_cpl cpl;

	b->line_gpa = (uint64_t)lines;
	__atomic_store_n(&lines[0], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&lines[8], 0, __ATOMIC_RELAXED);
	b->error = lwk_call(SV_SERVICE_BENCH, SV_BENCH_PINGPONG, arg, &cpl);
	return b->error == SV_STATUS_OK ? lines : NULL;
}

static void pingpong(unsigned count)
{
	uint64_t *lines = start_pingpong(count);

	for (uint64_t i = 1; lines && i <= count; i++) {
		uint64_t t = lwk_tsc();

		__atomic_store_n(&lines[0], i, __ATOMIC_RELEASE);
		while (__atomic_load_n(&lines[8], __ATOMIC_ACQUIRE) != i) {
			__builtin_ia32_pause();
			if (lwk_tsc() - t > lwk_boot.tsc_hz)
				return;
		}
		sample(LWK_BENCH_PINGPONG_GUEST, lwk_tsc() - t);
	}
}

/* The same bounce, our side done by the vCPU's thread in the VM process. */
static void host_pingpong(unsigned count)
{
	if (start_pingpong(count))
		lwk_out32(SV_PORT_BENCH, LWK_BENCH_HOST_PINGPONG);
}

static void exits(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t eax = 0x40000000, ebx, ecx = 0, edx;
		uint64_t t = lwk_tsc();

		__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx) : : "memory");
		sample(LWK_BENCH_EXIT_KERNEL, lwk_tsc() - t);
		t = lwk_tsc();
		lwk_out32(SV_PORT_NOP, 0);
		sample(LWK_BENCH_EXIT_PIO, lwk_tsc() - t);
		t = lwk_tsc();
		(void)*(volatile uint32_t *)SV_MMIO_NOP_GPA;
		sample(LWK_BENCH_EXIT_MMIO, lwk_tsc() - t);
		t = lwk_tsc();
		*(volatile uint32_t *)SV_MMIO_KICK_GPA = 0;
		sample(LWK_BENCH_KICK, lwk_tsc() - t);
	}
}

static void hypercalls(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t ticks = lwk_kcall(LWK_KCALL_HYPERCALL, 0, 0);

		if (ticks)
			sample(LWK_BENCH_HYPERCALL, ticks);
	}
}

static void timer_cost(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t t = lwk_tsc();

		sample(LWK_BENCH_CLOCK, lwk_tsc() - t);
	}
}

int app_bench(void)
{
	unsigned rounds = (unsigned)lwk_arg_u64("rounds", 50);
	unsigned count = (unsigned)lwk_arg_u64("count", 2000);
	unsigned slow = (unsigned)lwk_arg_u64("exits", 40);

	b = lwk_alloc(sizeof(*b), 64);
	if (!b)
		return 1;
	b->count = count;
	b->room = (uint64_t)rounds * (count > slow ? count : slow);
	for (unsigned i = 0; i < LWK_BENCH_ITEMS; i++) {
		b->samples[i] = (uint64_t)lwk_alloc(b->room * sizeof(uint64_t), 64);
		if (!b->samples[i])
			return 1;
	}
	lwk_out32(SV_PORT_BENCH, (uint32_t)(uint64_t)b);
	for (unsigned r = 0; r < rounds && !b->error; r++) {
		timer_cost(slow);
		ring(count);
		pingpong(count);
		host_pingpong(count);
		exits(slow);
		if (lwk_arg_word("hypercall"))
			hypercalls(slow);
	}
	lwk_out32(SV_PORT_BENCH, LWK_BENCH_DONE);
	return b->error ? 1 : 0;
}
