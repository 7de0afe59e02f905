/* SPDX-License-Identifier: BSD-3-Clause */
#include "endpoint.h"

#include <stddef.h>
#include <string.h>

#include <base/error.h>

/*
 * After work the guest's next request is often a few hundred nanoseconds away: look at the same
 * channel that many times more before going round, divided by how many pollers share the sidecore.
 * Measured with `bench exit`: leaving the tight loop between requests costs the next one 100 ns.
 */
#define LINGER 4096u

static struct sv_endpoint *endpoint_of(struct sv_poller *p)
{
	return (struct sv_endpoint *)(void *)((char *)p - offsetof(struct sv_endpoint, poller));
}

/* The request's service answers; who asks for one that is not there is told so. */
static void serve(struct sv_endpoint *e, const struct sv_service_table *t, const struct sv_req *req)
{
	struct sv_cpl answer = {.tag = req->tag};
	uint32_t id = req->service;

	if (sv_unlikely(id >= ENDPOINT_SERVICES || !t->ops[id])) {
		answer.status = SV_STATUS_NO_SERVICE;
		sv_server_answer(&e->server, &answer);
		sv_server_count(&e->unknown);
		return;
	}
	e->call.ctx = t->ctx[id];
	t->ops[id]->handle(&e->call, req, &answer);
	sv_server_answer(&e->server, &answer);
	sv_server_count(&e->served[id]);
}

/* What services do beside answering: a measurement under way. */
static bool turn_services(const struct sv_service_table *t)
{
	bool did = false;

	for (uint32_t left = t->turning; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctz(left);

		did |= t->ops[i]->turn(t->ctx[i]) != 0;
	}
	return did;
}

/*
 * Up to @budget requests, and between them patience for the next one. Who has company on the
 * sidecore has that patience once per poll, who is alone after each request.
 */
static unsigned serve_some(struct sv_endpoint *e, const struct sv_service_table *t, unsigned budget)
{
	uint32_t crowd = sv_load_relaxed(&e->poller.crowd);
	unsigned patience = LINGER / (crowd ? crowd : 1), linger = patience, done = 0;
	uint64_t dry_since = 0;
	struct sv_req req;

	while (done < budget) {
		enum sv_server_take found = sv_server_take(&e->server, &req);

		if (found > SV_SERVER_NONE) {
			if (found == SV_SERVER_REQUEST)
				serve(e, t, &req);
			if (!done++ || crowd <= 1)
				linger = patience;
			dry_since = 0;
		} else if (!done || found == SV_SERVER_BROKEN || linger-- == 0) {
			break;
		} else if (!dry_since) {
			dry_since = sv_tsc();
		}
	}
	if (dry_since)
		e->poller.waited_ticks = sv_tsc() - dry_since;
	return done;
}

static enum sv_poll endpoint_poll(struct sv_poller *p, unsigned budget)
{
	struct sv_endpoint *e = endpoint_of(p);
	const struct sv_service_table *t = sv_load_acquire(&e->services);
	bool did;

	did = serve_some(e, t, budget) != 0;
	did |= turn_services(t);
	return did ? SV_POLL_BUSY : SV_POLL_IDLE;
}

static bool endpoint_arm(struct sv_poller *p)
{
	return sv_server_arm(&endpoint_of(p)->server);
}

/* The doorbell is watched by edge and never read: its file may be one that blocks. */
static void endpoint_disarm(struct sv_poller *p)
{
	sv_server_disarm(&endpoint_of(p)->server);
}

static const struct sv_poller_ops endpoint_ops = {.service = "channel",
	.poll = endpoint_poll,
	.arm = endpoint_arm,
	.disarm = endpoint_disarm};

void sv_endpoint_init(struct sv_endpoint *e, struct sv_channel *shared, uint32_t req_entries,
	uint32_t cpl_entries, uint32_t vcpu, int doorbell, const struct sv_gmem *gmem,
	const struct sv_service_table *services, const char *vm)
{
	memset(e, 0, sizeof(*e));
	e->poller.ops = &endpoint_ops;
	strncpy(e->poller.vm, vm, sizeof(e->poller.vm) - 1);
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		e->poller.wake_fds[i] = -1;
	e->poller.wake_fds[0] = doorbell;
	e->poller.wake_by_edge = true;
	e->doorbell = doorbell;
	e->services = services;
	e->call = (struct sv_service_call){.gmem = gmem, .vcpu = vcpu};
	sv_server_open(&e->server, shared, req_entries, cpl_entries, SV_CHANNEL_F_DOORBELL);
}

void sv_service_table_add(struct sv_service_table *t, const struct sv_service_ops *ops, void *ctx)
{
	SV_BUG_ON(ops->id >= ENDPOINT_SERVICES);
	t->ops[ops->id] = ops;
	t->ctx[ops->id] = ctx;
	if (ops->turn)
		t->turning |= 1u << ops->id;
}

void sv_endpoint_set_services(struct sv_endpoint *e, const struct sv_service_table *services)
{
	sv_store_release(&e->services, services);
}
