/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-balloon: what a driver says arrives before it is answered, and nonsense breaks its queue alone. */
#include <criterion/criterion.h>

#include <linux/virtio_balloon.h>
#include <string.h>

#include <io/balloon.h>

#include "front_end.h"

#define INFLATE 0u
#define DEFLATE 1u
#define REPORT 2u

static struct fe fe;
static struct sv_balloon_device *device;
static struct {
	unsigned inflated, deflated, reports, settled;
	uint64_t last, bytes;
} told;

static void inflate(void *ctx, uint64_t gpa)
{
	(void)ctx;
	told.inflated++;
	told.last = gpa;
}

static void deflate(void *ctx, uint64_t gpa)
{
	(void)ctx;
	told.deflated++;
	told.last = gpa;
}

static void report(void *ctx, uint64_t gpa, uint64_t bytes)
{
	(void)ctx;
	told.reports++;
	told.last = gpa;
	told.bytes += bytes;
}

static void settle(void *ctx)
{
	(void)ctx;
	told.settled++;
}

static const struct sv_balloon_ops ops = {inflate, deflate, report, settle};

static int attach(const struct sv_device_request *req, void **handle, struct sv_error *err)
{
	int rc = sv_balloon_open(req, &ops, NULL, &device, err);

	*handle = device;
	return rc;
}

static void detach(void *handle)
{
	sv_balloon_close(handle);
}

static const struct sv_device_class class = {
	.kind = 5, .name = "balloon", .attach = attach, .detach = detach};

static void up(void)
{
	struct sv_control_device d = {.kind = 5, .queues = 3, .name = "balloon"};

	memset(&told, 0, sizeof(told));
	cr_assert_eq(fe_open(&fe, &class, &d, NULL, 0, false, 100), 0, "%s", fe.err.text);
	fe_start(&fe, FE_ALL, 3, 64);
}

static void down(void)
{
	fe_close(&fe);
}

TestSuite(balloon, .init = up, .fini = down, .timeout = 60);

/* Page numbers from @first on, in one buffer of @bytes. */
static void say(unsigned queue, uint32_t first, uint32_t bytes, bool writable)
{
	struct vqd_buf b = {FE_DATA, bytes, writable};

	for (uint32_t i = 0; i < bytes / 4; i++)
		memcpy(fe.mem + FE_DATA + 4 * i, &(uint32_t){first + i}, 4);
	cr_assert_geq(vqd_add(&fe.q[queue], &b, 1, 0), 0);
	vqd_kick(&fe.q[queue]);
}

static void turns(unsigned n)
{
	while (n--)
		sv_reactor_turn(fe.reactor);
}

static bool answered(unsigned queue)
{
	uint32_t len;

	turns(100);
	return vqd_get(&fe.q[queue], &len) >= 0;
}

Test(balloon, pages_go_in_and_out_and_are_settled_before_the_answer)
{
	say(INFLATE, 100, 256 * 4, false);
	cr_expect(answered(INFLATE));
	cr_expect(told.inflated == 256 && told.last == 355 * 4096ull && told.settled == 1);
	say(DEFLATE, 0xffffffffu, 4, false);
	cr_expect(answered(DEFLATE));
	cr_expect(told.deflated == 1 && told.last == 0xffffffffull * 4096, "a page number is not cut");
}

Test(balloon, reports_name_the_pages_themselves)
{
	struct vqd_buf b[2] = {{0x200000, 0x200000, true}, {0x600000, 0x400000, true}};

	cr_assert_geq(vqd_add(&fe.q[REPORT], b, 2, 0), 0);
	vqd_kick(&fe.q[REPORT]);
	cr_expect(answered(REPORT));
	cr_expect(told.reports == 2 && told.last == 0x600000 && told.bytes == 0x600000);
}

Test(balloon, nonsense_breaks_its_queue_and_no_other)
{
	say(INFLATE, 1, 7, false); /* no whole number of page numbers */
	cr_expect(!answered(INFLATE));
	say(INFLATE, 1, 4, false);
	cr_expect(!answered(INFLATE), "broken until it is reset");
	cr_expect_eq(told.inflated, 0);
	say(DEFLATE, 1, 1025 * 4, false); /* more than any driver sends */
	cr_expect(!answered(DEFLATE));
	cr_expect_eq(told.deflated, 0);
	say(REPORT, 1, 4096, true);
	cr_expect(answered(REPORT));
}

Test(balloon, buffers_of_the_wrong_direction_are_refused)
{
	say(INFLATE, 1, 16, true);
	say(REPORT, 1, 4096, false);
	cr_expect(!answered(INFLATE));
	cr_expect(!answered(REPORT));
	cr_expect(told.inflated == 0 && told.reports == 0);
}

Test(balloon, configuration_says_what_is_wanted_and_takes_what_is_held)
{
	struct vu_config c = {.offset = 0, .size = sizeof(struct virtio_balloon_config)};
	union vu_payload reply;
	uint32_t pages;

	sv_balloon_set_target(device, 5ull << 20);
	cr_assert_geq(fe_call(&fe, VU_GET_CONFIG, 0, &c, VU_CONFIG_HEADER + c.size, NULL, 0, &reply), 0);
	memcpy(&pages, reply.config.bytes, 4);
	cr_expect_eq(pages, 1280);
	c.offset = offsetof(struct virtio_balloon_config, actual);
	c.size = 4;
	memcpy(c.bytes, &(uint32_t){77}, 4);
	fe_call(&fe, VU_SET_CONFIG, 0, &c, VU_CONFIG_HEADER + 4, NULL, 0, NULL);
	fe_pump(&fe);
	cr_expect_eq(sv_balloon_actual(device), 77 * 4096ull);
}
