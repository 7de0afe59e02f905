/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Learned addresses: (address, VLAN) to a slot of the switch. A fixed number of entries, hashed with
 * a key that is drawn at start, so that no sender can choose addresses that fall together.
 * Everything here is the polling thread's.
 */
#ifndef IO_SWITCH_LEARN_H
#define IO_SWITCH_LEARN_H

#include <stdbool.h>
#include <stdint.h>

#define LEARN_BUCKETS 16384u
#define LEARN_NONE UINT16_MAX

struct learned {
	uint8_t mac[6];
	uint16_t vlan;
	uint16_t slot;
	uint16_t next; /* in its bucket, or in the free list */
	uint32_t seen_s;
	uint64_t generation; /* of the slot; 0: the entry is free */
};

struct learn_table {
	uint64_t key[2];
	struct learned *entry;
	unsigned entries;
	uint16_t bucket[LEARN_BUCKETS];
	uint16_t free;
	unsigned held; /* written by the polling thread, read by anyone (relaxed) */
	unsigned hand; /* where the next sweep begins */
};

/* @entries: below LEARN_NONE. Return: 0 or -ENOMEM. Context: control thread. */
int learn_init(struct learn_table *t, unsigned entries);
void learn_fini(struct learn_table *t);

/* Return: the entry, or NULL. */
struct learned *learn_find(struct learn_table *t, const uint8_t mac[6], uint16_t vlan);
/* Add one that is not there; the caller fills slot, generation (not 0) and seen_s. NULL: full. */
struct learned *learn_add(struct learn_table *t, const uint8_t mac[6], uint16_t vlan);
void learn_forget(struct learn_table *t, struct learned *e);
/* Look at @n entries, forget those that @dead says. */
void learn_sweep(struct learn_table *t, unsigned n, bool (*dead)(struct learned *e, void *ctx),
	void *ctx);

#endif
