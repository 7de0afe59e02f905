/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two disks on one sidecore. The front end of one dies, stalls, or sends what makes no sense; the other
 * one's requests go on and come back right, and a third is served afterwards.
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <io/devices.h>

#include "front_end.h"

#define IMAGE (4u << 20)
#define QUEUE 256u
#define SLOTS 16u
#define HEAD(slot) (FE_DATA + 4096ull * (slot))
#define STATUS(slot) (HEAD(slot) + 64)
#define BUF(slot) (FE_DATA + 0x200000ull + 4096ull * (slot))
#define TABLE (FE_DATA + 0x400000ull)

static struct fe good, bad;
static unsigned round_of_good;

static int image(void)
{
	char path[] = "/tmp/sidevisor-neighbours-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	cr_assert(fd >= 0 && ftruncate(fd, IMAGE) == 0);
	unlink(path);
	return fd;
}

static void open_one(struct fe *fe, const char *name)
{
	struct sv_control_device d = {.kind = SV_DEVICE_BLK, .queues = 2};
	int fd = image(), rc;

	snprintf(d.name, sizeof(d.name), "%s", name);
	rc = fe == &good ? fe_open(fe, &sv_blk_class, &d, &fd, 1, true, 500)
			 : fe_open_with(fe, &good, &sv_blk_class, &d, &fd, 1);
	cr_assert_eq(rc, 0, "%s", fe->err.text);
	fe_start(fe, FE_ALL, 2, QUEUE);
}

static void put(struct fe *fe, unsigned queue, unsigned slot, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr *h = (void *)(fe->mem + HEAD(slot));
	struct vqd_buf b[3] = {{HEAD(slot), sizeof(*h), false},
		{BUF(slot), 4096, type == VIRTIO_BLK_T_IN}, {STATUS(slot), 1, true}};

	*h = (struct virtio_blk_outhdr){.type = type, .sector = sector};
	fe->mem[STATUS(slot)] = 0xff;
	cr_assert_geq(vqd_add(&fe->q[queue], b, 3, 0), 0);
}

static void good_round(uint32_t type)
{
	for (unsigned s = 0; s < SLOTS; s++) {
		memset(good.mem + BUF(s), type == VIRTIO_BLK_T_OUT ? (int)(round_of_good + s) : 0xee, 4096);
		put(&good, s % 2, s, type, 8 * s);
	}
	vqd_kick(&good.q[0]);
	vqd_kick(&good.q[1]);
	for (unsigned s = 0; s < SLOTS; s++)
		fe_wait(&good, s % 2, NULL);
	for (unsigned s = 0; s < SLOTS; s++) {
		cr_assert_eq(good.mem[STATUS(s)], VIRTIO_BLK_S_OK);
		cr_assert_eq(good.mem[BUF(s)], (uint8_t)(round_of_good + s));
		cr_assert_eq(good.mem[BUF(s) + 4095], (uint8_t)(round_of_good + s));
	}
}

/* What was written is read back. */
static void good_goes_on(void)
{
	round_of_good++;
	good_round(VIRTIO_BLK_T_OUT);
	good_round(VIRTIO_BLK_T_IN);
	cr_assert_not(fe_dropped(&good));
}

static void load(struct fe *fe)
{
	for (unsigned s = 0; s < 20; s++)
		put(fe, 0, s, s % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 8 * s);
	vqd_kick(&fe->q[0]);
}

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* --- what the other one does ----------------------------------------------------------------- */

static void dies(void)
{
	shutdown(bad.sock, SHUT_RDWR);
}

static void dies_with_requests_out(void)
{
	load(&bad);
	usleep(200); /* the sidecore takes some of it */
	shutdown(bad.sock, SHUT_RDWR);
}

static void dies_within_a_message(void)
{
	struct vu_header h = {.request = VU_SET_FEATURES, .flags = VU_VERSION, .size = 8};

	load(&bad);
	cr_assert_eq(send(bad.sock, &h, 7, 0), 7);
	fe_pump(&bad);
	shutdown(bad.sock, SHUT_RDWR);
}

static void stalls_within_a_message(void)
{
	struct vu_header h = {.request = VU_SET_FEATURES, .flags = VU_VERSION, .size = 8};

	load(&bad);
	cr_assert_eq(send(bad.sock, &h, sizeof(h), 0), sizeof(h));
}

static void takes_nothing_back(void)
{
	for (unsigned s = 0; s < 21; s++)
		put(&bad, 1, s, VIRTIO_BLK_T_IN, 0);
	vqd_kick(&bad.q[1]);
}

static void asks_for_ever_without_kicks(void)
{
	put(&bad, 1, 0, VIRTIO_BLK_T_IN, 0);
	vqd_publish(&bad.q[1]);
}

static void speaks_rubbish(void)
{
	static const char rubbish[64] = "GET / HTTP/1.1\r\nHost: sidecore\r\n\r\n";

	cr_assert_eq(send(bad.sock, rubbish, sizeof(rubbish), 0), sizeof(rubbish));
}

static void takes_its_memory_away(void)
{
	struct vu_memory m = {.n = 1, .region[0] = {.gpa = 0, .size = 4096, .user_addr = FE_USER}};

	load(&bad);
	usleep(200); /* the sidecore takes some of it */
	fe_call(&bad, VU_SET_MEM_TABLE, 0, &m, VU_MEMORY_HEADER + sizeof(m.region[0]), &bad.memfd, 1, NULL);
}

/* --- chains ---------------------------------------------------------------------------------- */

static void chain(const struct vring_desc *d, unsigned n)
{
	memcpy(bad.q[0].desc, d, n * sizeof(d[0]));
	bad.q[0].avail->ring[0] = 0;
	__atomic_store_n(&bad.q[0].avail->idx, (uint16_t)(bad.q[0].avail->idx + 1), __ATOMIC_RELEASE);
}

static void sends_a_loop(void)
{
	struct vring_desc d[2] = {{HEAD(0), 16, VRING_DESC_F_NEXT, 1}, {HEAD(1), 16, VRING_DESC_F_NEXT, 0}};

	chain(d, 2);
}

static void points_outside_memory(void)
{
	struct vring_desc d[3] = {{HEAD(0), 16, VRING_DESC_F_NEXT, 1},
		{FE_MEM - 100, 4096, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2},
		{STATUS(0), 1, VRING_DESC_F_WRITE, 0}};

	chain(d, 3);
}

static void points_around_the_end_of_addresses(void)
{
	struct vring_desc d[3] = {{HEAD(0), 16, VRING_DESC_F_NEXT, 1},
		{UINT64_MAX - 10, 4096, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2},
		{STATUS(0), 1, VRING_DESC_F_WRITE, 0}};

	chain(d, 3);
}

static void asks_for_four_gibibytes(void)
{
	struct vring_desc d[3] = {{HEAD(0), 16, VRING_DESC_F_NEXT, 1},
		{BUF(0), UINT32_MAX, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2},
		{STATUS(0), 1, VRING_DESC_F_WRITE, 0}};

	chain(d, 3);
}

static void names_a_descriptor_that_is_none(void)
{
	struct vring_desc d[1] = {{HEAD(0), 16, VRING_DESC_F_NEXT, QUEUE + 1000}};

	chain(d, 1);
}

static void nests_tables(void)
{
	struct vring_desc d[1] = {{TABLE, 32, VRING_DESC_F_INDIRECT, 0}};
	struct vring_desc *table = (void *)(bad.mem + TABLE);

	table[0] = (struct vring_desc){TABLE, 32, VRING_DESC_F_INDIRECT, 0};
	chain(d, 1);
}

static void has_a_table_of_64_mebibytes(void)
{
	struct vring_desc d[1] = {{TABLE, 64u << 20, VRING_DESC_F_INDIRECT, 0}};

	chain(d, 1);
}

static void has_nowhere_for_the_status(void)
{
	struct vring_desc d[1] = {{HEAD(0), 16, 0, 0}};

	chain(d, 1);
}

static void makes_more_available_than_there_is(void)
{
	bad.q[0].avail->idx += 5000;
}

static const struct {
	const char *name;
	void (*act)(void);
} acts[] = {
	{"dies", dies},
	{"dies with requests out", dies_with_requests_out},
	{"dies within a message", dies_within_a_message},
	{"stalls within a message", stalls_within_a_message},
	{"takes nothing back", takes_nothing_back},
	{"does not kick", asks_for_ever_without_kicks},
	{"speaks rubbish", speaks_rubbish},
	{"takes its memory away", takes_its_memory_away},
	{"sends a loop", sends_a_loop},
	{"points outside memory", points_outside_memory},
	{"points around the end of addresses", points_around_the_end_of_addresses},
	{"asks for 4 GiB", asks_for_four_gibibytes},
	{"names a descriptor that is none", names_a_descriptor_that_is_none},
	{"nests tables", nests_tables},
	{"has a table of 64 MiB", has_a_table_of_64_mebibytes},
	{"has nowhere for the status", has_nowhere_for_the_status},
	{"makes too much available", makes_more_available_than_there_is},
};

Test(neighbours, what_one_front_end_does_is_its_own_devices_matter, .timeout = 120)
{
	unsigned before;

	open_one(&good, "good");
	good_goes_on();
	before = descriptors();
	for (unsigned i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		for (unsigned loaded = 0; loaded < 2; loaded++) {
			open_one(&bad, "bad");
			if (loaded)
				load(&bad);
			acts[i].act();
			for (unsigned k = 0; k < 3; k++) {
				good_goes_on();
				fe_pump(&bad);
			}
			fe_close(&bad);
			good_goes_on();
			cr_assert_eq(descriptors(), before, "one that %s leaves descriptors", acts[i].name);
		}
	open_one(&bad, "another");
	put(&bad, 0, 0, VIRTIO_BLK_T_IN, 0);
	vqd_kick(&bad.q[0]);
	fe_wait(&bad, 0, NULL);
	cr_assert_eq(bad.mem[STATUS(0)], VIRTIO_BLK_S_OK);
	fe_close(&bad);
	fe_close(&good);
}
