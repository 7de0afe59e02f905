/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>

#include "channel_by_hand.h"
#include "channel_once.h"

#define RUNS 2000u
#define BYTES 3000u

Test(channel_hostile, arbitrary_bytes_anywhere_harm_neither_host_nor_neighbour)
{
	struct channel_once sum = {0};
	uint8_t data[BYTES];

	for (uint64_t seed = 1; seed <= RUNS; seed++) {
		uint64_t random = seed * 0x9e3779b97f4a7c15ull;

		for (unsigned i = 0; i < BYTES; i++)
			data[i] = (uint8_t)(next_random(&random) >> 24);
		channel_once(data, BYTES, &sum);
	}
	cr_log_info("%lu served, %lu rejected, %lu defects, %lu stalls, %lu sleeps",
		(unsigned long)sum.requests, (unsigned long)sum.rejected,
		(unsigned long)sum.defects, (unsigned long)sum.stalls, (unsigned long)sum.sleeps);
	/* The driver reaches what it is for. */
	cr_expect_gt(sum.requests, RUNS / 10);
	cr_expect_gt(sum.rejected, RUNS / 10);
	cr_expect_gt(sum.defects, RUNS / 2);
	cr_expect_gt(sum.sleeps, RUNS);
}

Test(channel_hostile, each_kind_of_defect_is_counted_and_ends_that_channel_alone)
{
	struct channel_by_hand bad, good;
	struct sv_poller *p = &bad.endpoint.poller;

	cr_assert_eq(channel_by_hand_open(&good, 4, 4), 0);
	for (unsigned kind = 0; kind < 2; kind++) {
		cr_assert_eq(channel_by_hand_open(&bad, 4, 4), 0);
		p->crowd = UINT32_MAX;
		for (unsigned i = 0; i < 4; i++) {
			guest_put(&bad);
			cr_assert_eq(p->ops->poll(p, 4), SV_POLL_BUSY);
		}
		if (kind == 0)
			bad.shared->guest.cpl_consumed = 5;
		else
			bad.shared->guest.cpl_consumed = 4;
		guest_put(&bad);
		if (kind == 1)
			((union sv_slot *)(bad.shared + 1))[0].req.seq = 99;
		p->ops->poll(p, 4);
		cr_expect(host_broken(&bad));
		cr_expect_eq(bad.endpoint.server.counts.bad_consumed, kind == 0);
		cr_expect_eq(bad.endpoint.server.counts.bad_seq, kind == 1);
		p->ops->poll(p, 4);
		cr_expect_eq(host_defects(&bad), 1, "counted once");
		cr_expect_not(p->ops->arm(p), "nor does it keep the sidecore awake");
		channel_by_hand_close(&bad);
	}
	guest_put(&good);
	cr_expect_eq(good.endpoint.poller.ops->poll(&good.endpoint.poller, 4), SV_POLL_BUSY);
	cr_expect_eq(guest_reap(&good), SV_TAKE_ONE);
	channel_by_hand_close(&good);
}
