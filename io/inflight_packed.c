/* SPDX-License-Identifier: BSD-3-Clause */
#include "inflight_packed.h"

#include <linux/virtio_ring.h>

#include <channels/atomics.h>

#include "inflight.h"

#define VERSION 1u
#define NO_ENTRY UINT16_MAX

static void clear(struct sv_inflight_packed *f, unsigned entry)
{
	sv_store_release(&f->region->desc[entry].inflight, 0);
}

static void link_to(struct sv_inflight_packed *f, uint16_t entry, uint16_t next)
{
	f->next[entry] = next;
	sv_store_release(&f->region->desc[entry].next, next);
}

static void free_store(struct sv_inflight_packed *f, uint16_t head, uint16_t old)
{
	f->free.head = head;
	f->free.old_head = old;
	sv_store_release(&f->region->free.word, f->free.word);
}

static void used_store(struct sv_inflight_packed *f, struct inflight_position now,
	struct inflight_position old)
{
	f->used = (union inflight_used){.word = 0};
	f->used.idx = now.idx;
	f->used.wrap = now.wrap;
	f->used.old_idx = old.idx;
	f->used.old_wrap = old.wrap;
	sv_store_release(&f->region->used.word, f->used.word);
}

static struct inflight_position position_now(const struct sv_inflight_packed *f)
{
	return (struct inflight_position){f->used.idx, f->used.wrap};
}

static struct inflight_position position_old(const struct sv_inflight_packed *f)
{
	return (struct inflight_position){f->used.old_idx, f->used.old_wrap};
}

/* The version comes last: a half-made region is one that was never used. */
static void format(struct sv_inflight_packed *f, struct inflight_position used)
{
	struct inflight_packed *r = f->region;

	sv_store_release(&r->version, 0);
	for (unsigned i = 0; i < f->room; i++) {
		clear(f, i);
		link_to(f, (uint16_t)i, (uint16_t)(i + 1 < f->room ? i + 1 : NO_ENTRY));
	}
	sv_store_relaxed(&r->desc_num, f->room);
	free_store(f, 0, 0);
	used_store(f, used, used);
	f->nfree = f->room;
	f->counter = 0;
	sv_store_release(&r->version, VERSION);
}

/* --- taking over ----------------------------------------------------------------------------- */

/* Was the batch published that moves the used side on from the old position? */
static bool batch_published(const struct sv_inflight_packed *f, uint16_t flags)
{
	bool avail = flags & 1u << VRING_PACKED_DESC_F_AVAIL;
	bool used = flags & 1u << VRING_PACKED_DESC_F_USED;

	return avail != f->used.old_wrap || used == f->used.old_wrap;
}

/* Finish the batch or forget it. Return: false: not a position of this queue. */
static bool settle(struct sv_inflight_packed *f, uint16_t (*flags_at)(void *ctx, unsigned i), void *ctx)
{
	f->used.word = sv_load_relaxed(&f->region->used.word);
	f->free.word = sv_load_relaxed(&f->region->free.word);
	if (f->used.idx >= f->size || f->used.old_idx >= f->size || f->used.wrap > 1 ||
		f->used.old_wrap > 1)
		return false;
	if (f->used.idx == f->used.old_idx && f->used.wrap == f->used.old_wrap) {
		/* No publication, or one that had only begun: nothing was returned. */
		free_store(f, f->free.old_head, f->free.old_head);
	} else if (batch_published(f, flags_at(ctx, f->used.old_idx))) {
		free_store(f, f->free.head, f->free.head);
		used_store(f, position_now(f), position_now(f));
	} else {
		used_store(f, position_old(f), position_old(f));
		free_store(f, f->free.old_head, f->free.old_head);
	}
	return true;
}

/* What is free is not out, whatever it says. Return: false: the list is not one. */
static bool walk_free(struct sv_inflight_packed *f, bool *is_free)
{
	uint16_t i = f->free.head;

	for (f->nfree = 0; i != NO_ENTRY; f->nfree++) {
		if (i >= f->room || is_free[i])
			return false;
		is_free[i] = true;
		clear(f, i);
		f->next[i] = sv_load_relaxed(&f->region->desc[i].next);
		i = f->next[i];
	}
	return true;
}

/* The chain at @head, entries no other has: marks them. Return: false: it cannot be. */
static bool walk_chain(struct sv_inflight_packed *f, uint16_t head, bool *taken)
{
	const struct inflight_packed_desc *desc = f->region->desc;
	uint16_t num = sv_load_relaxed(&desc[head].num), i = head;

	if (!num || num > f->size - f->out)
		return false;
	f->num_of[head] = num;
	f->out = (uint16_t)(f->out + num);
	for (; num; num--) {
		if (i >= f->room || taken[i])
			return false;
		taken[i] = true;
		f->last_of[head] = i;
		f->next[i] = sv_load_relaxed(&desc[i].next);
		i = f->next[i];
	}
	return true;
}

static bool find_out(struct sv_inflight_packed *f, bool *taken)
{
	struct inflight_found found[SV_VIRTQ_MAX_SIZE] = {{0}};
	unsigned n = 0;

	for (unsigned i = 0; i < f->room; i++) {
		if (sv_load_relaxed(&f->region->desc[i].inflight) != 1)
			continue;
		if (!walk_chain(f, (uint16_t)i, taken))
			return false;
		found[n++] = (struct inflight_found){.counter = sv_load_relaxed(&f->region->desc[i].counter),
			.entry = (uint16_t)i};
	}
	inflight_by_age(found, n);
	for (unsigned i = 0; i < n; i++)
		f->again_entry[i] = found[i].entry;
	f->agains = (uint16_t)n;
	f->counter = n ? found[n - 1].counter + 1 : 0;
	return f->nfree + f->out == f->room;
}

static bool known(const struct sv_inflight_packed *f)
{
	return sv_load_acquire(&f->region->version) == VERSION &&
	       sv_load_relaxed(&f->region->desc_num) == f->room;
}

bool inflight_packed_start(struct sv_inflight_packed *f, uint16_t size,
	struct inflight_position base, bool base_known, uint16_t (*flags_at)(void *ctx, unsigned i),
	void *ctx, struct inflight_position *used)
{
	bool taken[SV_VIRTQ_MAX_SIZE] = {false};

	f->size = size;
	f->batch = f->again = f->agains = f->out = 0;
	*used = base;
	if (!known(f)) {
		format(f, base);
		return true;
	}
	if (!settle(f, flags_at, ctx) || !walk_free(f, taken) || !find_out(f, taken)) {
		/* What was read so far is foreign: nothing is left of it. */
		f->free.head = NO_ENTRY;
		f->nfree = f->agains = 0;
		return false;
	}
	if (!f->agains && base_known)
		format(f, base);
	*used = position_now(f);
	return true;
}

/* --- running --------------------------------------------------------------------------------- */

unsigned inflight_packed_again(struct sv_inflight_packed *f, struct inflight_copy *copy, unsigned max)
{
	uint16_t i;
	unsigned n;

	if (sv_likely(f->again == f->agains))
		return 0;
	i = f->again_entry[f->again];
	for (n = 0; n < f->num_of[f->again_entry[f->again]] && n < max; n++) {
		const struct inflight_packed_desc *d = &f->region->desc[i];

		copy[n].addr = sv_load_relaxed(&d->addr);
		copy[n].len = sv_load_relaxed(&d->len);
		copy[n].flags = sv_load_relaxed(&d->flags);
		copy[n].id = sv_load_relaxed(&d->id);
		i = f->next[i];
	}
	return n;
}

void inflight_packed_again_taken(struct sv_inflight_packed *f, uint16_t id)
{
	f->entry_of[id] = f->again_entry[f->again++];
	f->old[id] = true;
}

bool inflight_packed_take(struct sv_inflight_packed *f, const struct inflight_copy *copy, unsigned n,
	uint16_t id)
{
	uint16_t i = f->free.head, last = i;
	struct inflight_packed_desc *head;

	if (sv_unlikely(n > f->nfree))
		return false;
	head = &f->region->desc[i];
	for (unsigned k = 0; k < n; k++) {
		struct inflight_packed_desc *d = &f->region->desc[i];

		sv_store_relaxed(&d->addr, copy[k].addr);
		sv_store_relaxed(&d->len, copy[k].len);
		sv_store_relaxed(&d->flags, copy[k].flags);
		sv_store_relaxed(&d->id, copy[k].id);
		last = i;
		i = f->next[i];
	}
	f->entry_of[id] = f->free.head;
	f->last_of[f->free.head] = last;
	f->num_of[f->free.head] = (uint16_t)n;
	sv_store_relaxed(&head->last, last);
	sv_store_relaxed(&head->num, (uint16_t)n);
	sv_store_relaxed(&head->counter, f->counter);
	sv_store_release(&head->inflight, 1);
	f->counter++;
	f->old[id] = false;
	f->nfree = (uint16_t)(f->nfree - n);
	free_store(f, i, i);
	return true;
}

bool inflight_packed_untake(struct sv_inflight_packed *f, uint16_t id)
{
	uint16_t head = f->entry_of[id];

	if (f->old[id]) {
		f->again--;
		return false;
	}
	f->nfree = (uint16_t)(f->nfree + f->num_of[head]);
	link_to(f, f->last_of[head], f->free.head);
	free_store(f, head, head);
	clear(f, head);
	return true;
}

void inflight_packed_put(struct sv_inflight_packed *f, uint16_t id)
{
	f->batch_entry[f->batch++] = f->entry_of[id];
}

void inflight_packed_publishing(struct sv_inflight_packed *f, struct inflight_position used)
{
	uint16_t head = f->free.head;

	for (unsigned i = 0; i < f->batch; i++) {
		uint16_t entry = f->batch_entry[i];

		link_to(f, f->last_of[entry], head);
		f->nfree = (uint16_t)(f->nfree + f->num_of[entry]);
		head = entry;
	}
	free_store(f, head, f->free.old_head);
	used_store(f, used, position_old(f));
}

void inflight_packed_published(struct sv_inflight_packed *f)
{
	for (unsigned i = 0; i < f->batch; i++)
		clear(f, f->batch_entry[i]);
	f->batch = 0;
	free_store(f, f->free.head, f->free.head);
	used_store(f, position_now(f), position_now(f));
}
