/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk under a maximum, on a sidecore that sleeps: never faster than it says, and every request ends. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <io/devices.h>

#include "front_end.h"

#define IMAGE (4u << 20)
#define HEAD(slot) (FE_DATA + 4096ull * (slot))
#define STATUS(slot) (HEAD(slot) + 64)
#define TABLE(slot) (HEAD(slot) + 1024)
#define BUF(slot) (FE_DATA + 0x200000ull + 65536ull * (slot))

static struct fe fe;

static void up(const struct sv_control_qos *qos, bool threaded)
{
	struct sv_control_device d = {.kind = SV_DEVICE_BLK, .queues = 1, .name = "disk"};
	char path[] = "/tmp/sidevisor-qos-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	if (qos)
		d.qos = *qos;
	cr_assert(fd >= 0 && ftruncate(fd, IMAGE) == 0);
	unlink(path);
	cr_assert_eq(fe_open(&fe, &sv_blk_class, &d, &fd, 1, threaded, 100), 0, "%s", fe.err.text);
	fe_start(&fe, FE_ALL, 1, 128);
}

static void down(void)
{
	fe_close(&fe);
}

TestSuite(blk_qos, .fini = down, .timeout = 120);

static void add(unsigned slot, uint32_t type)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = 8 * slot};
	struct vqd_buf b[3] = {{HEAD(slot), 16, false},
		{BUF(slot), 4096, type == VIRTIO_BLK_T_IN}, {STATUS(slot), 1, true}};

	memcpy(fe.mem + HEAD(slot), &h, sizeof(h));
	fe.mem[STATUS(slot)] = 0xff;
	cr_assert_geq(vqd_add(&fe.q[0], b, 3, TABLE(slot)), 0);
}

static void set(const char *key, const char *value)
{
	struct sv_error err = {""};

	cr_assert_eq(fe.class->set(fe.handle, key, value, &err), 0, "%s", err.text);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* @n requests at once. Return: nanoseconds until the last had ended. */
static uint64_t burst(unsigned n)
{
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < n; i++)
		add(i, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT);
	vqd_kick(&fe.q[0]);
	for (unsigned i = 0; i < n; i++)
		fe_wait(&fe, 0, NULL);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(fe.mem[STATUS(i)], VIRTIO_BLK_S_OK);
	return now_ns() - begin;
}

/* 60 requests at 200 a second, of which at most a burst of 10 ms (2) and the first are free. */
Test(blk_qos, a_maximum_holds_and_the_sidecore_sleeps_meanwhile)
{
	struct sv_control_qos qos = {.max_iops = 200};
	struct sv_reactor_stats before, after;
	uint64_t ns;

	up(&qos, true);
	before = sv_reactor_stats(fe.reactor);
	ns = burst(60);
	after = sv_reactor_stats(fe.reactor);
	cr_expect_geq(ns, 57ull * 5000000, "%llu ns", (unsigned long long)ns);
	cr_expect_geq(fe_stat(&fe, "throttled_ns"), 250000000);
	cr_expect_gt(after.sleeps - before.sleeps, 20, "it slept %llu times",
		(unsigned long long)(after.sleeps - before.sleeps));
	cr_expect_gt(after.sleep_ticks - before.sleep_ticks, after.busy_ticks - before.busy_ticks);
	cr_expect_eq(fe_stat(&fe, "outstanding"), 0);
}

Test(blk_qos, bytes_have_a_maximum_too)
{
	up(NULL, true);
	set("max-bandwidth", "1M");
	/* 64 of 4 KiB: a quarter of a second, less the burst of 10 ms and the first. */
	cr_expect_geq(burst(64), 230000000);
	set("max-bandwidth", "0");
	burst(64);
	cr_expect_eq(fe_stat(&fe, "max-bandwidth"), 0);
}

/* What cannot be taken stays in the ring: a stop does not wait for it, a start finds it again. */
Test(blk_qos, a_queue_stops_while_its_device_waits)
{
	struct sv_control_qos qos = {.max_iops = 1, .burst_ms = 1};
	unsigned done = 0, position;
	uint64_t begin = now_ns();

	up(&qos, true);
	for (unsigned i = 0; i < 16; i++)
		add(i, VIRTIO_BLK_T_OUT);
	vqd_kick(&fe.q[0]);
	fe_wait(&fe, 0, NULL);
	done = 1;
	position = fe_stop_queue(&fe, 0);
	while (vqd_get(&fe.q[0], NULL) >= 0)
		done++;
	cr_expect_eq(position, done, "taken and answered are the same");
	cr_expect_leq(done, 2 + (now_ns() - begin) / 1000000000);
}

/* One at a time, as a device says of itself. */
Test(blk_qos, a_depth_of_its_own)
{
	struct sv_control_qos qos = {.depth = 3};

	up(&qos, false);
	burst(100);
	cr_expect_leq(fe_stat(&fe, "outstanding_max"), 3);
	cr_expect_geq(fe_stat(&fe, "outstanding_max"), 1);
}

Test(blk_qos, settings_are_checked)
{
	struct sv_control_qos qos = {.weight = 300};
	struct sv_error err = {""};

	up(&qos, false);
	cr_expect_eq(fe_stat(&fe, "weight"), 300);
	cr_expect_eq(fe.class->set(fe.handle, "wieght", "3", &err), -ENOENT);
	cr_expect_eq(fe.class->set(fe.handle, "weight", "0", &err), -EINVAL);
	cr_expect(strstr(err.text, "1 to 10000"), "%s", err.text);
	cr_expect_eq(fe_stat(&fe, "weight"), 300);
	set("priority", "7");
	cr_expect_eq(fe_stat(&fe, "priority"), 7);
	burst(10);
	cr_expect_eq(fe_stat(&fe, "count"), 5, "reads");
}

Test(blk_qos, a_device_cannot_ask_for_what_is_not_there)
{
	struct sv_control_device d = {.kind = SV_DEVICE_BLK, .queues = 1, .name = "disk",
		.qos = {.priority = 8}};
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct fe other;

	up(NULL, false);
	cr_assert_lt(fe_open(&other, &sv_blk_class, &d, &fd, 1, false, 0), 0);
	fe_close(&other);
	close(fd);
}

/* One device under load; its settings change, its counters are read, a neighbour comes and goes. */
Test(blk_qos, settings_change_and_neighbours_come_under_load)
{
	struct sv_control_device d = {.kind = SV_DEVICE_BLK, .queues = 1, .name = "other"};
	static struct fe other;
	char value[16];

	up(NULL, true);
	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < 32; i++)
			add(i, VIRTIO_BLK_T_IN);
		vqd_kick(&fe.q[0]);
		snprintf(value, sizeof(value), "%u", round + 1);
		set("weight", value);
		set(round % 2 ? "max-iops" : "min-iops", round % 4 == 1 ? "100000" : "0");
		set("priority", round % 3 ? "1" : "0");
		if (round % 4 == 0) {
			char path[] = "/tmp/sidevisor-qos-XXXXXX";
			int fd = mkostemp(path, O_CLOEXEC);

			cr_assert(fd >= 0 && ftruncate(fd, IMAGE) == 0);
			unlink(path);
			cr_assert_eq(fe_open_with(&other, &fe, &sv_blk_class, &d, &fd, 1), 0);
			fe_start(&other, FE_ALL, 1, 128);
		}
		cr_assert_eq(fe_stat(&fe, "weight"), round + 1);
		for (unsigned i = 0; i < 32; i++)
			fe_wait(&fe, 0, NULL);
		if (round % 4 == 2)
			fe_close(&other);
	}
	cr_expect_eq(fe_stat(&fe, "outstanding"), 0);
}
