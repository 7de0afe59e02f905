/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <string.h>

#include <channels/ring.h>

#define ENTRIES 64u

static union sv_slot slot[ENTRIES];
static uint64_t consumed;
static struct sv_ring_tx tx;
static struct sv_ring_rx rx;
static uint64_t msg[ENTRIES][SV_SLOT_WORDS], got[ENTRIES][SV_SLOT_WORDS];

static void ring_of(uint64_t entries)
{
	memset(slot, 0, sizeof(slot));
	consumed = 0;
	sv_ring_tx_init(&tx, slot, &consumed, entries);
	sv_ring_rx_init(&rx, slot, &consumed, entries);
}

static void put_batch(uint64_t first, uint64_t n, bool full)
{
	for (uint64_t i = 0; i < n; i++)
		for (unsigned k = 0; k < SV_SLOT_WORDS; k++)
			msg[i][k] = (first + i) * 8 + k;
	sv_ring_put_n(&tx, msg, n, full);
}

static void assert_got(uint64_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		for (unsigned k = 0; k < SV_SLOT_SEQ; k++)
			cr_assert_eq(got[i][k], (first + i) * 8 + k);
		cr_assert_eq(got[i][SV_SLOT_SEQ], first + i + 1);
	}
}

Test(ring_batch, every_size_from_every_place_arrives_whole_and_in_order)
{
	for (uint64_t entries = 2; entries <= ENTRIES; entries *= 2) {
		uint64_t sent = 0;

		ring_of(entries);
		for (uint64_t n = 1; n <= entries; n++) {
			sv_ring_retire(&rx);
			cr_assert_geq(sv_ring_room(&tx, n), (int64_t)n);
			put_batch(sent, n, n % 2);
			cr_assert_eq(tx.pos, sent + n);
			cr_assert_eq(sv_ring_take_n(&rx, got, ENTRIES), (int64_t)n);
			assert_got(sent, n);
			sent += n;
			cr_assert_eq(sv_ring_take_n(&rx, got, ENTRIES), 0);
		}
	}
}

Test(ring_batch, is_taken_in_parts_when_the_consumer_wants_less)
{
	ring_of(32);
	put_batch(0, 32, false);
	cr_expect_eq(sv_ring_take_n(&rx, got, 0), 0);
	cr_expect_eq(sv_ring_take_n(&rx, got, 5), 5);
	assert_got(0, 5);
	cr_expect_eq(sv_ring_take_n(&rx, got, 64), 27);
	assert_got(5, 27);
}

Test(ring_batch, mixes_with_single_entries)
{
	ring_of(8);
	put_batch(0, 3, false);
	cr_expect_eq(sv_ring_take(&rx, got[0]), SV_TAKE_ONE);
	assert_got(0, 1);
	sv_ring_put(&tx, msg[2]);
	cr_expect_eq(sv_ring_take_n(&rx, got, 8), 3);
	cr_expect_eq(got[2][0], 16u);
}

/* The order in which a batch becomes visible is back to front: of its parts none is taken early. */
Test(ring_batch, of_which_the_first_is_not_there_yet_is_not_there)
{
	ring_of(8);
	put_batch(0, 4, false);
	slot[0].word[SV_SLOT_SEQ] = 0; /* as before its last store */
	cr_expect_eq(sv_ring_take_n(&rx, got, 8), 0);
	cr_expect_eq(sv_ring_peek(&rx), SV_TAKE_EMPTY);
	slot[0].word[SV_SLOT_SEQ] = 1;
	cr_expect_eq(sv_ring_take_n(&rx, got, 8), 4);
}

Test(ring_batch, a_defect_inside_is_found_when_its_turn_comes)
{
	ring_of(8);
	put_batch(0, 4, false);
	slot[2].word[SV_SLOT_SEQ] = 77;
	cr_expect_eq(sv_ring_take_n(&rx, got, 8), 2);
	assert_got(0, 2);
	cr_expect_eq(sv_ring_take_n(&rx, got, 8), SV_TAKE_DEFECT);
	cr_expect_eq(rx.pos, 2u, "nothing of it was taken");
}

Test(ring_batch, is_acknowledged_once_per_quarter_at_most)
{
	ring_of(64);
	put_batch(0, 64, false);
	cr_expect_eq(sv_ring_take_n(&rx, got, 15), 15);
	cr_expect_eq(consumed, 0u);
	cr_expect_eq(sv_ring_take_n(&rx, got, 20), 20);
	cr_expect_eq(consumed, 35u);
}
