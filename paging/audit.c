/* SPDX-License-Identifier: BSD-3-Clause */
/* Everything counted again from the private entries, and compared with what was kept. */
#include "private.h"

#include <stdlib.h>

static void count_entry(struct sv_paging *fresh, const struct table *t, uint64_t e)
{
	bool page = t->level == 1 || e & SV_PTE_LARGE;
	struct page_count *n = frames_count(fresh, e & SV_PTE_FRAME, page ? t->level : 1);

	if (!page) {
		frames_at(frames_region(fresh, e & SV_PTE_FRAME, PAGE_BYTES), e & SV_PTE_FRAME)
			->links++;
		return;
	}
	n->maps++;
	n->writable += (e & SV_PTE_WRITE) != 0;
}

static uint64_t count_table(
	struct sv_paging *p, struct sv_paging *fresh, struct table *t, bool memory_too)
{
	bool seen = memory_too && (t->linked || t->level == p->config.levels);
	uint64_t wrong = 0;
	unsigned present = 0;

	for (unsigned i = 0; i < ENTRIES; i++) {
		uint64_t e = t->entry[i];
		bool is = e & SV_PTE_PRESENT;

		present += is;
		if (is)
			count_entry(fresh, t, e);
		wrong += seen && sv_load_relaxed(&t->shared[i]) != (is ? e : 0);
	}
	return wrong + (present != t->present);
}

static bool differ(const struct page_count *a, const struct page_count *b)
{
	return a->maps != b->maps || a->writable != b->writable;
}

static uint64_t compare_frames(
	struct sv_paging *p, const struct frame_region *a, const struct frame_region *b)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < a->size >> PAGE_SHIFT; i++) {
		const struct frame *f = &a->frame[i];
		struct table *t = table_at(p, a->gpa + i * PAGE_BYTES);
		unsigned active = 0;

		for (unsigned v = 0; t && v < p->config.vcpus; v++)
			active += p->active[v] == t->gpa;
		/* a link is kept in the table, an activation in the frame */
		wrong += b->frame[i].links != (t ? t->linked : 0) || f->links != active;
		wrong += frame_is_table(f->type) != (t != NULL) || (t && f->type != t->level);
		wrong += f->count.writable && frame_is_guarded(f->type);
		wrong += differ(&f->count, &b->frame[i].count);
	}
	return wrong;
}

static uint64_t compare_blocks(const struct frame_region *a, const struct frame_region *b)
{
	uint64_t wrong = 0;

	for (unsigned l = 0; l < 2; l++)
		for (uint64_t i = 0; i < a->mapped_bytes[l + 1] / sizeof(struct block); i++) {
			const struct block *x = &a->block[l][i];

			wrong += differ(&x->count, &b->block[l][i].count) ||
				 (x->count.writable && x->guarded);
		}
	return wrong;
}

uint64_t sv_paging_audit(struct sv_paging *p, bool memory_too)
{
	struct sv_paging *fresh = calloc(1, sizeof(*fresh));
	uint64_t wrong = 0;

	SV_BUG_ON(!fresh);
	fresh->config = p->config;
	SV_BUG_ON(frames_create(fresh, NULL) < 0);
	for (uint64_t i = 0; i < p->tables; i++)
		if (p->table[i].level)
			wrong += count_table(p, fresh, &p->table[i], memory_too);
	for (unsigned i = 0; i < p->regions; i++) {
		wrong += compare_frames(p, &p->region[i], &fresh->region[i]);
		wrong += compare_blocks(&p->region[i], &fresh->region[i]);
	}
	frames_destroy(fresh);
	free(fresh);
	return wrong;
}
