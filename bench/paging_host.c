/* SPDX-License-Identifier: BSD-3-Clause */
/* What an update costs without a guest: validated, against plain stores into the same tables. */
#include "paging_host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <paging/paging.h>
#include <sidevisor/paging.h>

#define PAGE 4096ull
#define LEAVES 64u /* tables of level 1: 32,768 entries */
#define BATCH 64u
#define ROUNDS 40u
#define POOL (1ull << 30)
#define MEMORY (256ull << 20)
#define OPS_BYTES (LEAVES * 512ull * sizeof(struct sv_paging_op))

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct rig {
	struct sv_gmem gmem;
	struct sv_paging *paging;
	struct sv_paging_op *ops;
};

static uint32_t ask(struct rig *r, uint16_t opcode, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct sv_req req = {
		.service = SV_SERVICE_PAGING, .opcode = opcode, .arg = {a, b, c, 0, d}};
	struct sv_cpl cpl;

	sv_paging_handle(r->paging, 0, &req, &cpl);
	return cpl.status;
}

static uint64_t leaf(uint64_t i)
{
	return POOL + (3 + i) * PAGE;
}

static bool build(struct rig *r)
{
	uint32_t bad = 0;

	for (uint64_t i = 0; i < 3; i++) {
		bad |= ask(r, SV_PAGING_PIN, POOL + i * PAGE, 4 - i, 0, 0);
		if (i)
			bad |= ask(r, SV_PAGING_UPDATE, POOL,
				SV_PAGING_LINK | SV_PAGING_LEVEL(5 - i), POOL + i * PAGE, 0);
	}
	for (uint64_t i = 0; i < LEAVES; i++) {
		bad |= ask(r, SV_PAGING_PIN, leaf(i), 1, 0, 0);
		bad |= ask(r, SV_PAGING_UPDATE, POOL, i << 21 | SV_PAGING_LINK | SV_PAGING_LEVEL(2),
			leaf(i), 0);
	}
	for (uint64_t i = 0; i < LEAVES * 512; i++)
		r->ops[i] = (struct sv_paging_op){
			.where = i * PAGE | SV_PAGING_MAP | SV_PAGING_LEVEL(1),
			.entry = (OPS_BYTES + i * PAGE % (MEMORY - OPS_BYTES)) | SV_PTE_PRESENT |
				 SV_PTE_WRITE | SV_PTE_USER};
	return bad == 0;
}

static bool open_rig(struct rig *r)
{
	struct sv_paging_config c = {.gmem = &r->gmem,
		.pool_gpa = POOL,
		.pool_bytes = (LEAVES + 3) * PAGE,
		.levels = 4,
		.vcpus = 1};
	uint8_t *ram = mmap(NULL, MEMORY + c.pool_bytes, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ram == MAP_FAILED)
		return false;
	r->gmem.n = 2;
	r->gmem.region[0] =
		(struct sv_gmem_region){.gpa = 0, .size = MEMORY, .host = ram, .fd = -1};
	r->gmem.region[1] = (struct sv_gmem_region){
		.gpa = POOL, .size = c.pool_bytes, .host = ram + MEMORY, .fd = -1};
	r->ops = (struct sv_paging_op *)(void *)ram;
	return sv_paging_create(&r->paging, &c, NULL) == 0 && build(r);
}

/* Sequential, batch by batch, as a guest would fill its address space. */
static double validated(struct rig *r, bool *ok)
{
	uint64_t t = now_ns();

	for (uint64_t i = 0; i < LEAVES * 512; i += BATCH)
		*ok &= ask(r, SV_PAGING_BATCH, POOL, i * sizeof(r->ops[0]), BATCH, 0) ==
		       SV_STATUS_OK;
	t = now_ns() - t;
	for (uint64_t i = 0; i < LEAVES; i++)
		*ok &= ask(r, SV_PAGING_UPDATE, POOL,
			       i << 21 | SV_PAGING_UNMAP | SV_PAGING_LEVEL(1), 0,
			       512) == SV_STATUS_OK;
	return (double)t / (LEAVES * 512);
}

/* The same entries from the same array into the same tables, nothing asked. */
static double plain(struct rig *r)
{
	uint64_t *tables = sv_gmem_ptr(&r->gmem, sv_gpa(leaf(0)), LEAVES * PAGE), t = now_ns();
	volatile uint64_t *to = tables;

	for (uint64_t i = 0; i < LEAVES * 512; i++)
		to[r->ops[i].where >> 12] = r->ops[i].entry | SV_PTE_ACCESSED | SV_PTE_DIRTY;
	t = now_ns() - t;
	memset(tables, 0, LEAVES * PAGE);
	return (double)t / (LEAVES * 512);
}

/*
 * Plain stores once more, of all that an update leaves behind: entry, private entry, count of the
 * frame.
 */
static double plain_books(struct rig *r, uint64_t *own, uint64_t (*count)[2])
{
	uint64_t *tables = sv_gmem_ptr(&r->gmem, sv_gpa(leaf(0)), LEAVES * PAGE), t = now_ns();
	volatile uint64_t *to = tables, *mine = own;

	for (uint64_t i = 0; i < LEAVES * 512; i++) {
		uint64_t at = r->ops[i].where >> 12, entry = r->ops[i].entry | SV_PTE_ACCESSED;

		count[(entry & SV_PTE_FRAME) >> 12][0] += 1 + ((entry & SV_PTE_WRITE) << 31);
		mine[at] = entry;
		to[at] = entry;
	}
	t = now_ns() - t;
	memset(tables, 0, LEAVES * PAGE);
	return (double)t / (LEAVES * 512);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

bool bench_paging_host(struct bench_paging_host *out)
{
	static uint64_t own[LEAVES * 512], count[MEMORY / PAGE][2];
	static double a[ROUNDS], b[ROUNDS], c[ROUNDS];
	struct rig r = {0};
	bool ok = open_rig(&r);

	for (unsigned i = 0; ok && i < ROUNDS; i++) {
		a[i] = validated(&r, &ok);
		b[i] = plain(&r);
		c[i] = plain_books(&r, own, count);
	}
	qsort(a, ROUNDS, sizeof(a[0]), by_value);
	qsort(b, ROUNDS, sizeof(b[0]), by_value);
	qsort(c, ROUNDS, sizeof(c[0]), by_value);
	*out = (struct bench_paging_host){.validated_ns = a[ROUNDS / 2],
		.plain_ns = b[ROUNDS / 2],
		.books_ns = c[ROUNDS / 2]};
	if (r.paging)
		sv_paging_destroy(r.paging);
	if (r.gmem.n)
		munmap(r.gmem.region[0].host, MEMORY + (LEAVES + 3) * PAGE);
	return ok;
}
