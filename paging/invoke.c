/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes that decode.c found valid: stores, which cannot fail. */
#include "private.h"

/* The private entry first: what the guest's walkers see has been counted. Order: release. */
static void put(struct table *t, unsigned index, uint64_t entry)
{
	t->entry[index] = entry;
	t->used = true;
	sv_store_release(&t->shared[index], entry & SV_PTE_PRESENT ? entry : 0);
}

static void gain(struct page_count *n, uint64_t entry)
{
	n->maps++;
	n->writable += entry >> 1 & 1;
}

static void lose(const struct sv_paging *p, struct page_count *n, uint64_t entry)
{
	n->maps--;
	n->writable -= entry >> 1 & 1;
	n->stale = p->epoch;
}

/* A processor may still translate as before: through a page that goes, or with rights that go. */
static bool takes_away(const struct change *c)
{
	const uint64_t rights = SV_PTE_WRITE | SV_PTE_USER;

	return c->op != SV_PAGING_PROTECT || c->old & ~c->new &rights ||
	       ~c->old & c->new &SV_PTE_NX;
}

static uint64_t piece(const struct change *c, unsigned i)
{
	unsigned level = c->table->level - 1;
	uint64_t entry = c->old + i * page_bytes(level);

	return level == 1 ? entry & ~SV_PTE_LARGE : entry;
}

static void invoke_split(struct sv_paging *p, const struct change *c)
{
	struct table *child = c->child;

	for (unsigned i = 0; i < ENTRIES; i++) {
		uint64_t e = piece(c, i);

		gain(frames_count(p, e & SV_PTE_FRAME, child->level), e);
		put(child, i, e);
	}
	child->present = ENTRIES;
	p->stats.pages += ENTRIES;
}

/*
 * The pieces stay in guest memory until the table is used again: a walker that still knows the
 * table finds what it would find in the large page.
 */
static void invoke_merge(struct sv_paging *p, const struct change *c)
{
	struct table *child = c->child;

	for (unsigned i = 0; i < ENTRIES; i++) {
		uint64_t e = child->entry[i];

		lose(p, frames_count(p, e & SV_PTE_FRAME, child->level), e);
		child->entry[i] = 0;
	}
	child->present = 0;
	p->stats.pages -= ENTRIES;
}

static void attach(struct sv_paging *p, const struct change *c)
{
	c->child->linked = c->child->used = true;
	c->child->parent = (uint32_t)(c->table - p->table) + 1;
	c->child->slot = (uint16_t)c->index;
	for (unsigned i = 0; c->op == SV_PAGING_LINK && i < ENTRIES; i++)
		sv_store_relaxed(&c->child->shared[i], 0);
}

static void detach(struct sv_paging *p, const struct change *c)
{
	c->child->linked = false;
	frames_count(p, c->child->gpa, 1)->stale = p->epoch;
}

static void invoke_tables(struct sv_paging *p, const struct change *c)
{
	switch (c->op) {
	case SV_PAGING_LINK:
		attach(p, c);
		break;
	case SV_PAGING_SPLIT:
		invoke_split(p, c);
		attach(p, c);
		break;
	default: /* UNLINK, MERGE: the parent's entry has been replaced */
		detach(p, c);
		if (c->op == SV_PAGING_MERGE)
			invoke_merge(p, c);
		break;
	}
}

void invoke(struct sv_paging *p, const struct change *c)
{
	struct table *t = c->table;
	bool before = t->entry[c->index] & SV_PTE_PRESENT, after = c->new &SV_PTE_PRESENT;
	bool up = c->op == SV_PAGING_UNLINK || c->op == SV_PAGING_MERGE;
	/* An entry that goes leaves behind what it was: see place_allows() in decode.c. */
	bool remember = p->config.shadowed && t->level > 1 && !after;

	if (sv_unlikely(c->child && !up))
		invoke_tables(p, c);
	put(t, c->index, remember ? c->old & ~SV_PTE_PRESENT : c->new);
	if (sv_unlikely(c->child && up))
		invoke_tables(p, c);
	t->present = (uint16_t)(t->present + after - before);
	if (c->lost) {
		uint32_t stale = c->lost->stale;

		lose(p, c->lost, c->old);
		if (takes_away(c))
			tlb_note(p, c->lost, c->old & SV_PTE_FRAME, page_bytes(t->level));
		else
			c->lost->stale = stale;
		p->stats.pages--;
	}
	if (c->gained) {
		gain(c->gained, c->new);
		p->stats.pages++;
	}
}
