/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring: SPSC, 64-byte entries that carry their own sequence word.
 *
 * Header-only and freestanding: the guest's library and the host compile the same lines. Each side
 * keeps its position in private memory (struct sv_ring_tx, struct sv_ring_rx) and computes with
 * that alone; a word that it published is never read back. What the peer can write is loaded once,
 * checked against the private position, and anything impossible is a defect: the caller marks that
 * channel broken and goes on.
 *
 * Who writes what, and the edges (argued in channels/ORDERING.md):
 *
 *   word              writer     reader     edge
 *   slot words 0..6   producer   consumer   ordered by the slot's seq
 *   slot seq          producer   consumer   PUBLISH  release -> acquire
 *   consumed          consumer   producer   RETIRE   release -> acquire
 *   sleeping          sidecore   guest      SLEEP    full: store sleeping, then load seq
 *   slot seq          guest      sidecore   WAKE     full: store seq, then load sleeping
 *
 * Cost: one line travels per message. `consumed` moves once per quarter ring.
 */
#ifndef CHANNELS_RING_H
#define CHANNELS_RING_H

#include <stdbool.h>

#include <channels/atomics.h>
#include <sidevisor/channel.h>

#define SV_SLOT_WORDS 8u
#define SV_SLOT_SEQ 7u

/* A slot as eight words; struct sv_req and struct sv_cpl are views of it. */
union sv_slot {
	uint64_t word[SV_SLOT_WORDS];
	struct sv_req req;
	struct sv_cpl cpl;
} __attribute__((aligned(64)));

/* What taking an entry found. */
enum sv_take {
	SV_TAKE_EMPTY = 0,
	SV_TAKE_ONE = 1,
	SV_TAKE_DEFECT = -1, /* the peer wrote a sequence number that cannot be */
};

/* The producer's private side. */
struct sv_ring_tx {
	union sv_slot *slot;	  /* shared, written by this side */
	const uint64_t *consumed; /* shared, written by the peer */
	uint64_t pos;		  /* next position to write */
	uint64_t limit;		  /* first position that is not known to be free */
	uint64_t entries;	  /* power of two */
};

/* The consumer's private side. */
struct sv_ring_rx {
	const union sv_slot *slot; /* shared, written by the peer */
	uint64_t *consumed;	   /* shared, written by this side */
	uint64_t pos;		   /* next position to read */
	uint64_t retired;	   /* last value published in *consumed */
	uint64_t entries;	   /* power of two */
	uint64_t lazy;		   /* publish when this many are unpublished */
};

static inline void sv_ring_tx_init(struct sv_ring_tx *tx, union sv_slot *slot,
	const uint64_t *consumed, uint64_t entries)
{
	*tx = (struct sv_ring_tx){
		.slot = slot, .consumed = consumed, .limit = entries, .entries = entries};
}

static inline void sv_ring_rx_init(struct sv_ring_rx *rx, const union sv_slot *slot,
	uint64_t *consumed, uint64_t entries)
{
	*rx = (struct sv_ring_rx){.slot = slot,
		.consumed = consumed,
		.entries = entries,
		.lazy = entries >= 8 ? entries / 4 : 1};
}

/*
 * How many entries may be written now; looks at the peer's word only when @want would not fit.
 * Context: the producer. Order: RETIRE, acquire side.
 * Return: free entries (at least @want when there are that many), or -1: the peer's word is
 * impossible (more consumed than was sent, or less than before).
 */
static inline int64_t sv_ring_room(struct sv_ring_tx *tx, uint64_t want)
{
	uint64_t consumed, free_up_to;

	if (sv_likely(tx->limit - tx->pos >= want))
		return (int64_t)(tx->limit - tx->pos);
	consumed = sv_load_acquire(tx->consumed);
	free_up_to = consumed + tx->entries;
	if (consumed > tx->pos || free_up_to < tx->limit)
		return -1;
	tx->limit = free_up_to;
	return (int64_t)(free_up_to - tx->pos);
}

/* Words 0..6 of the slot at tx->pos. The slot is free (sv_ring_room). */
static inline union sv_slot *sv_ring_fill(struct sv_ring_tx *tx, const union sv_slot *msg)
{
	union sv_slot *slot = &tx->slot[tx->pos & (tx->entries - 1)];

	for (unsigned i = 0; i < SV_SLOT_SEQ; i++)
		sv_store_relaxed(&slot->word[i], msg->word[i]);
	return slot;
}

/*
 * Write one entry and publish it. The caller made sure that there is room.
 * Context: the producer. Order: PUBLISH, release side.
 */
static inline void sv_ring_put(struct sv_ring_tx *tx, const union sv_slot *msg)
{
	union sv_slot *slot = sv_ring_fill(tx, msg);

	sv_store_release(&slot->word[SV_SLOT_SEQ], ++tx->pos);
}

/*
 * The same with a full barrier after the publication: for the last entry before `sleeping` is
 * looked at. Order: PUBLISH, release side, and WAKE.
 */
static inline void sv_ring_put_full(struct sv_ring_tx *tx, const union sv_slot *msg)
{
	union sv_slot *slot = sv_ring_fill(tx, msg);

	sv_exchange_full(&slot->word[SV_SLOT_SEQ], ++tx->pos);
}

/*
 * Is the entry at rx->pos there? Context: the consumer. Order: PUBLISH, acquire side.
 */
static inline enum sv_take sv_ring_peek(const struct sv_ring_rx *rx)
{
	uint64_t seq = sv_load_acquire(&rx->slot[rx->pos & (rx->entries - 1)].word[SV_SLOT_SEQ]);

	if (sv_likely(seq == rx->pos + 1))
		return SV_TAKE_ONE;
	/* Not yet: what is there is of the lap before, or nothing in the first lap. */
	if (sv_likely(seq == (rx->pos >= rx->entries ? rx->pos + 1 - rx->entries : 0)))
		return SV_TAKE_EMPTY;
	return SV_TAKE_DEFECT;
}

/* Publish how far this side has read. Context: the consumer. Order: RETIRE, release side. */
static inline void sv_ring_retire(struct sv_ring_rx *rx)
{
	if (rx->retired != rx->pos) {
		rx->retired = rx->pos;
		sv_store_release(rx->consumed, rx->pos);
	}
}

/*
 * Copy the next entry into *msg, if there is one, and acknowledge lazily.
 * Context: the consumer. Order: PUBLISH, acquire side; RETIRE, release side, now and then.
 * msg->word[SV_SLOT_SEQ] is the position + 1.
 */
static inline enum sv_take sv_ring_take(struct sv_ring_rx *rx, union sv_slot *msg)
{
	const union sv_slot *slot = &rx->slot[rx->pos & (rx->entries - 1)];
	enum sv_take t = sv_ring_peek(rx);

	if (t != SV_TAKE_ONE)
		return t;
	for (unsigned i = 0; i < SV_SLOT_SEQ; i++)
		msg->word[i] = sv_load_relaxed(&slot->word[i]);
	msg->word[SV_SLOT_SEQ] = ++rx->pos;
	if (rx->pos - rx->retired >= rx->lazy)
		sv_ring_retire(rx);
	return SV_TAKE_ONE;
}

/* Bytes of a channel region with these rings: header, requests, completions. */
static inline uint64_t sv_channel_bytes(uint32_t req_entries, uint32_t cpl_entries)
{
	return sizeof(struct sv_channel) + 64ull * req_entries + 64ull * cpl_entries;
}

static inline bool sv_ring_entries_valid(uint32_t entries)
{
	return entries >= SV_RING_MIN_ENTRIES && entries <= SV_RING_MAX_ENTRIES &&
	       (entries & (entries - 1)) == 0;
}

#endif
