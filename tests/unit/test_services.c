/* SPDX-License-Identifier: BSD-3-Clause */
/* The services every node has, called the way an endpoint calls them. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <sidecore/reactor.h>
#include <sidevisor/services.h>

#include "services.h"

static struct sv_cpl call(const struct sv_service_ops *ops, void *ctx, const struct sv_gmem *gm,
	uint16_t opcode, uint64_t a0, uint64_t a1)
{
	struct sv_service_call c = {.gmem = gm, .ctx = ctx};
	struct sv_req req = {.service = ops->id, .opcode = opcode, .arg = {a0, a1}};
	struct sv_cpl cpl = {.tag = 7};

	ops->handle(&c, &req, &cpl);
	return cpl;
}

/* --- core ------------------------------------------------------------------------------------ */

Test(services, nop_returns_its_argument)
{
	uint64_t mask = 3;
	struct sv_cpl c = call(&sv_core_service, &mask, NULL, SV_CORE_NOP, 0x1234, 0);

	cr_assert_eq(c.status, SV_STATUS_OK);
	cr_assert_eq(c.value[0], 0x1234);
}

Test(services, info_tells_version_and_services)
{
	uint64_t mask = 5;
	struct sv_cpl c = call(&sv_core_service, &mask, NULL, SV_CORE_INFO, 0, 0);

	cr_assert_eq(c.value[0], SV_CHANNEL_VERSION);
	cr_assert_eq(c.value[1], 5);
}

Test(services, time_goes_on)
{
	uint64_t mask = 1;
	struct sv_cpl a = call(&sv_core_service, &mask, NULL, SV_CORE_TIME, 0, 0);
	struct sv_cpl b = call(&sv_core_service, &mask, NULL, SV_CORE_TIME, 0, 0);

	cr_assert_gt(a.value[0], 1500000000ull * 1000000000ull);
	cr_assert_geq(b.value[1], a.value[1]);
}

Test(services, unknown_opcodes_are_told_so)
{
	struct sv_console_service console = {.in = -1, .out = -1};
	struct sv_bench_service bench = {.ticks_per_us = 1};
	uint64_t mask = 1;

	cr_assert_eq(call(&sv_core_service, &mask, NULL, 99, 0, 0).status, SV_STATUS_NO_OPCODE);
	cr_assert_eq(call(&sv_console_service_ops, &console, NULL, 99, 0, 0).status,
		SV_STATUS_NO_OPCODE);
	cr_assert_eq(call(&sv_bench_service_ops, &bench, NULL, 99, 0, 0).status,
		SV_STATUS_NO_OPCODE);
}

/* --- console --------------------------------------------------------------------------------- */

static struct sv_cpl console_write(struct sv_console_service *c, const char *text, uint64_t len)
{
	struct sv_service_call sc = {.ctx = c};
	struct sv_req req = {.service = SV_SERVICE_CONSOLE, .opcode = SV_CONSOLE_WRITE, .arg = {len}};
	struct sv_cpl cpl = {0};

	memcpy(&req.arg[1], text, strlen(text) < 32 ? strlen(text) : 32);
	sv_console_service_ops.handle(&sc, &req, &cpl);
	return cpl;
}

static struct sv_console_service open_console(int *far)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	*far = pair[1];
	return (struct sv_console_service){.in = pair[0], .out = pair[0]};
}

Test(services, console_carries_bytes_both_ways)
{
	char buf[64] = "";
	int far;
	struct sv_console_service c = open_console(&far);
	struct sv_cpl w = console_write(&c, "hello, world", 12), r;

	cr_assert_eq(w.status, SV_STATUS_OK);
	cr_assert_eq(w.value[0], 12);
	cr_assert_eq(read(far, buf, sizeof(buf)), 12);
	cr_assert_str_eq(buf, "hello, world");
	cr_assert_eq(write(far, "input", 5), 5);
	r = call(&sv_console_service_ops, &c, NULL, SV_CONSOLE_READ, 0, 0);
	cr_assert_eq(r.value[0], 5);
	cr_assert_eq(memcmp(&r.value[1], "input", 5), 0);
}

Test(services, console_write_longer_than_a_request_is_invalid)
{
	int far;
	struct sv_console_service c = open_console(&far);

	cr_assert_eq(console_write(&c, "x", 33).status, SV_STATUS_INVALID);
	cr_assert_eq(console_write(&c, "x", UINT64_MAX).status, SV_STATUS_INVALID);
}

/* The socket is blocking, and stays so: the sidecore must not be kept waiting all the same. */
Test(services, console_that_nobody_reads_says_again, .timeout = 30)
{
	struct sv_cpl cpl = {0};
	int far;
	struct sv_console_service c = open_console(&far);
	uint64_t sent = 0;

	cr_assert_eq(fcntl(c.out, F_GETFL) & O_NONBLOCK, 0);
	do {
		cpl = console_write(&c, "0123456789abcdef0123456789abcdef", 32);
		sent += cpl.value[0];
	} while (cpl.status == SV_STATUS_OK && sent < (64u << 20));
	cr_assert_eq(cpl.status, SV_STATUS_AGAIN);
	cr_assert_eq(call(&sv_console_service_ops, &c, NULL, SV_CONSOLE_READ, 0, 0).value[0], 0);
}

Test(services, console_whose_reader_is_gone_says_so_and_raises_no_signal)
{
	int far;
	struct sv_console_service c = open_console(&far);

	close(far);
	cr_assert_eq(console_write(&c, "x", 1).status, SV_STATUS_IO);
}

Test(services, no_console_swallows_everything)
{
	struct sv_console_service c = {.in = -1, .out = -1};

	cr_assert_eq(console_write(&c, "abc", 3).value[0], 3);
	cr_assert_eq(call(&sv_console_service_ops, &c, NULL, SV_CONSOLE_READ, 0, 0).value[0], 0);
}

/* --- bench ----------------------------------------------------------------------------------- */

static uint64_t memory[4096 / 8] __attribute__((aligned(4096)));
static const struct sv_gmem gmem = {.n = 1,
	.region = {{.gpa = 0x10000, .size = 4096, .host = (uint8_t *)memory}}};

static uint32_t bench_status(uint64_t gpa, uint64_t n)
{
	struct sv_bench_service b = {.ticks_per_us = sv_reactor_ticks_per_us()};

	return call(&sv_bench_service_ops, &b, &gmem, SV_BENCH_PINGPONG, gpa, n).status;
}

Test(services, pingpong_takes_whole_lines_inside_the_memory_only)
{
	cr_assert_eq(bench_status(0x10000, 1), SV_STATUS_OK);
	cr_assert_eq(bench_status(0x10f80, 1), SV_STATUS_OK);
	cr_assert_eq(bench_status(0x10fc0, 1), SV_STATUS_BAD_ADDRESS);
	cr_assert_eq(bench_status(0xffc0, 1), SV_STATUS_BAD_ADDRESS);
	cr_assert_eq(bench_status(UINT64_MAX - 63, 1), SV_STATUS_BAD_ADDRESS);
	cr_assert_eq(bench_status(0x10008, 1), SV_STATUS_INVALID);
	cr_assert_eq(bench_status(0x10000, 0), SV_STATUS_INVALID);
	cr_assert_eq(bench_status(0x10000, SV_BENCH_PINGPONG_MAX + 1), SV_STATUS_INVALID);
}

static void *guest_bounces(void *arg)
{
	uint64_t n = *(const uint64_t *)arg;

	for (uint64_t i = 1; i <= n; i++) {
		sv_store_release(&memory[0], i);
		while (sv_load_acquire(&memory[8]) != i)
			sched_yield();
	}
	return NULL;
}

/* Its clock runs a thousand times slower, so that a busy machine does not end it. */
Test(services, pingpong_bounces_to_its_end, .timeout = 60)
{
	struct sv_bench_service b = {.ticks_per_us = 1000 * sv_reactor_ticks_per_us()};
	uint64_t n = 1000;
	pthread_t guest;

	cr_assert_eq(call(&sv_bench_service_ops, &b, &gmem, SV_BENCH_PINGPONG, 0x10000, n).status,
		SV_STATUS_OK);
	pthread_create(&guest, NULL, guest_bounces, &n);
	while (sv_bench_service_ops.turn(&b))
		sched_yield();
	pthread_join(guest, NULL);
	cr_assert_eq(memory[8], n);
}

Test(services, pingpong_with_a_silent_guest_ends, .timeout = 60)
{
	struct sv_bench_service b = {.ticks_per_us = sv_reactor_ticks_per_us()};
	unsigned slices = 0;

	call(&sv_bench_service_ops, &b, &gmem, SV_BENCH_PINGPONG, 0x10000, 5);
	while (sv_bench_service_ops.turn(&b))
		slices++;
	cr_assert_geq(slices, 1);
	cr_assert_null(b.line);
}
