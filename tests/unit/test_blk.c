/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-blk: what a driver asks, what the image holds, what goes wrong on the host. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <io/devices.h>

#include "blk.h"
#include "front_end.h"

#define IMAGE (4u << 20)
#define SECTORS (IMAGE / 512)
#define HEAD(slot) (FE_DATA + 4096ull * (slot)) /* header, status and discard segment of a request */
#define STATUS(slot) (HEAD(slot) + 64)
#define BUF(slot) (FE_DATA + 0x200000ull + 65536ull * (slot))
#define TABLE(slot) (HEAD(slot) + 1024)

static struct fe fe;
static int image = -1;

static void open_disk(int fd, uint32_t flags, unsigned queues, bool threaded, uint64_t idle_us)
{
	struct sv_control_device d = {.kind = SV_DEVICE_BLK,
		.flags = flags,
		.queues = queues,
		.serial = "serial-0123456789AB",
		.name = "disk"};

	image = dup(fd);
	cr_assert_eq(fe_open(&fe, &sv_blk_class, &d, &fd, 1, threaded, idle_us), 0, "%s",
		fe.err.text);
}

static int temporary(off_t size, int flags)
{
	char path[] = "/tmp/sidevisor-blk-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC), again;

	cr_assert(fd >= 0 && ftruncate(fd, size) == 0);
	again = open(path, O_CLOEXEC | flags);
	unlink(path);
	close(fd);
	return again;
}

static void up(void)
{
	open_disk(temporary(IMAGE, O_RDWR), SV_DEVICE_F_DISCARD, 4, false, 0);
	fe_start(&fe, FE_ALL, 4, 128);
}

static void down(void)
{
	fe_close(&fe);
	close(image);
}

TestSuite(blk, .init = up, .fini = down, .timeout = 120);

static void head(unsigned slot, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};

	memcpy(fe.mem + HEAD(slot), &h, sizeof(h));
	fe.mem[STATUS(slot)] = 0xff;
}

/* Add one request with a single data buffer; does not kick. */
static void add(unsigned q, unsigned slot, uint32_t type, uint64_t sector, uint32_t bytes)
{
	struct vqd_buf b[3] = {{HEAD(slot), 16, false},
		{BUF(slot), bytes, type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID},
		{STATUS(slot), 1, true}};

	head(slot, type, sector);
	if (!bytes)
		b[1] = b[2];
	cr_assert_geq(vqd_add(&fe.q[q], b, bytes ? 3 : 2, TABLE(slot)), 0);
}

static uint8_t ask(uint32_t type, uint64_t sector, uint32_t bytes)
{
	add(0, 0, type, sector, bytes);
	vqd_kick(&fe.q[0]);
	fe_wait(&fe, 0, NULL);
	return fe.mem[STATUS(0)];
}

/* --- interrupts ------------------------------------------------------------------------------- */

/* Turns for so long, far more than an interrupt is waited for. */
static void turns(void)
{
	struct timespec begin, now;
	int64_t ns;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		sv_reactor_turn(fe.reactor);
		clock_gettime(CLOCK_MONOTONIC, &now);
		ns = (now.tv_sec - begin.tv_sec) * 1000000000ll + now.tv_nsec - begin.tv_nsec;
	} while (ns < 100 * SV_VIRTQ_AGAIN_NS);
}

static void call_through(int fd, uint64_t flags)
{
	union vu_payload reply;

	cr_assert_gt(fe_call(&fe, VU_SET_VRING_CALL, VU_FLAG_NEED_REPLY, &flags, sizeof(flags), &fd, fd >= 0,
			     &reply), 0);
	cr_assert_eq(reply.u64, 0);
	turns();
}

static unsigned long long complete_one(void)
{
	unsigned long long before = fe_stat(&fe, "interrupts");

	vqd_want_call(&fe.q[0], true);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	turns();
	return fe_stat(&fe, "interrupts") - before;
}

Test(blk, an_interrupt_after_which_nothing_comes_is_repeated_through_sockets_alone)
{
	unsigned long long again;
	uint64_t messages[8];
	int pair[2];

	cr_assert_eq(complete_one(), 1);
	cr_assert_eq(fe_stat(&fe, "interrupts_again"), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	call_through(pair[1], 0);
	again = fe_stat(&fe, "interrupts_again");
	while (recv(pair[0], messages, sizeof(messages), 0) > 0)
		;
	cr_assert_eq(complete_one(), 2, "once more, and no oftener");
	cr_assert_eq(recv(pair[0], messages, sizeof(messages), 0), 2 * sizeof(messages[0]));
	cr_assert_eq(fe_stat(&fe, "interrupts_again"), ++again);
	call_through(-1, VU_VRING_NO_FD);
	cr_assert_eq(complete_one(), 0, "nobody to interrupt");
	call_through(fe.q[0].call_fd, 0);
	vqd_calls(&fe.q[0]);
	cr_assert_eq(complete_one(), 1);
	cr_assert_eq(vqd_calls(&fe.q[0]), 1);
	cr_assert_eq(fe_stat(&fe, "interrupts_again"), again);
	close(pair[0]);
	close(pair[1]);
}

/* --- size ------------------------------------------------------------------------------------- */

static uint64_t capacity(void)
{
	struct vu_config ask = {.size = 8};
	union vu_payload reply;
	uint64_t sectors;

	cr_assert_gt(fe_call(&fe, VU_GET_CONFIG, 0, &ask, VU_CONFIG_HEADER + 8, NULL, 0, &reply), 0);
	memcpy(&sectors, reply.config.bytes, sizeof(sectors));
	return sectors;
}

static int set_size(const char *text, const char *words)
{
	struct sv_error err = {""};
	int rc = fe.class->set(fe.handle, "size", text, &err);

	cr_assert(!words || strstr(err.text, words), "%s: %s", text, err.text);
	return rc;
}

Test(blk, a_disk_grows_while_it_is_used_and_the_driver_is_told)
{
	uint32_t head[3] = {0};
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fe_call(&fe, VU_SET_BACKEND_REQ_FD, 0, NULL, 0, &pair[1], 1, NULL);
	fe_pump(&fe);
	cr_assert_eq(capacity(), SECTORS);
	cr_assert_eq(ask(VIRTIO_BLK_T_OUT, SECTORS, 512), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(set_size("8M", NULL), 0);
	cr_assert_eq(recv(pair[0], head, sizeof(head), MSG_DONTWAIT), (ssize_t)sizeof(head));
	cr_assert_eq(head[0], VU_BACKEND_CONFIG_CHANGE);
	cr_assert_eq(capacity(), 2 * SECTORS);
	cr_assert_eq(ask(VIRTIO_BLK_T_OUT, 2 * SECTORS - 1, 512), VIRTIO_BLK_S_OK);
	cr_assert_eq(ask(VIRTIO_BLK_T_OUT, 2 * SECTORS, 512), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(ftruncate(image, 3 * IMAGE), 0);
	cr_assert_eq(set_size("max", NULL), 0); /* grown by somebody else */
	cr_assert_eq(capacity(), 3 * SECTORS);
	close(pair[0]);
	cr_assert_eq(set_size("13M", NULL), 0); /* and nobody listens */
}

Test(blk, a_size_that_cannot_be_is_refused_with_a_reason)
{
	cr_assert_eq(set_size("1M", "cannot shrink"), -EINVAL);
	cr_assert_eq(set_size("4194305", "whole number of 512-byte sectors"), -EINVAL);
	cr_assert_eq(set_size("8X", "write a number of bytes"), -EINVAL);
	cr_assert_eq(set_size("", "write a number of bytes"), -EINVAL);
	cr_assert_eq(set_size("-8M", "write a number of bytes"), -EINVAL);
	cr_assert_eq(set_size("99999999999999999999", "write a number of bytes"), -EINVAL);
	cr_assert_eq(set_size("16777216T", "write a number of bytes"), -EINVAL);
	cr_assert_eq(capacity(), SECTORS);
}

/* --- data ------------------------------------------------------------------------------------ */

/* One transfer in pieces of odd sizes, through the table or the ring itself. */
static void transfer(unsigned q, uint32_t type, uint64_t sector, uint32_t bytes, bool indirect)
{
	struct vqd_buf b[64] = {{HEAD(0), 16, false}};
	uint32_t at = 0;
	unsigned n = 1, odd = (unsigned)rand() % 2;

	head(0, type, sector);
	while (at < bytes) {
		uint32_t k = n > 60 ? bytes - at : 1 + (uint32_t)rand() % (bytes / 2 + 1);

		k = k > bytes - at ? bytes - at : k;
		b[n++] = (struct vqd_buf){BUF(0) + odd + at, k, type == VIRTIO_BLK_T_IN};
		at += k;
	}
	b[n++] = (struct vqd_buf){STATUS(0), 1, true};
	memmove(fe.mem + BUF(0) + odd, fe.mem + BUF(0), bytes);
	cr_assert_geq(vqd_add(&fe.q[q], b, n, indirect ? TABLE(0) : 0), 0);
	vqd_kick(&fe.q[q]);
	fe_wait(&fe, q, &at);
	cr_assert_eq(fe.mem[STATUS(0)], VIRTIO_BLK_S_OK);
	cr_assert_eq(at, type == VIRTIO_BLK_T_IN ? bytes + 1 : 1);
	memmove(fe.mem + BUF(0), fe.mem + BUF(0) + odd, bytes);
}

static void random_transfers(unsigned rounds)
{
	uint8_t *shadow = calloc(1, IMAGE);

	srand(42);
	for (unsigned i = 0; i < rounds; i++) {
		uint32_t sectors = 1 + (uint32_t)rand() % 64;
		uint64_t sector = (uint64_t)rand() % (SECTORS - sectors);
		bool write = rand() % 2;

		for (uint32_t k = 0; write && k < sectors * 512; k++)
			fe.mem[BUF(0) + k] = (uint8_t)rand();
		if (write)
			memcpy(shadow + sector * 512, fe.mem + BUF(0), sectors * 512);
		transfer((unsigned)rand() % 4, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector,
			sectors * 512, rand() % 2);
		cr_assert_eq(memcmp(shadow + sector * 512, fe.mem + BUF(0), sectors * 512), 0,
			"round %u", i);
	}
	for (uint64_t at = 0; at < IMAGE; at += 65536) {
		cr_assert_eq(pread(image, fe.mem + BUF(1), 65536, (off_t)at), 65536);
		cr_assert_eq(memcmp(fe.mem + BUF(1), shadow + at, 65536), 0, "the image at %llu",
			(unsigned long long)at);
	}
	free(shadow);
}

Test(blk, random_transfers_in_odd_pieces_match_a_shadow)
{
	random_transfers(600);
	cr_assert_eq(fe_stat(&fe, "errors"), 0);
}

Test(blk, direct_image_serves_unaligned_buffers)
{
	int fd = temporary(IMAGE, O_RDWR | O_DIRECT);

	if (fd < 0) {
		printf("SKIPPED BECAUSE /tmp has no O_DIRECT: %s\n", strerror(errno));
		cr_skip_test();
	}
	down();
	open_disk(fd, SV_DEVICE_F_DIRECT, 4, false, 0);
	fe_start(&fe, FE_ALL, 4, 128);
	random_transfers(300);
	cr_assert(fe_stat(&fe, "bounced") > 0 || !(fcntl(image, F_GETFL) & O_DIRECT));
	cr_assert_eq(fe_stat(&fe, "errors"), 0);
}

Test(blk, more_unaligned_requests_than_bounce_buffers_all_end)
{
	int fd = temporary(IMAGE, O_RDWR | O_DIRECT);

	if (fd < 0) {
		printf("SKIPPED BECAUSE /tmp has no O_DIRECT: %s\n", strerror(errno));
		cr_skip_test();
	}
	down();
	open_disk(fd, SV_DEVICE_F_DIRECT, 1, false, 0);
	fe_start(&fe, FE_ALL, 1, 128);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned s = 0; s < 40; s++) {
			struct vqd_buf b[3] = {{HEAD(s), 16, false}, {BUF(s) + 3, 8192, round % 2},
				{STATUS(s), 1, true}};

			head(s, round % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 16 * s);
			memset(fe.mem + BUF(s) + 3, round % 2 ? 0 : (int)(round + s), 8192);
			vqd_add(&fe.q[0], b, 3, TABLE(s));
		}
		vqd_kick(&fe.q[0]);
		for (unsigned s = 0; s < 40; s++)
			fe_wait(&fe, 0, NULL);
		for (unsigned s = 0; s < 40; s++) {
			cr_assert_eq(fe.mem[STATUS(s)], VIRTIO_BLK_S_OK);
			cr_assert_eq(fe.mem[BUF(s) + 3 + 8191], (uint8_t)((round & ~1u) + s));
		}
	}
}

/* --- what else a driver asks ----------------------------------------------------------------- */

Test(blk, serial_is_given)
{
	cr_assert_eq(ask(VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	cr_assert_str_eq((char *)fe.mem + BUF(0), "serial-0123456789AB");
}

Test(blk, flush_ends_well_and_unknown_types_are_unsupported)
{
	cr_assert_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	cr_assert_eq(fe_stat(&fe, "flushes"), 1);
	cr_assert_eq(ask(VIRTIO_BLK_T_SCSI_CMD, 0, 512), VIRTIO_BLK_S_UNSUPP);
	cr_assert_eq(ask(0xdeadbeef, 0, 512), VIRTIO_BLK_S_UNSUPP);
	cr_assert_eq(fe_stat(&fe, "unsupported"), 2);
}

Test(blk, ranges_beyond_the_disk_are_errors)
{
	static const uint64_t sector[] = {SECTORS, SECTORS - 1, UINT64_MAX, UINT64_MAX / 512,
		UINT64_MAX / 512 + 1, 1ull << 55};

	for (unsigned i = 0; i < sizeof(sector) / sizeof(sector[0]); i++) {
		cr_assert_eq(ask(VIRTIO_BLK_T_IN, sector[i], 1024), VIRTIO_BLK_S_IOERR, "%u", i);
		cr_assert_eq(ask(VIRTIO_BLK_T_OUT, sector[i], 1024), VIRTIO_BLK_S_IOERR, "%u", i);
	}
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 511), VIRTIO_BLK_S_IOERR, "not whole sectors");
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_IOERR, "nothing to read");
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, SECTORS - 1, 512), VIRTIO_BLK_S_OK);
}

Test(blk, request_without_room_for_a_status_breaks_only_its_queue)
{
	struct vqd_buf b = {HEAD(0), 16, false};

	vqd_add(&fe.q[1], &b, 1, 0);
	vqd_kick(&fe.q[1]);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	cr_assert_eq(fe_stat(&fe, "defects"), 1);
}

static uint8_t range(uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes seg = {
		.sector = sector, .num_sectors = n, .flags = flags};

	memcpy(fe.mem + BUF(0), &seg, sizeof(seg));
	return ask(type, 0, sizeof(seg));
}

static uint8_t byte_at(uint64_t at)
{
	uint8_t b = 0xee;

	cr_assert_eq(pread(image, &b, 1, (off_t)at), 1);
	return b;
}

Test(blk, discard_and_write_zeroes_leave_zeros_and_nothing_else)
{
	struct stat before, after;

	for (unsigned i = 0; i < IMAGE / 65536; i++) {
		memset(fe.mem + BUF(0), 0xaa, 65536);
		cr_assert_eq(ask(VIRTIO_BLK_T_OUT, i * 128, 65536), VIRTIO_BLK_S_OK);
	}
	cr_assert_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	fstat(image, &before);
	cr_assert_eq(range(VIRTIO_BLK_T_DISCARD, 128, 1024, 0), VIRTIO_BLK_S_OK);
	fstat(image, &after);
	cr_assert_lt(after.st_blocks, before.st_blocks, "discard gives storage back");
	cr_assert_eq(byte_at(128 * 512 - 1), 0xaa);
	cr_assert_eq(byte_at(128 * 512), 0);
	cr_assert_eq(byte_at((128 + 1024) * 512), 0xaa);
	uint8_t rc = range(VIRTIO_BLK_T_WRITE_ZEROES, 2000, 24, 0);

	if (rc != VIRTIO_BLK_S_UNSUPP) { /* a file system without ZERO_RANGE may say so */
		cr_assert_eq(rc, VIRTIO_BLK_S_OK);
		cr_assert_eq(byte_at(2000 * 512), 0);
		cr_assert_eq(byte_at(2024 * 512 - 1), 0);
		cr_assert_eq(byte_at(2024 * 512), 0xaa);
	}
	cr_assert_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 4000, 8, 1), VIRTIO_BLK_S_OK);
	cr_assert_eq(byte_at(4000 * 512), 0);
	fstat(image, &after);
	cr_assert_eq(after.st_size, IMAGE);
}

Test(blk, bad_discards_are_refused)
{
	cr_assert_eq(range(VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP, "unmap");
	cr_assert_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP, "reserved");
	cr_assert_eq(range(VIRTIO_BLK_T_DISCARD, 0, 0, 0), VIRTIO_BLK_S_IOERR, "nothing");
	cr_assert_eq(range(VIRTIO_BLK_T_DISCARD, SECTORS, 8, 0), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(range(VIRTIO_BLK_T_DISCARD, UINT64_MAX, 8, 0), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(range(VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 32), VIRTIO_BLK_S_IOERR, "two segments");
	cr_assert_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 0), VIRTIO_BLK_S_IOERR, "no segment");
}

Test(blk, read_only_disk_refuses_every_change)
{
	union vu_payload reply;

	down();
	open_disk(temporary(IMAGE, O_RDONLY), SV_DEVICE_F_READONLY | SV_DEVICE_F_DISCARD, 1, false, 0);
	fe_start(&fe, FE_ALL, 1, 128);
	cr_assert_eq(fe_call(&fe, VU_GET_FEATURES, 0, NULL, 0, NULL, 0, &reply), 8);
	cr_assert(reply.u64 & (1u << VIRTIO_BLK_F_RO));
	cr_assert_not(reply.u64 & (1u << VIRTIO_BLK_F_DISCARD));
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	cr_assert_eq(ask(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(range(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	cr_assert_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

Test(blk, write_cache_can_be_switched_and_is_off_for_a_driver_that_cannot_flush)
{
	struct vu_config c = {.offset = offsetof(struct virtio_blk_config, wce), .size = 1};
	union vu_payload reply;

	fe_call(&fe, VU_GET_CONFIG, 0, &c, VU_CONFIG_HEADER + 1, NULL, 0, &reply);
	cr_assert_eq(reply.config.bytes[0], 1);
	cr_assert_eq(ask(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	cr_assert_eq(fe_call(&fe, VU_SET_CONFIG, VU_FLAG_NEED_REPLY, &c, VU_CONFIG_HEADER + 1, NULL, 0,
			     &reply), 8);
	cr_assert_eq(reply.u64, 0);
	fe_call(&fe, VU_GET_CONFIG, 0, &c, VU_CONFIG_HEADER + 1, NULL, 0, &reply);
	cr_assert_eq(reply.config.bytes[0], 0);
	cr_assert_eq(ask(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	cr_assert_eq(range(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_OK);
	c.offset = 0;
	fe_call(&fe, VU_SET_CONFIG, 0, &c, VU_CONFIG_HEADER + 1, NULL, 0, &reply);
	cr_assert(fe_dropped(&fe), "the capacity is not the driver's");
}

/* --- the host's storage goes wrong ----------------------------------------------------------- */

Test(blk, image_that_shrank_gives_errors_and_is_counted)
{
	cr_assert_eq(ftruncate(image, 512), 0);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_IOERR);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 1024), VIRTIO_BLK_S_IOERR, "the second half is gone");
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	cr_assert_eq(fe_stat(&fe, "errors"), 2);
}

Test(blk, full_host_file_system_is_an_error_to_the_guest_and_loses_nothing)
{
	char dir[] = "/tmp/sidevisor-full-XXXXXX", path[64];
	unsigned good = 0, bad = 0;
	int fd;

	cr_assert(mkdtemp(dir) != NULL);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", dir, "tmpfs", 0, "size=1m") < 0) {
		rmdir(dir);
		printf("SKIPPED BECAUSE mounting a small tmpfs needs root: %s\n", strerror(errno));
		cr_skip_test();
	}
	snprintf(path, sizeof(path), "%s/image", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && ftruncate(fd, IMAGE) == 0);
	down();
	open_disk(fd, 0, 1, false, 0);
	fe_start(&fe, FE_ALL, 1, 128);
	for (unsigned i = 0; i < 32; i++) {
		memset(fe.mem + BUF(0), (int)i + 1, 65536);
		*(ask(VIRTIO_BLK_T_OUT, i * 128, 65536) == VIRTIO_BLK_S_OK ? &good : &bad) += 1;
	}
	cr_assert_geq(good, 12, "about 1 MiB fits");
	cr_assert_geq(bad, 8);
	cr_assert_eq(fe_stat(&fe, "errors"), bad);
	for (unsigned i = 0; i < good; i++) {
		cr_assert_eq(ask(VIRTIO_BLK_T_IN, i * 128, 65536), VIRTIO_BLK_S_OK);
		cr_assert_eq(fe.mem[BUF(0)], i + 1);
		cr_assert_eq(fe.mem[BUF(0) + 65535], i + 1);
	}
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

Test(blk, images_that_are_none_are_refused_with_a_sentence)
{
	struct sv_control_device d = {.kind = SV_DEVICE_BLK, .queues = 1, .name = "disk"};
	int pipes[2], empty = temporary(0, O_RDWR), zero = temporary(IMAGE, O_RDWR);
	struct fe other;

	cr_assert_eq(pipe(pipes), 0);
	cr_assert_lt(fe_open(&other, &sv_blk_class, &d, &pipes[0], 1, false, 0), 0);
	cr_assert(strlen(other.err.text) > 0);
	fe_close(&other);
	cr_assert_lt(fe_open(&other, &sv_blk_class, &d, &empty, 1, false, 0), 0);
	cr_assert(strstr(other.err.text, "empty"));
	fe_close(&other);
	d.queues = 0;
	cr_assert_lt(fe_open(&other, &sv_blk_class, &d, &zero, 1, false, 0), 0);
	fe_close(&other);
	close(pipes[0]);
	close(pipes[1]);
	close(empty);
	close(zero);
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

Test(blk, nothing_stays_open_after_detach)
{
	unsigned before;

	down();
	before = open_fds();
	for (unsigned i = 0; i < 5; i++) {
		up();
		cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
		down();
	}
	cr_assert_eq(open_fds(), before);
	up();
}

/* More than there are slots on one queue, and slow: the other queue's turn comes all the same. */
Test(blk, a_deep_queue_does_not_keep_another_from_its_turn)
{
	struct sv_poller *p;
	unsigned done = 0;

	fe_close(&fe);
	close(image);
	open_disk(temporary(IMAGE, O_RDWR), 0, 2, false, 0);
	fe_start(&fe, FE_ALL, 2, 1024);
	p = &((struct blk *)fe.handle)->session.poller;
	for (unsigned i = 0; i < 1024; i++)
		add(0, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
	vqd_kick(&fe.q[0]);
	add(1, 1, VIRTIO_BLK_T_IN, 0, 512);
	vqd_kick(&fe.q[1]);
	while (vqd_get(&fe.q[1], NULL) < 0 && done < 1024) {
		p->ops->poll(p, 1024);
		while (vqd_get(&fe.q[0], NULL) >= 0)
			done++;
		sched_yield();
	}
	cr_expect_leq(done, 2 * BLK_SLOTS, "%u requests of the other queue came first", done);
	cr_expect_eq(fe.mem[STATUS(1)], VIRTIO_BLK_S_OK);
	while (done < 1024) {
		fe_wait(&fe, 0, NULL);
		done++;
	}
}
