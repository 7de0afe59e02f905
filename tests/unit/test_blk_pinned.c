/* SPDX-License-Identifier: BSD-3-Clause */
/* Disks whose ring knows the guest's memory, or polls for completions: right data, and who may not. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <io/blk_export.h>
#include <io/devices.h>

#include "blk.h"
#include "blk_raw.h"
#include "front_end.h"

#define IMAGE (4u << 20)
#define MORE 65536u

static struct fe fe;
static int image = -1, written;

static int open_disk(uint32_t flags, int open_flags)
{
	struct sv_control_device d = {
		.kind = SV_DEVICE_BLK, .flags = flags, .queues = 1, .name = "disk"};
	char path[] = "/tmp/sidevisor-pinned-XXXXXX";
	static const uint8_t zeroes[65536];
	int fd = mkostemp(path, O_CLOEXEC), rc;

	cr_assert(fd >= 0 && ftruncate(fd, IMAGE) == 0);
	for (unsigned at = 0; written && at < IMAGE; at += sizeof(zeroes))
		cr_assert_eq(pwrite(fd, zeroes, sizeof(zeroes), at), (ssize_t)sizeof(zeroes));
	cr_assert_eq(fsync(fd), 0);
	image = fd;
	fd = open(path, O_RDWR | O_CLOEXEC | open_flags);
	unlink(path);
	if (fd < 0)
		cr_skip_test("SKIPPED BECAUSE /tmp has no O_DIRECT");
	rc = fe_open(&fe, &sv_blk_class, &d, &fd, 1, false, 0);
	if (rc < 0)
		close(fd);
	return rc;
}

static void start(uint32_t flags)
{
	cr_assert_eq(open_disk(flags | SV_DEVICE_F_DIRECT | SV_DEVICE_F_DISCARD, O_DIRECT), 0, "%s",
		fe.err.text);
	fe_start(&fe, FE_ALL, 1, 64);
}

static void down(void)
{
	if (fe.class)
		fe_close(&fe);
	close(image);
}

TestSuite(pinned, .fini = down, .timeout = 60);

static uint8_t ask(uint32_t type, uint64_t sector, uint64_t gpa, uint32_t bytes)
{
	struct virtio_blk_outhdr head = {.type = type, .sector = sector};
	struct vqd_buf b[3] = {{FE_DATA, 16, false}, {gpa, bytes, type == VIRTIO_BLK_T_IN},
		{FE_DATA + 16, 1, true}};

	memcpy(fe.mem + FE_DATA, &head, sizeof(head));
	fe.mem[FE_DATA + 16] = 0xff;
	cr_assert_geq(vqd_add(&fe.q[0], b, 3, 0), 0);
	vqd_kick(&fe.q[0]);
	fe_wait(&fe, 0, NULL);
	return fe.mem[FE_DATA + 16];
}

static unsigned long long stat_of(const char *key)
{
	char *text = fe.class->stats(fe.handle), name[40];
	unsigned long long n;

	snprintf(name, sizeof(name), "\"%s\": ", key);
	cr_assert(text && strstr(text, name), "%s in %s", key, text);
	n = strtoull(strstr(text, name) + strlen(name), NULL, 10);
	free(text);
	return n;
}

/* Was O_DIRECT taken away, as on storage with large sectors? */
static bool is_direct(void)
{
	return ((struct raw *)((struct blk *)fe.handle)->store)->direct;
}

static void transfers_are_right(void)
{
	static uint8_t shadow[IMAGE];

	srand(1);
	memset(shadow, 0, sizeof(shadow));
	for (unsigned i = 0; i < 300; i++) {
		uint32_t bytes = 512 * (1 + (uint32_t)rand() % 32);
		uint64_t at = 512 * ((uint64_t)rand() % ((IMAGE - bytes) / 512));
		uint64_t gpa = 0x200000 + 512 * ((uint64_t)rand() % 64) + (rand() % 4 ? 0 : 7);

		if (i % 2) {
			cr_assert_eq(ask(VIRTIO_BLK_T_IN, at / 512, gpa, bytes), VIRTIO_BLK_S_OK);
			cr_assert_arr_eq(fe.mem + gpa, shadow + at, bytes);
			continue;
		}
		for (uint32_t k = 0; k < bytes; k++)
			shadow[at + k] = fe.mem[gpa + k] = (uint8_t)rand();
		cr_assert_eq(ask(VIRTIO_BLK_T_OUT, at / 512, gpa, bytes), VIRTIO_BLK_S_OK);
	}
	cr_assert_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0x200000, 1), VIRTIO_BLK_S_OK);
	cr_assert_eq(stat_of("errors"), 0);
}

Test(pinned, transfers_in_pinned_memory_are_right)
{
	start(SV_DEVICE_F_PINNED);
	transfers_are_right();
	cr_assert(stat_of("pinned") > 150 || !is_direct());
}

/* Another file at the same place is other memory, whatever the ring knew of it. */
Test(pinned, memory_that_comes_and_goes_is_registered_anew)
{
	struct vu_slot slot = {.region = {.gpa = FE_MEM, .size = MORE, .user_addr = FE_USER + FE_MEM}};
	union vu_payload reply;

	start(SV_DEVICE_F_PINNED);
	for (int i = 0; i < 4; i++) {
		int fd = memfd_create("more", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		unsigned long long before = stat_of("pinned");
		uint8_t *more;

		cr_assert_eq(ftruncate(fd, MORE), 0);
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
		more = mmap(NULL, MORE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		fe_call(&fe, VU_ADD_MEM_REG, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), &fd, 1, &reply);
		cr_assert_eq(reply.u64, 0);
		memset(fe.mem + 0x200000, 10 + i, 4096);
		cr_assert_eq(ask(VIRTIO_BLK_T_OUT, 8, 0x200000, 4096), VIRTIO_BLK_S_OK);
		cr_assert_eq(ask(VIRTIO_BLK_T_IN, 8, FE_MEM + MORE - 4096, 4096), VIRTIO_BLK_S_OK);
		cr_assert_eq(more[MORE - 4096], 10 + i);
		cr_assert_eq(more[MORE - 1], 10 + i);
		cr_assert(stat_of("pinned") == before + 2 || !is_direct());
		fe_call(&fe, VU_REM_MEM_REG, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), NULL, 0, &reply);
		cr_assert_eq(reply.u64, 0);
		munmap(more, MORE);
		close(fd);
	}
}

Test(pinned, without_leave_to_lock_memory_transfers_go_without)
{
	const struct rlimit little = {1 << 20, 1 << 20};

	if (geteuid())
		cr_skip_test("SKIPPED BECAUSE only root can become somebody else");
	cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &little), 0);
	cr_assert_eq(setresuid(65534, 65534, 65534), 0);
	start(SV_DEVICE_F_PINNED);
	transfers_are_right();
	cr_assert_eq(stat_of("pinned"), 0);
}

static bool nothing_there(struct sv_residency *r, uint64_t gpa, uint64_t bytes)
{
	(void)r;
	(void)gpa;
	(void)bytes;
	return true;
}

Test(pinned, memory_that_arrives_while_the_guest_runs_is_left_alone)
{
	struct sv_residency arriving = {.resident = nothing_there};

	cr_assert_eq(open_disk(SV_DEVICE_F_PINNED | SV_DEVICE_F_DIRECT, O_DIRECT), 0, "%s", fe.err.text);
	((struct blk *)fe.handle)->session.vhost.gmem.residency = &arriving;
	fe_start(&fe, FE_ALL, 1, 64);
	transfers_are_right();
	cr_assert_eq(stat_of("pinned"), 0);
}

Test(pinned, a_piece_is_of_one_buffer_or_of_none)
{
	static struct blk_pinned p = {.n = 2,
		.region = {{.base = 1ul << 40, .bytes = 3ul << 30, .first = 0},
			{.base = 1ul << 44, .bytes = 4096, .first = 3}}};
	const struct {
		uintptr_t at;
		size_t bytes;
		int want;
	} t[] = {{1ul << 40, 512, 0}, {(1ul << 40) + (1 << 30) - 512, 512, 0},
		{(1ul << 40) + (1 << 30) - 512, 1024, -1}, {(1ul << 40) + (2ul << 30), 512, 2},
		{(1ul << 40) + (3ul << 30) - 512, 1024, -1}, {(1ul << 40) - 512, 1024, -1},
		{(1ul << 40) + (3ul << 30), 512, -1}, {1ul << 44, 4096, 3}, {1ul << 44, 4097, -1}};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct iovec v = {(void *)t[i].at, t[i].bytes};

		cr_expect_eq(blk_pinned_find(&p, &v), t[i].want, "%u", i);
	}
}

/* --- completions that are polled for --------------------------------------------------------- */

/* Which it is, its storage says: at the first read, or, of an image without contents, later. */
Test(pinned, where_completions_cannot_be_polled_for_they_interrupt)
{
	for (written = 0; written < 2; written++) {
		struct raw *r;

		start(SV_DEVICE_F_IOPOLL | SV_DEVICE_F_PINNED);
		r = (struct raw *)((struct blk *)fe.handle)->store;
		transfers_are_right();
		cr_assert(r->rings == 2 ? r->unpolled || stat_of("polled") > 150 : stat_of("polled") == 0);
		cr_assert(stat_of("pinned") > 150 || !is_direct());
		fe_close(&fe);
		close(image);
	}
	fe.class = NULL;
}

/* A ring that answers by itself stands for storage with poll queues. */
Test(pinned, transfers_whose_completions_are_polled_for_are_right)
{
	struct blk_store *s;
	struct raw *r;
	int files[2];

	cr_assert_eq(open_disk(SV_DEVICE_F_DIRECT | SV_DEVICE_F_IOPOLL | SV_DEVICE_F_PINNED, O_DIRECT), 0,
		"%s", fe.err.text);
	s = ((struct blk *)fe.handle)->store;
	r = (struct raw *)s;
	if (r->rings < 2)
		cr_skip_test("SKIPPED BECAUSE this kernel has no IORING_SETUP_IOPOLL for /tmp");
	io_uring_queue_exit(&r->ring[1]);
	cr_assert_eq(io_uring_queue_init(BLK_STORE_DEPTH, &r->ring[1], 0), 0);
	files[0] = files[1] = r->fd;
	cr_assert_eq(io_uring_register_files(&r->ring[1], files, 2), 0);
	fe_start(&fe, FE_ALL, 1, 64);
	transfers_are_right();
	cr_assert_not(r->unpolled);
	cr_assert_gt(stat_of("polled"), 150);
	cr_assert_gt(stat_of("pinned"), 150);
	cr_assert_eq(r->polled, 0);
	cr_assert_not(s->ops->pending(s));
	r->polled = 1;
	cr_assert(s->ops->pending(s), "who polls for completions does not sleep");
	r->polled = 0;
}

Test(pinned, both_need_a_raw_image_and_o_direct)
{
	cr_assert_eq(open_disk(SV_DEVICE_F_PINNED, 0), -EINVAL);
	cr_assert(strstr(fe.err.text, "pinned and iopoll are for a raw image with direct"), "%s",
		fe.err.text);
	fe_close(&fe);
	close(image);
	cr_assert_eq(open_disk(SV_DEVICE_F_IOPOLL, 0), -EINVAL);
}

/* Before anybody connects. */
Test(pinned, an_export_that_cannot_have_them_is_refused_at_the_start)
{
	char path[] = "/tmp/sidevisor-pinned-XXXXXX";
	struct sv_blk_export_config c = {
		.image = path, .socket = "/nonexistent/socket", .flags = SV_DEVICE_F_PINNED};
	struct sv_poller_host host = {0};
	struct sv_blk_export *e;
	struct sv_error err = {""};

	image = mkostemp(path, O_CLOEXEC);
	cr_assert(image >= 0 && ftruncate(image, IMAGE) == 0);
	cr_assert_eq(sv_blk_export_open(&e, &c, &host, &err), -EINVAL);
	cr_assert(strstr(err.text, "pinned and iopoll are for a raw image"), "%s", err.text);
	unlink(path);
}
