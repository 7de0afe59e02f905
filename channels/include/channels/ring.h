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
 *   want_irq          guest      sidecore   WANT     full: store want_irq, then load seq
 *   slot seq          sidecore   guest      ANNOUNCE full: store seq, then load want_irq
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

/* Eight words of a message that belongs to one side alone; any 8-byte aligned struct will do. */
typedef uint64_t sv_words __attribute__((may_alias));

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
	tx->slot = slot;
	tx->consumed = consumed;
	tx->pos = 0;
	tx->limit = entries;
	tx->entries = entries;
}

static inline void sv_ring_rx_init(struct sv_ring_rx *rx, const union sv_slot *slot,
	uint64_t *consumed, uint64_t entries)
{
	rx->slot = slot;
	rx->consumed = consumed;
	rx->pos = 0;
	rx->retired = 0;
	rx->entries = entries;
	rx->lazy = entries >= 8 ? entries / 4 : 1;
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

/* Words 0..6, each once. */
static inline void sv_ring_copy_in(union sv_slot *slot, const sv_words *from)
{
	for (unsigned i = 0; i < SV_SLOT_SEQ; i++)
		sv_store_relaxed(&slot->word[i], from[i]);
}

static inline void sv_ring_copy_out(const union sv_slot *slot, sv_words *to)
{
	for (unsigned i = 0; i < SV_SLOT_SEQ; i++)
		to[i] = sv_load_relaxed(&slot->word[i]);
}

/* Words 0..6 of the slot at tx->pos. The slot is free (sv_ring_room). */
static inline union sv_slot *sv_ring_fill(struct sv_ring_tx *tx, const void *msg)
{
	union sv_slot *slot = &tx->slot[tx->pos & (tx->entries - 1)];

	sv_ring_copy_in(slot, (const sv_words *)msg);
	return slot;
}

/*
 * Write one entry and publish it. @msg: struct sv_req, struct sv_cpl or union sv_slot; its seq is
 * not looked at. The caller made sure that there is room.
 * Context: the producer. Order: PUBLISH, release side.
 */
static inline void sv_ring_put(struct sv_ring_tx *tx, const void *msg)
{
	union sv_slot *slot = sv_ring_fill(tx, msg);

	sv_store_release(&slot->word[SV_SLOT_SEQ], ++tx->pos);
}

/*
 * The same with a full barrier after the publication: for the last entry before `sleeping` or
 * `want_irq` is looked at. Order: PUBLISH, release side, and WAKE (or ANNOUNCE).
 */
static inline void sv_ring_put_full(struct sv_ring_tx *tx, const void *msg)
{
	union sv_slot *slot = sv_ring_fill(tx, msg);

	sv_exchange_full(&slot->word[SV_SLOT_SEQ], ++tx->pos);
}

/*
 * Write @n entries of 64 bytes each, the first one last: a consumer looks at the first alone until it
 * is there, and then finds the whole batch. Written front to back, it would fetch every line while
 * the next is being written, and both sides would wait for each other at each.
 * @full: with a full barrier after the publication (sv_ring_put_full). The caller made sure that
 * there is room for @n, which is at least 1. Context: the producer. Order: PUBLISH, release side,
 * and WAKE (or ANNOUNCE) with @full.
 */
static inline void sv_ring_put_n(struct sv_ring_tx *tx, const void *msgs, uint64_t n, bool full)
{
	union sv_slot *ring = tx->slot, *slot;
	uint64_t pos = tx->pos + n, mask = tx->entries - 1;
	const sv_words *msg = (const sv_words *)msgs + n * SV_SLOT_WORDS;

	for (uint64_t i = n; i > 0; i--, pos--) {
		slot = &ring[(pos - 1) & mask];
		msg -= SV_SLOT_WORDS;
		sv_ring_copy_in(slot, msg);
		if (full && i == 1)
			sv_exchange_full(&slot->word[SV_SLOT_SEQ], pos);
		else
			sv_store_release(&slot->word[SV_SLOT_SEQ], pos);
	}
	tx->pos += n;
}

/* The seq of the slot at rx->pos, and what it is as long as the entry is not there. */
static inline const uint64_t *sv_ring_seq(const struct sv_ring_rx *rx)
{
	return &rx->slot[rx->pos & (rx->entries - 1)].word[SV_SLOT_SEQ];
}

static inline uint64_t sv_ring_seq_empty(const struct sv_ring_rx *rx)
{
	return rx->pos >= rx->entries ? rx->pos + 1 - rx->entries : 0;
}

static inline enum sv_take sv_ring_judge(const struct sv_ring_rx *rx, uint64_t seq)
{
	if (sv_likely(seq == rx->pos + 1))
		return SV_TAKE_ONE;
	/* Not yet: what is there is of the lap before, or nothing in the first lap. */
	return sv_likely(seq == sv_ring_seq_empty(rx)) ? SV_TAKE_EMPTY : SV_TAKE_DEFECT;
}

/* Is the entry at rx->pos there? Context: the consumer. Order: PUBLISH, acquire side. */
static inline enum sv_take sv_ring_peek(const struct sv_ring_rx *rx)
{
	return sv_ring_judge(rx, sv_load_acquire(sv_ring_seq(rx)));
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
 * Copy the next entry into *msg, if there is one, and acknowledge lazily. @msg: 64 bytes, as for
 * sv_ring_put. Context: the consumer. Order: PUBLISH, acquire side; RETIRE, release side, now and
 * then. The copy's seq is the position + 1.
 */
static inline enum sv_take sv_ring_take(struct sv_ring_rx *rx, void *msg)
{
	const union sv_slot *slot = &rx->slot[rx->pos & (rx->entries - 1)];
	enum sv_take t = sv_ring_peek(rx);
	sv_words *to = (sv_words *)msg;

	if (t != SV_TAKE_ONE)
		return t;
	sv_ring_copy_out(slot, to);
	to[SV_SLOT_SEQ] = ++rx->pos;
	if (rx->pos - rx->retired >= rx->lazy)
		sv_ring_retire(rx);
	return SV_TAKE_ONE;
}

/*
 * Lines that a consumer of batches has under way at a time: about as many as a core can miss. Without
 * it the instructions between two lines fill the core's window, and it waits for ten at most.
 */
#define SV_RING_AHEAD 16u

/*
 * Copy up to @n entries of 64 bytes each. Nothing ahead is touched unless the first is there, so
 * that a waiting consumer takes no line away from the producer. Context and order: sv_ring_take.
 * Return: how many, or -1 when the first one is a defect; a later one is found by a later call.
 */
static inline int64_t sv_ring_take_n(struct sv_ring_rx *rx, void *msgs, uint64_t n)
{
	const union sv_slot *ring = rx->slot;
	uint64_t from = rx->pos, mask = rx->entries - 1, i;
	enum sv_take t = n ? sv_ring_peek(rx) : SV_TAKE_EMPTY;
	sv_words *to = (sv_words *)msgs;

	if (t != SV_TAKE_ONE)
		return t;
	for (i = 1; i < n && i < SV_RING_AHEAD; i++)
		sv_prefetch_read(&ring[(from + i) & mask]);
	for (i = 0; i < n; i++, to += SV_SLOT_WORDS) {
		const union sv_slot *slot = &ring[(from + i) & mask];

		if (i && sv_load_acquire(&slot->word[SV_SLOT_SEQ]) != from + i + 1)
			break;
		if (i + SV_RING_AHEAD < n)
			sv_prefetch_read(&ring[(from + i + SV_RING_AHEAD) & mask]);
		sv_ring_copy_out(slot, to);
		to[SV_SLOT_SEQ] = from + i + 1;
	}
	rx->pos = from + i;
	if (rx->pos - rx->retired >= rx->lazy)
		sv_ring_retire(rx);
	return (int64_t)i;
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
