/* SPDX-License-Identifier: BSD-3-Clause */
/* The device side of a packed virtqueue, against a correct driver and against a hostile one. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include <io/virtq.h>

#include "vq_packed_driver.h"

#define MEM (1u << 20)
#define RING 0x1000u
#define DATA 0x10000u
#define TABLE 0x8000u
#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)

static uint8_t mem[MEM] __attribute__((aligned(4096)));
static struct sv_gmem gm;
static struct sv_virtq vq;
static struct sv_virtq_chain chain;
static struct vqp drv;
static unsigned calls;

static void call(void *ctx)
{
	(void)ctx;
	calls++;
}

static void set_up_at(uint16_t size, bool event_idx, uint32_t base)
{
	memset(mem, 0, sizeof(mem));
	memset(&vq, 0, sizeof(vq));
	calls = 0;
	gm = (struct sv_gmem){.n = 1};
	gm.region[0] = (struct sv_gmem_region){.gpa = 0, .size = MEM, .host = mem};
	vqp_init(&drv, mem, RING, size, event_idx);
	vq.gmem = &gm;
	vq.desc = drv.ring;
	vq.avail = drv.driver;
	vq.used = drv.device;
	vq.size = size;
	vq.packed = vq.indirect = true;
	vq.event_idx = event_idx;
	vq.call = call;
	sv_virtq_start(&vq, base);
}

static void set_up(uint16_t size, bool event_idx)
{
	set_up_at(size, event_idx, sv_virtq_first_base(true));
}

static void up(void)
{
	set_up(64, true);
}

/* An assertion costs microseconds even when it holds: in loops only the failure is told. */
#define HOLDS(condition)                                 \
	do {                                             \
		if (!(condition))                        \
			cr_assert_fail("%s", #condition); \
	} while (0)

TestSuite(virtq_packed, .init = up);

static int add_simple(uint64_t gpa, uint32_t out, uint32_t in)
{
	struct vqd_buf b[2] = {{gpa, out, false}, {gpa + out, in, true}};

	return vqp_add(&drv, b, 2, 0);
}

static enum sv_virtq_take take(void)
{
	return sv_virtq_take(&vq, &chain);
}

Test(virtq_packed, a_chain_arrives_as_checked_pieces_and_returns)
{
	uint32_t len = 0;
	int id = add_simple(DATA, 16, 513);

	cr_assert_eq(take(), SV_VIRTQ_EMPTY, "not published yet");
	vqp_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	cr_assert_eq(chain.head, id);
	cr_assert_eq(chain.readable, 1);
	cr_assert_eq(chain.writable, 1);
	cr_assert_eq(chain.iov[1].iov_base, mem + DATA + 16);
	cr_assert_eq(chain.writable_bytes, 513);
	cr_assert_eq(take(), SV_VIRTQ_EMPTY);
	cr_assert_eq(vq.inflight, 1);
	sv_virtq_put(&vq, chain.head, 77);
	cr_assert_eq(vqp_get(&drv, &len), -1, "put is not published");
	sv_virtq_publish(&vq);
	cr_assert_eq(vqp_get(&drv, &len), id);
	cr_assert_eq(len, 77);
	cr_assert_eq(vq.inflight, 0);
}

Test(virtq_packed, an_indirect_table_is_one_chain_in_order)
{
	struct vqd_buf b[3] = {{DATA, 16, false}, {DATA + 64, 300, true}, {DATA + 16, 1, true}};

	vqp_add(&drv, b, 3, TABLE);
	vqp_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	cr_assert_eq(chain.readable, 1);
	cr_assert_eq(chain.writable, 2);
	cr_assert_eq(chain.writable_bytes, 301);
}

/*
 * Chains of random length in rings of every size, returned in random order, with a stop and a new
 * start at the reported position now and then: every id comes back once, with its own length.
 */
static void random_traffic(uint16_t size, bool event_idx, unsigned seed, unsigned rounds)
{
	uint32_t expect[VQD_SIZE_MAX];
	uint16_t held[VQD_SIZE_MAX];
	unsigned nheld = 0, done = 0, given = 0;

	set_up(size, event_idx);
	srandom(seed);
	while (done < rounds) {
		unsigned add = (unsigned)random() % 4, put = (unsigned)random() % 4;

		while (add--) {
			struct vqd_buf b[8];
			unsigned n = 1 + (unsigned)random() % 8;
			bool table = random() % 4 == 0;

			for (unsigned k = 0; k < n; k++)
				b[k] = (struct vqd_buf){DATA + 64 * k, 1 + k, k >= n / 2};
			if (vqp_add(&drv, b, n, table ? TABLE + 128u * (given % 64) : 0) >= 0)
				given++;
		}
		HOLDS(!vqp_publish(&drv)); /* no kick while polled */
		while (take() == SV_VIRTQ_ONE)
			held[nheld++] = chain.head;
		HOLDS(vq.broken == SV_VIRTQ_OK);
		while (nheld && put--) {
			unsigned k = (unsigned)random() % nheld;
			uint32_t len = (uint32_t)random();

			expect[held[k]] = len;
			sv_virtq_put(&vq, held[k], len);
			held[k] = held[--nheld];
		}
		sv_virtq_publish(&vq);
		for (int id; (id = vqp_get(&drv, &put)) != -1; done++) {
			HOLDS(id >= 0 && put == expect[id]);
		}
		if (!nheld && vq.inflight == 0)
			sv_virtq_start(&vq, sv_virtq_position(&vq));
		sv_virtq_suppress(&vq);
	}
	cr_assert_eq(vq.inflight, nheld);
	cr_assert_eq(given, done + nheld);
}

Test(virtq_packed, random_chains_come_back_once_each_in_any_order)
{
	for (uint16_t size = 1; size <= SV_VIRTQ_MAX_SIZE; size = (uint16_t)(size * 2))
		for (unsigned seed = 1; seed <= 4; seed++)
			random_traffic(size, seed & 1, seed, size < 8 ? 2000 : 10000);
}

Test(virtq_packed, armed_it_is_kicked_at_every_position_and_sees_what_came_before)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		set_up(8, event_idx);
		for (unsigned i = 0; i < 100; i++) {
			cr_assert_not(sv_virtq_arm(&vq));
			cr_assert_geq(add_simple(DATA, 16, 16), 0);
			cr_assert(vqp_publish(&drv), "armed at %u: the driver kicks", i);
			cr_assert(sv_virtq_arm(&vq), "and the buffer is seen when looking again");
			sv_virtq_suppress(&vq);
			cr_assert_eq(take(), SV_VIRTQ_ONE);
			sv_virtq_put(&vq, chain.head, 0);
			sv_virtq_publish(&vq);
			cr_assert_geq(vqp_get(&drv, NULL), 0);
		}
	}
}

Test(virtq_packed, interrupts_are_coalesced_and_only_sent_when_wanted)
{
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		set_up(16, event_idx);
		for (unsigned i = 0; i < 100; i++) {
			bool wanted = i % 3;
			unsigned batch = 1 + i % 7;

			vqp_want_call(&drv, wanted);
			for (unsigned k = 0; k < batch; k++)
				cr_assert_geq(add_simple(DATA, 16, 16), 0);
			vqp_publish(&drv);
			for (unsigned k = 0; k < batch; k++) {
				cr_assert_eq(take(), SV_VIRTQ_ONE);
				sv_virtq_put(&vq, chain.head, 0);
			}
			calls = 0;
			sv_virtq_publish(&vq);
			cr_assert_eq(calls, wanted, "round %u", i);
			sv_virtq_publish(&vq);
			cr_assert_eq(calls, wanted, "nothing new, no interrupt");
			while (vqp_get(&drv, NULL) >= 0)
				;
		}
	}
}

Test(virtq_packed, an_event_ahead_of_the_batch_keeps_quiet)
{
	/* The driver wants to hear when the fourth buffer of two positions is used, not before. */
	drv.driver->off_wrap = 6 | 0x8000;
	drv.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
	for (unsigned k = 0; k < 4; k++) {
		add_simple(DATA, 16, 16);
		vqp_publish(&drv);
		cr_assert_eq(take(), SV_VIRTQ_ONE);
		sv_virtq_put(&vq, chain.head, 0);
		sv_virtq_publish(&vq);
		cr_assert_eq(calls, k == 3);
	}
}

Test(virtq_packed, a_front_end_that_always_begins_at_0_is_understood)
{
	/* New, and in its second turn, where position 0 means just that. */
	set_up_at(4, true, 0);
	for (unsigned turn = 0; turn < 2; turn++) {
		for (unsigned k = 0; k < 2; k++) {
			add_simple(DATA, 16, 16);
			vqp_publish(&drv);
			cr_assert_eq(take(), SV_VIRTQ_ONE, "turn %u", turn);
			sv_virtq_put(&vq, chain.head, 0);
			sv_virtq_publish(&vq);
			cr_assert_geq(vqp_get(&drv, NULL), 0);
		}
		cr_assert_eq(sv_virtq_position(&vq) & 0x7fff, 0);
		sv_virtq_start(&vq, 0);
	}
}

/* --- a hostile driver ------------------------------------------------------------------------ */

static void expect_broken(enum sv_virtq_defect kind)
{
	cr_assert_eq(take(), SV_VIRTQ_BROKEN);
	cr_assert_eq(vq.broken, kind, "found: %s", sv_virtq_defect_name(vq.broken));
	cr_assert_eq(take(), SV_VIRTQ_BROKEN, "it stays broken");
	cr_assert_eq(vq.stats.defects[kind], 1, "and is counted once");
	cr_assert_not(sv_virtq_arm(&vq));
}

/* As DPDK's virtio-user does. */
Test(virtq_packed, a_front_end_that_tells_the_available_half_only_is_understood)
{
	set_up_at(16, true, 1u << 15);
	for (unsigned i = 0; i < 40; i++) {
		HOLDS(add_simple(DATA, 16, 16) >= 0);
		vqp_publish(&drv);
		HOLDS(take() == SV_VIRTQ_ONE);
		sv_virtq_put(&vq, chain.head, 16);
		sv_virtq_publish(&vq);
		HOLDS(vqp_get(&drv, NULL) >= 0);
	}
}

Test(virtq_packed, a_chain_round_the_whole_ring_is_a_defect)
{
	set_up(4, true);
	for (unsigned i = 0; i < 4; i++)
		drv.ring[i] = (struct vring_packed_desc){.addr = DATA, .len = 16,
			.flags = AVAIL | VRING_DESC_F_NEXT};
	expect_broken(SV_VIRTQ_TOO_LONG);
}

Test(virtq_packed, a_chain_into_buffers_that_are_out_is_a_defect)
{
	set_up(4, true);
	add_simple(DATA, 16, 16);
	vqp_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	/* Two positions are left. */
	drv.ring[2] = drv.ring[3] = (struct vring_packed_desc){.addr = DATA, .len = 16,
		.flags = AVAIL | VRING_DESC_F_NEXT};
	expect_broken(SV_VIRTQ_TOO_LONG);
	/* What was taken before can still be returned. */
	sv_virtq_put(&vq, chain.head, 0);
}

Test(virtq_packed, a_buffer_id_beyond_the_ring_or_out_twice_is_a_defect)
{
	add_simple(DATA, 16, 16);
	drv.ring[1].id = 64;
	vqp_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_HEAD);

	set_up(64, true);
	add_simple(DATA, 16, 16);
	vqp_publish(&drv);
	cr_assert_eq(take(), SV_VIRTQ_ONE);
	add_simple(DATA, 16, 16);
	drv.ring[3].id = chain.head;
	vqp_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_HEAD);
}

Test(virtq_packed, indirect_nested_odd_or_not_negotiated_is_a_defect)
{
	struct vqd_buf b[2] = {{DATA, 16, false}, {DATA, 16, true}};

	for (unsigned i = 0; i < 5; i++) {
		set_up(64, true);
		vqp_add(&drv, b, 2, TABLE);
		if (i == 0)
			((struct vring_packed_desc *)(void *)(mem + TABLE))[1].flags =
				VRING_DESC_F_INDIRECT;
		if (i == 1)
			drv.ring[0].len = 17;
		if (i == 2)
			vq.indirect = false;
		if (i == 3)
			drv.ring[0].len = 0;
		if (i == 4)
			drv.ring[0].addr = MEM - 16;
		vqp_publish(&drv);
		expect_broken(SV_VIRTQ_BAD_INDIRECT);
	}
}

Test(virtq_packed, bad_buffers_are_defects)
{
	static const struct {
		uint64_t gpa;
		uint32_t len;
		enum sv_virtq_defect kind;
	} bad[] = {{MEM, 1, SV_VIRTQ_BAD_ADDRESS}, {MEM - 1, 2, SV_VIRTQ_BAD_ADDRESS},
		{UINT64_MAX - 15, 32, SV_VIRTQ_BAD_ADDRESS}, {DATA, UINT32_MAX, SV_VIRTQ_BAD_ADDRESS},
		{DATA, 0, SV_VIRTQ_BAD_LENGTH}};
	struct vqd_buf order[2] = {{DATA, 16, true}, {DATA, 16, false}};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set_up(64, true);
		add_simple(DATA, 16, 16);
		drv.ring[0].addr = bad[i].gpa;
		drv.ring[0].len = bad[i].len;
		vqp_publish(&drv);
		expect_broken(bad[i].kind);
	}
	set_up(64, true);
	vqp_add(&drv, order, 2, 0);
	vqp_publish(&drv);
	expect_broken(SV_VIRTQ_BAD_ORDER);
}

/* A ring of noise: whatever it holds, the device ends in order or broken and stays in its memory. */
Test(virtq_packed, noise_ends_in_order_or_broken)
{
	unsigned seen[SV_VIRTQ_DEFECTS] = {0};

	srandom(7);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned taken = 0;

		set_up((uint16_t)(1u << random() % 7), i & 1);
		for (unsigned k = 0; k < vq.size; k++)
			drv.ring[k] = (struct vring_packed_desc){
				.addr = (uint64_t)random() % (MEM + MEM / 8),
				.len = (uint32_t)random() % 5000,
				.id = (uint16_t)((unsigned)random() % (vq.size + 1u)),
				.flags = (uint16_t)((random() % 8 ? AVAIL : (unsigned)random()) |
						    ((unsigned)random() & 3)),
			};
		while (take() == SV_VIRTQ_ONE) {
			HOLDS(++taken <= vq.size);
			if (random() % 2) {
				sv_virtq_put(&vq, chain.head, (uint32_t)random());
				sv_virtq_publish(&vq);
			}
		}
		seen[vq.broken]++;
	}
	cr_assert(seen[SV_VIRTQ_OK] && seen[SV_VIRTQ_BAD_ADDRESS] && seen[SV_VIRTQ_BAD_HEAD]);
}
