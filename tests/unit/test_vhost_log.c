/* SPDX-License-Identifier: BSD-3-Clause */
/* The dirty log of a vhost-user front end: what a device writes into its memory is marked there. */
#include <criterion/criterion.h>

#include <linux/virtio_blk.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/memtrap.h>
#include <io/devices.h>

#include "front_end.h"

#define IMAGE (1u << 20)
#define LOG_BYTES (FE_MEM / 4096 / 8)

static struct fe fe;
static const struct sv_control_device disk = {.kind = SV_DEVICE_BLK, .queues = 1, .name = "disk"};
static union vu_payload reply;
static int log_fd;
static uint8_t *bits;

static void up(void)
{
	int image = memfd_create("image", MFD_CLOEXEC);

	cr_assert(image >= 0 && ftruncate(image, IMAGE) == 0);
	cr_assert_eq(fe_open(&fe, &sv_blk_class, &disk, &image, 1, false, 0), 0, "%s", fe.err.text);
	log_fd = memfd_create("log", MFD_CLOEXEC);
	cr_assert(log_fd >= 0 && ftruncate(log_fd, LOG_BYTES) == 0);
	bits = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
	cr_assert(bits != MAP_FAILED);
	fe_start(&fe, FE_ALL, 1, 64);
}

static void down(void)
{
	fe_close(&fe);
	close(log_fd);
	munmap(bits, LOG_BYTES);
}

TestSuite(vhost_log, .init = up, .fini = down);

static void negotiate(uint64_t also)
{
	uint64_t word = VU_PROTOCOL_F_LOG_SHMFD | VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_CONFIG;

	fe_call(&fe, VU_SET_PROTOCOL_FEATURES, 0, &word, 8, NULL, 0, NULL);
	word = fe.features | also;
	fe_call(&fe, VU_SET_FEATURES, 0, &word, 8, NULL, 0, NULL);
}

static int set_log(uint64_t size, uint64_t offset)
{
	struct vu_log l = {size, offset};

	return fe_call(&fe, VU_SET_LOG_BASE, 0, &l, sizeof(l), &log_fd, 1, &reply);
}

static void read_to(uint64_t gpa)
{
	struct vqd_buf b[3] = {{FE_DATA, 16, false}, {gpa, 512, true}, {FE_DATA + 16, 1, true}};

	memset(fe.mem + FE_DATA, 0, 16);
	fe.mem[FE_DATA + 16] = 0xff;
	cr_assert_geq(vqd_add(&fe.q[0], b, 3, 0), 0);
	vqd_kick(&fe.q[0]);
	fe_wait(&fe, 0, NULL);
	cr_assert_eq(fe.mem[FE_DATA + 16], VIRTIO_BLK_S_OK);
}

static bool is_marked(uint64_t gpa)
{
	return bits[gpa / 4096 / 8] & 1u << gpa / 4096 % 8;
}

Test(vhost_log, pages_that_the_device_wrote_are_marked_and_no_others)
{
	uint64_t to = FE_DATA + 37 * 4096;

	negotiate(VU_F_LOG_ALL);
	cr_assert_eq(set_log(LOG_BYTES, 0), 8, "acknowledged by a reply of its own");
	read_to(to);
	for (uint64_t gpa = 0; gpa < FE_MEM; gpa += 4096) {
		bool ring = gpa >= FE_RINGS && gpa < FE_RINGS * 2;

		if (!ring && is_marked(gpa) != (gpa == to || gpa == FE_DATA))
			cr_assert_fail("page 0x%lx", gpa);
	}
	cr_assert(is_marked(fe.q[0].used_gpa));
}

Test(vhost_log, logging_begins_and_ends_with_the_feature)
{
	uint64_t to = FE_DATA + 37 * 4096;

	negotiate(0);
	cr_assert_eq(set_log(LOG_BYTES, 0), 8);
	read_to(to);
	cr_assert(!is_marked(to));
	negotiate(VU_F_LOG_ALL);
	read_to(to);
	cr_assert(is_marked(to));
	negotiate(0);
	memset(bits, 0, LOG_BYTES);
	read_to(to);
	cr_assert(!is_marked(to));
}

Test(vhost_log, log_that_is_shorter_than_memory_is_not_overrun)
{
	negotiate(VU_F_LOG_ALL);
	cr_assert_eq(set_log(8, 0), 8);
	read_to(FE_DATA + 37 * 4096);
	for (unsigned i = 8; i < LOG_BYTES; i++)
		cr_assert_eq(bits[i], 0);
}

Test(vhost_log, log_larger_than_its_file_is_refused)
{
	negotiate(VU_F_LOG_ALL);
	set_log(LOG_BYTES + 1, 0);
	cr_assert(fe_dropped(&fe));
}

Test(vhost_log, log_of_absurd_size_or_offset_is_refused)
{
	negotiate(VU_F_LOG_ALL);
	set_log(UINT64_MAX, 4096);
	cr_assert(fe_dropped(&fe));
}

Test(vhost_log, log_at_an_odd_offset_is_refused)
{
	negotiate(VU_F_LOG_ALL);
	set_log(8, 8);
	cr_assert(fe_dropped(&fe));
}

Test(vhost_log, log_that_shrinks_hurts_nobody_else)
{
	negotiate(VU_F_LOG_ALL);
	cr_assert_eq(set_log(LOG_BYTES, 0), 8);
	cr_assert_eq(sv_memtrap_start(-1), 0);
	cr_assert_eq(ftruncate(log_fd, 0), 0);
	read_to(FE_DATA + 37 * 4096);
}
