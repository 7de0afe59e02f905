/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk under a sidecore with a thread of its own: kicks, sleep and wake, draining, workers. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <io/devices.h>

#include "front_end.h"

#define IMAGE (8u << 20)
#define REQUESTS 100000u
#define DEPTH 32u
#define QUEUE 256u
#define HEAD(slot) (FE_DATA + 1024ull * (slot))
#define STATUS(slot) (HEAD(slot) + 64)
#define TABLE(slot) (HEAD(slot) + 128)
#define BUF(slot) (FE_DATA + 0x200000ull + 8192ull * (slot))

static struct fe fe;
static uint8_t slot_of[FE_QUEUES][QUEUE];

static void open_disk(uint64_t idle_us)
{
	struct sv_control_device d = {.kind = SV_DEVICE_BLK, .queues = 2, .name = "disk"};
	char path[] = "/tmp/sidevisor-blk-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	unlink(path);
	cr_assert(fd >= 0 && ftruncate(fd, IMAGE) == 0);
	cr_assert_eq(fe_open(&fe, &sv_blk_class, &d, &fd, 1, true, idle_us), 0, "%s", fe.err.text);
	fe_start(&fe, FE_ALL, 2, QUEUE);
}

static void add(unsigned q, unsigned slot, uint32_t type, uint64_t sector, uint32_t bytes)
{
	bool in = type == VIRTIO_BLK_T_IN;
	struct vqd_buf b[3] = {{HEAD(slot), 16, false}, {BUF(slot), bytes, in}, {STATUS(slot), 1, true}};
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	int head;

	memcpy(fe.mem + HEAD(slot), &h, sizeof(h));
	fe.mem[STATUS(slot)] = 0xff;
	if (!bytes)
		b[1] = b[2];
	head = vqd_add(&fe.q[q], b, bytes ? 3 : 2, TABLE(slot));
	cr_assert_geq(head, 0);
	slot_of[q][head] = (uint8_t)slot;
}

static unsigned long long stat_of(const char *key)
{
	char *text = fe.class->stats(fe.handle), name[40];
	unsigned long long n;

	snprintf(name, sizeof(name), "\"%s\": ", key);
	cr_assert(text && strstr(text, name));
	n = strtoull(strstr(text, name) + strlen(name), NULL, 10);
	free(text);
	return n;
}

TestSuite(blk_stress, .timeout = 240);

Test(blk_stress, a_hundred_thousand_requests_while_polled_ask_for_no_kick)
{
	unsigned sent = 0, done = 0;
	uint64_t counter;

	open_disk(SV_IDLE_NEVER);
	vqd_want_call(&fe.q[0], false);
	for (; sent < DEPTH; sent++)
		add(0, sent, sent % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 16ull * sent, 4096);
	vqd_kick(&fe.q[0]);
	while (done < REQUESTS) {
		unsigned slot = slot_of[0][fe_wait(&fe, 0, NULL)];

		cr_assert_eq(fe.mem[STATUS(slot)], VIRTIO_BLK_S_OK);
		done++;
		if (sent < REQUESTS) {
			add(0, slot, sent % 3 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
				16ull * (sent % 1000), 4096);
			sent++;
			vqd_kick(&fe.q[0]);
		}
	}
	cr_assert_eq(fe.q[0].kicks, 0, "%llu kicks", (unsigned long long)fe.q[0].kicks);
	cr_assert_lt(read(fe.q[0].kick_fd, &counter, sizeof(counter)), 0, "and none arrived");
	cr_assert_eq(stat_of("kicks"), 0);
	printf("%u requests: %u kicks, %llu interrupts, %llu submissions\n", REQUESTS,
		(unsigned)fe.q[0].kicks, stat_of("interrupts"), stat_of("submits"));
	fe_close(&fe);
}

Test(blk_stress, no_request_is_lost_between_sleep_and_wake)
{
	struct timespec nap = {0};

	open_disk(200);
	srand(7);
	for (unsigned i = 0; i < 2000; i++) {
		unsigned q = i % 2;

		nap.tv_nsec = rand() % 600 * 1000;
		if (i % 4)
			nanosleep(&nap, NULL);
		add(q, i % 64, i % 5 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, i % 8192, 512);
		vqd_kick(&fe.q[q]);
		fe_wait(&fe, q, NULL);
		cr_assert_eq(fe.mem[STATUS(i % 64)], VIRTIO_BLK_S_OK);
	}
	printf("2000 requests: %llu kicks, %llu sleeps\n",
		(unsigned long long)(fe.q[0].kicks + fe.q[1].kicks),
		(unsigned long long)sv_reactor_stats(fe.reactor).sleeps);
	cr_assert_gt(sv_reactor_stats(fe.reactor).sleeps, 0);
	fe_close(&fe);
}

Test(blk_stress, interrupt_comes_when_the_driver_waits_for_it)
{
	open_disk(200);
	for (unsigned i = 0; i < 2000; i++) {
		struct timespec nap = {.tv_nsec = 20000};
		unsigned waited = 0;

		vqd_want_call(&fe.q[0], true);
		add(0, 0, VIRTIO_BLK_T_IN, i % 8192, 512);
		vqd_kick(&fe.q[0]);
		while (!vqd_calls(&fe.q[0]) && waited++ < 500000)
			nanosleep(&nap, NULL);
		cr_assert_lt(waited, 500000, "round %u", i);
		cr_assert_geq(vqd_get(&fe.q[0], NULL), 0, "the answer was there before the interrupt");
	}
	fe_close(&fe);
}

Test(blk_stress, stopping_a_queue_waits_for_what_is_in_flight)
{
	open_disk(SV_IDLE_NEVER);
	for (unsigned round = 0; round < 20; round++) {
		unsigned base, answered = 0;

		for (unsigned i = 0; i < 100; i++)
			add(0, i, i % 10 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_FLUSH, 16ull * i,
				i % 10 ? 4096 : 0);
		vqd_kick(&fe.q[0]);
		base = fe_stop_queue(&fe, 0);
		while (vqd_get(&fe.q[0], NULL) >= 0)
			answered++;
		cr_assert_eq(answered, base, "everything taken was answered");
		cr_assert_leq(base, 100);
		fe_start_queue(&fe, 0, QUEUE);
	}
	fe_close(&fe);
}

Test(blk_stress, front_end_that_goes_with_requests_in_flight_leaves_nothing)
{
	for (unsigned round = 0; round < 20; round++) {
		open_disk(SV_IDLE_NEVER);
		for (unsigned i = 0; i < 100; i++)
			add(0, i, i % 10 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_FLUSH, 16ull * i,
				i % 10 ? 4096 : 0);
		vqd_kick(&fe.q[0]);
		fe_close(&fe);
	}
}

/* Every io-wq worker of this process may run where the control thread may, and nowhere else. */
Test(blk_stress, the_kernels_workers_stay_off_other_cpus)
{
	cpu_set_t all, one, found;
	unsigned workers = 0;
	struct dirent *e;
	int cpu = -1;
	DIR *d;

	sched_getaffinity(0, sizeof(all), &all);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all))
			cpu = i;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	open_disk(SV_IDLE_NEVER);
	for (unsigned i = 0; i < 20; i++) {
		add(0, 0, i % 2 ? VIRTIO_BLK_T_FLUSH : VIRTIO_BLK_T_OUT, 0, i % 2 ? 0 : 4096);
		vqd_kick(&fe.q[0]);
		fe_wait(&fe, 0, NULL);
	}
	d = opendir("/proc/self/task");
	while ((e = readdir(d))) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && !strncmp(name, "iou-wrk", 7)) {
			workers++;
			cr_assert_eq(sched_getaffinity(atoi(e->d_name), sizeof(found), &found), 0);
			cr_assert(CPU_EQUAL(&found, &one), "worker %s", e->d_name);
		}
		fclose(f);
	}
	closedir(d);
	cr_assert_gt(workers, 0, "a flush needs one");
	fe_close(&fe);
}
