/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <string.h>

#include <channels/ring.h>

#define ENTRIES_MAX 64u

static union sv_slot slot[ENTRIES_MAX];
static uint64_t consumed;
static struct sv_ring_tx tx;
static struct sv_ring_rx rx;

static void ring_of(uint64_t entries)
{
	memset(slot, 0, sizeof(slot));
	consumed = 0;
	sv_ring_tx_init(&tx, slot, &consumed, entries);
	sv_ring_rx_init(&rx, slot, &consumed, entries);
}

static void put(uint64_t number)
{
	union sv_slot msg;

	for (unsigned i = 0; i < SV_SLOT_WORDS; i++)
		msg.word[i] = number * 8 + i;
	if (number % 2)
		sv_ring_put(&tx, &msg);
	else
		sv_ring_put_full(&tx, &msg);
}

static void take_expecting(uint64_t number)
{
	union sv_slot msg;

	cr_assert_eq(sv_ring_take(&rx, &msg), SV_TAKE_ONE);
	for (unsigned i = 0; i < SV_SLOT_SEQ; i++)
		cr_assert_eq(msg.word[i], number * 8 + i);
	cr_assert_eq(msg.word[SV_SLOT_SEQ], number + 1);
}

/* What holds between any two steps of a ring whose both sides keep the rules. */
static void assert_valid(void)
{
	cr_assert_leq(rx.retired, rx.pos);
	cr_assert_leq(rx.pos, tx.pos);
	cr_assert_leq(tx.pos - rx.retired, tx.entries);
	cr_assert_eq(consumed, rx.retired);
	cr_assert_lt(rx.pos - rx.retired, rx.lazy);
	cr_assert_leq(tx.limit, consumed + tx.entries);
	cr_assert_leq(tx.pos, tx.limit);
	for (uint64_t p = rx.pos; p < tx.pos; p++)
		cr_assert_eq(slot[p % tx.entries].word[SV_SLOT_SEQ], p + 1);
}

Test(ring, is_empty_at_the_start)
{
	union sv_slot msg;

	for (uint64_t entries = 2; entries <= ENTRIES_MAX; entries *= 2) {
		ring_of(entries);
		cr_expect_eq(sv_ring_peek(&rx), SV_TAKE_EMPTY);
		cr_expect_eq(sv_ring_take(&rx, &msg), SV_TAKE_EMPTY);
		cr_expect_eq(sv_ring_room(&tx, entries), (int64_t)entries);
		assert_valid();
	}
}

Test(ring, holds_as_many_messages_as_it_has_entries_on_every_lap)
{
	union sv_slot msg;
	uint64_t number = 0;

	for (uint64_t entries = 2; entries <= ENTRIES_MAX; entries *= 2) {
		ring_of(entries);
		number = 0;
		for (unsigned lap = 0; lap < 5; lap++) {
			for (uint64_t i = 0; i < entries; i++) {
				cr_assert_gt(sv_ring_room(&tx, 1), 0);
				put(number + i);
				assert_valid();
			}
			cr_expect_eq(sv_ring_room(&tx, 1), 0, "a full ring has no room");
			for (uint64_t i = 0; i < entries; i++) {
				take_expecting(number + i);
				assert_valid();
			}
			cr_expect_eq(sv_ring_take(&rx, &msg), SV_TAKE_EMPTY);
			number += entries;
		}
	}
}

Test(ring, starts_anywhere_in_a_lap)
{
	for (unsigned before = 0; before < 9; before++) {
		ring_of(4);
		for (uint64_t n = 0; n < before; n++) {
			cr_assert_gt(sv_ring_room(&tx, 1), 0);
			put(n);
			take_expecting(n);
		}
		for (uint64_t n = before; n < before + 4; n++) {
			cr_assert_gt(sv_ring_room(&tx, 1), 0);
			put(n);
		}
		cr_expect_eq(sv_ring_room(&tx, 1), 0);
		for (uint64_t n = before; n < before + 4; n++)
			take_expecting(n);
	}
}

Test(ring, acknowledges_once_per_quarter)
{
	ring_of(64);
	for (uint64_t n = 0; n < 64; n++)
		put(n);
	for (uint64_t n = 0; n < 64; n++) {
		take_expecting(n);
		cr_expect_eq(consumed, (n + 1) / 16 * 16);
	}
}

Test(ring, acknowledges_at_once_when_it_is_small)
{
	ring_of(2);
	put(0);
	put(1);
	take_expecting(0);
	cr_expect_eq(consumed, 1);
	cr_expect_eq(sv_ring_room(&tx, 1), 1);
	put(2);
	take_expecting(1);
	take_expecting(2);
	cr_expect_eq(consumed, 3);
}

Test(ring, retires_on_demand_and_only_when_there_is_news)
{
	ring_of(64);
	put(0);
	take_expecting(0);
	cr_expect_eq(consumed, 0);
	sv_ring_retire(&rx);
	cr_expect_eq(consumed, 1);
	consumed = 77; /* a word that was published is not written again without need */
	sv_ring_retire(&rx);
	cr_expect_eq(consumed, 77);
}

Test(ring, looks_at_the_peer_only_when_its_own_bound_says_full)
{
	ring_of(8);
	consumed = UINT64_MAX; /* impossible, and not seen while there is known room */
	cr_expect_eq(sv_ring_room(&tx, 8), 8);
	for (uint64_t n = 0; n < 8; n++)
		put(n);
	cr_expect_eq(sv_ring_room(&tx, 1), -1);
}

Test(ring, room_for_several_counts_what_is_free)
{
	ring_of(8);
	for (uint64_t n = 0; n < 8; n++)
		put(n);
	for (uint64_t n = 0; n < 4; n++)
		take_expecting(n);
	cr_expect_eq(sv_ring_room(&tx, 8), 4);
	cr_expect_eq(sv_ring_room(&tx, 4), 4);
	cr_expect_eq(sv_ring_room(&tx, 5), 4);
}

Test(ring, a_consumed_count_that_cannot_be_is_a_defect_and_changes_nothing)
{
	const uint64_t bad[] = {1, 3, 13, 100, 1ull << 63, UINT64_MAX, UINT64_MAX - 7};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct sv_ring_tx before;

		ring_of(8);
		for (uint64_t n = 0; n < 8; n++)
			put(n);
		for (uint64_t n = 0; n < 4; n++)
			take_expecting(n);
		cr_assert_eq(sv_ring_room(&tx, 4), 4);
		for (uint64_t n = 8; n < 12; n++)
			put(n);
		before = tx; /* 12 sent, 4 known to be consumed */
		consumed = bad[i];
		cr_expect_eq(sv_ring_room(&tx, 1), -1, "consumed = %#lx", (unsigned long)bad[i]);
		cr_expect_arr_eq(&tx, &before, sizeof(tx));
	}
}

Test(ring, any_other_sequence_number_is_a_defect_and_takes_nothing)
{
	const uint64_t entries = 4;

	for (uint64_t lap = 0; lap < 3; lap++) {
		for (uint64_t seq = 0; seq < 20; seq++) {
			uint64_t pos = lap * entries, old = lap ? pos + 1 - entries : 0;
			union sv_slot msg;
			enum sv_take want = seq == pos + 1 ? SV_TAKE_ONE
					    : seq == old   ? SV_TAKE_EMPTY
							   : SV_TAKE_DEFECT;

			ring_of(entries);
			for (uint64_t n = 0; n < pos; n++) {
				cr_assert_gt(sv_ring_room(&tx, 1), 0);
				put(n);
				take_expecting(n);
			}
			slot[0].word[SV_SLOT_SEQ] = seq;
			cr_expect_eq(sv_ring_take(&rx, &msg), want);
			cr_expect_eq(rx.pos, pos + (want == SV_TAKE_ONE));
		}
	}
}

Test(ring, batches_of_any_size_are_taken_in_order_by_batches_of_any_size)
{
	static union sv_slot in[16], out[16];
	uint64_t sent = 0, got = 0;

	ring_of(16);
	for (unsigned round = 0; round < 400; round++) {
		int64_t room = sv_ring_room(&tx, 16), n;
		uint64_t put_now = 1 + round * 7 % 16;

		if (put_now <= (uint64_t)room) {
			for (uint64_t i = 0; i < put_now * SV_SLOT_WORDS; i++)
				in[i / 8].word[i % 8] = (sent + i / 8) * 8 + i % 8;
			sv_ring_put_n(&tx, in, put_now, round % 2);
			sent += put_now;
		}
		n = sv_ring_take_n(&rx, out, 1 + round * 5 % 16);
		cr_assert_geq(n, 0);
		for (int64_t i = 0; i < n; i++, got++) {
			cr_assert_eq(out[i].word[0], got * 8);
			cr_assert_eq(out[i].word[6], got * 8 + 6);
			cr_assert_eq(out[i].word[SV_SLOT_SEQ], got + 1);
		}
		assert_valid();
	}
	cr_expect_gt(sent, 1000);
	while (sv_ring_take_n(&rx, out, 3) > 0)
		;
	cr_expect_eq(rx.pos, sent);
	cr_expect_eq(sv_ring_take_n(&rx, out, 0), 0);
}

Test(ring, a_batch_ends_before_a_defect_and_the_next_call_finds_it)
{
	union sv_slot out[8];

	ring_of(8);
	for (uint64_t n = 0; n < 5; n++)
		put(n);
	slot[3].word[SV_SLOT_SEQ] = 77;
	cr_expect_eq(sv_ring_take_n(&rx, out, 8), 3);
	cr_expect_eq(sv_ring_take_n(&rx, out, 8), -1);
	cr_expect_eq(rx.pos, 3);
}

Test(ring, a_batch_is_not_seen_before_its_first_entry)
{
	union sv_slot out[8];

	ring_of(8);
	for (uint64_t n = 0; n < 3; n++)
		put(n);
	slot[0].word[SV_SLOT_SEQ] = 0;
	cr_expect_eq(sv_ring_take_n(&rx, out, 8), 0);
	slot[0].word[SV_SLOT_SEQ] = 1;
	cr_expect_eq(sv_ring_take_n(&rx, out, 8), 3);
}

Test(ring, sizes_are_powers_of_two_between_the_bounds)
{
	unsigned valid = 0;

	for (uint32_t n = 0; n < 3 * SV_RING_MAX_ENTRIES; n++)
		if (sv_ring_entries_valid(n)) {
			valid++;
			cr_expect_eq(n & (n - 1), 0);
			cr_expect(n >= SV_RING_MIN_ENTRIES && n <= SV_RING_MAX_ENTRIES);
		}
	cr_expect_eq(valid, 12);
	cr_expect_not(sv_ring_entries_valid(1u << 31));
	cr_expect_eq(sv_channel_bytes(2, 4), 256 + 6 * 64);
}
