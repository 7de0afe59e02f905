/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region lies between two inaccessible pages, at either end of them by turns, so that one byte
 * too far faults; sizes and the host's private state are in other pages.
 */
#include "channel_once.h"

#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/error.h>
#include <sidecore/reactor.h>
#include <sidevisor/services.h>

#include "channel_by_hand.h"

#define PAGE 4096u
#define STEPS_MAX 256u

/* The bytes of a run, used up from the front; zero when there are no more. */
struct input {
	const uint8_t *at, *end;
};

struct hostile {
	uint8_t *map, *region;
	uint64_t map_bytes, bytes;
	struct sv_server before;
	struct sv_endpoint endpoint;
	struct sv_service_table services;
	struct echo_service echo;
	uint64_t pos; /* of its next proper request */
	int doorbell;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->at < in->end; i++)
		v |= (uint64_t)*in->at++ << 8 * i;
	return v;
}

static void hostile_open(struct hostile *h, uint32_t req_entries, uint32_t cpl_entries, bool low,
	const struct channel_by_hand *friend)
{
	uint64_t body;

	memset(h, 0, sizeof(*h));
	h->bytes = sv_channel_bytes(req_entries, cpl_entries);
	body = (h->bytes + PAGE - 1) / PAGE * PAGE;
	h->map_bytes = body + 2 * PAGE;
	h->map = mmap(NULL, h->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SV_BUG_ON(h->map == MAP_FAILED);
	SV_BUG_ON(mprotect(h->map + PAGE, body, PROT_READ | PROT_WRITE));
	h->region = h->map + PAGE + (low ? 0 : body - h->bytes);
	h->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	SV_BUG_ON(h->doorbell < 0);
	sv_service_table_add(&h->services, friend->services.ops[ECHO_SERVICE], &h->echo);
	sv_endpoint_init(&h->endpoint, (struct sv_channel *)(void *)h->region, req_entries,
		cpl_entries, 1, h->doorbell, &friend->gmem, &h->services, "hostile");
}

static void hostile_close(struct hostile *h)
{
	close(h->doorbell);
	munmap(h->map, h->map_bytes);
}

/* Some bytes, words or a proper request, anywhere into the region; @mild: mostly proper requests. */
static void hostile_writes(struct hostile *h, struct input *in, bool mild)
{
	uint64_t kind = take(in, 1) | (mild ? 5 | 64 : 0);
	uint64_t at = take(in, 2) % h->bytes, value = take(in, 8);
	union sv_slot *ring = (union sv_slot *)(void *)(h->region + sizeof(struct sv_channel));
	union sv_slot *slot = &ring[h->pos & (h->endpoint.server.req.entries - 1)];

	switch (kind % 8) {
	case 0:
		memset(h->region + at, (int)value, value >> 8 & 255 && at + 64 <= h->bytes ? 64 : 1);
		break;
	case 1: /* one word, whatever it belongs to */
		memcpy(h->region + at / 8 * 8, &value, 8);
		break;
	case 2: /* a small number, where it hurts */
		value %= 16;
		memcpy(h->region + at / 8 * 8, &value, 8);
		break;
	case 3: /* an acknowledgement */
		value = kind & 8 ? h->pos + value % 4 - 2 : value;
		memcpy(h->region + 64, &value, 8);
		break;
	case 4: /* the sequence word that is looked at next */
		value = kind & 8 ? h->pos + value % 5 - 1 : value;
		slot->req.seq = value;
		break;
	default: /* a request with arbitrary content and the right number; often acknowledged */
		for (unsigned i = 0; i < SV_SLOT_SEQ; i++)
			slot->word[i] = kind & 16 ? take(in, 8) : 0;
		if (kind & 32)
			slot->word[0] = value % 10; /* service; opcode and flags zero */
		slot->req.seq = ++h->pos;
		if (kind & 64)
			memcpy(h->region + 64, &h->pos, 8);
	}
}

/* What no input may change: geometry, position by position progress, one count per defect. */
static void host_is_well(const struct hostile *h)
{
	const struct sv_server *s = &h->endpoint.server, *b = &h->before;
	uint64_t defects = s->counts.bad_seq + s->counts.bad_consumed;

	SV_BUG_ON(s->shared != b->shared || s->req.slot != b->req.slot ||
		s->cpl.slot != b->cpl.slot || s->req.consumed != b->req.consumed ||
		s->cpl.consumed != b->cpl.consumed);
	SV_BUG_ON(s->req.entries != b->req.entries || s->cpl.entries != b->cpl.entries);
	SV_BUG_ON(s->req.retired > s->req.pos || s->cpl.pos > s->cpl.limit);
	SV_BUG_ON(s->req.pos != s->counts.requests + s->counts.rejected);
	SV_BUG_ON(s->cpl.pos != s->req.pos || s->counts.answers != s->req.pos);
	SV_BUG_ON(defects != (s->broken ? 1 : 0));
	SV_BUG_ON(b->broken && s->req.pos != b->req.pos); /* broken stays broken */
}

/* The guest beside it: one request each turn, answered in the same turn. */
static void friend_is_served(struct channel_by_hand *friend, struct sv_reactor *r)
{
	guest_put_full(friend);
	if (guest_sees_sleeper(friend))
		guest_ring(friend);
	sv_reactor_turn(r);
	SV_BUG_ON(guest_reap(friend) != SV_TAKE_ONE || friend->wrong || friend->echo.torn);
}

static void run(struct hostile *h, struct channel_by_hand *friend, struct sv_reactor *r,
	struct input *in, struct channel_once *sum)
{
	for (unsigned i = 0; i < STEPS_MAX && in->at < in->end; i++) {
		unsigned what = (unsigned)take(in, 1);

		for (unsigned n = what % 4; n > 0; n--)
			hostile_writes(h, in, what & 12);
		h->before = h->endpoint.server;
		if (what & 64)
			SV_BUG_ON(eventfd_write(h->doorbell, 1) < 0);
		if ((what & 0x30) == 0x30)
			sum->sleeps += sv_reactor_sleep(r, 0);
		else
			friend_is_served(friend, r);
		host_is_well(h);
	}
}

void channel_once(const uint8_t *data, size_t bytes, struct channel_once *sum)
{
	const struct sv_reactor_config config = {.cpu = -1, .budget = 8};
	struct input in = {.at = data, .end = data + bytes};
	uint32_t req_entries = 2u << take(&in, 1) % 7, cpl_entries = 2u << take(&in, 1) % 7;
	struct channel_by_hand friend;
	struct sv_reactor *r;
	struct hostile h;

	SV_BUG_ON(channel_by_hand_open(&friend, 4, 4) < 0);
	hostile_open(&h, req_entries, cpl_entries, take(&in, 1) & 1, &friend);
	SV_BUG_ON(sv_reactor_create(&r, &config, NULL) < 0);
	SV_BUG_ON(sv_reactor_attach(r, &h.endpoint.poller) < 0);
	SV_BUG_ON(sv_reactor_attach(r, &friend.endpoint.poller) < 0);
	h.before = h.endpoint.server;
	run(&h, &friend, r, &in, sum);
	sum->requests += h.endpoint.server.counts.requests;
	sum->rejected += h.endpoint.server.counts.rejected;
	sum->stalls += h.endpoint.server.counts.stalls;
	sum->defects += h.endpoint.server.counts.bad_seq + h.endpoint.server.counts.bad_consumed;
	SV_BUG_ON(host_broken(&friend) || host_defects(&friend));
	sv_reactor_detach(r, &friend.endpoint.poller);
	sv_reactor_detach(r, &h.endpoint.poller);
	sv_reactor_destroy(r);
	hostile_close(&h);
	channel_by_hand_close(&friend);
}
