/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables as objects, and the life of an instance. */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RESERVE_MAX (16ull << 20)
#define DEVICE_MAX (4ull << 30)

/*
 * A table that was taken out of the tree may still be known to a processor's walker: it is not used
 * for anything else before every vCPU has flushed. Shadowed tables are not walked by processors;
 * there a table that was used is one for good (see place_allows() in decode.c).
 */
static bool walkers_gone(const struct sv_paging *p, const struct frame *f)
{
	return p->config.shadowed || f->count.stale <= p->clean;
}

uint32_t table_pin(struct sv_paging *p, uint64_t gpa, uint64_t level)
{
	uint64_t off = gpa - p->config.pool_gpa;
	struct frame_region *r;
	struct table *t;
	uint32_t status;

	if (level < 1 || level > p->config.levels || gpa % PAGE_BYTES)
		return SV_STATUS_INVALID;
	if (off >= p->config.pool_bytes)
		return SV_STATUS_BAD_ADDRESS;
	t = &p->table[off >> PAGE_SHIFT];
	r = frames_region(p, gpa, PAGE_BYTES);
	if (frames_at(r, gpa)->type != FRAME_PLAIN)
		return t->level ? SV_STATUS_EXISTS : SV_STATUS_DENIED;
	status = frames_may_guard(p, r, gpa);
	if (status != SV_STATUS_OK)
		return status;
	/* POINT OF NO RETURN */
	frames_set_type(r, gpa, (uint8_t)(FRAME_TABLE + level));
	t->level = (uint8_t)level;
	t->used = false;
	t->parent = 0;
	t->gpa = gpa;
	t->shared = (uint64_t *)(void *)(r->host + (gpa - r->gpa));
	memset(t->entry, 0, sizeof(t->entry));
	for (unsigned i = 0; i < ENTRIES; i++)
		sv_store_relaxed(&t->shared[i], 0);
	p->stats.tables++;
	return SV_STATUS_OK;
}

uint32_t table_unpin(struct sv_paging *p, uint64_t gpa)
{
	struct table *t = table_at(p, gpa);
	struct frame_region *r;

	if (!t)
		return SV_STATUS_ABSENT;
	r = frames_region(p, gpa, PAGE_BYTES);
	if (t->present || t->linked || frames_at(r, gpa)->links || (p->config.shadowed && t->used))
		return SV_STATUS_DENIED;
	if (!walkers_gone(p, frames_at(r, gpa)))
		return SV_STATUS_AGAIN;
	frames_set_type(r, gpa, FRAME_PLAIN);
	t->level = 0;
	p->stats.tables--;
	return SV_STATUS_OK;
}

static struct frame *frame_of(struct sv_paging *p, uint64_t gpa)
{
	return frames_at(frames_region(p, gpa, PAGE_BYTES), gpa);
}

uint32_t table_activate(struct sv_paging *p, uint32_t vcpu, uint64_t gpa)
{
	struct table *t = table_at(p, gpa);

	if (vcpu >= p->config.vcpus || (gpa && !t))
		return SV_STATUS_INVALID;
	if (t && t->level != p->config.levels)
		return SV_STATUS_DENIED;
	if (t)
		frame_of(p, gpa)->links++;
	if (t)
		t->used = true;
	if (p->active[vcpu]) {
		struct frame *before = frame_of(p, p->active[vcpu]);

		before->links--;
		before->count.stale = p->epoch;
	}
	p->active[vcpu] = gpa;
	if (p->page && vcpu < SV_PAGING_PAGE_VCPUS)
		sv_store_release(&p->page->root[vcpu], gpa);
	return SV_STATUS_OK;
}

static bool may_reserve(struct sv_paging *p, struct frame_region *r, uint64_t gpa)
{
	return frames_at(r, gpa)->type == FRAME_PLAIN && !frames_at(r, gpa)->count.maps &&
	       !frames_block(r, 2, gpa)->count.maps && !frames_block(r, 3, gpa)->count.maps &&
	       frames_may_guard(p, r, gpa) == SV_STATUS_OK;
}

uint32_t table_reserve(struct sv_paging *p, uint64_t gpa, uint64_t bytes)
{
	struct frame_region *r;

	if (gpa % PAGE_BYTES || bytes % PAGE_BYTES || !bytes || bytes > RESERVE_MAX)
		return SV_STATUS_INVALID;
	r = frames_region(p, gpa, bytes);
	if (!r)
		return SV_STATUS_BAD_ADDRESS;
	for (uint64_t at = gpa; at < gpa + bytes; at += PAGE_BYTES)
		if (!may_reserve(p, r, at) || at - p->config.pool_gpa < p->config.pool_bytes)
			return SV_STATUS_DENIED;
	for (uint64_t at = gpa; at < gpa + bytes; at += PAGE_BYTES)
		frames_set_type(r, at, FRAME_KERNEL);
	return SV_STATUS_OK;
}

/* --- an instance ----------------------------------------------------------------------------- */

static int check_config(const struct sv_paging_config *c, struct sv_error *err)
{
	if (c->levels != 4 && c->levels != 5)
		return sv_fail(err, EINVAL, "paging: %u levels; 4 or 5", c->levels);
	if (!c->vcpus || c->pool_gpa % PAGE_BYTES || c->pool_bytes % PAGE_BYTES || !c->pool_bytes ||
		c->pool_bytes >> PAGE_SHIFT >= ~0u || c->devices > SV_PAGING_DEVICES ||
		!sv_gmem_ptr(c->gmem, sv_gpa(c->pool_gpa), c->pool_bytes))
		return sv_fail(err, EINVAL,
			"paging: the pool of tables at %#llx, %llu bytes, is not whole pages of "
			"the VM's "
			"memory",
			(unsigned long long)c->pool_gpa, (unsigned long long)c->pool_bytes);
	if (c->page_gpa % PAGE_BYTES ||
		(c->page_gpa && !sv_gmem_ptr(c->gmem, sv_gpa(c->page_gpa), SV_PAGING_PAGE_BYTES)))
		return sv_fail(err, EINVAL, "paging: the page at %#llx is not in the VM's memory",
			(unsigned long long)c->page_gpa);
	if (c->page_gpa && c->page_gpa < c->pool_gpa + c->pool_bytes &&
		c->pool_gpa < c->page_gpa + SV_PAGING_PAGE_BYTES)
		return sv_fail(err, EINVAL, "paging: the page at %#llx lies in the pool of tables",
			(unsigned long long)c->page_gpa);
	for (unsigned i = 0; i < c->devices; i++)
		if (c->device[i].bytes > DEVICE_MAX || c->device[i].gpa > SV_PTE_FRAME - DEVICE_MAX)
			return sv_fail(err, EINVAL, "paging: a device of more than 4 GiB");
	return 0;
}

/* What nobody maps writable, and is no table of ours. */
static int close_frames(struct sv_paging *p, uint64_t gpa, uint64_t bytes, struct sv_error *err)
{
	for (uint64_t at = gpa; at < gpa + bytes; at += PAGE_BYTES) {
		struct frame_region *r = frames_region(p, at, PAGE_BYTES);

		if (!r)
			return sv_fail(err, EINVAL, "paging: %#llx is not in the VM's memory",
				(unsigned long long)at);
		if (at - p->config.pool_gpa >= p->config.pool_bytes &&
			frames_at(r, at)->type == FRAME_PLAIN)
			frames_set_type(r, at, FRAME_CLOSED);
	}
	return 0;
}

static int fill(struct sv_paging *p, struct sv_error *err)
{
	const struct sv_paging_config *c = &p->config;
	int rc = frames_create(p, err);

	if (rc < 0)
		return rc;
	p->tables = c->pool_bytes >> PAGE_SHIFT;
	p->table_bytes = p->tables * sizeof(p->table[0]);
	p->table = mmap(NULL, p->table_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	p->active = calloc(c->vcpus, sizeof(p->active[0]));
	if (p->table == MAP_FAILED)
		p->table = NULL;
	if (!p->table || !p->active)
		return sv_fail(err, ENOMEM, "paging: out of memory");
	p->epoch = 1;
	rc = close_frames(p, c->closed_gpa, c->closed_bytes, err);
	if (rc == 0 && c->page_gpa) {
		rc = close_frames(p, c->page_gpa, SV_PAGING_PAGE_BYTES, err);
		p->page = sv_gmem_ptr(c->gmem, sv_gpa(c->page_gpa), SV_PAGING_PAGE_BYTES);
		memset(p->page, 0, sizeof(*p->page));
		p->page->magic = SV_PAGING_MAGIC;
	}
	return rc;
}

int sv_paging_create(
	struct sv_paging **out, const struct sv_paging_config *config, struct sv_error *err)
{
	int rc = check_config(config, err);
	struct sv_paging *p;

	if (rc < 0)
		return rc;
	p = calloc(1, sizeof(*p));
	if (!p)
		return sv_fail(err, ENOMEM, "paging: out of memory");
	p->config = *config;
	rc = fill(p, err);
	if (rc < 0) {
		sv_paging_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void sv_paging_destroy(struct sv_paging *p)
{
	frames_destroy(p);
	if (p->table)
		munmap(p->table, p->table_bytes);
	free(p->active);
	free(p);
}
