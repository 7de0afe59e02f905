/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's end of a channel: takes copies of requests, puts completions, sleeps and wakes.
 *
 * The guest is hostile. It can write every byte of the region at any moment; what this side relies
 * on is private (struct sv_server), and the geometry is the host's own, never read from the region.
 * A word of the guest's is loaded once and checked. What a guest cannot legally have written is
 * counted by kind; a broken ring ends the channel (`broken`: no request is taken any more, the
 * memory is left alone), a request with a wrong reserved field is answered and the channel lives on.
 *
 * All calls come from one thread at a time, except that the counters may be read by any (relaxed).
 */
#ifndef CHANNELS_SERVER_H
#define CHANNELS_SERVER_H

#include <channels/ring.h>

/* What sv_server_take() found. */
enum sv_server_take {
	SV_SERVER_NONE = 0,	/* no request, or no room for its answer: look again later */
	SV_SERVER_REQUEST = 1,	/* *req is a private copy: answer it with sv_server_answer() */
	SV_SERVER_REJECTED = 2, /* a request with a wrong reserved field was answered here */
	SV_SERVER_BROKEN = -1,	/* a defect of the ring, counted; or the channel was broken before */
};

/* Written by the server's thread; read by others with sv_load_relaxed(). */
struct sv_server_counts {
	uint64_t requests;     /* taken and handed out */
	uint64_t rejected;     /* SV_STATUS_INVALID because of a reserved field */
	uint64_t answers;      /* completions put */
	uint64_t stalls;       /* a request waited because the guest left no room for its answer */
	uint64_t bad_seq;      /* defects: a sequence number that cannot be */
	uint64_t bad_consumed; /* defects: an acknowledgement that cannot be */
};

struct sv_server {
	struct sv_channel *shared;
	struct sv_ring_rx req;
	struct sv_ring_tx cpl;
	bool broken;
	bool may_irq; /* SV_CHANNEL_F_IRQ */
	struct sv_server_counts counts;
};

static inline void sv_server_count(uint64_t *counter)
{
	sv_store_relaxed(counter, *counter + 1);
}

/*
 * Take a channel up. @shared: checked memory of at least sv_channel_bytes(req_entries,
 * cpl_entries), 64-byte aligned, zero or never used; @features: what the host wrote in line 0.
 * Context: before the guest's first request; no other call runs. Order: INIT.
 */
static inline void sv_server_open(struct sv_server *s, struct sv_channel *shared,
	uint32_t req_entries, uint32_t cpl_entries, uint64_t features)
{
	union sv_slot *slot = (union sv_slot *)(void *)(shared + 1);
	static const struct sv_server_counts none = {0, 0, 0, 0, 0, 0};

	s->shared = shared;
	s->broken = false;
	s->may_irq = (features & SV_CHANNEL_F_IRQ) != 0;
	s->counts = none;
	sv_ring_rx_init(&s->req, slot, &shared->side.req_consumed, req_entries);
	sv_ring_tx_init(&s->cpl, slot + req_entries, &shared->guest.cpl_consumed, cpl_entries);
	sv_store_release(&shared->wake.epoch, 1u);
}

/* Requests that were taken and not answered yet. */
static inline uint64_t sv_server_owed(const struct sv_server *s)
{
	return s->req.pos - s->cpl.pos;
}

static inline enum sv_server_take sv_server_break(struct sv_server *s, uint64_t *counter)
{
	sv_server_count(counter);
	s->broken = true;
	return SV_SERVER_BROKEN;
}

/*
 * Put one completion. cpl->seq is not looked at; everything else is the caller's, tag included.
 * There is room: sv_server_take() gives out no request without room for its answer. A channel that
 * broke meanwhile takes the completion too; nobody need read it.
 * Context: never blocks. Order: PUBLISH, release side.
 */
static inline void sv_server_answer(struct sv_server *s, const struct sv_cpl *cpl)
{
	sv_ring_put(&s->cpl, cpl);
	sv_server_count(&s->counts.answers);
}

/*
 * The same for the last completion before the server turns to something else, when the guest may
 * sleep. Order: PUBLISH, release side, and ANNOUNCE.
 * Return: true when the guest asked for an interrupt: raise it.
 */
static inline bool sv_server_answer_announce(struct sv_server *s, const struct sv_cpl *cpl)
{
	if (!s->may_irq) {
		sv_server_answer(s, cpl);
		return false;
	}
	sv_ring_put_full(&s->cpl, cpl);
	sv_server_count(&s->counts.answers);
	return sv_load_full(&s->shared->guest.want_irq) != 0;
}

/* No request may be taken unless the ring has room for its answer beside those that are owed. */
static inline int64_t sv_server_room(struct sv_server *s)
{
	uint64_t owed = sv_server_owed(s);
	int64_t room = sv_ring_room(&s->cpl, owed + 1);

	return room < 0 ? -1 : room - (int64_t)owed;
}

/* Rare: no room for the answer. Counts a stall only when there is a request that has to wait. */
static inline enum sv_server_take sv_server_full(struct sv_server *s, int64_t room)
{
	if (room < 0)
		return sv_server_break(s, &s->counts.bad_consumed);
	if (sv_ring_peek(&s->req) != SV_TAKE_EMPTY)
		sv_server_count(&s->counts.stalls);
	return SV_SERVER_NONE;
}

static inline enum sv_server_take sv_server_reject(struct sv_server *s, const struct sv_req *req)
{
	struct sv_cpl cpl = {req->tag, SV_STATUS_INVALID, 0, {0, 0, 0, 0, 0}, 0};

	sv_server_count(&s->counts.rejected);
	sv_server_answer(s, &cpl);
	return SV_SERVER_REJECTED;
}

/*
 * Take the next request. @req: gets a private copy. Context: never blocks, does one thing.
 * Order: PUBLISH, acquire side; RETIRE, release side, now and then.
 */
static inline enum sv_server_take sv_server_take(struct sv_server *s, struct sv_req *req)
{
	enum sv_take t;
	int64_t room;

	if (sv_unlikely(s->broken))
		return SV_SERVER_BROKEN;
	room = sv_server_room(s);
	if (sv_unlikely(room <= 0))
		return sv_server_full(s, room);
	t = sv_ring_take(&s->req, req);
	if (t == SV_TAKE_EMPTY)
		return SV_SERVER_NONE;
	if (sv_unlikely(t == SV_TAKE_DEFECT))
		return sv_server_break(s, &s->counts.bad_seq);
	if (sv_unlikely(req->flags != 0))
		return sv_server_reject(s, req);
	sv_server_count(&s->counts.requests);
	return SV_SERVER_REQUEST;
}

/*
 * The sidecore is about to sleep: ask for the doorbell and look once more.
 * Order: SLEEP: publish, full barrier, look again.
 * Return: true when something is there already: do not sleep.
 */
static inline bool sv_server_arm(struct sv_server *s)
{
	if (s->broken)
		return false;
	sv_ring_retire(&s->req);
	sv_exchange_full(&s->shared->wake.sleeping, 1u);
	return sv_load_full(sv_ring_seq(&s->req)) != sv_ring_seq_empty(&s->req);
}

/* Awake again: no doorbells, please. Whatever came meanwhile is found by the next poll. */
static inline void sv_server_disarm(struct sv_server *s)
{
	sv_store_release(&s->shared->wake.sleeping, 0u);
}

#endif
