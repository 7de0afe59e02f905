/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's end of a channel. Freestanding: guest libraries and the host's tests compile it.
 *
 * One client belongs to one vCPU; all calls come from there, one at a time. Requests are answered
 * one for one, so what is in flight is the difference of two private positions. The sidecore's side
 * is server.h.
 */
#ifndef CHANNELS_CLIENT_H
#define CHANNELS_CLIENT_H

#include <channels/ring.h>
#include <channels/wait.h>

/* What the functions below return besides counts. */
enum sv_client_result {
	SV_CLIENT_OK = 0,
	SV_CLIENT_BAD_MAGIC = -1,    /* no channel here */
	SV_CLIENT_BAD_VERSION = -2,  /* of another ABI version */
	SV_CLIENT_BAD_FEATURES = -3, /* a feature that this header does not know, and must */
	SV_CLIENT_BAD_LAYOUT = -4,   /* entries, offsets or size cannot be */
	SV_CLIENT_BROKEN = -5,	     /* the sidecore wrote what cannot be: use the channel no more */
	SV_CLIENT_FULL = -6,	     /* no room: reap first */
	SV_CLIENT_BUSY = -7,	     /* other requests are in flight */
	SV_CLIENT_TIMEOUT = -8,	     /* no answer by the deadline; it may still come: reap it */
};

struct sv_client {
	struct sv_channel *shared;
	struct sv_ring_tx tx;
	struct sv_ring_rx rx;
	void (*doorbell)(void *ctx); /* writes 4 bytes of zero at info.doorbell_gpa */
	void *doorbell_ctx;
	enum sv_wait wait; /* how sv_client_call() waits; PAUSE unless changed after open */
	bool may_sleep;	   /* the sidecore may: SV_CHANNEL_F_DOORBELL */
	bool broken;
	uint64_t doorbells; /* rung so far */
};

/* Check a copy of line 0. @bytes: of the region that is mapped. */
static inline enum sv_client_result sv_client_check(const struct sv_channel_info *i, uint64_t bytes)
{
	const uint64_t known = SV_CHANNEL_F_DOORBELL | SV_CHANNEL_F_IRQ;
	uint64_t req = i->req_offset, cpl = i->cpl_offset, req_end, cpl_end;

	if (i->magic != SV_CHANNEL_MAGIC)
		return SV_CLIENT_BAD_MAGIC;
	if (i->version != SV_CHANNEL_VERSION)
		return SV_CLIENT_BAD_VERSION;
	if (i->features & ~known & 0xffffffffull)
		return SV_CLIENT_BAD_FEATURES;
	if (!sv_ring_entries_valid(i->req_entries) || !sv_ring_entries_valid(i->cpl_entries))
		return SV_CLIENT_BAD_LAYOUT;
	req_end = req + 64ull * i->req_entries;
	cpl_end = cpl + 64ull * i->cpl_entries;
	if (i->size > bytes || req % 64 || cpl % 64 || req < sizeof(struct sv_channel) ||
		cpl < sizeof(struct sv_channel) || req_end > i->size || cpl_end > i->size ||
		(req < cpl_end && cpl < req_end))
		return SV_CLIENT_BAD_LAYOUT;
	return SV_CLIENT_OK;
}

/*
 * Take a channel up, positions at their start. @region: its memory, 64-byte aligned, @bytes of it
 * mapped. @doorbell may be NULL when the sidecore is known never to sleep.
 * Context: once per channel, before any other call. Order: INIT (the host wrote line 0 before this
 * vCPU started). Return: SV_CLIENT_OK, or why not; *c is then untouched.
 */
static inline enum sv_client_result sv_client_open(struct sv_client *c, void *region, uint64_t bytes,
	void (*doorbell)(void *ctx), void *doorbell_ctx)
{
	struct sv_channel *shared = (struct sv_channel *)region;
	char *base = (char *)region;
	struct sv_channel_info info;
	enum sv_client_result r;

	if (bytes < sizeof(*shared))
		return SV_CLIENT_BAD_LAYOUT;
	info = shared->info;
	r = sv_client_check(&info, bytes);
	if (r != SV_CLIENT_OK)
		return r;
	c->shared = shared;
	sv_ring_tx_init(&c->tx, (union sv_slot *)(void *)(base + info.req_offset),
		&shared->side.req_consumed, info.req_entries);
	sv_ring_rx_init(&c->rx, (union sv_slot *)(void *)(base + info.cpl_offset),
		&shared->guest.cpl_consumed, info.cpl_entries);
	c->doorbell = doorbell;
	c->doorbell_ctx = doorbell_ctx;
	c->wait = SV_WAIT_PAUSE;
	c->may_sleep = (info.features & SV_CHANNEL_F_DOORBELL) != 0;
	c->broken = false;
	c->doorbells = 0;
	return SV_CLIENT_OK;
}

/* Requests without an answer yet. */
static inline uint64_t sv_client_in_flight(const struct sv_client *c)
{
	return c->tx.pos - c->rx.pos;
}

/*
 * How many requests can be submitted now: bounded by the request ring and by the room for answers,
 * so that a sidecore never has to wait for this client. Looks at the sidecore's word only when
 * @want would not fit. Return: that many, or SV_CLIENT_BROKEN.
 */
static inline int64_t sv_client_room(struct sv_client *c, uint64_t want)
{
	uint64_t answers = c->rx.entries - sv_client_in_flight(c);
	int64_t room;

	if (sv_unlikely(c->broken))
		return SV_CLIENT_BROKEN;
	room = sv_ring_room(&c->tx, want < answers ? want : answers);
	if (sv_unlikely(room < 0)) {
		c->broken = true;
		return SV_CLIENT_BROKEN;
	}
	return (uint64_t)room < answers ? room : (int64_t)answers;
}

/*
 * Submit up to @n requests, in order, as one batch (sv_ring_put_n), and wake the sidecore if it
 * sleeps. The requests' seq is not looked at; flags must be zero. Context: never blocks.
 * Order: PUBLISH, release side, per request; WAKE after the one that is published last, the first.
 * Return: how many went in (0: no room, reap first), or SV_CLIENT_BROKEN.
 */
static inline int64_t sv_client_submit(struct sv_client *c, const struct sv_req *req, unsigned n)
{
	int64_t room = sv_client_room(c, n);

	if (sv_unlikely(room <= 0 || n == 0))
		return room < 0 ? room : 0;
	if (sv_unlikely((uint64_t)room < n))
		n = (unsigned)room;
	sv_ring_put_n(&c->tx, req, n, c->may_sleep);
	if (!c->may_sleep)
		return n;
	if (sv_unlikely(sv_load_full(&c->shared->wake.sleeping)) && c->doorbell) {
		c->doorbells++;
		c->doorbell(c->doorbell_ctx);
	}
	return n;
}

/*
 * Take up to @n completions. Context: never blocks. Order: PUBLISH, acquire side; RETIRE lazily.
 * Return: how many (0: none yet), or SV_CLIENT_BROKEN: a sequence number that cannot be, or a
 * completion of a request that was never sent.
 */
static inline int64_t sv_client_reap(struct sv_client *c, struct sv_cpl *cpl, unsigned n)
{
	uint64_t owed = sv_client_in_flight(c);
	int64_t got;

	if (sv_unlikely(c->broken))
		return SV_CLIENT_BROKEN;
	got = sv_ring_take_n(&c->rx, cpl, n);
	if (sv_likely(got >= 0 && (uint64_t)got <= owed))
		return got;
	c->broken = true;
	return SV_CLIENT_BROKEN;
}

/*
 * Wait until a completion is there or the TSC reaches @deadline. Context: uses the core meanwhile.
 * Return: SV_CLIENT_OK (sv_client_reap() will find something) or SV_CLIENT_TIMEOUT.
 */
static inline enum sv_client_result sv_client_wait(struct sv_client *c, uint64_t deadline)
{
	uint64_t empty = sv_ring_seq_empty(&c->rx);

	return sv_wait_change(c->wait, sv_ring_seq(&c->rx), empty, deadline) == empty
		       ? SV_CLIENT_TIMEOUT
		       : SV_CLIENT_OK;
}

/*
 * One request and its answer. Nothing else may be in flight. @deadline: TSC.
 * Return: SV_CLIENT_OK with *cpl filled (look at cpl->status), SV_CLIENT_BUSY, SV_CLIENT_FULL,
 * SV_CLIENT_TIMEOUT or SV_CLIENT_BROKEN.
 */
static inline enum sv_client_result sv_client_call(
	struct sv_client *c, const struct sv_req *req, struct sv_cpl *cpl, uint64_t deadline)
{
	int64_t n;

	if (sv_unlikely(sv_client_in_flight(c) != 0))
		return SV_CLIENT_BUSY;
	n = sv_client_submit(c, req, 1);
	if (sv_unlikely(n <= 0))
		return n < 0 ? SV_CLIENT_BROKEN : SV_CLIENT_FULL;
	if (sv_unlikely(sv_client_wait(c, deadline) != SV_CLIENT_OK))
		return SV_CLIENT_TIMEOUT;
	return sv_client_reap(c, cpl, 1) == 1 ? SV_CLIENT_OK : SV_CLIENT_BROKEN;
}

/*
 * The vCPU is about to halt: ask for an interrupt at the next completion and look once more.
 * Order: WANT: publish, full barrier, look again.
 * Return: true when something is there already: do not halt.
 */
static inline bool sv_client_arm_irq(struct sv_client *c)
{
	sv_ring_retire(&c->rx);
	sv_exchange_full(&c->shared->guest.want_irq, 1u);
	return sv_load_full(sv_ring_seq(&c->rx)) != sv_ring_seq_empty(&c->rx);
}

/* Awake again: no interrupts, please. */
static inline void sv_client_disarm_irq(struct sv_client *c)
{
	sv_store_release(&c->shared->guest.want_irq, 0u);
}

#endif
