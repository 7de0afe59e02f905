/* SPDX-License-Identifier: BSD-3-Clause */
#include "paging_model.h"

#include <string.h>

#include <sidevisor/paging.h>

#define PAGE 4096ull

static uint64_t size_of(unsigned level)
{
	return level == 1 ? PAGE : level == 2 ? PAGE << 9 : level == 3 ? PAGE << 18 : PAGE << 27;
}

static bool within(uint64_t frame, uint64_t page, unsigned level)
{
	return frame >= page && frame < page + size_of(level);
}

static bool is_page(uint64_t e, unsigned level)
{
	return (e & SV_PTE_PRESENT) && (level == 1 || (e & SV_PTE_LARGE));
}

static bool is_table(uint64_t e, unsigned level)
{
	return (e & SV_PTE_PRESENT) && level > 1 && !(e & SV_PTE_LARGE);
}

int model_table_at(const struct model *m, uint64_t gpa)
{
	for (unsigned i = 0; i < MODEL_TABLES; i++)
		if (m->pool_gpa + i * PAGE == gpa)
			return m->t[i].pinned ? (int)i : -1;
	return -1;
}

/* Is there any writable page, of any size, over this frame? */
static bool mapped_writable(const struct model *m, uint64_t frame)
{
	for (unsigned i = 0; i < MODEL_TABLES; i++)
		for (unsigned k = 0; m->t[i].pinned && k < 512; k++) {
			uint64_t e = m->t[i].e[k];

			if (is_page(e, m->t[i].level) && (e & SV_PTE_WRITE) &&
				within(frame, e & SV_PTE_FRAME, m->t[i].level))
				return true;
		}
	return false;
}

static bool any_present(const struct model_table *t)
{
	for (unsigned k = 0; k < 512; k++)
		if (t->e[k] & SV_PTE_PRESENT)
			return true;
	return false;
}

/* @sizes: of the pages that went: 1 of 4 KiB alone (a table that went counts as one), 3 all. */
static bool frame_stale(const struct model *m, uint64_t frame, unsigned sizes)
{
	for (unsigned i = 0; i < m->tracked; i++)
		for (unsigned l = 0; l < sizes; l++)
			if (m->frame[i] == frame && m->stale[i][l] > m->clean)
				return true;
	return false;
}

static void mark(struct model *m, uint64_t page, unsigned level, uint64_t epoch)
{
	for (unsigned i = 0; i < m->tracked; i++)
		if (within(m->frame[i], page, level))
			m->stale[i][level - 1] = epoch;
}

bool model_pin(struct model *m, uint64_t gpa, uint64_t level)
{
	uint64_t i = (gpa - m->pool_gpa) / PAGE;

	if (gpa % PAGE || gpa < m->pool_gpa || i >= MODEL_TABLES || level < 1 || level > m->levels)
		return false;
	if (m->t[i].pinned || mapped_writable(m, gpa) || frame_stale(m, gpa, 3))
		return false;
	memset(&m->t[i], 0, sizeof(m->t[i]));
	m->t[i].pinned = true;
	m->t[i].level = (unsigned)level;
	m->t[i].home_table = -1;
	return true;
}

bool model_unpin(struct model *m, uint64_t gpa)
{
	int i = model_table_at(m, gpa);

	if (i < 0 || m->t[i].linked || m->t[i].runs || any_present(&m->t[i]))
		return false;
	if (m->shadowed ? m->t[i].used : frame_stale(m, gpa, 1))
		return false;
	m->t[i].pinned = false;
	return true;
}

/* May this entry become a page of this level? */
static bool page_ok(const struct model *m, uint64_t e, unsigned level)
{
	const uint64_t known = SV_PTE_PRESENT | SV_PTE_WRITE | SV_PTE_USER | SV_PTE_ACCESSED |
			       SV_PTE_DIRTY | SV_PTE_LARGE | SV_PTE_SOFT | SV_PTE_NX;
	uint64_t gpa = e & SV_PTE_FRAME;

	if (level > 3 || (e & ~(known | SV_PTE_FRAME)) || !(e & SV_PTE_PRESENT))
		return false;
	if (!(e & SV_PTE_LARGE) != (level == 1) || gpa % size_of(level))
		return false;
	if (gpa >= m->memory_bytes || size_of(level) > m->memory_bytes - gpa)
		return false;
	for (unsigned i = 0; (e & SV_PTE_WRITE) && i < MODEL_TABLES; i++)
		if (m->t[i].pinned && within(m->pool_gpa + i * PAGE, gpa, level))
			return false;
	for (uint64_t k = m->kernel_gpa; k < m->kernel_gpa + m->kernel_bytes; k += PAGE)
		if ((e & SV_PTE_USER) && within(k, gpa, level))
			return false;
	return true;
}

static bool place_ok(const struct model *m, const struct model_table *t, unsigned k, uint64_t e)
{
	const uint64_t what = SV_PTE_FRAME | SV_PTE_LARGE;

	return !m->shadowed || t->level == 1 || !t->place[k] || (t->place[k] & what) == (e & what);
}

static void set(struct model_table *t, unsigned k, uint64_t e)
{
	t->e[k] = e;
	t->used = true;
	if (e)
		t->place[k] = e;
}

static void goes(struct model *m, uint64_t e, unsigned level)
{
	mark(m, e & SV_PTE_FRAME, level, m->epoch);
	m->gone[m->ngone].gpa = e & SV_PTE_FRAME;
	m->gone[m->ngone++].level = level;
}

void model_forget(struct model *m)
{
	for (unsigned i = 0; i < m->ngone; i++)
		mark(m, m->gone[i].gpa, m->gone[i].level, 0);
}

static int child_ok(const struct model *m, const struct model_table *t, unsigned k, uint64_t gpa)
{
	int i = model_table_at(m, gpa), at = (int)(t - m->t);
	const struct model_table *c = &m->t[i < 0 ? 0 : i];

	if (i < 0 || c->level + 1 != t->level || c->linked || any_present(c))
		return -1;
	if (!m->shadowed)
		return frame_stale(m, gpa, 1) ? -1 : i;
	if (c->home_table >= 0 && (c->home_table != at || c->home_index != k))
		return -1;
	return place_ok(m, t, k, gpa) ? i : -1;
}

static void put_child(struct model *m, struct model_table *t, unsigned k, int child)
{
	struct model_table *c = &m->t[child];

	set(t, k,
		(m->pool_gpa + (unsigned)child * PAGE) | SV_PTE_PRESENT | SV_PTE_WRITE |
			SV_PTE_USER | SV_PTE_ACCESSED);
	c->linked = c->used = true;
	c->home_table = (int)(t - m->t);
	c->home_index = k;
}

static void take_child(struct model *m, int child)
{
	m->t[child].linked = false;
	mark(m, m->pool_gpa + (unsigned)child * PAGE, 1, m->epoch);
}

static bool split(struct model *m, struct model_table *t, unsigned k, uint64_t entry)
{
	uint64_t old = t->e[k];
	int child;

	if (!is_page(old, t->level) || t->level < 2 || m->shadowed)
		return false;
	child = child_ok(m, t, k, entry);
	if (child < 0)
		return false;
	for (unsigned i = 0; i < 512; i++)
		set(&m->t[child], i,
			(old & (t->level == 2 ? ~SV_PTE_LARGE : ~0ull)) +
				i * size_of(t->level - 1));
	put_child(m, t, k, child);
	goes(m, old, t->level);
	return true;
}

static bool merge(struct model *m, struct model_table *t, unsigned k)
{
	int child = is_table(t->e[k], t->level) ? model_table_at(m, t->e[k] & SV_PTE_FRAME) : -1;
	uint64_t first;

	if (child < 0 || t->level > 3 || m->shadowed)
		return false;
	first = m->t[child].e[0];
	for (unsigned i = 0; i < 512; i++)
		if (!is_page(m->t[child].e[i], t->level - 1) ||
			m->t[child].e[i] != first + i * size_of(t->level - 1))
			return false;
	if (!page_ok(m, first | SV_PTE_LARGE, t->level))
		return false;
	for (unsigned i = 0; i < 512; i++) {
		mark(m, m->t[child].e[i] & SV_PTE_FRAME, t->level - 1, m->epoch);
		m->t[child].e[i] = 0;
	}
	set(t, k, first | SV_PTE_LARGE);
	take_child(m, child);
	return true;
}

static bool change_page(
	struct model *m, struct model_table *t, unsigned k, uint64_t e, bool protect)
{
	uint64_t old = t->e[k], lost = old & ~e & (SV_PTE_WRITE | SV_PTE_USER);

	if (!page_ok(m, e, t->level) || !place_ok(m, t, k, e))
		return false;
	if (!protect || lost || (~old & e & SV_PTE_NX))
		goes(m, old, t->level);
	set(t, k, e | SV_PTE_ACCESSED | SV_PTE_DIRTY);
	return true;
}

static bool apply(struct model *m, struct model_table *t, unsigned k, unsigned op, uint64_t e)
{
	uint64_t old = t->e[k];
	int child;

	switch (op) {
	case SV_PAGING_MAP:
		if ((old & SV_PTE_PRESENT) || !page_ok(m, e, t->level) || !place_ok(m, t, k, e))
			return false;
		set(t, k, e | SV_PTE_ACCESSED | SV_PTE_DIRTY);
		return true;
	case SV_PAGING_UNMAP:
		if (e || !is_page(old, t->level))
			return false;
		goes(m, old, t->level);
		set(t, k, 0);
		return true;
	case SV_PAGING_PROTECT:
		return !(e & SV_PTE_FRAME) && is_page(old, t->level) &&
		       change_page(m, t, k, e | (old & SV_PTE_FRAME), true);
	case SV_PAGING_REMAP:
		return is_page(old, t->level) && change_page(m, t, k, e, false);
	case SV_PAGING_LINK:
		child = t->level > 1 && !(old & SV_PTE_PRESENT) ? child_ok(m, t, k, e) : -1;
		if (child >= 0)
			put_child(m, t, k, child);
		return child >= 0;
	case SV_PAGING_UNLINK:
		child = is_table(old, t->level) ? model_table_at(m, old & SV_PTE_FRAME) : -1;
		if (e || child < 0 || any_present(&m->t[child]))
			return false;
		set(t, k, 0);
		take_child(m, child);
		return true;
	case SV_PAGING_SPLIT:
		return split(m, t, k, e);
	case SV_PAGING_MERGE:
		return !e && merge(m, t, k);
	}
	return false;
}

bool model_op(struct model *m, int root, uint64_t where, uint64_t entry)
{
	unsigned op = where & 15, level = where >> 4 & 7;
	uint64_t va = where & ~0xfffull, top;
	int t = root;

	if ((where & 0xf80) || level < 1 || level > m->levels || va % (1ull << (3 + 9 * level)))
		return false;
	top = va >> (m->levels == 4 ? 47 : 56);
	if (top && top != (m->levels == 4 ? 0x1ffffull : 0xffull))
		return false;
	for (unsigned l = m->levels; l > level; l--) {
		uint64_t e = m->t[t].e[va >> (3 + 9 * l) & 511];

		if (!is_table(e, l))
			return false;
		t = model_table_at(m, e & SV_PTE_FRAME);
	}
	return apply(m, &m->t[t], va >> (3 + 9 * level) & 511, op, entry);
}

uint64_t model_translate(const struct model *m, int root, uint64_t va, unsigned *level)
{
	int t = root;

	for (unsigned l = m->levels; l; l--) {
		uint64_t e = m->t[t].e[va >> (3 + 9 * l) & 511];

		*level = l;
		if (!(e & SV_PTE_PRESENT))
			return 0;
		if (is_page(e, l))
			return e;
		t = model_table_at(m, e & SV_PTE_FRAME);
	}
	return 0;
}
