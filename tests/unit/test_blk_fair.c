/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Eight disks on one sidecore, which is stepped by hand: who gets how many requests. Counts, not
 * times: what the scheduler decides by the clock has its own tests (test_qos.c, test_blk_qos.c).
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <io/devices.h>

#include "front_end.h"

#define DISKS 8u
#define DEPTH 128u
#define IMAGE (4u << 20)
#define HEAD(slot) (FE_DATA + 512ull * (slot))
#define STATUS(slot) (HEAD(slot) + 64)
#define TABLE(slot) (HEAD(slot) + 128)
#define BUF(slot) (FE_DATA + 0x200000ull + 4096ull * (slot))

static struct fe fe[DISKS];
static unsigned done[DISKS], out[DISKS];

static int image(void)
{
	static uint8_t block[65536];
	char path[] = "/tmp/sidevisor-fair-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	cr_assert_geq(fd, 0);
	unlink(path);
	for (unsigned i = 0; i < IMAGE / sizeof(block); i++)
		cr_assert_eq(write(fd, block, sizeof(block)), (ssize_t)sizeof(block));
	return fd;
}

static void up(void)
{
	struct sv_control_device d = {.kind = SV_DEVICE_BLK, .queues = 1, .name = "disk"};

	memset(done, 0, sizeof(done));
	memset(out, 0, sizeof(out));
	for (unsigned i = 0; i < DISKS; i++) {
		int fd = image(), rc = i ? fe_open_with(&fe[i], &fe[0], &sv_blk_class, &d, &fd, 1)
					 : fe_open(&fe[i], &sv_blk_class, &d, &fd, 1, false, 0);

		cr_assert_eq(rc, 0, "%s", fe[i].err.text);
		fe_start(&fe[i], FE_ALL, 1, 256);
	}
}

static void down(void)
{
	for (unsigned i = DISKS; i--;)
		fe_close(&fe[i]);
}

TestSuite(blk_fair, .init = up, .fini = down, .timeout = 120);

static void set(unsigned disk, const char *key, unsigned value)
{
	struct sv_error err = {""};
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	cr_assert_eq(fe[disk].class->set(fe[disk].handle, key, text, &err), 0, "%s", err.text);
}

/* Post so many that @depth are out. The slot is the number of the request. */
static void fill(unsigned disk, unsigned depth)
{
	struct fe *f = &fe[disk];

	while (out[disk] < depth) {
		unsigned slot = (done[disk] + out[disk]) % DEPTH;
		struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = 8 * slot};
		struct vqd_buf b[3] = {{HEAD(slot), 16, false}, {BUF(slot), 4096, true},
			{STATUS(slot), 1, true}};

		memcpy(f->mem + HEAD(slot), &h, sizeof(h));
		cr_assert_geq(vqd_add(&f->q[0], b, 3, TABLE(slot)), 0);
		out[disk]++;
	}
	vqd_kick(&f->q[0]);
}

static void take(unsigned disk)
{
	while (vqd_get(&fe[disk].q[0], NULL) >= 0) {
		out[disk]--;
		done[disk]++;
	}
}

/* Until all together have had @n: every disk of [first, DISKS) floods. */
static void flood(unsigned first, unsigned n)
{
	unsigned all = 0;

	while (all < n) {
		for (unsigned i = first; i < DISKS; i++)
			fill(i, DEPTH);
		sv_reactor_turn(fe[0].reactor);
		all = 0;
		for (unsigned i = 0; i < DISKS; i++) {
			take(i);
			all += done[i];
		}
	}
}

Test(blk_fair, shares_follow_the_weights)
{
	unsigned all = 0;

	for (unsigned i = 0; i < DISKS; i++)
		set(i, "weight", 100 * (i + 1));
	flood(0, 2000);
	memset(done, 0, sizeof(done));
	flood(0, 36000);
	for (unsigned i = 0; i < DISKS; i++)
		all += done[i];
	for (unsigned i = 0; i < DISKS; i++) {
		double share = done[i] * 36.0 / all / (i + 1);

		cr_expect(share > 0.95 && share < 1.05, "weight %u: %g of its share", i + 1, share);
	}
}

/* Between the posting of a victim's request and its end, the flood gets a handful. */
Test(blk_fair, a_flood_passes_no_one_by)
{
	unsigned worst = 0;

	flood(DISKS - 1, 1000);
	for (unsigned round = 0; round < 500; round++) {
		unsigned victim = round % (DISKS - 1), before = done[DISKS - 1], had = done[victim];

		fill(victim, 1);
		while (done[victim] == had) {
			fill(DISKS - 1, DEPTH);
			sv_reactor_turn(fe[0].reactor);
			take(DISKS - 1);
			take(victim);
		}
		if (done[DISKS - 1] - before > worst)
			worst = done[DISKS - 1] - before;
	}
	cr_expect_leq(worst, 16, "%u requests of the flood came before a victim's", worst);
}

Test(blk_fair, a_priority_is_strict)
{
	set(3, "priority", 5);
	set(3, "weight", 1);
	flood(0, 2000);
	memset(done, 0, sizeof(done));
	flood(0, 8000);
	cr_expect_geq(done[3], 7600, "%u of 8000", done[3]);
}

/* What only one wants it gets whole. */
Test(blk_fair, one_alone_is_not_held)
{
	struct sv_reactor_stats before, after;

	flood(DISKS - 1, 1000);
	before = sv_reactor_stats(fe[0].reactor);
	flood(DISKS - 1, 1000 + 64 * 100);
	after = sv_reactor_stats(fe[0].reactor);
	cr_expect_leq(after.turns - before.turns, 400, "%llu turns for 6400 requests",
		(unsigned long long)(after.turns - before.turns));
}
