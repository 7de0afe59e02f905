/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The common case at once: runs of maps of plain 4 KiB pages into one table. A ladder of guards,
 * then only stores. Whatever does not pass a guard goes the long way (decode.c, invoke.c), which
 * decides.
 */
#include "private.h"

#define SMALL_FLAGS (LEAF_FLAGS & ~SV_PTE_LARGE)

/* maps + 1, and writable + 1 if it is: neighbours, so one addition does it. No count overflows. */
static inline void count_both(struct page_count *n, uint64_t entry)
{
	uint64_t both;

	SV_ABI_ASSERT(offsetof(struct page_count, maps) == 0 &&
			      offsetof(struct page_count, writable) == 4,
		"maps in the lower half");
	__builtin_memcpy(&both, n, sizeof(both));
	both += 1 + ((entry & SV_PTE_WRITE) << 31);
	__builtin_memcpy(n, &both, sizeof(both));
}

/* One table and the first region of memory, in registers: nothing here changes them. */
struct where_to {
	uint64_t *entry, *shared;
	struct frame *frame;
	uint64_t gpa, bytes;
};

static inline struct where_to where_to(struct sv_paging *p, struct table *t)
{
	const struct frame_region *r = &p->region[0];

	return (struct where_to){t->entry, t->shared, r->frame, r->gpa, r->size};
}

/* Leave at the first guard: nothing has happened then. */
static inline bool map_one(const struct where_to *to, unsigned index, uint64_t entry)
{
	uint64_t off = (entry & SV_PTE_FRAME) - to->gpa;
	struct frame *f;

	if (sv_unlikely(entry & ~(SV_PTE_FRAME | SMALL_FLAGS) || !(entry & SV_PTE_PRESENT)))
		return false;
	if (sv_unlikely(to->entry[index] & SV_PTE_PRESENT || off >= to->bytes))
		return false;
	f = &to->frame[off >> PAGE_SHIFT];
	if (sv_unlikely(f->type != FRAME_PLAIN))
		return false;
	/* POINT OF NO RETURN */
	count_both(&f->count, entry);
	entry |= SV_PTE_ACCESSED | SV_PTE_DIRTY;
	to->entry[index] = entry;
	sv_store_release(&to->shared[index], entry);
	return true;
}

static void account(struct sv_paging *p, struct table *t, uint64_t n)
{
	t->present = (uint16_t)(t->present + n);
	t->used |= n != 0;
	p->stats.pages += n;
}

uint64_t fast_maps(struct sv_paging *p, const struct walk *w, const uint64_t *ops, uint64_t n)
{
	const uint64_t span = w->tag & ~SV_PAGING_LEVEL_BITS,
		       low = ENTRIES * PAGE_BYTES - PAGE_BYTES;
	const uint64_t want = span | SV_PAGING_MAP | SV_PAGING_LEVEL(1);
	struct table *t = w->table;
	struct where_to to;
	uint64_t done = 0;

	if (!t || t->level != 1)
		return 0;
	to = where_to(p, t);
	for (; done < n; done++) {
		uint64_t where = sv_load_relaxed(&ops[2 * done]);
		uint64_t entry = sv_load_relaxed(&ops[2 * done + 1]);

		if (sv_unlikely((where & ~low) != want ||
				!map_one(&to, where >> PAGE_SHIFT & (ENTRIES - 1), entry)))
			break;
	}
	account(p, t, done);
	return done;
}

uint64_t fast_range(
	struct sv_paging *p, struct table *t, unsigned index, uint64_t entry, uint64_t n)
{
	const struct where_to to = where_to(p, t);
	uint64_t done = 0;

	if (t->level != 1)
		return 0;
	while (done < n && map_one(&to, index + (unsigned)done, entry + done * PAGE_BYTES))
		done++;
	account(p, t, done);
	return done;
}
