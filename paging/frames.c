/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frame table: a type and counts for every frame, and counts for every 2 MiB and 1 GiB, so that
 * a large page costs as much as a small one.
 */
#include "private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Zeroes that cost memory only where they are touched. */
static void *take_zeroes(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint64_t blocks_of(const struct sv_gmem_region *g, unsigned shift)
{
	return ((g->gpa + g->size - 1) >> shift) - (g->gpa >> shift) + 1;
}

static bool region_create(struct frame_region *r, const struct sv_gmem_region *g)
{
	*r = (struct frame_region){.gpa = g->gpa, .size = g->size, .host = g->host};
	r->mapped_bytes[0] = (g->size >> PAGE_SHIFT) * sizeof(r->frame[0]);
	r->mapped_bytes[1] = blocks_of(g, BLOCK2_SHIFT) * sizeof(struct block);
	r->mapped_bytes[2] = blocks_of(g, BLOCK3_SHIFT) * sizeof(struct block);
	r->frame = take_zeroes(r->mapped_bytes[0]);
	r->block[0] = take_zeroes(r->mapped_bytes[1]);
	r->block[1] = take_zeroes(r->mapped_bytes[2]);
	return r->frame && r->block[0] && r->block[1];
}

static int add_region(struct sv_paging *p, const struct sv_gmem_region *g, struct sv_error *err)
{
	if (g->gpa % PAGE_BYTES || g->size < PAGE_BYTES || g->size % PAGE_BYTES ||
		g->gpa + g->size > SV_PTE_FRAME)
		return sv_fail(err, EINVAL, "paging: the VM's memory at %#llx is not whole pages",
			(unsigned long long)g->gpa);
	for (unsigned i = 0; i < p->regions; i++)
		if (g->gpa < p->region[i].gpa + p->region[i].size &&
			p->region[i].gpa < g->gpa + g->size)
			return sv_fail(err, EINVAL, "paging: two kinds of memory at %#llx",
				(unsigned long long)g->gpa);
	if (!region_create(&p->region[p->regions++], g))
		return sv_fail(err, ENOMEM, "paging: out of memory for the frame table");
	return 0;
}

int frames_create(struct sv_paging *p, struct sv_error *err)
{
	const struct sv_gmem *gm = p->config.gmem;

	int rc = 0;

	for (unsigned i = 0; i < gm->n && rc == 0; i++)
		rc = add_region(p, &gm->region[i], err);
	for (unsigned i = 0; i < p->config.devices && rc == 0; i++)
		rc = add_region(p,
			&(struct sv_gmem_region){
				.gpa = p->config.device[i].gpa, .size = p->config.device[i].bytes},
			err);
	return rc;
}

static void drop(void *at, uint64_t bytes)
{
	if (at)
		munmap(at, bytes);
}

void frames_destroy(struct sv_paging *p)
{
	for (unsigned i = 0; i < p->regions; i++) {
		drop(p->region[i].frame, p->region[i].mapped_bytes[0]);
		drop(p->region[i].block[0], p->region[i].mapped_bytes[1]);
		drop(p->region[i].block[1], p->region[i].mapped_bytes[2]);
	}
	p->regions = 0;
}

struct page_count *frames_count(struct sv_paging *p, uint64_t gpa, unsigned level)
{
	struct frame_region *r = frames_region(p, gpa, page_bytes(level));

	SV_BUG_ON(!r);
	return level == 1 ? &frames_at(r, gpa)->count : &frames_block(r, level, gpa)->count;
}

static uint32_t may_map_block(
	struct frame_region *r, uint64_t entry, unsigned level, struct page_count **count)
{
	struct block *b = frames_block(r, level, entry & SV_PTE_FRAME);

	if ((entry & SV_PTE_WRITE) && b->guarded)
		return SV_STATUS_DENIED;
	if ((entry & SV_PTE_USER) && b->kernel)
		return SV_STATUS_DENIED;
	*count = &b->count;
	return SV_STATUS_OK;
}

uint32_t frames_may_map(
	struct sv_paging *p, uint64_t entry, unsigned level, struct page_count **count)
{
	uint64_t gpa = entry & SV_PTE_FRAME;
	struct frame_region *r;
	struct frame *f;

	if (level > 1 && gpa & (page_bytes(level) - 1))
		return SV_STATUS_INVALID;
	r = frames_region(p, gpa, page_bytes(level));
	if (sv_unlikely(!r))
		return SV_STATUS_BAD_ADDRESS;
	if (level > 1)
		return may_map_block(r, entry, level, count);
	f = frames_at(r, gpa);
	if (sv_unlikely(f->type != FRAME_PLAIN)) {
		if ((entry & SV_PTE_WRITE) && frame_is_guarded(f->type))
			return SV_STATUS_DENIED;
		if ((entry & SV_PTE_USER) && f->type == FRAME_KERNEL)
			return SV_STATUS_DENIED;
	}
	*count = &f->count;
	return SV_STATUS_OK;
}

uint32_t frames_may_guard(struct sv_paging *p, struct frame_region *r, uint64_t gpa)
{
	const struct page_count *of[3] = {&frames_at(r, gpa)->count,
		&frames_block(r, 2, gpa)->count, &frames_block(r, 3, gpa)->count};

	for (unsigned i = 0; i < 3; i++)
		if (of[i]->writable)
			return SV_STATUS_DENIED;
	for (unsigned i = 0; i < 3; i++)
		if (of[i]->stale > p->clean)
			return SV_STATUS_AGAIN;
	return SV_STATUS_OK;
}

static void count_kinds(struct block *b, uint8_t type, uint32_t by)
{
	b->guarded += frame_is_guarded(type) ? by : 0;
	b->kernel += type == FRAME_KERNEL ? by : 0;
}

void frames_set_type(struct frame_region *r, uint64_t gpa, uint8_t type)
{
	struct frame *f = frames_at(r, gpa);

	for (unsigned level = 2; level <= 3; level++) {
		count_kinds(frames_block(r, level, gpa), f->type, ~0u); /* minus one */
		count_kinds(frames_block(r, level, gpa), type, 1);
	}
	f->type = type;
}
