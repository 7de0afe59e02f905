/* SPDX-License-Identifier: BSD-3-Clause */
#include "endpoint.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/*
 * After work the guest's next request is often a few hundred nanoseconds away: look at the same
 * channel that many times more before going round, divided by how many pollers share the sidecore.
 * Measured with `bench exit`: leaving the tight loop between requests costs the next one 100 ns.
 */
#define LINGER 4096u

static void count(uint64_t *counter)
{
	sv_store_relaxed(counter, *counter + 1);
}

static struct sv_endpoint *endpoint_of(struct sv_poller *p)
{
	return (struct sv_endpoint *)(void *)((char *)p - offsetof(struct sv_endpoint, poller));
}

static void reject(struct sv_endpoint *e, struct sv_cpl *cpl, uint32_t status)
{
	cpl->status = status;
	count(&e->counts.rejected);
}

/* Serve one request: the private copy in, the completion out. */
static void serve(struct sv_endpoint *e, const union sv_slot *msg)
{
	const struct sv_req *req = &msg->req;
	const struct sv_service_ops *ops = NULL;
	union sv_slot answer = {.cpl = {.tag = req->tag}};

	if (sv_likely(req->service < ENDPOINT_SERVICES))
		ops = e->services->ops[req->service];
	if (sv_unlikely(req->flags != 0)) {
		reject(e, &answer.cpl, SV_STATUS_INVALID);
	} else if (sv_unlikely(!ops)) {
		reject(e, &answer.cpl, SV_STATUS_NO_SERVICE);
	} else {
		e->call.ctx = e->services->ctx[req->service];
		ops->handle(&e->call, req, &answer.cpl);
	}
	sv_ring_put(&e->cpl, &answer);
	count(&e->counts.requests);
}

static void broken(struct sv_endpoint *e, uint64_t *counter)
{
	count(counter);
	e->broken = true;
}

/* One request, if there is one and room for its answer. Return: served. */
static bool serve_one(struct sv_endpoint *e)
{
	union sv_slot msg;
	enum sv_take t = sv_ring_peek(&e->req);
	int64_t room;

	if (t == SV_TAKE_EMPTY)
		return false;
	if (sv_unlikely(t == SV_TAKE_DEFECT)) {
		broken(e, &e->counts.bad_seq);
		return false;
	}
	room = sv_ring_room(&e->cpl, 1);
	if (sv_unlikely(room <= 0)) {
		if (room < 0)
			broken(e, &e->counts.bad_consumed);
		else
			count(&e->counts.stalls);
		return false;
	}
	if (sv_ring_take(&e->req, &msg) != SV_TAKE_ONE) { /* the guest took it back meanwhile */
		broken(e, &e->counts.bad_seq);
		return false;
	}
	serve(e, &msg);
	return true;
}

/* What services do beside answering: a measurement under way. */
static bool turn_services(struct sv_endpoint *e)
{
	bool did = false;

	for (unsigned i = 0; i < 4; i++)
		if (e->services->ops[i] && e->services->ops[i]->turn)
			did |= e->services->ops[i]->turn(e->services->ctx[i]) != 0;
	return did;
}

static enum sv_poll endpoint_poll(struct sv_poller *p, unsigned budget)
{
	struct sv_endpoint *e = endpoint_of(p);
	uint32_t crowd = sv_load_relaxed(&p->crowd);
	unsigned done = 0, linger = 0, patience = LINGER / (crowd ? crowd : 1);

	if (sv_unlikely(e->broken))
		return SV_POLL_IDLE;
	while (done < budget) {
		if (serve_one(e)) {
			done++;
			linger = patience;
		} else if (e->broken || linger == 0) {
			break;
		} else {
			linger--;
		}
	}
	if (turn_services(e))
		done++;
	return done ? SV_POLL_BUSY : SV_POLL_IDLE;
}

/* Going to sleep. Order: SLEEP (channels/ORDERING.md): publish, full barrier, look again. */
static bool endpoint_arm(struct sv_poller *p)
{
	struct sv_endpoint *e = endpoint_of(p);
	const uint64_t *seq = &e->req.slot[e->req.pos & (e->req.entries - 1)].word[SV_SLOT_SEQ];

	if (e->broken)
		return false;
	sv_ring_retire(&e->req);
	sv_exchange_full(&e->shared->wake.sleeping, 1);
	return sv_load_full(seq) == e->req.pos + 1;
}

static void endpoint_disarm(struct sv_poller *p)
{
	struct sv_endpoint *e = endpoint_of(p);
	uint64_t drain;

	sv_store_release(&e->shared->wake.sleeping, 0);
	if (e->doorbell >= 0 && read(e->doorbell, &drain, sizeof(drain)) < 0 && errno != EAGAIN)
		e->broken = true;
}

static const struct sv_poller_ops endpoint_ops = {.service = "channel",
	.poll = endpoint_poll,
	.arm = endpoint_arm,
	.disarm = endpoint_disarm};

void sv_endpoint_init(struct sv_endpoint *e, struct sv_channel *shared, uint32_t req_entries,
	uint32_t cpl_entries, uint32_t vcpu, int doorbell, const struct sv_gmem *gmem,
	const struct sv_service_table *services, const char *vm)
{
	union sv_slot *req = (union sv_slot *)(void *)(shared + 1);

	memset(e, 0, sizeof(*e));
	e->poller.ops = &endpoint_ops;
	strncpy(e->poller.vm, vm, sizeof(e->poller.vm) - 1);
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		e->poller.wake_fds[i] = -1;
	e->poller.wake_fds[0] = doorbell;
	e->shared = shared;
	e->doorbell = doorbell;
	e->services = services;
	e->call = (struct sv_service_call){.gmem = gmem, .vcpu = vcpu};
	sv_ring_rx_init(&e->req, req, &shared->side.req_consumed, req_entries);
	sv_ring_tx_init(&e->cpl, req + req_entries, &shared->guest.cpl_consumed, cpl_entries);
	sv_store_release(&shared->wake.epoch, 1);
}
