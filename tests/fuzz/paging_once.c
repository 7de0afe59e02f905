/* SPDX-License-Identifier: BSD-3-Clause */
#include "paging_once.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/error.h>
#include <paging/paging.h>
#include <sidevisor/paging.h>

#define PAGE 4096ull
#define RAM (4ull << 20)
#define TABLES 16u
#define POOL 0x40000000ull
#define WINDOW_GPA 0x3fffc000ull /* struct sv_paging_page, then the pool */
#define WINDOW (SV_PAGING_PAGE_BYTES + TABLES * PAGE)
#define REQUESTS_MAX 400u

/* The bytes of a run, used up from the front; zero when there are no more. */
struct input {
	const uint8_t *at, *end;
};

/* One memfd seen twice: RAM is read-only to the service, so that a wrong store faults. */
static struct {
	uint8_t *ours, *theirs;
	struct sv_gmem gmem;
} memory;

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->at < in->end; i++)
		v |= (uint64_t)*in->at++ << 8 * i;
	return v;
}

static void open_memory(void)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	uint8_t *area;

	SV_BUG_ON(fd < 0 || ftruncate(fd, (off_t)(RAM + WINDOW)) < 0);
	memory.ours = mmap(NULL, RAM + WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	/* Nothing before, between and behind. */
	area = mmap(NULL, RAM + WINDOW + 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SV_BUG_ON(memory.ours == MAP_FAILED || area == MAP_FAILED);
	SV_BUG_ON(mmap(area + PAGE, RAM, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED);
	SV_BUG_ON(mmap(area + 2 * PAGE + RAM, WINDOW, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, fd, (off_t)RAM) == MAP_FAILED);
	close(fd);
	memory.theirs = area + PAGE;
	memory.gmem.n = 2;
	memory.gmem.region[0] =
		(struct sv_gmem_region){.gpa = 0, .size = RAM, .host = area + PAGE, .fd = -1};
	memory.gmem.region[1] = (struct sv_gmem_region){
		.gpa = WINDOW_GPA, .size = WINDOW, .host = area + 2 * PAGE + RAM, .fd = -1};
}

static int forget(void *ctx, uint64_t gpa, uint64_t bytes)
{
	(void)ctx;
	SV_BUG_ON(gpa % PAGE || !bytes || bytes % PAGE);
	return 0;
}

static uint64_t table(struct input *in)
{
	return POOL + take(in, 1) % (TABLES + 1) * PAGE;
}

static uint64_t where(struct input *in)
{
	uint64_t b = take(in, 1), level = 1 + b % 5, op = b >> 3 & 15;
	uint64_t va = take(in, 1) % 4 << 12 | take(in, 1) % 4 << 21;

	if (level >= 2)
		va &= ~((1ull << (3 + 9 * level)) - 1);
	if (take(in, 1) % 16 == 0)
		va ^= take(in, 8);
	return va | op | SV_PAGING_LEVEL(level);
}

static uint64_t entry(struct input *in)
{
	uint64_t b = take(in, 1);

	switch (b % 4) {
	case 0:
		return table(in) | (b & 4 ? 7 : 0);
	case 1:
		return take(in, 8);
	default:
		return take(in, 1) * PAGE | (b & 4 ? SV_PTE_WRITE : 0) | (b & 8 ? SV_PTE_USER : 0) |
		       (b & 16 ? SV_PTE_LARGE : 0) | (b & 32 ? 0 : SV_PTE_PRESENT);
	}
}

/* What a guest may write at any time: its tables, and the memory of its requests. */
static void forge(struct input *in)
{
	uint64_t at = take(in, 2), v = entry(in);

	memcpy(memory.ours + (at & 1 ? RAM + at * 8 % WINDOW : at * 8 % RAM) / 8 * 8, &v, 8);
}

static void fill_ops(struct input *in, uint64_t at, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct sv_paging_op op = {where(in), entry(in)};

		memcpy(memory.ours + at + i * sizeof(op), &op, sizeof(op));
	}
}

static void make(struct input *in, struct sv_req *req)
{
	uint64_t kind = take(in, 1), n = take(in, 1) % 32;

	*req = (struct sv_req){.service = SV_SERVICE_PAGING, .opcode = (uint16_t)(kind % 11)};
	switch (req->opcode) {
	case SV_PAGING_PIN:
		req->arg[0] = table(in);
		req->arg[1] = take(in, 1) % 6;
		break;
	case SV_PAGING_BATCH:
		fill_ops(in, 0x1000, n);
		req->arg[0] = table(in);
		req->arg[1] = kind & 128 ? take(in, 8) : 0x1000;
		req->arg[2] = n;
		req->arg[3] = take(in, 1) % 5;
		break;
	case SV_PAGING_UPDATE:
		req->arg[0] = table(in);
		req->arg[1] = where(in);
		req->arg[2] = entry(in);
		req->arg[3] = take(in, 1) % 5;
		req->arg[4] = take(in, 1) % 8 ? 0 : take(in, 2);
		break;
	case SV_PAGING_STORE:
		req->arg[0] = table(in) + take(in, 1) % 8 * 8;
		req->arg[1] = entry(in);
		break;
	default:
		req->arg[0] = kind & 128 ? take(in, 8) : table(in);
		req->arg[1] = kind & 64 ? take(in, 8) : n;
		req->arg[2] = take(in, 1);
	}
}

/* A root with one table of each level, so that most of what follows has somewhere to go. */
static void furnish(struct sv_paging *p, struct paging_once *sum)
{
	struct sv_cpl cpl;

	for (uint64_t level = 4; level >= 1; level--) {
		uint64_t gpa = POOL + (4 - level) * PAGE;
		struct sv_req pin = {.opcode = SV_PAGING_PIN, .arg = {gpa, level}};
		struct sv_req link = {.opcode = SV_PAGING_UPDATE,
			.arg = {POOL, SV_PAGING_LINK | SV_PAGING_LEVEL(level + 1), gpa}};

		sv_paging_handle(p, 0, &pin, &cpl);
		sum->done += cpl.status == SV_STATUS_OK;
		if (level < 4)
			sv_paging_handle(p, 0, &link, &cpl);
	}
}

struct paging_once paging_once(const uint8_t *data, size_t bytes)
{
	struct input in = {data, data + bytes};
	uint64_t kind = take(&in, 1);
	struct sv_paging_config c = {.gmem = &memory.gmem,
		.device = {{0x50000000, 4 * PAGE}},
		.devices = 1,
		.pool_gpa = POOL,
		.pool_bytes = TABLES * PAGE,
		.closed_gpa = WINDOW_GPA,
		.closed_bytes = WINDOW,
		.page_gpa = WINDOW_GPA,
		.levels = 4 + (kind & 1),
		.vcpus = 2,
		.gib_pages = kind & 2,
		.shadowed = kind & 4,
		.forget = kind & 8 ? NULL : forget};
	struct paging_once sum = {0};
	struct sv_paging *p;
	struct sv_cpl cpl;
	struct sv_req req;

	if (!memory.ours)
		open_memory();
	SV_BUG_ON(sv_paging_create(&p, &c, NULL) < 0);
	if (!(kind & 16))
		furnish(p, &sum);
	while (in.at < in.end && sum.requests < REQUESTS_MAX) {
		if (take(&in, 1) % 4 == 0)
			forge(&in);
		make(&in, &req);
		sv_paging_handle(p, (uint32_t)take(&in, 1) % 3, &req, &cpl);
		SV_BUG_ON(cpl.status > SV_STATUS_ABSENT);
		sum.requests++;
		sum.done += cpl.status == SV_STATUS_OK;
	}
	SV_BUG_ON(sv_paging_audit(p, false) != 0);
	sv_paging_destroy(p);
	return sum;
}
