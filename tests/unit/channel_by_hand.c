/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_by_hand.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/error.h>
#include <sidevisor/services.h>

static void echo_handle(const struct sv_service_call *call, const struct sv_req *req,
	struct sv_cpl *cpl)
{
	struct echo_service *echo = call->ctx;

	if (req->arg[0] != echo->next || req->tag != echo->next)
		echo->out_of_order++;
	echo->next++;
	for (unsigned i = 0; i < 5; i++) {
		if (req->arg[i] != req->arg[0] + i)
			echo->torn++;
		cpl->value[i] = req->arg[i] + i + 1;
	}
}

static const struct sv_service_ops echo_ops = {
	.id = ECHO_SERVICE, .name = "echo", .handle = echo_handle};

int channel_by_hand_open(struct channel_by_hand *c, uint32_t req_entries, uint32_t cpl_entries)
{
	uint64_t bytes = sv_channel_bytes(req_entries, cpl_entries);
	union sv_slot *slot;

	memset(c, 0, sizeof(*c));
	c->req_entries = req_entries;
	c->cpl_entries = cpl_entries;
	c->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->doorbell < 0)
		return -errno;
	c->shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->shared == MAP_FAILED) {
		close(c->doorbell);
		return -ENOMEM;
	}
	c->services.ops[ECHO_SERVICE] = &echo_ops;
	c->services.ctx[ECHO_SERVICE] = &c->echo;
	sv_endpoint_init(&c->endpoint, c->shared, req_entries, cpl_entries, 0, c->doorbell,
		&c->gmem, &c->services, "by-hand");
	slot = (union sv_slot *)(void *)(c->shared + 1);
	sv_ring_tx_init(&c->tx, slot, &c->shared->side.req_consumed, req_entries);
	sv_ring_rx_init(&c->rx, slot + req_entries, &c->shared->guest.cpl_consumed, cpl_entries);
	return 0;
}

void channel_by_hand_close(struct channel_by_hand *c)
{
	close(c->doorbell);
	munmap(c->shared, sv_channel_bytes(c->req_entries, c->cpl_entries));
}

union sv_slot channel_by_hand_request(uint64_t number)
{
	union sv_slot msg = {.req = {.service = ECHO_SERVICE, .tag = number}};

	for (unsigned i = 0; i < 5; i++)
		msg.req.arg[i] = number + i;
	return msg;
}

void guest_put(struct channel_by_hand *c)
{
	union sv_slot msg = channel_by_hand_request(c->sent++);

	sv_ring_put(&c->tx, &msg);
}

void guest_put_full(struct channel_by_hand *c)
{
	union sv_slot msg = channel_by_hand_request(c->sent++);

	sv_ring_put_full(&c->tx, &msg);
}

bool guest_sees_sleeper(const struct channel_by_hand *c)
{
	return sv_load_full(&c->shared->wake.sleeping) != 0;
}

void guest_ring(struct channel_by_hand *c)
{
	uint64_t one = 1;

	c->doorbells++;
	SV_BUG_ON(write(c->doorbell, &one, sizeof(one)) != sizeof(one));
}

enum sv_take guest_reap(struct channel_by_hand *c)
{
	union sv_slot msg;
	enum sv_take t = sv_ring_take(&c->rx, &msg);

	if (t != SV_TAKE_ONE)
		return t;
	if (msg.cpl.tag != c->received || msg.cpl.status != SV_STATUS_OK || msg.cpl.reserved0)
		c->wrong++;
	for (unsigned i = 0; i < 5; i++)
		if (msg.cpl.value[i] != c->received + 2ull * i + 1)
			c->wrong++;
	c->received++;
	return t;
}

bool host_broken(const struct channel_by_hand *c)
{
	return c->endpoint.server.broken;
}

uint64_t host_requests(const struct channel_by_hand *c)
{
	return c->endpoint.server.counts.requests;
}

uint64_t host_stalls(const struct channel_by_hand *c)
{
	return c->endpoint.server.counts.stalls;
}

uint64_t host_defects(const struct channel_by_hand *c)
{
	return c->endpoint.server.counts.bad_seq + c->endpoint.server.counts.bad_consumed;
}

bool doorbell_rung(const struct channel_by_hand *c)
{
	struct pollfd p = {.fd = c->doorbell, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

void doorbell_take(struct channel_by_hand *c)
{
	uint64_t n;

	SV_BUG_ON(read(c->doorbell, &n, sizeof(n)) < 0 && errno != EAGAIN);
}

uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}
