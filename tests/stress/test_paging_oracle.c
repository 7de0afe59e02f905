/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random requests against paging/ and against the plain model: both agree on what is done, on every
 * table in guest memory after every request, and with a walker that reads guest memory as a
 * processor does. SV_PAGING_OPS: operations per configuration (default 200,000; 10,000,000 is the
 * full count).
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <paging/paging.h>
#include <sidevisor/paging.h>

#include "paging_model.h"

#define MEMORY (2ull << 30)
#define POOL 0x40200000ull /* inside pages of 2 MiB and of 1 GiB that are mapped, too */
#define OPS_GPA 0x10000ull
#define KERNEL_GPA 0x200000ull
#define BATCH 64u
#define ROOTS 2u

struct rig {
	struct sv_gmem gmem;
	struct sv_paging *paging;
	struct model m;
	uint64_t seed, done, ok, forgets;
	uint64_t by_op[16]; /* done */
};

static uint64_t rnd(struct rig *r, uint64_t n)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return (r->seed >> 11) % n;
}

static int forget(void *ctx, uint64_t gpa, uint64_t bytes)
{
	struct rig *r = ctx;

	cr_assert(gpa % 4096 == 0 && bytes && gpa + bytes <= MEMORY);
	r->forgets++;
	return 0;
}

static uint64_t wanted(void)
{
	const char *s = getenv("SV_PAGING_OPS");

	return s ? strtoull(s, NULL, 10) : 200000;
}

static uint32_t ask(struct rig *r, uint16_t opcode, const uint64_t arg[5], struct sv_cpl *cpl)
{
	struct sv_req req = {.service = SV_SERVICE_PAGING, .opcode = opcode};

	memcpy(req.arg, arg, sizeof(req.arg));
	sv_paging_handle(r->paging, 0, &req, cpl);
	return cpl->status;
}

static uint64_t table_gpa(uint64_t i)
{
	return POOL + i * 4096;
}

static void rig_open(struct rig *r, unsigned levels, bool shadowed, uint64_t seed)
{
	struct sv_paging_config c = {.gmem = &r->gmem,
		.pool_gpa = POOL,
		.pool_bytes = MODEL_TABLES * 4096,
		.levels = levels,
		.vcpus = 1,
		.gib_pages = true,
		.shadowed = shadowed,
		.forget = forget,
		.forget_ctx = r};
	void *ram = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct sv_cpl cpl;

	memset(r, 0, sizeof(*r));
	cr_assert(ram != MAP_FAILED);
	r->seed = seed;
	r->gmem.n = 1;
	r->gmem.region[0] =
		(struct sv_gmem_region){.gpa = 0, .size = MEMORY, .host = ram, .fd = -1};
	cr_assert(sv_paging_create(&r->paging, &c, NULL) == 0);
	r->m = (struct model){.levels = levels,
		.shadowed = shadowed,
		.memory_bytes = MEMORY,
		.pool_gpa = POOL,
		.epoch = 1,
		.tracked = MODEL_TRACKED,
		.kernel_gpa = KERNEL_GPA,
		.kernel_bytes = 4096};
	for (unsigned i = 0; i < MODEL_TRACKED; i++)
		r->m.frame[i] = table_gpa(i);
	cr_assert(ask(r, SV_PAGING_RESERVE, (uint64_t[5]){KERNEL_GPA, 4096}, &cpl) == SV_STATUS_OK);
	for (unsigned i = 0; i < ROOTS; i++) {
		cr_assert(model_pin(&r->m, table_gpa(i), levels));
		cr_assert(ask(r, SV_PAGING_PIN, (uint64_t[5]){table_gpa(i), levels}, &cpl) == 0);
	}
}

static void rig_close(struct rig *r)
{
	cr_expect(sv_paging_audit(r->paging, true) == 0, "counts differ at the end");
	sv_paging_destroy(r->paging);
	munmap(r->gmem.region[0].host, MEMORY);
}

/* A processor's walk through guest memory. */
static uint64_t walk(
	const struct rig *r, uint64_t root, uint64_t va, unsigned levels, unsigned *level)
{
	uint64_t table = root;

	for (unsigned l = levels; l; l--) {
		const uint64_t *t = sv_gmem_ptr(&r->gmem, sv_gpa(table), 4096);
		uint64_t e = t[va >> (12 + 9 * (l - 1)) & 511];

		*level = l;
		if (!(e & 1))
			return 0;
		cr_assert(
			table >= POOL && table < POOL + MODEL_TABLES * 4096, "no table is walked");
		if (l == 1 || e & 0x80)
			return e;
		table = e & SV_PTE_FRAME;
	}
	return 0;
}

static uint64_t any_va(struct rig *r, unsigned level)
{
	uint64_t va = 0;

	for (unsigned l = r->m.levels; l >= level; l--) {
		uint64_t i = l == 1 ? rnd(r, 12) + (rnd(r, 8) ? 0 : 500) : rnd(r, 2);

		va |= (l >= 4 && i ? 0x1ff : i) << (3 + 9 * l);
	}
	if (va >> (11 + 9 * r->m.levels) & 1)
		va |= ~0ull << (11 + 9 * r->m.levels);
	return rnd(r, 200) ? va : va ^ 1ull << (40 + rnd(r, 24));
}

static uint64_t any_page(struct rig *r, unsigned level)
{
	static const uint64_t base[] = {
		0, 0x40000000, 0x40200000, 0x600000, 0x7fe00000, 0x80000000, KERNEL_GPA};
	uint64_t size = level == 1 ? 4096 : level == 2 ? 2ull << 20 : 1ull << 30;
	uint64_t gpa = base[rnd(r, 7)], flags = SV_PTE_PRESENT;

	if (level == 1)
		gpa += rnd(r, 32) * 4096;
	if (rnd(r, 50))
		gpa &= ~(size - 1);
	flags |= rnd(r, 2) ? SV_PTE_WRITE : 0;
	flags |= rnd(r, 3) ? SV_PTE_USER : 0;
	flags |= rnd(r, 4) ? 0 : SV_PTE_NX;
	flags |= rnd(r, 8) ? 0 : SV_PTE_SOFT & rnd(r, 4096);
	flags |= (level > 1) != !rnd(r, 40) ? SV_PTE_LARGE : 0;
	if (!rnd(r, 60))
		flags ^= 1ull << rnd(r, 64);
	return gpa | flags;
}

static struct sv_paging_op any_op(struct rig *r)
{
	static const uint8_t ops[] = {1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 0, 9};
	static const uint8_t levels[] = {1, 1, 1, 1, 1, 2, 2, 3};
	uint64_t op = ops[rnd(r, sizeof(ops))], level = levels[rnd(r, sizeof(levels))], entry = 0;

	if (op >= SV_PAGING_LINK)
		level = 2 + rnd(r, r->m.levels - 1);
	if (op == SV_PAGING_MAP || op == SV_PAGING_REMAP || op == SV_PAGING_PROTECT)
		entry = any_page(r, (unsigned)level);
	if (op == SV_PAGING_PROTECT && rnd(r, 30))
		entry &= ~SV_PTE_FRAME;
	if (op == SV_PAGING_LINK || op == SV_PAGING_SPLIT)
		entry = table_gpa(rnd(r, MODEL_TABLES + 1)) | (rnd(r, 50) ? 0 : 7);
	return (struct sv_paging_op){.where = any_va(r, (unsigned)level) | op | level << 4 |
					      (rnd(r, 300) ? 0 : 1ull << rnd(r, 12)),
		.entry = rnd(r, 300) ? entry : rnd(r, 1ull << 52)};
}

/* One that may well be possible: looks at what the model has there. */
static struct sv_paging_op likely_op(struct rig *r, int root)
{
	uint64_t va = any_va(r, 1), e, op, entry = 0, page;
	unsigned level = r->m.levels;
	int t = root, child;

	for (;; level--) {
		e = r->m.t[t].e[va >> (3 + 9 * level) & 511];
		child = level > 1 && (e & 1) && !(e & SV_PTE_LARGE)
				? model_table_at(&r->m, e & SV_PTE_FRAME)
				: -1;
		if (child < 0 || !rnd(r, 60))
			break;
		t = child;
	}
	page = any_page(r, level);
	if (child >= 0) {
		op = rnd(r, 2) ? SV_PAGING_UNLINK : SV_PAGING_MERGE;
	} else if (e & 1) {
		op = 2 + rnd(r, 3);
		if (level > 1 && !rnd(r, 4))
			op = SV_PAGING_SPLIT;
		entry = op == SV_PAGING_PROTECT ? page & ~SV_PTE_FRAME
			: op == SV_PAGING_REMAP ? page
						: 0;
	} else {
		op = level == 1 || (level < 4 && !rnd(r, 4)) ? SV_PAGING_MAP : SV_PAGING_LINK;
		entry = page;
	}
	if (op == SV_PAGING_LINK || op == SV_PAGING_SPLIT) {
		uint64_t i = ROOTS + rnd(r, MODEL_TABLES - ROOTS);

		for (unsigned k = 0;
			k < MODEL_TABLES &&
			(r->m.t[i].level != level - 1 || !r->m.t[i].pinned || r->m.t[i].linked);
			k++)
			i = ROOTS + (i + 1) % (MODEL_TABLES - ROOTS);
		entry = table_gpa(i);
	}
	return (struct sv_paging_op){
		.where = (va & ~((1ull << (3 + 9 * level)) - 1)) | op | level << 4, .entry = entry};
}

/* Below @root, a table of level 1: is there one at @va? */
static const struct model_table *leaf_table(const struct model *m, int root, uint64_t va)
{
	for (unsigned l = m->levels; l > 1; l--) {
		uint64_t e = m->t[root].e[va >> (3 + 9 * l) & 511];

		if (!(e & 1) || e & SV_PTE_LARGE)
			return NULL;
		root = model_table_at(m, e & SV_PTE_FRAME);
	}
	return &m->t[root];
}

/* 512 neighbours, so that there is something to merge; now and then they differ in one flag. */
static unsigned fill_ops(struct rig *r, int root, struct sv_paging_op *ops, uint64_t *merge)
{
	uint64_t gpa = rnd(r, 2) ? 0x600000 : 0x40000000, va = 0;
	const struct model_table *t = NULL;

	for (unsigned i = 0; i < 20 && !t; i++) {
		va = any_va(r, 1) & ~0x1fffffull;
		t = leaf_table(&r->m, root, va);
	}
	for (unsigned i = 0; t && i < 512; i++)
		ops[i] = (struct sv_paging_op){
			.where = (va + i * 4096ull) | SV_PAGING_LEVEL(1) |
				 (t->e[i] & 1 ? SV_PAGING_REMAP : SV_PAGING_MAP),
			.entry = (gpa + i * 4096ull) | SV_PTE_PRESENT | (rnd(r, 9000) ? 0 : 4)};
	*merge = va | SV_PAGING_MERGE | SV_PAGING_LEVEL(2);
	return t ? 512 : 0;
}

static void do_ops(
	struct rig *r, int root, const struct sv_paging_op *ops, unsigned n, uint64_t flags)
{
	uint64_t *at = sv_gmem_ptr(&r->gmem, sv_gpa(OPS_GPA), n * sizeof(ops[0]));
	struct sv_cpl cpl;
	unsigned done = 0;

	r->m.ngone = 0;
	while (done < n && model_op(&r->m, root, ops[done].where, ops[done].entry))
		r->by_op[ops[done++].where & SV_PAGING_OP_MASK]++;
	if (flags & SV_PAGING_F_FORGET)
		model_forget(&r->m);
	if (n == 1 && rnd(r, 2)) {
		ask(r, SV_PAGING_UPDATE,
			(uint64_t[5]){table_gpa((unsigned)root), ops[0].where, ops[0].entry, flags,
				rnd(r, 2)},
			&cpl);
	} else {
		memcpy(at, ops, n * sizeof(ops[0]));
		ask(r, SV_PAGING_BATCH, (uint64_t[5]){table_gpa((unsigned)root), OPS_GPA, n, flags},
			&cpl);
	}
	cr_assert(cpl.value[0] == done && (cpl.status == SV_STATUS_OK) == (done == n),
		"operation %llu: where %#llx entry %#llx: done %llu of %u, the model %u, status %u",
		(unsigned long long)r->done, (unsigned long long)ops[done < n ? done : 0].where,
		(unsigned long long)ops[done < n ? done : 0].entry,
		(unsigned long long)cpl.value[0], n, done, cpl.status);
	if (flags & SV_PAGING_F_EPOCH)
		cr_assert(cpl.value[1] == r->m.epoch++);
	r->done += done < n ? done + 1 : n;
	r->ok += done;
}

static void table_requests(struct rig *r)
{
	uint64_t gpa = table_gpa(rnd(r, MODEL_TABLES + 1)), level = rnd(r, r->m.levels + 2), epoch;
	struct sv_cpl cpl;
	bool want;

	switch (rnd(r, 4)) {
	case 0:
	case 1:
		want = model_pin(&r->m, gpa, level);
		cr_assert((ask(r, SV_PAGING_PIN, (uint64_t[5]){gpa, level}, &cpl) == 0) == want,
			"pin %#llx at %u: %u", (unsigned long long)gpa, (unsigned)level,
			cpl.status);
		break;
	case 2:
		want = gpa >= table_gpa(ROOTS) && model_unpin(&r->m, gpa);
		if (gpa >= table_gpa(ROOTS))
			cr_assert((ask(r, SV_PAGING_UNPIN, (uint64_t[5]){gpa}, &cpl) == 0) == want,
				"unpin %#llx: %u", (unsigned long long)gpa, cpl.status);
		break;
	default:
		epoch = rnd(r, 10) ? r->m.epoch - 1 : r->m.epoch;
		want = !r->m.shadowed && epoch < r->m.epoch;
		cr_assert((ask(r, SV_PAGING_FLUSHED, (uint64_t[5]){epoch}, &cpl) == 0) == want);
		if (want && epoch > r->m.clean)
			r->m.clean = epoch;
	}
	r->done++;
}

static void compare(struct rig *r)
{
	for (unsigned i = 0; i < MODEL_TABLES; i++) {
		const struct model_table *t = &r->m.t[i];

		if (t->pinned && (t->linked || i < ROOTS))
			cr_assert(!memcmp(sv_gmem_ptr(&r->gmem, sv_gpa(table_gpa(i)), 4096), t->e,
					  4096),
				"table %u differs after operation %llu", i,
				(unsigned long long)r->done);
	}
	for (unsigned i = 0; i < 4; i++) {
		uint64_t va = any_va(r, 1), a, b;
		unsigned la = 0, lb = 0, root = (unsigned)rnd(r, ROOTS);

		a = walk(r, table_gpa(root), va, r->m.levels, &la);
		b = model_translate(&r->m, (int)root, va, &lb);
		cr_assert(a == b && (!a || la == lb));
	}
}

static void run(unsigned levels, bool shadowed, uint64_t seed)
{
	static struct sv_paging_op ops[512];
	static struct rig r;
	struct sv_paging_stats s;

	rig_open(&r, levels, shadowed, seed);
	while (r.done < wanted()) {
		unsigned n = rnd(&r, 4) ? 1 + (unsigned)rnd(&r, BATCH) : 1;
		uint64_t flags = rnd(&r, 4), merge;
		int root = (int)rnd(&r, ROOTS);

		for (unsigned i = 0; i < n; i++)
			ops[i] = rnd(&r, 40) ? likely_op(&r, root) : any_op(&r);
		do_ops(&r, root, ops, n, flags);
		if (!rnd(&r, 40) && fill_ops(&r, root, ops, &merge)) {
			do_ops(&r, root, ops, 512, flags);
			compare(&r);
			do_ops(&r, root, &(struct sv_paging_op){.where = merge}, 1, flags);
		}
		if (!rnd(&r, 2))
			table_requests(&r);
		compare(&r);
	}
	sv_paging_stats(r.paging, &s);
	printf("%u levels%s: %llu operations, %llu done, %llu forgotten in %llu calls, none "
	       "differs\n",
		levels, shadowed ? ", shadowed" : "", (unsigned long long)r.done,
		(unsigned long long)r.ok, (unsigned long long)s.forgotten,
		(unsigned long long)r.forgets);
	for (uint64_t op = SV_PAGING_MAP; op <= SV_PAGING_MERGE; op++)
		cr_expect((r.by_op[op] > 0) == (!shadowed || op < SV_PAGING_SPLIT),
			"operation %u was done %llu times", (unsigned)op,
			(unsigned long long)r.by_op[op]);
	rig_close(&r);
}

Test(paging_oracle, four_levels)
{
	run(4, false, 0x1234567);
}

Test(paging_oracle, five_levels)
{
	run(5, false, 0x7654321);
}

Test(paging_oracle, shadowed)
{
	run(4, true, 0xabcdef1);
}
