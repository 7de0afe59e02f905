/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user back end: negotiation, queues, memory, and front ends that break the rules. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <io/devices.h>

#include "front_end.h"

#define IMAGE (1u << 20)

static struct fe fe;
static const struct sv_control_device disk = {.kind = SV_DEVICE_BLK, .queues = 2, .name = "disk"};
static union vu_payload reply;

static void up(void)
{
	int image = memfd_create("image", MFD_CLOEXEC);

	cr_assert(image >= 0 && ftruncate(image, IMAGE) == 0);
	cr_assert_eq(fe_open(&fe, &sv_blk_class, &disk, &image, 1, false, 0), 0, "%s", fe.err.text);
}

static void down(void)
{
	fe_close(&fe);
}

TestSuite(vhost, .init = up, .fini = down);

/* A read of the first sector through queue @q; it must be answered. */
static void request_is_served(unsigned q)
{
	struct vqd_buf b[3] = {
		{FE_DATA, 16, false}, {FE_DATA + 4096, 512, true}, {FE_DATA + 16, 1, true}};

	memset(fe.mem + FE_DATA, 0, 16);
	fe.mem[FE_DATA + 16] = 0xff;
	cr_assert_geq(vqd_add(&fe.q[q], b, 3, 0), 0);
	vqd_kick(&fe.q[q]);
	fe_wait(&fe, q, NULL);
	cr_assert_eq(fe.mem[FE_DATA + 16], VIRTIO_BLK_S_OK);
}

Test(vhost, negotiates_and_serves_every_queue)
{
	fe_start(&fe, FE_ALL, 2, 64);
	cr_assert_eq(fe_call(&fe, VU_GET_QUEUE_NUM, 0, NULL, 0, NULL, 0, &reply), 8);
	cr_assert_eq(reply.u64, 2);
	cr_assert_eq(fe_call(&fe, VU_GET_MAX_MEM_SLOTS, 0, NULL, 0, NULL, 0, &reply), 8);
	cr_assert_geq(reply.u64, 8);
	request_is_served(0);
	request_is_served(1);
}

Test(vhost, front_end_without_protocol_features_is_served)
{
	uint64_t index = 0;

	fe_start(&fe, 0, 0, 64);
	fe.features = 0;
	fe_call(&fe, VU_SET_FEATURES, 0, &fe.features, 8, NULL, 0, NULL);
	vqd_init(&fe.q[0], fe.mem, FE_RINGS, 64, false);
	fe.q[0].kick_fd = eventfd(0, EFD_NONBLOCK);
	fe.q[0].call_fd = eventfd(0, EFD_NONBLOCK);
	struct vu_state s = {0, 64};
	struct vu_addr a = {.desc = FE_USER + fe.q[0].desc_gpa,
		.avail = FE_USER + fe.q[0].avail_gpa,
		.used = FE_USER + fe.q[0].used_gpa};

	fe_call(&fe, VU_SET_VRING_NUM, 0, &s, sizeof(s), NULL, 0, NULL);
	fe_call(&fe, VU_SET_VRING_ADDR, 0, &a, sizeof(a), NULL, 0, NULL);
	fe_call(&fe, VU_SET_VRING_KICK, 0, &index, 8, &fe.q[0].kick_fd, 1, NULL);
	fe_call(&fe, VU_SET_VRING_CALL, 0, &index, 8, &fe.q[0].call_fd, 1, NULL);
	request_is_served(0);
}

Test(vhost, message_that_negotiates_acknowledgements_is_acknowledged)
{
	uint64_t word = VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_CONFIG;

	cr_assert_eq(fe_call(&fe, VU_SET_PROTOCOL_FEATURES, VU_FLAG_NEED_REPLY, &word, 8, NULL, 0,
			     &reply), 8);
	cr_assert_eq(reply.u64, 0);
}

Test(vhost, stopped_queue_reports_its_position_and_starts_again_from_it)
{
	fe_start(&fe, FE_ALL, 2, 64);
	for (unsigned i = 0; i < 70; i++)
		request_is_served(0);
	cr_assert_eq(fe_stop_queue(&fe, 0), 70);
	request_is_served(1);

	struct vu_state s = {0, 70};
	uint64_t index = 0;

	fe_call(&fe, VU_SET_VRING_BASE, 0, &s, sizeof(s), NULL, 0, NULL);
	fe_call(&fe, VU_SET_VRING_KICK, 0, &index, 8, &fe.q[0].kick_fd, 1, NULL);
	request_is_served(0);
	cr_assert_eq(fe_stop_queue(&fe, 0), 71);
}

Test(vhost, disabled_queue_is_not_served_until_enabled)
{
	struct vu_state s = {0, 0};
	struct vqd_buf b[3] = {
		{FE_DATA, 16, false}, {FE_DATA + 4096, 512, true}, {FE_DATA + 16, 1, true}};

	fe_start(&fe, FE_ALL, 1, 64);
	request_is_served(0);
	fe_call(&fe, VU_SET_VRING_ENABLE, 0, &s, sizeof(s), NULL, 0, NULL);
	vqd_add(&fe.q[0], b, 3, 0);
	vqd_kick(&fe.q[0]);
	for (unsigned i = 0; i < 100; i++)
		sv_reactor_turn(fe.reactor);
	cr_assert_eq(vqd_get(&fe.q[0], NULL), -1);
	s.num = 1;
	fe_call(&fe, VU_SET_VRING_ENABLE, 0, &s, sizeof(s), NULL, 0, NULL);
	fe_wait(&fe, 0, NULL);
}

Test(vhost, memory_table_can_change_under_running_queues)
{
	struct vu_memory m = {.n = 2,
		.region = {{.gpa = 0, .size = FE_MEM / 2, .user_addr = FE_USER},
			{.gpa = FE_MEM / 2,
				.size = FE_MEM / 2,
				.user_addr = FE_USER + FE_MEM / 2,
				.fd_offset = FE_MEM / 2}}};
	int fds[2] = {fe.memfd, fe.memfd};

	fe_start(&fe, FE_ALL, 1, 64);
	request_is_served(0);
	cr_assert_eq(fe_call(&fe, VU_SET_MEM_TABLE, VU_FLAG_NEED_REPLY, &m,
			     VU_MEMORY_HEADER + 2 * sizeof(m.region[0]), fds, 2, &reply), 8);
	cr_assert_eq(reply.u64, 0);
	request_is_served(0);
}

Test(vhost, memory_slots_come_and_go)
{
	struct vu_slot slot = {.region = {.gpa = FE_MEM, .size = 4096, .user_addr = FE_USER + FE_MEM}};
	struct vqd_buf b[3] = {{FE_DATA, 16, false}, {FE_MEM, 512, true}, {FE_DATA + 16, 1, true}};
	int fd = memfd_create("more", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_eq(ftruncate(fd, 4096), 0);
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	fe_start(&fe, FE_ALL, 1, 64);
	fe_call(&fe, VU_ADD_MEM_REG, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), &fd, 1, &reply);
	cr_assert_eq(reply.u64, 0);
	memset(fe.mem + FE_DATA, 0, 16);
	vqd_add(&fe.q[0], b, 3, 0);
	vqd_kick(&fe.q[0]);
	fe_wait(&fe, 0, NULL);
	cr_assert_eq(fe.mem[FE_DATA + 16], VIRTIO_BLK_S_OK);
	fe_call(&fe, VU_REM_MEM_REG, VU_FLAG_NEED_REPLY, &slot, sizeof(slot), NULL, 0, &reply);
	cr_assert_eq(reply.u64, 0);
	request_is_served(0);
	close(fd);
}

Test(vhost, configuration_space_is_read_in_any_piece)
{
	struct vu_config c = {.size = 8}, *r = &reply.config;

	cr_assert_eq(fe_call(&fe, VU_GET_CONFIG, 0, &c, VU_CONFIG_HEADER + 8, NULL, 0, &reply), 20);
	cr_assert_eq(r->size, 8);
	cr_assert_eq(r->bytes[1] << 8 | r->bytes[0], IMAGE / 512);
	c.size = 200;
	cr_assert_eq(fe_call(&fe, VU_GET_CONFIG, 0, &c, VU_CONFIG_HEADER + 200, NULL, 0, &reply), 212);
	cr_assert_eq(r->bytes[199], 0, "beyond the device's fields it reads as zero");
	c.offset = 1000;
	cr_assert_eq(fe_call(&fe, VU_GET_CONFIG, 0, &c, VU_CONFIG_HEADER + 200, NULL, 0, &reply), 12);
	cr_assert_eq(r->size, 0, "an error, as the protocol says it");
	cr_assert_not(fe_dropped(&fe));
}

Test(vhost, reset_stops_everything_and_the_device_can_start_again)
{
	fe_start(&fe, FE_ALL, 2, 64);
	request_is_served(0);
	fe_call(&fe, VU_RESET_DEVICE, VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0, &reply);
	cr_assert_eq(reply.u64, 0);
	fe_call(&fe, VU_SET_FEATURES, 0, &fe.features, 8, NULL, 0, NULL);
	fe_start_queue(&fe, 0, 128);
	request_is_served(0);
	fe_call(&fe, VU_RESET_OWNER, 0, NULL, 0, NULL, 0, NULL);
	cr_assert_not(fe_dropped(&fe));
}

Test(vhost, message_in_single_bytes_is_understood)
{
	struct vu_header h = {.request = VU_SET_FEATURES, .flags = VU_VERSION, .size = 8};
	uint8_t bytes[20] = {0};

	memcpy(bytes, &h, sizeof(h));
	for (unsigned i = 0; i < sizeof(bytes); i++) {
		cr_assert_eq(sv_fd_send(fe.sock, bytes + i, 1, NULL, 0, 1000), 1);
		fe_pump(&fe);
	}
	cr_assert_eq(fe_call(&fe, VU_GET_FEATURES, 0, NULL, 0, NULL, 0, &reply), 8);
}

/* --- front ends that break the rules --------------------------------------------------------- */

static void expect_drop(uint32_t request, uint32_t flags, const void *payload, uint32_t size,
	const int *fds, unsigned nfds)
{
	fe_call(&fe, request, flags, payload, size, fds, nfds, &reply);
	cr_assert(fe_dropped(&fe), "request %u", request);
	down();
	up();
}

static void bad_memory(uint64_t gpa, uint64_t size, uint64_t user, uint64_t offset)
{
	struct vu_memory m = {.n = 1, .region[0] = {gpa, size, user, offset}};

	expect_drop(VU_SET_MEM_TABLE, 0, &m, VU_MEMORY_HEADER + 32, &fe.memfd, 1);
}

Test(vhost, memory_that_is_not_there_drops_the_device)
{
	bad_memory(0, FE_MEM + 1, FE_USER, 0);
	bad_memory(0, FE_MEM, FE_USER, 4096);
	bad_memory(0, 0, FE_USER, 0);
	bad_memory(UINT64_MAX, 4096, FE_USER, 0);
	bad_memory(0, 4096, UINT64_MAX, 0);
	bad_memory(0, 4096, FE_USER, UINT64_MAX - 4095);
}

Test(vhost, overlapping_unsealed_or_missing_memory_drops_the_device)
{
	struct vu_memory m = {.n = 2,
		.region = {{0, 8192, FE_USER, 0}, {4096, 8192, FE_USER + 65536, 0}}};
	int fds[2] = {fe.memfd, fe.memfd}, bare = memfd_create("bare", MFD_CLOEXEC);

	expect_drop(VU_SET_MEM_TABLE, 0, &m, VU_MEMORY_HEADER + 64, fds, 2);
	fds[0] = fds[1] = fe.memfd;
	expect_drop(VU_SET_MEM_TABLE, 0, &m, VU_MEMORY_HEADER + 64, fds, 1);
	fds[0] = fds[1] = fe.memfd;
	expect_drop(VU_SET_MEM_TABLE, 0, &m, VU_MEMORY_HEADER + 32, fds, 2);
	m.n = 9;
	expect_drop(VU_SET_MEM_TABLE, 0, &m, sizeof(m), fds, 0);
	m.n = 1;
	cr_assert_eq(ftruncate(bare, 65536), 0);
	expect_drop(VU_SET_MEM_TABLE, 0, &m, VU_MEMORY_HEADER + 32, &bare, 1);
	close(bare);
}

Test(vhost, malformed_messages_drop_the_device)
{
	uint64_t word = 0, stray = 1ull << 40;
	uint8_t big[300] = {0};
	int fds[3] = {0, 1, 2};

	expect_drop(0, 0, NULL, 0, NULL, 0);
	expect_drop(VU_REQUESTS, 0, NULL, 0, NULL, 0);
	expect_drop(99999, 0, NULL, 0, NULL, 0);
	expect_drop(VU_GET_FEATURES, 2, NULL, 0, NULL, 0);
	expect_drop(VU_GET_FEATURES, VU_FLAG_REPLY, NULL, 0, NULL, 0);
	expect_drop(VU_GET_FEATURES, 0, &word, 8, NULL, 0);
	expect_drop(VU_SET_FEATURES, 0, &word, 7, NULL, 0);
	expect_drop(VU_SET_MEM_TABLE, 0, big, sizeof(big), NULL, 0);
	expect_drop(VU_SET_FEATURES, 0, &stray, 8, NULL, 0);
	expect_drop(VU_SET_PROTOCOL_FEATURES, 0, &stray, 8, NULL, 0);
	expect_drop(VU_SET_FEATURES, 0, &word, 8, fds, 1);
	expect_drop(VU_SET_VRING_KICK, 0, &word, 8, fds, 3);
}

Test(vhost, queues_that_cannot_be_drop_the_device)
{
	struct vu_state none = {2, 64}, odd = {0, 63}, zero = {0, 0}, large = {0, 2048};
	struct vu_state far = {0, 65536}, twice = {0, 2};
	uint64_t index = 0, other = 7, no_fd = VU_VRING_NO_FD;
	int regular = fe.memfd, event = eventfd(0, 0);

	expect_drop(VU_SET_VRING_NUM, 0, &none, 8, NULL, 0);
	expect_drop(VU_SET_VRING_NUM, 0, &odd, 8, NULL, 0);
	expect_drop(VU_SET_VRING_NUM, 0, &zero, 8, NULL, 0);
	expect_drop(VU_SET_VRING_NUM, 0, &large, 8, NULL, 0);
	expect_drop(VU_SET_VRING_BASE, 0, &far, 8, NULL, 0);
	expect_drop(VU_SET_VRING_ENABLE, 0, &twice, 8, NULL, 0);
	expect_drop(VU_GET_VRING_BASE, 0, &none, 8, NULL, 0);
	regular = fe.memfd;
	expect_drop(VU_SET_VRING_KICK, 0, &index, 8, &regular, 1);
	regular = fe.memfd;
	expect_drop(VU_SET_VRING_CALL, 0, &index, 8, &regular, 1);
	expect_drop(VU_SET_VRING_KICK, 0, &other, 8, &event, 1);
	expect_drop(VU_SET_VRING_KICK, 0, &index, 8, NULL, 0);
	expect_drop(VU_SET_VRING_KICK, 0, &no_fd, 8, &event, 1);
	close(event);
}

Test(vhost, rings_outside_memory_drop_the_device)
{
	static const uint64_t bad[] = {0, FE_USER + FE_MEM, FE_USER + FE_MEM - 64, FE_USER + 1,
		UINT64_MAX - 15};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vu_addr a = {.desc = bad[i],
			.avail = FE_USER + 0x20000,
			.used = FE_USER + 0x30000};

		fe_start(&fe, FE_ALL, 1, 64);
		expect_drop(VU_SET_VRING_ADDR, 0, &a, sizeof(a), NULL, 0);
	}
}

Test(vhost, full_call_descriptor_that_blocks_does_not_hold_the_sidecore)
{
	uint64_t full = UINT64_MAX - 1, index = 0;
	int call = eventfd(0, 0);

	fe_start(&fe, FE_ALL, 1, 64);
	cr_assert_eq(write(call, &full, sizeof(full)), sizeof(full));
	fe_call(&fe, VU_SET_VRING_CALL, 0, &index, 8, &call, 1, NULL);
	fcntl(call, F_SETFL, fcntl(call, F_GETFL) & ~O_NONBLOCK);
	vqd_want_call(&fe.q[0], true);
	request_is_served(0);
	cr_assert_eq(read(call, &full, sizeof(full)), sizeof(full));
	close(call);
}

Test(vhost, end_of_file_ends_the_session_alone)
{
	fe_start(&fe, FE_ALL, 2, 64);
	request_is_served(0);
	shutdown(fe.sock, SHUT_RDWR);
	cr_assert(fe_dropped(&fe));
	sv_reactor_turn(fe.reactor);
}

Test(vhost, broken_queue_leaves_the_other_queue_served)
{
	char *stats;

	fe_start(&fe, FE_ALL, 2, 64);
	fe.q[0].avail->idx = 1000;
	for (unsigned i = 0; i < 10; i++)
		sv_reactor_turn(fe.reactor);
	request_is_served(1);
	stats = fe.class->stats(fe.handle);
	cr_assert(strstr(stats, "\"defects\": 1,"), "%s", stats);
	free(stats);
	/* Set up anew, it is served again. */
	fe_stop_queue(&fe, 0);
	fe_start_queue(&fe, 0, 64);
	request_is_served(0);
}

/* --- in-flight regions ----------------------------------------------------------------------- */

static struct vu_inflight region_for(uint16_t queues, uint16_t size)
{
	return (struct vu_inflight){.queues = queues, .queue_size = size};
}

/* Return: the region's descriptor, with *i as the back end answered; -1: it did not. */
static int get_region(struct vu_inflight *i)
{
	if (fe_call(&fe, VU_GET_INFLIGHT_FD, 0, i, sizeof(*i), NULL, 0, &reply) != sizeof(*i))
		return -1;
	*i = reply.inflight;
	return fe.reply_fd;
}

Test(vhost, inflight_region_is_made_taken_back_and_used)
{
	struct vu_inflight i = region_for(2, 64);
	int fd;

	fe_start(&fe, FE_ALL & ~VU_F_RING_PACKED, 0, 64);
	fd = get_region(&i);
	cr_assert_geq(fd, 0);
	cr_assert_geq(i.mmap_size, 2 * (16 + 16 * 64));
	cr_assert(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK, "it cannot shrink under us");
	fe_call(&fe, VU_SET_INFLIGHT_FD, 0, &i, VU_INFLIGHT_LEAST, &fd, 1, NULL);
	fe_start_queue(&fe, 0, 64);
	request_is_served(0);

	const uint16_t *used_idx = mmap(NULL, i.mmap_size, PROT_READ, MAP_SHARED, fd, 0);

	cr_assert_eq(used_idx[7], 1, "one request went through");
	/* A driver that begins anew finds its queue at its beginning. */
	cr_assert_eq(fe_stop_queue(&fe, 0), 1);
	fe_start_queue(&fe, 0, 64);
	request_is_served(0);
	fe_call(&fe, VU_RESET_DEVICE, 0, NULL, 0, NULL, 0, NULL);
	cr_assert(!fe_dropped(&fe));
	close(fd);
}

Test(vhost, inflight_regions_that_are_none_end_the_session)
{
	static const struct {
		uint64_t size, offset;
		uint16_t queues, queue_size;
		int seals, bytes;
	} bad[] = {
		{8192, 0, 3, 64, F_SEAL_SHRINK, 8192}, /* more queues than the device has */
		{8192, 0, 2, 63, F_SEAL_SHRINK, 8192},
		{8192, 0, 0, 64, F_SEAL_SHRINK, 8192},
		{1024, 0, 2, 64, F_SEAL_SHRINK, 8192}, /* too small for its queues */
		{8192, 0, 2, 64, F_SEAL_SHRINK, 4096}, /* larger than the file */
		{8192, 512, 2, 64, F_SEAL_SHRINK, 16384},
		{UINT64_MAX, 0, 2, 64, F_SEAL_SHRINK, 8192},
		{4096, INT64_MAX & ~4095ll, 2, 64, F_SEAL_SHRINK, 8192},
		{8192, 0, 2, 64, 0, 8192}, /* could shrink */
	};

	for (unsigned k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		struct vu_inflight i = region_for(bad[k].queues, bad[k].queue_size);
		int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

		i.mmap_size = bad[k].size;
		i.mmap_offset = bad[k].offset;
		cr_assert_eq(ftruncate(fd, bad[k].bytes), 0);
		fcntl(fd, F_ADD_SEALS, bad[k].seals);
		fe_start(&fe, FE_ALL & ~VU_F_RING_PACKED, 0, 64);
		fe_call(&fe, VU_SET_INFLIGHT_FD, 0, &i, sizeof(i), &fd, 1, NULL);
		cr_assert(fe_dropped(&fe), "region %u", k);
		close(fd);
		down();
		up();
	}
}

Test(vhost, queue_larger_than_its_inflight_region_ends_the_session)
{
	struct vu_inflight i = region_for(2, 32);
	struct vu_state s = {0, 64};
	uint64_t index = 0;
	int fd;

	fe_start(&fe, FE_ALL & ~VU_F_RING_PACKED, 1, 32);
	fd = get_region(&i);
	fe_call(&fe, VU_SET_INFLIGHT_FD, 0, &i, sizeof(i), &fd, 1, NULL);
	request_is_served(0);
	fe_call(&fe, VU_SET_VRING_NUM, 0, &s, sizeof(s), NULL, 0, NULL);
	fe_call(&fe, VU_SET_VRING_KICK, 0, &index, 8, &fe.q[0].kick_fd, 1, NULL);
	cr_assert(fe_dropped(&fe));
	close(fd);
}

Test(vhost, inflight_request_without_a_descriptor_ends_the_session)
{
	struct vu_inflight i = region_for(1, 64);

	fe_start(&fe, FE_ALL & ~VU_F_RING_PACKED, 1, 64);
	i.mmap_size = 8192;
	fe_call(&fe, VU_SET_INFLIGHT_FD, 0, &i, sizeof(i), NULL, 0, NULL);
	cr_assert(fe_dropped(&fe));
}
