/* SPDX-License-Identifier: BSD-3-Clause */
/* The device side of a virtqueue, against a correct driver and against a hostile one. */
#include <criterion/criterion.h>

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <io/virtq.h>

#include "vq_driver.h"

#define MEM (1u << 20)
#define SIZE 64u
#define RING 0x1000u
#define DATA 0x10000u
#define TABLE 0x8000u

static uint8_t mem[MEM] __attribute__((aligned(4096)));
static struct sv_gmem gm;
static struct sv_virtq vq;
static struct sv_virtq_chain chain;
static struct vqd drv;

static void call(void *ctx)
{
	uint64_t one = 1;

	(void)ctx;
	cr_assert_eq(write(drv.call_fd, &one, sizeof(one)), sizeof(one));
}

static void set_up(bool event_idx, uint16_t base)
{
	memset(mem, 0, sizeof(mem));
	memset(&vq, 0, sizeof(vq));
	gm = (struct sv_gmem){.n = 2};
	/* Two regions that touch: a buffer may cross from one to the other. */
	gm.region[0] = (struct sv_gmem_region){.gpa = 0, .size = MEM / 2, .host = mem};
	gm.region[1] =
		(struct sv_gmem_region){.gpa = MEM / 2, .size = MEM / 2, .host = mem + MEM / 2};
	vqd_init(&drv, mem, RING, SIZE, event_idx);
	drv.avail_idx = drv.published = drv.used_seen = base;
	drv.avail->idx = drv.used->idx = base;
	drv.call_fd = eventfd(0, EFD_NONBLOCK);
	vq.gmem = &gm;
	vq.desc = drv.desc;
	vq.avail = drv.avail;
	vq.used = drv.used;
	vq.size = SIZE;
	vq.event_idx = event_idx;
	vq.indirect = true;
	vq.call = call;
	sv_virtq_start(&vq, base);
}

static void down(void)
{
	close(drv.call_fd);
}

static void up(void)
{
	set_up(true, 0);
}

TestSuite(virtq, .init = up, .fini = down);

static int add_simple(uint64_t gpa, uint32_t out, uint32_t in)
{
	struct vqd_buf b[2] = {{gpa, out, false}, {gpa + out, in, true}};

	return vqd_add(&drv, b, 2, 0);
}

static enum sv_virtq_take take(void)
{
	return sv_virtq_take(&vq, &chain);
}

Test(virtq, a_chain_arrives_as_checked_pieces_and_returns)
{
	uint32_t len = 0;
	int head = add_simple(DATA, 16, 513);

	cr_assert_eq(take(), SV_VIRTQ_EMPTY, "not published yet");
	vqd_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	cr_assert_eq(chain.readable, 1);
	cr_assert_eq(chain.writable, 1);
	cr_assert_eq(chain.iov[0].iov_base, mem + DATA);
	cr_assert_eq(chain.iov[1].iov_base, mem + DATA + 16);
	cr_assert_eq(chain.writable_bytes, 513);
	cr_assert_eq(vq.inflight, 1);
	sv_virtq_put(&vq, chain.head, 77);
	cr_assert_eq(vqd_get(&drv, &len), -1, "put is not published");
	sv_virtq_publish(&vq);
	cr_assert_eq(vqd_get(&drv, &len), head);
	cr_assert_eq(len, 77);
	cr_assert_eq(vq.inflight, 0);
}

Test(virtq, indirect_table_and_a_buffer_across_two_regions)
{
	struct vqd_buf b[3] = {{DATA, 16, false}, {MEM / 2 - 100, 300, true}, {DATA + 16, 1, true}};

	vqd_add(&drv, b, 3, TABLE);
	vqd_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	cr_assert_eq(chain.readable, 1);
	cr_assert_eq(chain.writable, 3, "the second buffer is two pieces");
	cr_assert_eq(chain.iov[1].iov_len, 100);
	cr_assert_eq(chain.iov[2].iov_base, mem + MEM / 2);
	cr_assert_eq(chain.iov[2].iov_len, 200);
	cr_assert_eq(chain.writable_bytes, 301);
}

/* 200,000 chains through every position, the wrap at 65,536 included. */
static void many(bool event_idx)
{
	down();
	set_up(event_idx, 65000);
	for (unsigned i = 0; i < 200000 / 3; i++) {
		for (unsigned k = 0; k < 3; k++)
			cr_assert_geq(add_simple(DATA + 64 * k, 16, 16), 0);
		cr_assert_not(vqd_publish(&drv), "no kick while polled, batch %u", i);
		for (unsigned k = 0; k < 3; k++) {
			cr_assert_eq(take(), SV_VIRTQ_ONE, "batch %u", i);
			sv_virtq_put(&vq, chain.head, k);
		}
		cr_assert_eq(take(), SV_VIRTQ_EMPTY);
		sv_virtq_publish(&vq);
		sv_virtq_suppress(&vq);
		for (unsigned k = 0; k < 3; k++) {
			uint32_t len;

			cr_assert_geq(vqd_get(&drv, &len), 0);
			cr_assert_eq(len, k);
		}
	}
	cr_assert_eq(vq.broken, SV_VIRTQ_OK);
}

Test(virtq, never_asks_for_a_kick_while_polled_with_event_idx)
{
	many(true);
}

Test(virtq, never_asks_for_a_kick_while_polled_without_event_idx)
{
	many(false);
}

static void arm_and_kick(bool event_idx)
{
	down();
	set_up(event_idx, 0);
	cr_assert_not(sv_virtq_arm(&vq));
	add_simple(DATA, 16, 16);
	cr_assert(vqd_publish(&drv), "armed: the driver kicks");
	cr_assert(sv_virtq_arm(&vq), "and the buffer is seen when looking again");
	sv_virtq_suppress(&vq);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	add_simple(DATA, 16, 16);
	cr_assert_not(vqd_publish(&drv));
}

Test(virtq, armed_it_is_kicked_and_sees_what_came_before)
{
	arm_and_kick(true);
	arm_and_kick(false);
}

static void interrupts(bool event_idx)
{
	down();
	set_up(event_idx, 0);
	vqd_want_call(&drv, true);
	for (unsigned k = 0; k < 8; k++)
		add_simple(DATA, 16, 16);
	vqd_publish(&drv);
	for (unsigned k = 0; k < 8; k++) {
		cr_assert_eq(take(), SV_VIRTQ_ONE);
		sv_virtq_put(&vq, chain.head, 0);
	}
	sv_virtq_publish(&vq);
	cr_assert_eq(vqd_calls(&drv), 1, "one interrupt per batch");
	sv_virtq_publish(&vq);
	cr_assert_eq(vqd_calls(&drv), 0, "nothing new, no interrupt");
	while (vqd_get(&drv, NULL) >= 0)
		;
	vqd_want_call(&drv, false);
	add_simple(DATA, 16, 16);
	vqd_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	sv_virtq_put(&vq, chain.head, 0);
	sv_virtq_publish(&vq);
	cr_assert_eq(vqd_calls(&drv), 0);
	cr_assert_eq(vq.stats.calls_saved, 1);
}

Test(virtq, interrupts_are_coalesced_and_only_sent_when_wanted)
{
	interrupts(true);
	interrupts(false);
}

static void complete_one(void)
{
	add_simple(DATA, 16, 16);
	vqd_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	sv_virtq_put(&vq, chain.head, 0);
	sv_virtq_publish(&vq);
	while (vqd_get(&drv, NULL) >= 0)
		;
	vqd_want_call(&drv, true);
	cr_assert_eq(vqd_calls(&drv), 1);
}

/* The times are the caller's. */
Test(virtq, an_interrupt_after_which_nothing_came_is_repeated_once)
{
	const uint64_t t = 1000000;

	down();
	set_up(true, 0);
	vqd_want_call(&drv, true);
	vq.calls_missed = true;
	complete_one();
	sv_virtq_call_again(&vq, t);
	sv_virtq_call_again(&vq, t + SV_VIRTQ_AGAIN_NS - 1);
	cr_assert_eq(vqd_calls(&drv), 0, "not yet");
	sv_virtq_call_again(&vq, t + SV_VIRTQ_AGAIN_NS);
	cr_assert_eq(vqd_calls(&drv), 1);
	sv_virtq_call_again(&vq, t + 9 * SV_VIRTQ_AGAIN_NS);
	cr_assert_eq(vqd_calls(&drv), 0, "once");
	cr_assert_eq(vq.stats.calls_again, 1);
}

Test(virtq, an_interrupt_is_not_repeated_to_a_driver_that_went_on)
{
	const uint64_t t = 1000000;

	down();
	set_up(true, 0);
	vqd_want_call(&drv, true);
	complete_one();
	sv_virtq_call_again(&vq, t);
	sv_virtq_call_again(&vq, t + SV_VIRTQ_AGAIN_NS);
	cr_assert_eq(vqd_calls(&drv), 0, "nor to one that is not known to miss any");
	vq.calls_missed = true;
	complete_one();
	sv_virtq_call_again(&vq, t);
	add_simple(DATA, 16, 16);
	vqd_publish(&drv);
	sv_virtq_call_again(&vq, t + SV_VIRTQ_AGAIN_NS);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	sv_virtq_call_again(&vq, t + 2 * SV_VIRTQ_AGAIN_NS);
	cr_assert_eq(vqd_calls(&drv), 0);
	cr_assert_eq(vq.stats.calls_again, 0);
}

/* Several batches share the one that is owed: it is not sent before its time. */
Test(virtq, an_interrupt_is_not_repeated_while_another_is_owed)
{
	const uint64_t t = 1000000;

	down();
	set_up(true, 0);
	vqd_want_call(&drv, true);
	vq.calls_missed = vq.calls_held = true;
	for (unsigned i = 0; i < 2; i++)
		add_simple(DATA, 16, 16);
	vqd_publish(&drv);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(take(), SV_VIRTQ_ONE);
		sv_virtq_put(&vq, chain.head, 0);
		sv_virtq_publish(&vq);
		if (!i)
			sv_virtq_call_owed(&vq);
		vqd_get(&drv, NULL);
		vqd_want_call(&drv, true);
		sv_virtq_call_again(&vq, t);
	}
	cr_assert(vq.owed);
	cr_assert_eq(vqd_calls(&drv), 1);
	sv_virtq_call_again(&vq, t + 2 * SV_VIRTQ_AGAIN_NS);
	cr_assert(vq.owed);
	cr_assert_eq(vqd_calls(&drv), 0);
}

/* --- a hostile driver ------------------------------------------------------------------------ */

static void expect_broken(enum sv_virtq_defect kind)
{
	cr_assert_eq(take(), SV_VIRTQ_BROKEN);
	cr_assert_eq(vq.broken, kind, "found: %s", sv_virtq_defect_name(vq.broken));
	cr_assert_eq(vq.stats.defects[kind], 1);
	cr_assert_eq(take(), SV_VIRTQ_BROKEN, "it stays broken");
	cr_assert_eq(vq.stats.defects[kind], 1, "and is counted once");
	cr_assert_eq(vq.inflight, 0);
	cr_assert_not(sv_virtq_arm(&vq));
}

Test(virtq, looped_chain_is_a_defect)
{
	add_simple(DATA, 16, 16);
	drv.desc[1].flags |= VRING_DESC_F_NEXT;
	drv.desc[1].next = 1;
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_TOO_LONG);
}

Test(virtq, looped_indirect_table_is_a_defect)
{
	struct vqd_buf b[2] = {{DATA, 16, false}, {DATA, 16, false}};

	vqd_add(&drv, b, 2, TABLE);
	((struct vring_desc *)(void *)(mem + TABLE))[1].flags = VRING_DESC_F_NEXT;
	((struct vring_desc *)(void *)(mem + TABLE))[1].next = 0;
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_TOO_LONG);
}

Test(virtq, indirect_inside_indirect_is_a_defect)
{
	struct vqd_buf b[2] = {{DATA, 16, false}, {DATA, 16, true}};

	vqd_add(&drv, b, 2, TABLE);
	((struct vring_desc *)(void *)(mem + TABLE))[1].flags = VRING_DESC_F_INDIRECT;
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_INDIRECT);
}

Test(virtq, indirect_of_odd_size_is_a_defect)
{
	struct vqd_buf b = {DATA, 16, false};
	int head = vqd_add(&drv, &b, 1, TABLE);

	drv.desc[head].len = 17;
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_INDIRECT);
}

Test(virtq, indirect_that_was_not_negotiated_is_a_defect)
{
	struct vqd_buf b = {DATA, 16, false};

	vq.indirect = false;
	vqd_add(&drv, &b, 1, TABLE);
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_INDIRECT);
}

Test(virtq, head_beyond_the_table_is_a_defect)
{
	add_simple(DATA, 16, 16);
	drv.avail->ring[0] = SIZE;
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_HEAD);
}

Test(virtq, next_beyond_the_table_is_a_defect)
{
	add_simple(DATA, 16, 16);
	drv.desc[0].next = 0xffff;
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_HEAD);
}

Test(virtq, next_beyond_the_indirect_table_is_a_defect)
{
	struct vqd_buf b[2] = {{DATA, 16, false}, {DATA, 16, true}};

	vqd_add(&drv, b, 2, TABLE);
	((struct vring_desc *)(void *)(mem + TABLE))[0].next = 2;
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_HEAD);
}

Test(virtq, more_buffers_than_entries_is_a_defect)
{
	drv.avail->idx = SIZE + 1;
	expect_broken(SV_VIRTQ_BAD_AVAIL);
}

Test(virtq, available_index_that_goes_back_is_a_defect)
{
	add_simple(DATA, 16, 16);
	add_simple(DATA, 16, 16);
	vqd_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	drv.avail->idx = 1;
	cr_assert_eq(take(), SV_VIRTQ_BROKEN);
	cr_assert_eq(vq.broken, SV_VIRTQ_BAD_AVAIL);
	/* What was taken before can still be returned. */
	sv_virtq_put(&vq, chain.head, 0);
	sv_virtq_publish(&vq);
	cr_assert_eq(vq.inflight, 1);
}

Test(virtq, addresses_outside_memory_are_defects)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
	} bad[] = {{MEM, 1}, {MEM - 1, 2}, {UINT64_MAX, 1}, {UINT64_MAX - 15, 32}, {1ull << 40, 4},
		{DATA, UINT32_MAX}};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		down();
		set_up(true, 0);
		add_simple(DATA, 16, 16);
		drv.desc[0].addr = bad[i].gpa;
		drv.desc[0].len = bad[i].len;
		vqd_publish(&drv);
		expect_broken(SV_VIRTQ_BAD_ADDRESS);
	}
}

Test(virtq, readable_after_writable_is_a_defect)
{
	struct vqd_buf b[2] = {{DATA, 16, true}, {DATA, 16, false}};

	vqd_add(&drv, b, 2, 0);
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_ORDER);
}

Test(virtq, zero_bytes_is_a_defect)
{
	add_simple(DATA, 0, 16);
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_LENGTH);
}

Test(virtq, more_than_4_gib_in_all_is_a_defect)
{
	struct vqd_buf b[2] = {{DATA, 16, false}, {DATA, UINT32_MAX, false}};

	gm.region[0].size = 1ull << 33; /* lengths alone: nothing is touched */
	gm.n = 1;
	vqd_add(&drv, b, 2, 0);
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_LENGTH);
}

Test(virtq, longest_chain_is_served_and_one_more_is_a_defect)
{
	struct vqd_buf b[SV_VIRTQ_CHAIN_MAX + 1];

	for (unsigned i = 0; i < SV_VIRTQ_CHAIN_MAX + 1; i++)
		b[i] = (struct vqd_buf){DATA + 16 * i, 16, false};
	/* The descriptor that names the table counts as one step. */
	vqd_add(&drv, b, SV_VIRTQ_CHAIN_MAX - 1, TABLE);
	vqd_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	cr_assert_eq(chain.readable, SV_VIRTQ_CHAIN_MAX - 1);
	down();
	set_up(true, 0);
	vqd_add(&drv, b, SV_VIRTQ_CHAIN_MAX, TABLE);
	vqd_publish(&drv);
	expect_broken(SV_VIRTQ_TOO_LONG);
}

Test(virtq, rejected_chain_breaks_the_queue_and_leaves_nothing_in_flight)
{
	add_simple(DATA, 16, 16);
	vqd_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	sv_virtq_reject(&vq);
	cr_assert_eq(vq.broken, SV_VIRTQ_BAD_REQUEST);
	cr_assert_eq(vq.inflight, 0);
}
