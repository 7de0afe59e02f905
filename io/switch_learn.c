/* SPDX-License-Identifier: BSD-3-Clause */
#include "switch_learn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <channels/atomics.h>

int learn_init(struct learn_table *t, unsigned entries)
{
	memset(t, 0, sizeof(*t));
	if (getrandom(t->key, sizeof(t->key), 0) != sizeof(t->key))
		return -ENOMEM;
	t->entry = calloc(entries, sizeof(*t->entry));
	if (!t->entry)
		return -ENOMEM;
	t->entries = entries;
	for (unsigned i = 0; i < LEARN_BUCKETS; i++)
		t->bucket[i] = LEARN_NONE;
	for (unsigned i = 0; i < entries; i++)
		t->entry[i].next = (uint16_t)(i + 1 < entries ? i + 1 : LEARN_NONE);
	t->free = 0;
	return 0;
}

void learn_fini(struct learn_table *t)
{
	free(t->entry);
	t->entry = NULL;
}

/* The 64 bits of address and VLAN through two keyed multiply rounds, folded each time. */
static uint16_t *bucket_of(struct learn_table *t, const uint8_t mac[6], uint16_t vlan)
{
	uint64_t h = 0;
	__uint128_t wide;

	memcpy(&h, mac, 6);
	h |= (uint64_t)vlan << 48;
	wide = (__uint128_t)(h ^ t->key[0]) * (t->key[1] | 1);
	h = (uint64_t)wide ^ (uint64_t)(wide >> 64);
	wide = (__uint128_t)(h ^ t->key[1]) * (t->key[0] | 1);
	h = (uint64_t)wide ^ (uint64_t)(wide >> 64);
	return &t->bucket[h % LEARN_BUCKETS];
}

struct learned *learn_find(struct learn_table *t, const uint8_t mac[6], uint16_t vlan)
{
	uint16_t at = *bucket_of(t, mac, vlan);

	while (at != LEARN_NONE) {
		struct learned *e = &t->entry[at];

		if (e->vlan == vlan && !memcmp(e->mac, mac, 6))
			return e;
		at = e->next;
	}
	return NULL;
}

struct learned *learn_add(struct learn_table *t, const uint8_t mac[6], uint16_t vlan)
{
	uint16_t *b = bucket_of(t, mac, vlan), at = t->free;
	struct learned *e;

	if (at == LEARN_NONE)
		return NULL;
	e = &t->entry[at];
	t->free = e->next;
	memcpy(e->mac, mac, 6);
	e->vlan = vlan;
	e->next = *b;
	*b = at;
	sv_store_relaxed(&t->held, t->held + 1);
	return e;
}

void learn_forget(struct learn_table *t, struct learned *e)
{
	uint16_t self = (uint16_t)(e - t->entry), *at = bucket_of(t, e->mac, e->vlan);

	while (*at != self)
		at = &t->entry[*at].next;
	*at = e->next;
	e->generation = 0;
	e->next = t->free;
	t->free = self;
	sv_store_relaxed(&t->held, t->held - 1);
}

void learn_sweep(struct learn_table *t, unsigned n, bool (*dead)(struct learned *e, void *ctx),
	void *ctx)
{
	for (unsigned i = 0; i < n && i < t->entries; i++) {
		struct learned *e = &t->entry[t->hand];

		t->hand = t->hand + 1 < t->entries ? t->hand + 1 : 0;
		if (e->generation && dead(e, ctx))
			learn_forget(t, e);
	}
}
