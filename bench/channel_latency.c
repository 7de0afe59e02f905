/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_latency.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sidevisor/services.h>

#define ENTRIES 64u
#define PAIRS 32u /* of lines for the ping-pong */
#define LOOKS 256u /* between two looks at the clock */

struct summary {
	uint64_t n;
	double p50, p90, p99; /* ns */
};

static const char *const name_of[LATENCY_ITEMS] = {"pingpong", "ring"};
static const char *const what_of[LATENCY_ITEMS] = {"a bare cache line each way",
	"a request and its completion"};

static void write_info(struct latency *l)
{
	struct sv_channel *ch = (struct sv_channel *)(void *)l->region;

	ch->info.magic = SV_CHANNEL_MAGIC;
	ch->info.version = SV_CHANNEL_VERSION;
	ch->info.size = (uint32_t)sv_channel_bytes(ENTRIES, ENTRIES);
	ch->info.features = SV_CHANNEL_F_DOORBELL;
	ch->info.req_entries = ch->info.cpl_entries = ENTRIES;
	ch->info.req_offset = sizeof(*ch);
	ch->info.cpl_offset = (uint32_t)(sizeof(*ch) + 64ull * ENTRIES);
}

int latency_init(struct latency *l, unsigned rounds)
{
	memset(l, 0, sizeof(*l));
	l->bytes = (sv_channel_bytes(ENTRIES, ENTRIES) + PAIRS * 128 + 4095) & ~4095ull;
	l->region = aligned_alloc(4096, l->bytes);
	if (!l->region)
		return -ENOMEM;
	memset(l->region, 0, l->bytes);
	for (unsigned i = 0; i < LATENCY_ITEMS; i++) {
		l->sample[i] = calloc((size_t)rounds * LATENCY_COUNT, sizeof(uint32_t));
		if (!l->sample[i])
			return -ENOMEM;
	}
	write_info(l);
	sv_server_open(&l->server, (struct sv_channel *)(void *)l->region, ENTRIES, ENTRIES,
		SV_CHANNEL_F_DOORBELL);
	if (sv_client_open(&l->client, l->region, l->bytes, NULL, NULL) != SV_CLIENT_OK)
		return -EINVAL;
	return 0;
}

void latency_free(struct latency *l)
{
	free(l->region);
	for (unsigned i = 0; i < LATENCY_ITEMS; i++)
		free(l->sample[i]);
}

/* --- the measuring side ----------------------------------------------------------------------- */

static void sample(struct latency *l, uint64_t ticks)
{
	l->sample[l->item][l->n[l->item]++] = ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
}

/* @word becomes @v, in the end. */
static bool await(const uint64_t *word, uint64_t v, uint64_t give_up_at)
{
	for (;;) {
		for (unsigned i = 0; i < LOOKS; i++) {
			if (sv_load_acquire(word) == v)
				return true;
			sv_cpu_relax();
		}
		if (sv_tsc() > give_up_at)
			return false;
	}
}

static bool measure_pingpong(struct latency *l, uint64_t give_up_at)
{
	for (uint64_t i = 1; i <= LATENCY_COUNT; i++) {
		uint64_t t = sv_tsc();

		sv_store_release(&l->line[0], i);
		if (!await(&l->line[8], i, give_up_at))
			return false;
		sample(l, sv_tsc() - t);
	}
	return true;
}

static bool measure_ring(struct latency *l, uint64_t give_up_at)
{
	struct sv_req req = {.service = SV_SERVICE_CORE, .opcode = SV_CORE_NOP};
	struct sv_cpl cpl;

	for (uint64_t i = 1; i <= LATENCY_COUNT; i++) {
		uint64_t t = sv_tsc();

		req.tag = i;
		if (sv_client_call(&l->client, &req, &cpl, give_up_at) != SV_CLIENT_OK)
			return false;
		sample(l, sv_tsc() - t);
		if (cpl.tag != i)
			return false;
	}
	return true;
}

bool latency_measure(struct latency *l, uint64_t give_up_at)
{
	uint64_t begun = ++l->turn;

	if (!await(&l->ready, begun, give_up_at))
		return false;
	return l->item == LATENCY_PINGPONG ? measure_pingpong(l, give_up_at)
					   : measure_ring(l, give_up_at);
}

/* --- the other side ---------------------------------------------------------------------------- */

static void serve_pingpong(struct latency *l, uint64_t give_up_at)
{
	for (uint64_t i = 1; i <= LATENCY_COUNT; i++) {
		if (!await(&l->line[0], i, give_up_at))
			return;
		sv_store_release(&l->line[8], i);
	}
}

static void serve_ring(struct latency *l, uint64_t give_up_at)
{
	struct sv_req req;
	unsigned looks = 0;

	for (unsigned served = 0; served < LATENCY_COUNT;) {
		enum sv_server_take t = sv_server_take(&l->server, &req);

		if (t == SV_SERVER_REQUEST) {
			struct sv_cpl cpl = {.tag = req.tag, .value = {req.arg[0]}};

			sv_server_answer(&l->server, &cpl);
			served++;
		} else if (t != SV_SERVER_NONE || (++looks % LOOKS == 0 && sv_tsc() > give_up_at)) {
			return;
		}
	}
}

void latency_serve(struct latency *l, uint64_t give_up_at)
{
	uint64_t turn = l->ready + 1;

	/* A line's home on the chip decides half of its cost: go round the lines, as the ring does. */
	l->line = (uint64_t *)(void *)(l->region + sv_channel_bytes(ENTRIES, ENTRIES) +
				       turn % PAIRS * 128);
	memset(l->line, 0, 128);
	sv_store_release(&l->ready, turn);
	if (l->item == LATENCY_PINGPONG)
		serve_pingpong(l, give_up_at);
	else
		serve_ring(l, give_up_at);
}

/* --- report ------------------------------------------------------------------------------------ */

static int by_value(const void *x, const void *y)
{
	uint32_t p = *(const uint32_t *)x, q = *(const uint32_t *)y;

	return p < q ? -1 : p > q;
}

static struct summary summarise(struct latency *l, enum latency_item i, double ns_per_tick)
{
	uint32_t *v = l->sample[i];
	uint64_t n = l->n[i];

	if (!n)
		return (struct summary){0};
	qsort(v, n, sizeof(*v), by_value);
	return (struct summary){n, v[n / 2] * ns_per_tick, v[n * 9 / 10] * ns_per_tick,
		v[n * 99 / 100] * ns_per_tick};
}

void latency_print(struct latency *l, double ns_per_tick)
{
	struct summary s[LATENCY_ITEMS];

	printf("\n%-30s %8s %9s %9s %9s\n", "round trip, ns", "n", "p50", "p90", "p99");
	for (unsigned i = 0; i < LATENCY_ITEMS; i++) {
		s[i] = summarise(l, i, ns_per_tick);
		printf("%-30s %8llu %9.0f %9.0f %9.0f\n", what_of[i], (unsigned long long)s[i].n,
			s[i].p50, s[i].p90, s[i].p99);
	}
	printf("ring over ping-pong: %.2f (p50), %.2f (p99)\n",
		s[LATENCY_RING].p50 / s[LATENCY_PINGPONG].p50,
		s[LATENCY_RING].p99 / s[LATENCY_PINGPONG].p99);
}

json_t *latency_json(struct latency *l, double ns_per_tick)
{
	json_t *o = json_object();
	struct summary s[LATENCY_ITEMS];

	for (unsigned i = 0; i < LATENCY_ITEMS; i++) {
		s[i] = summarise(l, i, ns_per_tick);
		json_object_set_new(o, name_of[i],
			json_pack("{s:I, s:f, s:f, s:f}", "n", (json_int_t)s[i].n, "p50", s[i].p50,
				"p90", s[i].p90, "p99", s[i].p99));
	}
	json_object_set_new(o, "ring_over_pingpong",
		json_real(s[LATENCY_RING].p50 / s[LATENCY_PINGPONG].p50));
	json_object_set_new(o, "ring_p99_over_pingpong_p99",
		json_real(s[LATENCY_RING].p99 / s[LATENCY_PINGPONG].p99));
	return o;
}
