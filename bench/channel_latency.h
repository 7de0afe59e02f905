/* SPDX-License-Identifier: BSD-3-Clause */
/* Round trips between two host threads: a bare cache line each way, and a request of the channel. */
#ifndef BENCH_CHANNEL_LATENCY_H
#define BENCH_CHANNEL_LATENCY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include <channels/client.h>
#include <channels/server.h>

enum latency_item {
	LATENCY_PINGPONG,
	LATENCY_RING,
	LATENCY_ITEMS,
};

#define LATENCY_COUNT 2000u /* round trips per item and round */

struct latency {
	enum latency_item item;
	uint8_t *region; /* a channel, and behind it lines for the ping-pong, in the same pages */
	uint64_t bytes;
	uint64_t *line; /* of the ping-pong under way: two lines */
	uint64_t turn;
	struct sv_client client __attribute__((aligned(128)));
	struct sv_server server __attribute__((aligned(128)));
	uint32_t *sample[LATENCY_ITEMS]; /* TSC ticks */
	uint64_t n[LATENCY_ITEMS];
	uint64_t ready __attribute__((aligned(128))); /* written by the server: rounds it has begun */
};

/* Return: 0 or -ENOMEM. */
int latency_init(struct latency *l, unsigned rounds);
void latency_free(struct latency *l);

/*
 * One round of l->item; the two run at the same time, on the thread that measures and on the other.
 * Both end at TSC @give_up_at at the latest. Return: true when all round trips were made.
 */
bool latency_measure(struct latency *l, uint64_t give_up_at);
void latency_serve(struct latency *l, uint64_t give_up_at);

void latency_print(struct latency *l, double ns_per_tick);
json_t *latency_json(struct latency *l, double ns_per_tick);

#endif
