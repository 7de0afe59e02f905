/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From words of a guest to a change that is valid. Reads private state alone, writes nothing but
 * *change and *walk.
 */
#include "private.h"

static bool is_canonical(uint64_t va, unsigned levels)
{
	unsigned shift = 64 - (PAGE_SHIFT + 9 * levels);

	return (uint64_t)((int64_t)(va << shift) >> shift) == va;
}

static unsigned index_of(uint64_t va, unsigned level)
{
	return va >> (PAGE_SHIFT + 9 * (level - 1)) & (ENTRIES - 1);
}

/* An entry of a private table that is present and refers to a table. */
static struct table *child_of(struct sv_paging *p, uint64_t entry)
{
	return &p->table[((entry & SV_PTE_FRAME) - p->config.pool_gpa) >> PAGE_SHIFT];
}

static bool is_page(uint64_t entry, unsigned level)
{
	return level == 1 || entry & SV_PTE_LARGE;
}

uint32_t decode_walk(struct sv_paging *p, struct walk *w, uint64_t where, unsigned *index)
{
	unsigned level = (where & SV_PAGING_LEVEL_MASK) >> 4;
	uint64_t va = where & ~(PAGE_BYTES - 1), tag;
	struct table *t = w->root;

	if (sv_unlikely(level < 1 || level > t->level || where & SV_PAGING_WHERE_ZERO ||
			va & (page_bytes(level) - 1) || !is_canonical(va, t->level)))
		return SV_STATUS_INVALID;
	*index = index_of(va, level);
	tag = (va & ~(page_bytes(level + 1) - 1)) | level;
	if (sv_likely(w->table && w->tag == tag))
		return SV_STATUS_OK;
	for (unsigned l = t->level; l > level; l--) {
		uint64_t e = t->entry[index_of(va, l)];

		if (!(e & SV_PTE_PRESENT))
			return SV_STATUS_ABSENT;
		if (e & SV_PTE_LARGE)
			return SV_STATUS_EXISTS;
		t = child_of(p, e);
	}
	w->table = t;
	w->tag = tag;
	return SV_STATUS_OK;
}

/* The flags of a page: nothing reserved, the size bit where it belongs. */
static uint32_t check_flags(const struct sv_paging *p, uint64_t entry, unsigned level)
{
	uint64_t large = level > 1 ? SV_PTE_LARGE : 0;

	if (sv_unlikely(entry & ~(SV_PTE_FRAME | LEAF_FLAGS) || !(entry & SV_PTE_PRESENT) ||
			(entry & SV_PTE_LARGE) != large || level > 3 ||
			(level == 3 && !p->config.gib_pages)))
		return SV_STATUS_INVALID;
	return SV_STATUS_OK;
}

/*
 * KVM keeps what it has built for an entry above level 1 and does not see us change it. So under
 * shadow paging such an entry refers to one page, or one table, for good.
 */
static bool place_allows(const struct sv_paging *p, uint64_t before, uint64_t entry, unsigned level)
{
	uint64_t what = SV_PTE_FRAME | SV_PTE_LARGE;

	return !p->config.shadowed || level == 1 || !before || (before & what) == (entry & what);
}

static uint32_t decode_page(struct sv_paging *p, uint64_t entry, struct change *c)
{
	unsigned level = c->table->level;
	uint32_t status = check_flags(p, entry, level);

	if (status == SV_STATUS_OK)
		status = frames_may_map(p, entry, level, &c->gained);
	if (status == SV_STATUS_OK && sv_unlikely(!place_allows(p, c->old, entry, level)))
		status = SV_STATUS_DENIED;
	c->new = entry | SV_PTE_ACCESSED | SV_PTE_DIRTY;
	return status;
}

/* What is there is a page: it goes. */
static uint32_t decode_lost(struct sv_paging *p, struct change *c)
{
	if (!(c->old & SV_PTE_PRESENT))
		return SV_STATUS_ABSENT;
	if (sv_unlikely(!is_page(c->old, c->table->level)))
		return SV_STATUS_EXISTS;
	c->lost = frames_count(p, c->old & SV_PTE_FRAME, c->table->level);
	return SV_STATUS_OK;
}

/* A table of the level below that is empty, nowhere, and may be put here. */
static uint32_t decode_child(struct sv_paging *p, uint64_t entry, struct change *c)
{
	struct table *t = c->table, *child = table_at(p, entry);
	uint32_t at = (uint32_t)(t - p->table) + 1;
	const struct page_count *count;

	if (!child)
		return entry & ~SV_PTE_FRAME ? SV_STATUS_INVALID : SV_STATUS_BAD_ADDRESS;
	if (child->level + 1 != t->level || child->linked || child->present)
		return SV_STATUS_DENIED;
	if (p->config.shadowed) {
		if (!place_allows(p, c->old, entry, t->level) ||
			(child->parent && (child->parent != at || child->slot != c->index)))
			return SV_STATUS_DENIED;
	} else {
		count = frames_count(p, entry, 1);
		if (count->stale > p->clean)
			return SV_STATUS_AGAIN;
	}
	c->child = child;
	c->new = entry | TABLE_FLAGS;
	return SV_STATUS_OK;
}

static uint32_t decode_unlink(struct sv_paging *p, struct change *c)
{
	if (!(c->old & SV_PTE_PRESENT) || is_page(c->old, c->table->level))
		return SV_STATUS_ABSENT;
	c->child = child_of(p, c->old);
	return c->child->present ? SV_STATUS_DENIED : SV_STATUS_OK;
}

static uint32_t decode_split(struct sv_paging *p, uint64_t entry, struct change *c)
{
	uint32_t status = decode_lost(p, c);

	if (status != SV_STATUS_OK)
		return status;
	if (c->table->level < 2)
		return SV_STATUS_INVALID;
	return p->config.shadowed ? SV_STATUS_DENIED : decode_child(p, entry, c);
}

/* 512 neighbours with the same flags become one page. */
static uint32_t decode_merge(struct sv_paging *p, struct change *c)
{
	unsigned level = c->table->level;
	uint64_t first;

	if (!(c->old & SV_PTE_PRESENT) || is_page(c->old, level))
		return SV_STATUS_ABSENT;
	c->child = child_of(p, c->old);
	first = c->child->entry[0];
	if (level > 3 || p->config.shadowed || c->child->present != ENTRIES)
		return SV_STATUS_DENIED;
	for (unsigned i = 0; i < ENTRIES; i++)
		if (c->child->entry[i] != first + i * page_bytes(level - 1) ||
			!is_page(c->child->entry[i], level - 1))
			return SV_STATUS_DENIED;
	c->old = 0; /* for decode_page: no page was here */
	return decode_page(p, first | SV_PTE_LARGE, c);
}

uint32_t decode_entry(struct sv_paging *p, struct table *t, unsigned index, unsigned op,
	uint64_t entry, struct change *c)
{
	uint32_t status;

	*c = (struct change){.table = t, .index = index, .op = op, .old = t->entry[index]};
	switch (op) {
	case SV_PAGING_MAP:
		return c->old & SV_PTE_PRESENT ? SV_STATUS_EXISTS : decode_page(p, entry, c);
	case SV_PAGING_UNMAP:
		return entry ? SV_STATUS_INVALID : decode_lost(p, c);
	case SV_PAGING_PROTECT:
		if (entry & SV_PTE_FRAME)
			return SV_STATUS_INVALID;
		status = decode_lost(p, c);
		return status != SV_STATUS_OK ? status
					      : decode_page(p, entry | (c->old & SV_PTE_FRAME), c);
	case SV_PAGING_REMAP:
		status = decode_lost(p, c);
		return status != SV_STATUS_OK ? status : decode_page(p, entry, c);
	case SV_PAGING_LINK:
		if (t->level < 2)
			return SV_STATUS_INVALID;
		return c->old & SV_PTE_PRESENT ? SV_STATUS_EXISTS : decode_child(p, entry, c);
	case SV_PAGING_UNLINK:
		return entry ? SV_STATUS_INVALID : decode_unlink(p, c);
	case SV_PAGING_SPLIT:
		return decode_split(p, entry, c);
	case SV_PAGING_MERGE:
		return entry ? SV_STATUS_INVALID : decode_merge(p, c);
	default:
		return SV_STATUS_INVALID;
	}
}

unsigned decode_store(uint64_t old, uint64_t value, unsigned level)
{
	bool was = old & SV_PTE_PRESENT, is = value & SV_PTE_PRESENT;

	if (!is)
		return value || !was ? 0 : is_page(old, level) ? SV_PAGING_UNMAP : SV_PAGING_UNLINK;
	if (!was)
		return is_page(value, level) ? SV_PAGING_MAP : SV_PAGING_LINK;
	return (old ^ value) & SV_PTE_FRAME ? SV_PAGING_REMAP : SV_PAGING_PROTECT;
}
