/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's end of a channel, against the node's real endpoint stepped by hand. */
#include <criterion/criterion.h>
#include <string.h>

#include <channels/client.h>
#include <sidevisor/services.h>

#include "channel_by_hand.h"

static struct channel_by_hand host;
static struct sv_client client;
static unsigned rung;

static void ring(void *ctx)
{
	(*(unsigned *)ctx)++;
}

static void describe(struct sv_channel_info *i, uint32_t req_entries, uint32_t cpl_entries)
{
	*i = (struct sv_channel_info){.magic = SV_CHANNEL_MAGIC,
		.version = SV_CHANNEL_VERSION,
		.size = (uint32_t)sv_channel_bytes(req_entries, cpl_entries),
		.features = SV_CHANNEL_F_DOORBELL,
		.req_entries = req_entries,
		.cpl_entries = cpl_entries,
		.req_offset = sizeof(struct sv_channel),
		.cpl_offset = (uint32_t)(sizeof(struct sv_channel) + 64 * req_entries)};
}

static void open_both(uint32_t req_entries, uint32_t cpl_entries)
{
	cr_assert_eq(channel_by_hand_open(&host, req_entries, cpl_entries), 0);
	host.endpoint.poller.crowd = UINT32_MAX;
	describe(&host.shared->info, req_entries, cpl_entries);
	rung = 0;
	cr_assert_eq(sv_client_open(&client, host.shared, host.shared->info.size, ring, &rung),
		SV_CLIENT_OK);
}

static void sidecore_turns(unsigned budget)
{
	host.endpoint.poller.ops->poll(&host.endpoint.poller, budget);
}

static int64_t submit(unsigned n)
{
	struct sv_req req[8];

	for (unsigned i = 0; i < n; i++)
		req[i] = channel_by_hand_request(client.tx.pos + i).req;
	return sv_client_submit(&client, req, n);
}

Test(client, refuses_what_it_does_not_know_or_what_cannot_be)
{
	const struct {
		size_t at, bytes;
		uint64_t value;
		enum sv_client_result want;
	} bad[] = {
		{offsetof(struct sv_channel_info, magic), 8, 1, SV_CLIENT_BAD_MAGIC},
		{offsetof(struct sv_channel_info, version), 4, 2, SV_CLIENT_BAD_VERSION},
		{offsetof(struct sv_channel_info, features), 8, 1u << 31, SV_CLIENT_BAD_FEATURES},
		{offsetof(struct sv_channel_info, features), 8, 1ull << 32, SV_CLIENT_OK},
		{offsetof(struct sv_channel_info, req_entries), 4, 3, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, req_entries), 4, 0, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, cpl_entries), 4, 1u << 31, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, cpl_entries), 4, 8, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, req_offset), 4, 0, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, req_offset), 4, 260, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, cpl_offset), 4, 256, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, cpl_offset), 4, UINT32_MAX - 63, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, size), 4, UINT32_MAX, SV_CLIENT_BAD_LAYOUT},
		{offsetof(struct sv_channel_info, size), 4, 256, SV_CLIENT_BAD_LAYOUT},
	};

	open_both(4, 4);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct sv_channel_info info;

		describe(&info, 4, 4);
		memcpy((char *)&info + bad[i].at, &bad[i].value, bad[i].bytes);
		cr_expect_eq(sv_client_check(&info, host.shared->info.size), bad[i].want,
			"case %u", i);
	}
	cr_expect_eq(sv_client_open(&client, host.shared, 255, ring, &rung), SV_CLIENT_BAD_LAYOUT);
	channel_by_hand_close(&host);
}

Test(client, submits_what_fits_and_reaps_in_order)
{
	struct sv_cpl cpl[8];

	open_both(8, 4);
	cr_expect_eq(sv_client_reap(&client, cpl, 8), 0);
	cr_expect_eq(submit(8), 4, "no more than answers fit");
	cr_expect_eq(submit(1), 0);
	sidecore_turns(3);
	cr_assert_eq(sv_client_reap(&client, cpl, 8), 3);
	for (unsigned i = 0; i < 3; i++)
		cr_expect(cpl[i].tag == i && cpl[i].value[4] == i + 9);
	cr_expect_eq(submit(8), 3);
	sidecore_turns(8);
	cr_expect_eq(sv_client_reap(&client, cpl, 2), 2);
	cr_expect_eq(sv_client_reap(&client, cpl, 8), 2);
	cr_expect_eq(sv_client_in_flight(&client), 0);
	cr_expect_eq(rung, 0, "nobody slept");
	channel_by_hand_close(&host);
}

Test(client, rings_once_per_batch_while_the_sidecore_sleeps)
{
	open_both(8, 8);
	cr_assert_not(host.endpoint.poller.ops->arm(&host.endpoint.poller));
	cr_expect_eq(submit(3), 3);
	cr_expect_eq(rung, 1);
	host.endpoint.poller.ops->disarm(&host.endpoint.poller);
	cr_expect_eq(submit(3), 3);
	cr_expect_eq(rung, 1);
	channel_by_hand_close(&host);
}

Test(client, an_impossible_sidecore_breaks_the_client_for_good)
{
	struct sv_cpl cpl;

	open_both(2, 2);
	cr_assert_eq(submit(2), 2);
	host.shared->side.req_consumed = 3;
	sidecore_turns(1);
	host.shared->side.req_consumed = 3;
	cr_assert_eq(sv_client_reap(&client, &cpl, 1), 1);
	cr_expect_eq(submit(1), SV_CLIENT_BROKEN);
	cr_expect_eq(sv_client_reap(&client, &cpl, 1), SV_CLIENT_BROKEN);
	channel_by_hand_close(&host);

	open_both(2, 2);
	((union sv_slot *)(host.shared + 1))[2].cpl.seq = 1; /* an answer to nothing */
	cr_expect_eq(sv_client_reap(&client, &cpl, 1), SV_CLIENT_BROKEN);
	channel_by_hand_close(&host);
}

Test(client, a_call_without_an_answer_ends_at_its_deadline)
{
	struct sv_req req = channel_by_hand_request(0).req;
	struct sv_cpl cpl;

	open_both(4, 4);
	cr_expect_eq(sv_client_call(&client, &req, &cpl, sv_tsc() + 100000), SV_CLIENT_TIMEOUT);
	cr_expect_eq(sv_client_call(&client, &req, &cpl, 0), SV_CLIENT_BUSY);
	sidecore_turns(1);
	cr_expect_eq(sv_client_reap(&client, &cpl, 1), 1, "the answer that came late");
	channel_by_hand_close(&host);
}

Test(client, an_answer_before_the_halt_keeps_the_vcpu_awake)
{
	open_both(4, 4);
	cr_assert_eq(submit(1), 1);
	cr_expect_not(sv_client_arm_irq(&client));
	cr_expect_eq(host.shared->guest.want_irq, 1);
	sv_client_disarm_irq(&client);
	cr_expect_eq(host.shared->guest.want_irq, 0);
	sidecore_turns(1);
	cr_expect(sv_client_arm_irq(&client));
	channel_by_hand_close(&host);
}
