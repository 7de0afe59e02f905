/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two threads over channels/client.h and channels/server.h: batches of all sizes one way, answers in
 * batches the other, and a server that goes to sleep on its eventfd whenever it finds nothing. A
 * lost wake-up shows as a sleep that only its deadline ended while a request was waiting.
 *
 * A plain program: Criterion's sandbox and ThreadSanitizer both want the same addresses.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <channels/client.h>
#include <channels/server.h>
#include <channels/wait_sleep.h>

#define REQUESTS 60000u
#define BATCH_MAX 40u
#define ENTRIES_MAX 64u
#define DEADLINE_NS 20000000000ll

static struct {
	struct sv_channel channel;
	union sv_slot slot[2 * ENTRIES_MAX];
} region __attribute__((aligned(64)));
static struct sv_client client;
static struct sv_server server;
static int doorbell;
static uint64_t slept;

#define must(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "test_batch_stress.c:%d: %s\n", __LINE__, #cond); \
			exit(1); \
		} \
	} while (0)

static void ring_doorbell(void *ctx)
{
	uint64_t one = 1;

	must(write(*(int *)ctx, &one, sizeof(one)) == sizeof(one));
}

static void open_both(uint32_t entries)
{
	static const union sv_slot zero;
	struct sv_channel_info *i = &region.channel.info;

	for (unsigned s = 0; s < 2 * ENTRIES_MAX; s++)
		region.slot[s] = zero;
	region.channel = (struct sv_channel){.info = {.magic = SV_CHANNEL_MAGIC}};
	i->version = SV_CHANNEL_VERSION;
	i->features = SV_CHANNEL_F_DOORBELL;
	i->size = (uint32_t)sv_channel_bytes(entries, entries);
	i->req_entries = i->cpl_entries = entries;
	i->req_offset = sizeof(struct sv_channel);
	i->cpl_offset = i->req_offset + 64 * entries;
	sv_server_open(&server, &region.channel, entries, entries, i->features);
	must(sv_client_open(&client, &region, sizeof(region), ring_doorbell, &doorbell) ==
		SV_CLIENT_OK);
}

static void *serve(void *unused)
{
	struct sv_req req;
	uint64_t served = 0;

	(void)unused;
	while (served < REQUESTS) {
		enum sv_server_take t = sv_server_take(&server, &req);

		must(t == SV_SERVER_REQUEST || t == SV_SERVER_NONE);
		if (t == SV_SERVER_REQUEST) {
			struct sv_cpl cpl = {.tag = req.tag};

			must(req.tag == served);
			for (unsigned i = 0; i < 5; i++)
				cpl.value[i] = req.arg[i] + 1;
			sv_server_answer(&server, &cpl);
			served++;
		} else if (!sv_server_arm(&server)) {
			slept++;
			must(sv_wait_eventfd(doorbell, DEADLINE_NS) == 1);
			sv_server_disarm(&server);
		} else {
			sv_server_disarm(&server);
			sched_yield();
		}
	}
	return NULL;
}

static uint64_t submit_some(uint64_t sent, uint64_t *random)
{
	struct sv_req req[BATCH_MAX];
	uint64_t n;
	int64_t in;

	*random = *random * 6364136223846793005ull + 1442695040888963407ull;
	n = 1 + (*random >> 33) % BATCH_MAX;
	if (n > REQUESTS - sent)
		n = REQUESTS - sent;
	for (uint64_t i = 0; i < n; i++) {
		req[i] = (struct sv_req){.tag = sent + i};
		for (unsigned k = 0; k < 5; k++)
			req[i].arg[k] = (sent + i) * 5 + k;
	}
	in = sv_client_submit(&client, req, (unsigned)n);
	must(in >= 0 && (uint64_t)in <= n);
	return (uint64_t)in;
}

static uint64_t reap_some(uint64_t received)
{
	struct sv_cpl cpl[BATCH_MAX];
	int64_t n = sv_client_reap(&client, cpl, BATCH_MAX);

	must(n >= 0);
	for (int64_t i = 0; i < n; i++, received++) {
		must(cpl[i].tag == received && cpl[i].status == SV_STATUS_OK);
		for (unsigned k = 0; k < 5; k++)
			must(cpl[i].value[k] == received * 5 + k + 1);
	}
	return (uint64_t)n;
}

static void run(uint32_t entries)
{
	uint64_t sent = 0, received = 0, random = entries;
	pthread_t thread;

	open_both(entries);
	slept = 0;
	must(pthread_create(&thread, NULL, serve, NULL) == 0);
	while (received < REQUESTS) {
		uint64_t in = sent < REQUESTS ? submit_some(sent, &random) : 0;
		uint64_t out = reap_some(received);

		sent += in;
		received += out;
		if (!in && !out)
			sched_yield();
	}
	must(pthread_join(thread, NULL) == 0);
	must(server.counts.answers == REQUESTS && !server.broken && !client.broken);
	printf("%u entries: %u requests, slept %llu times, rung %llu times\n", entries, REQUESTS,
		(unsigned long long)slept, (unsigned long long)client.doorbells);
}

int main(void)
{
	doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(doorbell >= 0);
	run(2);
	run(8);
	run(64);
	return 0;
}
