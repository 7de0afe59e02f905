/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-rng: random bytes, as many as fit, a bounded number a turn; what the driver does wrong. */
#include <criterion/criterion.h>

#include <string.h>

#include <io/devices.h>

#include "front_end.h"

#define BUF(i) (FE_DATA + 4096ull * (i))
#define MOST 256u

static struct fe fe;

static void up(void)
{
	struct sv_control_device d = {.kind = SV_DEVICE_RNG, .queues = 1, .name = "rng"};

	cr_assert_eq(fe_open(&fe, &sv_rng_class, &d, NULL, 0, false, 100), 0, "%s", fe.err.text);
	fe_start(&fe, FE_ALL, 1, 64);
}

static void down(void)
{
	fe_close(&fe);
}

TestSuite(rng, .init = up, .fini = down, .timeout = 60);

static int ask(unsigned slot, uint32_t bytes, bool writable)
{
	struct vqd_buf b = {BUF(slot), bytes, writable};
	int head = vqd_add(&fe.q[0], &b, 1, 0);

	vqd_kick(&fe.q[0]);
	return head;
}

Test(rng, a_request_is_filled_and_not_beyond)
{
	static const uint8_t none[64];
	uint32_t len = 0;
	int head = ask(0, 64, true);

	sv_reactor_turn(fe.reactor);
	cr_assert_eq(vqd_get(&fe.q[0], &len), head);
	cr_assert_eq(len, 64);
	cr_assert(memcmp(fe.mem + BUF(0), none, 64), "64 random bytes are not all zero");
	cr_assert_arr_eq(fe.mem + BUF(0) + 64, none, 64);
}

Test(rng, a_large_request_gets_what_one_gets_and_no_two_are_alike)
{
	uint32_t len = 0;

	for (unsigned i = 0; i < 2; i++)
		ask(i, 4096, true);
	sv_reactor_turn(fe.reactor);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_geq(vqd_get(&fe.q[0], &len), 0);
		cr_assert_eq(len, MOST);
	}
	cr_assert(memcmp(fe.mem + BUF(0), fe.mem + BUF(1), MOST));
}

Test(rng, a_flood_takes_a_bounded_part_of_a_turn)
{
	unsigned got = 0;

	for (unsigned i = 0; i < 32; i++)
		ask(i, MOST, true);
	sv_reactor_turn(fe.reactor);
	while (vqd_get(&fe.q[0], NULL) >= 0)
		got++;
	cr_assert(got > 0 && got <= 4, "%u", got);
	for (unsigned i = 0; i < 32; i++)
		sv_reactor_turn(fe.reactor);
	while (vqd_get(&fe.q[0], NULL) >= 0)
		got++;
	cr_assert_eq(got, 32);
}

Test(rng, buffers_to_read_break_the_queue)
{
	ask(0, 16, false);
	sv_reactor_turn(fe.reactor);
	ask(1, 16, true);
	sv_reactor_turn(fe.reactor);
	cr_assert_eq(vqd_get(&fe.q[0], NULL), -1);
}
