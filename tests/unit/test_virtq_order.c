/* SPDX-License-Identifier: BSD-3-Clause */
/* VIRTIO_F_IN_ORDER and the dirty log, for both formats of virtqueues. */
#include <criterion/criterion.h>

#include <string.h>

#include <io/virtq.h>

#include "vq_driver.h"
#include "vq_packed_driver.h"

#define MEM (1u << 20)
#define RING 0x1000u
#define DATA 0x10000u
#define SIZE 16u

static uint8_t mem[MEM] __attribute__((aligned(4096)));
static uint8_t bits[MEM / 4096 / 8] __attribute__((aligned(8)));
static struct sv_virtq_written written[SIZE];
static struct sv_virtq_log dirty = {.bits = bits, .bytes = sizeof(bits), .written = written};
static struct sv_gmem gm;
static struct sv_virtq vq;
static struct vqd split;
static struct vqp packed;

static void set_up(bool is_packed, bool in_order)
{
	memset(mem, 0, sizeof(mem));
	memset(bits, 0, sizeof(bits));
	gm = (struct sv_gmem){.n = 1, .region[0] = {.gpa = 0, .size = MEM, .host = mem}};
	vq = (struct sv_virtq){
		.gmem = &gm, .size = SIZE, .packed = is_packed, .in_order = in_order, .indirect = true};
	if (is_packed) {
		vqp_init(&packed, mem, RING, SIZE, false);
		vq.desc = packed.ring;
		vq.avail = packed.driver;
		vq.used = packed.device;
	} else {
		vqd_init(&split, mem, RING, SIZE, false);
		vq.desc = split.desc;
		vq.avail = split.avail;
		vq.used = split.used;
	}
	sv_virtq_start(&vq, sv_virtq_first_base(is_packed));
}

static int add(uint64_t gpa)
{
	struct vqd_buf b = {gpa, 64, true};
	int head = vq.packed ? vqp_add(&packed, &b, 1, 0) : vqd_add(&split, &b, 1, 0);

	if (vq.packed)
		vqp_publish(&packed);
	else
		vqd_publish(&split);
	return head;
}

static int get(uint32_t *len)
{
	return vq.packed ? vqp_get(&packed, len) : vqd_get(&split, len);
}

static uint16_t take(void)
{
	static struct sv_virtq_chain c;

	cr_assert_eq(sv_virtq_take(&vq, &c), SV_VIRTQ_ONE);
	return c.head;
}

static void put(uint16_t head, uint32_t bytes)
{
	sv_virtq_put(&vq, head, bytes);
	sv_virtq_publish(&vq);
}

TestSuite(virtq_order);

static void comes_in_order(bool is_packed)
{
	int made[3];
	uint16_t head[3];
	uint32_t len;

	set_up(is_packed, true);
	for (unsigned turn = 0; turn < 3 * SIZE; turn++) {
		for (unsigned i = 0; i < 3; i++) {
			made[i] = add(DATA + 4096 * i);
			head[i] = take();
			cr_assert_eq(head[i], made[i]);
		}
		put(head[2], 30);
		put(head[1], 20);
		cr_assert_eq(get(&len), -1, "the first is still out");
		cr_assert_eq(vq.inflight, 3);
		put(head[0], 10);
		for (unsigned i = 0; i < 3; i++) {
			cr_assert_eq(get(&len), made[i]);
			cr_assert_eq(len, 10 * (i + 1));
		}
		cr_assert_eq(vq.inflight, 0);
	}
}

Test(virtq_order, split_queue_is_used_in_the_order_of_taking)
{
	comes_in_order(false);
}

Test(virtq_order, packed_queue_is_used_in_the_order_of_taking)
{
	comes_in_order(true);
}

static void goes_back(bool is_packed)
{
	static struct sv_virtq_chain c;
	int first, second;

	set_up(is_packed, true);
	first = add(DATA);
	second = add(DATA + 4096);
	cr_assert_eq(take(), first);
	cr_assert_eq(take(), second);
	sv_virtq_untake(&vq, (uint16_t)second);
	put((uint16_t)first, 1);
	cr_assert_eq(get(NULL), first);
	cr_assert_eq(sv_virtq_take(&vq, &c), SV_VIRTQ_ONE);
	cr_assert_eq(c.head, second);
	put((uint16_t)second, 1);
	cr_assert_eq(get(NULL), second);
}

Test(virtq_order, chain_given_back_is_in_nobodys_way)
{
	goes_back(false);
	goes_back(true);
}

Test(virtq_order, head_that_is_out_already_breaks_the_queue_and_what_is_done_comes_back)
{
	static struct sv_virtq_chain c;
	uint16_t first, second;
	uint32_t len;

	set_up(false, true);
	add(DATA);
	add(DATA + 4096);
	first = take();
	second = take();
	put(second, 7);
	split.avail->ring[2] = first;
	__atomic_store_n(&split.avail->idx, 3, __ATOMIC_RELEASE);
	cr_assert_eq(sv_virtq_take(&vq, &c), SV_VIRTQ_BROKEN);
	cr_assert_eq(get(&len), second);
	put(first, 5);
	cr_assert_eq(get(&len), first);
	cr_assert_eq(vq.inflight, 0);
}

Test(virtq_order, what_is_given_back_after_a_defect_leaves_no_trace)
{
	uint16_t first;

	set_up(false, true);
	add(DATA);
	add(DATA + 4096);
	first = take();
	take();
	sv_virtq_reject(&vq);
	sv_virtq_untake(&vq, first);
	cr_assert_eq(vq.order_n, 0);
	cr_assert_eq(vq.inflight, 0);
	sv_virtq_publish(&vq);
	cr_assert_eq(get(NULL), -1);
}

/* --- the dirty log --------------------------------------------------------------------------- */

static bool is_marked(uint64_t gpa)
{
	return bits[gpa / 4096 / 8] & 1u << gpa / 4096 % 8;
}

static void logs(bool is_packed)
{
	uint16_t head;

	set_up(is_packed, false);
	vq.log = &dirty;
	add(DATA + 4096 * 3 + 4090); /* 64 bytes: two pages */
	head = take();
	memset(bits, 0, sizeof(bits));
	cr_assert(!is_marked(DATA + 4096 * 3), "nothing was written yet");
	put(head, 64);
	for (uint64_t gpa = 0; gpa < MEM; gpa += 4096) {
		bool data = gpa == DATA + 4096 * 3 || gpa == DATA + 4096 * 4;

		if (gpa == RING)
			cr_assert(is_marked(gpa), "the ring");
		else if (gpa > RING + 4096)
			cr_assert_eq(is_marked(gpa), data, "page 0x%lx", gpa);
	}
}

Test(virtq_order, log_has_the_pages_of_a_chain_and_of_the_ring)
{
	logs(false);
	logs(true);
}

static unsigned marked_from(uint64_t gpa)
{
	unsigned n = 0;

	while (gpa < MEM && is_marked(gpa)) {
		gpa += 4096;
		n++;
	}
	return n;
}

/* Of 200 pages 130 were written, and the status byte at the end; at every place within words of bits. */
Test(virtq_order, log_has_what_was_written_and_no_more)
{
	for (uint64_t page = DATA / 4096; page < DATA / 4096 + 40; page++) {
		struct vqd_buf b = {page * 4096, 200 * 4096, true};
		uint16_t head;

		set_up(false, false);
		vq.log = &dirty;
		vqd_add(&split, &b, 1, 0);
		vqd_publish(&split);
		head = take();
		memset(bits, 0, sizeof(bits));
		put(head, 130 * 4096);
		cr_assert(!is_marked((page - 1) * 4096));
		cr_assert_eq(marked_from(page * 4096), 130);
		cr_assert(!is_marked((page + 198) * 4096));
		cr_assert(is_marked((page + 199) * 4096), "the last byte is a status");
		cr_assert(!is_marked((page + 200) * 4096));
	}
}

Test(virtq_order, pages_beyond_the_log_are_left_out)
{
	set_up(false, false);
	dirty.bytes = 1;
	vq.log = &dirty;
	add(DATA);
	put(take(), 64);
	cr_assert_eq(bits[1], 0);
	cr_assert_eq(bits[DATA / 4096 / 8], 0);
	dirty.bytes = sizeof(bits);
}
