/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel in this process's memory with its two ends: the node's real endpoint, whose ops the
 * test calls or a reactor polls, and a guest's end made of the ring's own functions.
 */
#ifndef TESTS_CHANNEL_BY_HAND_H
#define TESTS_CHANNEL_BY_HAND_H

#include "endpoint.h"

/* The service of these tests: value[i] = arg[i] + i + 1, and the requests' order is looked at. */
#define ECHO_SERVICE 7u

struct echo_service {
	uint64_t next;	     /* arg[0] expected of the next request */
	uint64_t out_of_order;
	uint64_t torn; /* requests whose words do not belong together */
};

struct channel_by_hand {
	struct sv_channel *shared;
	uint32_t req_entries, cpl_entries;
	int doorbell;
	struct sv_gmem gmem;
	struct echo_service echo;
	struct sv_service_table services;
	struct sv_endpoint endpoint;

	/* The guest's end. */
	struct sv_ring_tx tx;
	struct sv_ring_rx rx;
	uint64_t sent, received, doorbells;
	uint64_t wrong; /* completions out of order, torn, or with another status than OK */
};

/* Return: 0 or -errno. Rings of these sizes, everything zero. */
int channel_by_hand_open(struct channel_by_hand *c, uint32_t req_entries, uint32_t cpl_entries);
void channel_by_hand_close(struct channel_by_hand *c);

/* The guest's steps, each as fine as the guest can be interrupted. */
union sv_slot channel_by_hand_request(uint64_t number);
void guest_put(struct channel_by_hand *c);	/* write and publish the next request */
void guest_put_full(struct channel_by_hand *c); /* the same, with the full barrier */
bool guest_sees_sleeper(const struct channel_by_hand *c);
void guest_ring(struct channel_by_hand *c);
enum sv_take guest_reap(struct channel_by_hand *c);

/* The node's end, as its counters tell it. */
bool host_broken(const struct channel_by_hand *c);
uint64_t host_requests(const struct channel_by_hand *c);
uint64_t host_stalls(const struct channel_by_hand *c);
uint64_t host_defects(const struct channel_by_hand *c);

bool doorbell_rung(const struct channel_by_hand *c);
void doorbell_take(struct channel_by_hand *c); /* as the wait that a reactor sleeps in does */

/* xorshift: a seed gives the same run everywhere. */
uint64_t next_random(uint64_t *state);

#endif
