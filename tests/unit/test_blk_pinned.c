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
static bool threaded; /* the sidecore is one */

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
	rc = fe_open(&fe, &sv_blk_class, &d, &fd, 1, threaded, 0);
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

static uint8_t ask_now(uint32_t type, uint64_t sector, uint64_t gpa, uint32_t bytes)
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

/* With all pinned that is to be. */
static uint8_t ask(uint32_t type, uint64_t sector, uint64_t gpa, uint32_t bytes)
{
	for (unsigned i = 0; i < 100 && fe_events(&fe); i++)
		;
	return ask_now(type, sector, gpa, bytes);
}

/* Was O_DIRECT taken away, as on storage with large sectors? */
static bool is_direct(void)
{
	return ((struct raw *)((struct blk *)fe.handle)->store)->direct;
}

static void transfers_are_right_but(unsigned errors)
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
	cr_assert_eq(fe_stat(&fe, "errors"), errors);
}

static void transfers_are_right(void)
{
	transfers_are_right_but(0);
}

Test(pinned, transfers_in_pinned_memory_are_right)
{
	start(SV_DEVICE_F_PINNED);
	transfers_are_right();
	cr_assert(fe_stat(&fe, "pinned") > 150 || !is_direct());
}

/* Another file at the same place is other memory, whatever the ring knew of it. */
Test(pinned, memory_that_comes_and_goes_is_registered_anew)
{
	struct vu_slot slot = {.region = {.gpa = FE_MEM, .size = MORE, .user_addr = FE_USER + FE_MEM}};
	union vu_payload reply;

	start(SV_DEVICE_F_PINNED);
	for (int i = 0; i < 4; i++) {
		int fd = memfd_create("more", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		unsigned long long before = fe_stat(&fe, "pinned");
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
		cr_assert(fe_stat(&fe, "pinned") == before + 2 || !is_direct());
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
	cr_assert_eq(fe_stat(&fe, "pinned"), 0);
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
	cr_assert_eq(fe_stat(&fe, "pinned"), 0);
}

/* --- pieces ---------------------------------------------------------------------------------- */

#define PIECE (uint64_t)BLK_PINNED_PIECE

Test(pinned, a_piece_is_of_one_buffer_or_of_none)
{
	static struct blk_pinned p = {.n = 3,
		.region = {{.base = 1ul << 40, .bytes = 3 * PIECE, .done = 3 * PIECE},
			{.base = 1ul << 44, .bytes = 4096, .first = 3, .done = 4096},
			{.base = 1ul << 46, .bytes = 3 * PIECE, .first = 4, .done = PIECE}}};
	const struct {
		uintptr_t at;
		size_t bytes;
		int want;
	} t[] = {{1ul << 40, 512, 0}, {(1ul << 40) + PIECE - 512, 512, 0},
		{(1ul << 40) + PIECE - 512, 1024, -1}, {(1ul << 40) + 2 * PIECE, 512, 2},
		{(1ul << 40) + 3 * PIECE - 512, 1024, -1}, {(1ul << 40) - 512, 1024, -1},
		{(1ul << 40) + 3 * PIECE, 512, -1}, {1ul << 44, 4096, 3}, {1ul << 44, 4097, -1},
		{(1ul << 46) + PIECE - 512, 512, 4}, {(1ul << 46) + PIECE, 512, -1}};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct iovec v = {(void *)t[i].at, t[i].bytes};

		cr_expect_eq(blk_pinned_find(&p, &v), t[i].want, "%u", i);
	}
}

static struct sv_gmem_region region(uint64_t bytes, uint64_t id)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert(at != MAP_FAILED);
	return (struct sv_gmem_region){.host = at, .size = bytes, .id = id};
}

static int find(const struct blk_pinned *p, const struct sv_gmem_region *g, uint64_t off)
{
	struct iovec v = {g->host + off, 512};

	return blk_pinned_find(p, &v);
}

/* Return: how many times it had more to do. */
static unsigned finish(struct blk_pinned *p, struct io_uring *ring)
{
	unsigned n = 0;
	int rc;

	while ((rc = blk_pinned_more(p, ring)) > 0)
		cr_assert_lt(++n, 100);
	if (rc == -ENOMEM)
		cr_skip_test("SKIPPED BECAUSE this user may not lock 256 MiB");
	cr_assert_eq(rc, 0);
	return n;
}

/* Does the kernel take it as buffer @i? */
static int through(struct io_uring *ring, const struct sv_gmem_region *g, uint64_t off, int i)
{
	int zeroes = open("/dev/zero", O_RDONLY | O_CLOEXEC), res;
	struct io_uring_cqe *cqe;

	io_uring_prep_read_fixed(io_uring_get_sqe(ring), zeroes, g->host + off, 512, 0, i);
	cr_assert_eq(io_uring_submit_and_wait(ring, 1), 1);
	cr_assert_eq(io_uring_wait_cqe(ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	close(zeroes);
	return res;
}

Test(pinned, memory_is_registered_piece_by_piece_and_what_stays_stays)
{
	static struct blk_pinned p;
	struct sv_gmem g = {.n = 2, .region = {region(2 * PIECE + 4096, 1), region(4096, 2)}};
	struct sv_gmem_region first = g.region[0];
	struct io_uring ring;

	cr_assert_eq(io_uring_queue_init(8, &ring, 0), 0);
	cr_assert_eq(blk_pinned_set(&p, &g), 0);
	cr_assert_eq(find(&p, &first, 0), -1);
	if (blk_pinned_more(&p, &ring) == -ENOMEM)
		cr_skip_test("SKIPPED BECAUSE this user may not lock 64 MiB");
	cr_assert_eq(find(&p, &first, 0), 0);
	cr_assert_eq(find(&p, &first, PIECE), -1, "one piece at a time");
	cr_assert_eq(finish(&p, &ring), 3);
	cr_assert_eq(find(&p, &first, 2 * PIECE), 2);
	cr_assert_eq(find(&p, &g.region[1], 0), 3);

	/* One more: only that is to be done. */
	g.region[g.n++] = region(PIECE, 3);
	cr_assert_eq(blk_pinned_set(&p, &g), 0);
	cr_assert_eq(find(&p, &first, 2 * PIECE), 2);
	cr_assert_eq(finish(&p, &ring), 1);
	cr_assert_eq(find(&p, &g.region[2], 0), 4);

	/* The first goes, and two that are smaller have its room. */
	g.region[0] = region(4096, 4);
	g.region[g.n++] = region(4096, 5);
	cr_assert_eq(blk_pinned_set(&p, &g), 0);
	cr_assert_eq(find(&p, &first, 0), -1);
	cr_assert_eq(finish(&p, &ring), 2);
	cr_assert_eq(find(&p, &g.region[0], 0), 0);
	cr_assert_eq(find(&p, &g.region[3], 0), 1);
	cr_assert_eq(find(&p, &g.region[2], 0), 4);
	for (unsigned i = 0; i < g.n; i++)
		cr_assert_eq(through(&ring, &g.region[i], 0, find(&p, &g.region[i], 0)), 512, "%u", i);
	cr_assert_eq(through(&ring, &first, 2 * PIECE, 2), -EFAULT, "what went is unregistered");

	/* Other memory in the same place. */
	g.region[2].id = 6;
	cr_assert_eq(blk_pinned_set(&p, &g), 0);
	cr_assert_eq(find(&p, &g.region[2], 0), -1);
	cr_assert_eq(finish(&p, &ring), 1);

	blk_pinned_drop(&p);
	for (unsigned i = 0; i < g.n; i++)
		cr_assert_eq(find(&p, &g.region[i], 0), -1);
	while (blk_pinned_sweep(&p, &ring))
		;
	cr_assert_eq(p.pieces, 0);
	cr_assert_eq(through(&ring, &g.region[2], 0, 4), -EFAULT);
	io_uring_queue_exit(&ring);
}

Test(pinned, memory_beyond_the_table_is_refused)
{
	static struct blk_pinned p;
	struct sv_gmem g = {.n = 2, .region = {{.size = PIECE * BLK_PINNED_PIECES, .id = 1}, {.size = 1, .id = 2}}};

	cr_assert_eq(blk_pinned_set(&p, &g), -E2BIG);
	cr_assert_eq(p.n, 0);
	g.n = 1;
	cr_assert_eq(blk_pinned_set(&p, &g), 0);
	g.region[0].size++;
	cr_assert_eq(blk_pinned_set(&p, &g), -E2BIG);
	g.region[0].size = UINT64_MAX;
	cr_assert_eq(blk_pinned_set(&p, &g), -E2BIG);
}

/* As when a registration failed after pieces before it had been used. */
Test(pinned, a_transfer_whose_buffer_went_is_repeated_without)
{
	struct blk_pinned *p;
	struct raw *r;

	start(SV_DEVICE_F_PINNED);
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 0x200000, 4096), VIRTIO_BLK_S_OK);
	r = (struct raw *)((struct blk *)fe.handle)->store;
	p = &r->pinned[0];
	if (!r->direct)
		cr_skip_test("SKIPPED BECAUSE /tmp has no O_DIRECT");
	cr_assert_eq(p->pieces, 1);
	blk_pinned_drop(p);
	cr_assert_eq(blk_pinned_sweep(p, &r->ring[0]), 0);
	p->region[0].done = p->region[0].bytes; /* the polling thread looked before */
	cr_assert_eq(ask(VIRTIO_BLK_T_IN, 0, 0x200000, 4096), VIRTIO_BLK_S_IOERR, "tried again and again");
	cr_assert_eq(fe_stat(&fe, "pinned"), 1 + 1 + 8);
	p->region[0].done = 0;
	transfers_are_right_but(1);
	cr_assert_eq(fe_stat(&fe, "pinned"), 1 + 1 + 8);
}

/* The sidecore transfers in what is being registered, and sees other memory in its place. */
Test(pinned, pieces_come_and_go_beside_a_sidecore)
{
	struct vu_slot slot = {
		.region = {.gpa = FE_MEM, .size = 2 * PIECE, .user_addr = FE_USER + FE_MEM}};
	union vu_payload reply;

	threaded = true;
	start(SV_DEVICE_F_PINNED);
	for (int i = 0; i < 3; i++) {
		int fd = memfd_create("more", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		uint8_t got[512];

		cr_assert_eq(ftruncate(fd, 2 * PIECE), 0);
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
		fe_call(&fe, VU_ADD_MEM_REG, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), &fd, 1, &reply);
		cr_assert_eq(reply.u64, 0);
		memset(fe.mem + 0x200000, 20 + i, 4096);
		cr_assert_eq(ask_now(VIRTIO_BLK_T_OUT, 8, 0x200000, 4096), VIRTIO_BLK_S_OK);
		for (unsigned turn = 0; turn < 6; turn++) {
			uint64_t off = turn % 2 * PIECE + turn * 4096;

			fe_events(&fe);
			cr_assert_eq(ask_now(VIRTIO_BLK_T_IN, 8, FE_MEM + off, 4096), VIRTIO_BLK_S_OK);
			cr_assert_eq(pread(fd, got, 512, (off_t)off), 512);
			cr_assert_eq(got[0], 20 + i);
			cr_assert_eq(got[511], 20 + i);
		}
		fe_call(&fe, VU_REM_MEM_REG, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), NULL, 0, &reply);
		cr_assert_eq(reply.u64, 0);
		close(fd);
	}
	cr_assert(fe_stat(&fe, "pinned") > 6 || !is_direct());
	cr_assert_eq(fe_stat(&fe, "errors"), 0);
}

/* The node's thread answers others between two pieces. */
Test(pinned, transfers_go_before_all_is_pinned)
{
	struct vu_slot slot = {
		.region = {.gpa = FE_MEM, .size = 2 * PIECE, .user_addr = FE_USER + FE_MEM}};
	union vu_payload reply;
	int fd = memfd_create("more", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	unsigned turns = 0;
	struct raw *r;

	start(SV_DEVICE_F_PINNED);
	r = (struct raw *)((struct blk *)fe.handle)->store;
	cr_assert_eq(r->pinned[0].pieces, 0);
	cr_assert_eq(ftruncate(fd, 2 * PIECE), 0);
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	fe_call(&fe, VU_ADD_MEM_REG, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), &fd, 1, &reply);
	cr_assert_eq(reply.u64, 0);
	close(fd);
	cr_assert_eq(r->pinned[0].pieces, 0);
	while (fe_events(&fe)) {
		cr_assert_leq(r->pinned[0].pieces, ++turns);
		cr_assert_lt(turns, 10);
	}
	cr_assert(r->pinned[0].pieces == 3 || !r->direct || geteuid());
	/* Gone before it was asked for. */
	fe_call(&fe, VU_REM_MEM_REG, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), NULL, 0, &reply);
	cr_assert_eq(reply.u64, 0);
	transfers_are_right();
	cr_assert(fe_stat(&fe, "pinned") > 150 || !is_direct());
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
		cr_assert(r->rings == 2 ? r->unpolled || fe_stat(&fe, "polled") > 150 : fe_stat(&fe, "polled") == 0);
		cr_assert(fe_stat(&fe, "pinned") > 150 || !is_direct());
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
	if (r->rings == 2)
		io_uring_queue_exit(&r->ring[1]);
	r->rings = 2;
	cr_assert_eq(io_uring_queue_init(BLK_STORE_DEPTH, &r->ring[1], 0), 0);
	files[0] = files[1] = r->fd;
	cr_assert_eq(io_uring_register_files(&r->ring[1], files, 2), 0);
	fe_start(&fe, FE_ALL, 1, 64);
	transfers_are_right();
	cr_assert_not(r->unpolled);
	cr_assert_gt(fe_stat(&fe, "polled"), 150);
	cr_assert_gt(fe_stat(&fe, "pinned"), 150);
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
