/* SPDX-License-Identifier: BSD-3-Clause */
#include "inflight.h"

#include <channels/atomics.h>

#define VERSION 1u

void inflight_by_age(struct inflight_found *found, unsigned n)
{
	static const uint16_t gap[] = {701, 301, 132, 57, 23, 10, 4, 1};

	for (unsigned g = 0; g < sizeof(gap) / sizeof(gap[0]); g++)
		for (unsigned i = gap[g]; i < n; i++) {
			struct inflight_found one = found[i];
			unsigned at = i;

			for (; at >= gap[g] && found[at - gap[g]].counter > one.counter; at -= gap[g])
				found[at] = found[at - gap[g]];
			found[at] = one;
		}
}

static void clear(struct inflight_split *r, uint16_t head)
{
	sv_store_release(&r->desc[head].inflight, 0);
}

/* The version comes last: a half-cleared region is one that was never used. */
static void format(struct inflight_split *r, uint16_t room, uint16_t used)
{
	sv_store_release(&r->version, 0);
	for (unsigned i = 0; i < room; i++)
		clear(r, (uint16_t)i);
	sv_store_relaxed(&r->desc_num, room);
	sv_store_relaxed(&r->last_batch_head, 0);
	sv_store_relaxed(&r->used_idx, used);
	sv_store_release(&r->version, VERSION);
}

static bool is_out(const struct inflight_split *r, unsigned head)
{
	return sv_load_relaxed(&r->desc[head].inflight) == 1;
}

/*
 * The predecessor published a batch and ended before it had cleared all of it: @n chains, linked from
 * the last one put. They are not out any more. Return: false: the list is not one.
 */
static bool finish_batch(struct inflight_split *r, uint16_t size, uint16_t n)
{
	uint16_t head = sv_load_relaxed(&r->last_batch_head);

	if (n > size)
		return false;
	while (n--) {
		if (head >= size)
			return false;
		clear(r, head);
		head = sv_load_relaxed(&r->desc[head].next);
	}
	return true;
}

/* Those that are out, by age. Return: how many, -1: one of them cannot be. */
static int find_out(struct sv_inflight *f)
{
	struct inflight_found found[SV_VIRTQ_MAX_SIZE] = {{0}};
	unsigned n = 0;

	for (unsigned i = 0; i < f->room; i++)
		if (is_out(f->split, i))
			found[n++] = (struct inflight_found){.counter = sv_load_relaxed(&f->split->desc[i].counter),
				.entry = (uint16_t)i};
	if (n && found[n - 1].entry >= f->size)
		return -1;
	inflight_by_age(found, n);
	for (unsigned i = 0; i < n; i++)
		f->again_head[i] = found[i].entry;
	f->counter = n ? found[n - 1].counter + 1 : 0;
	return (int)n;
}

static bool known(const struct sv_inflight *f)
{
	return sv_load_acquire(&f->split->version) == VERSION &&
	       sv_load_relaxed(&f->split->desc_num) == f->room;
}

bool inflight_start(struct sv_inflight *f, uint16_t size, uint16_t base, uint16_t used,
	uint16_t *next_used, uint16_t *next_avail)
{
	struct inflight_split *r = f->split;
	int out;

	f->size = size;
	f->last = f->batch = f->agains = f->again = f->fresh = 0;
	out = known(f) ? find_out(f) : 0;
	if (out == 0) {
		format(r, f->room, base);
		*next_used = *next_avail = base;
		return true;
	}
	if (out < 0 || !finish_batch(r, size, (uint16_t)(used - sv_load_relaxed(&r->used_idx))))
		return false;
	sv_store_release(&r->used_idx, used);
	out = find_out(f);
	if (out < 0)
		return false;
	f->agains = (uint16_t)out;
	f->last = sv_load_relaxed(&r->last_batch_head);
	*next_used = used;
	*next_avail = (uint16_t)(used + out);
	return true;
}

bool inflight_again(const struct sv_inflight *f, uint16_t *head)
{
	if (sv_likely(f->again == f->agains))
		return false;
	*head = f->again_head[f->again];
	return true;
}

void inflight_take(struct sv_inflight *f, uint16_t head)
{
	struct inflight_desc *d = &f->split->desc[head];

	sv_store_relaxed(&d->counter, f->counter);
	f->counter++;
	f->fresh++;
	sv_store_release(&d->inflight, 1);
}

/* A predecessor's chains are taken before any of the ring, so that they are given back after those. */
bool inflight_untake(struct sv_inflight *f, uint16_t head)
{
	if (!f->fresh) {
		f->again--;
		return false;
	}
	f->fresh--;
	clear(f->split, head);
	return true;
}

void inflight_put(struct sv_inflight *f, uint16_t head)
{
	sv_store_relaxed(&f->split->desc[head].next, f->last);
	sv_store_release(&f->split->last_batch_head, head);
	f->last = head;
	f->batch_head[f->batch++] = head;
}

void inflight_published(struct sv_inflight *f, uint16_t used)
{
	for (unsigned i = 0; i < f->batch; i++)
		clear(f->split, f->batch_head[i]);
	f->batch = 0;
	sv_store_release(&f->split->used_idx, used);
}
