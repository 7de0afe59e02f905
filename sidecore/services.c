/* SPDX-License-Identifier: BSD-3-Clause */
#include "services.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <channels/atomics.h>
#include <sidevisor/services.h>

/* --- core ------------------------------------------------------------------------------------ */

static void core_handle(const struct sv_service_call *call, const struct sv_req *req,
	struct sv_cpl *cpl)
{
	struct timespec ts;

	switch (req->opcode) {
	case SV_CORE_NOP:
		cpl->value[0] = req->arg[0];
		break;
	case SV_CORE_INFO:
		cpl->value[0] = SV_CHANNEL_VERSION;
		cpl->value[1] = *(const uint64_t *)call->ctx;
		break;
	case SV_CORE_TIME:
		clock_gettime(CLOCK_REALTIME, &ts);
		cpl->value[0] = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
		cpl->value[1] = sv_tsc();
		break;
	default:
		cpl->status = SV_STATUS_NO_OPCODE;
	}
}

const struct sv_service_ops sv_core_service = {
	.id = SV_SERVICE_CORE, .name = "core", .handle = core_handle};

/* --- console --------------------------------------------------------------------------------- */

static bool would_block(void)
{
	return errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
}

static void console_write(const struct sv_console_service *c, const struct sv_req *req,
	struct sv_cpl *cpl)
{
	char bytes[SV_CONSOLE_INLINE_BYTES];
	uint64_t len = req->arg[0];
	ssize_t n;

	if (len > sizeof(bytes)) {
		cpl->status = SV_STATUS_INVALID;
		return;
	}
	memcpy(bytes, &req->arg[1], sizeof(bytes));
	n = c->out < 0 ? (ssize_t)len : send(c->out, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		cpl->value[0] = (uint64_t)n;
	else
		cpl->status = would_block() ? SV_STATUS_AGAIN : SV_STATUS_IO;
}

static void console_read(const struct sv_console_service *c, struct sv_cpl *cpl)
{
	char bytes[SV_CONSOLE_INLINE_BYTES] = {0};
	ssize_t n = c->in < 0 ? 0 : recv(c->in, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n > 0) {
		cpl->value[0] = (uint64_t)n;
		memcpy(&cpl->value[1], bytes, sizeof(bytes));
	} else if (n < 0 && !would_block()) {
		cpl->status = SV_STATUS_IO;
	}
}

static void console_handle(const struct sv_service_call *call, const struct sv_req *req,
	struct sv_cpl *cpl)
{
	if (req->opcode == SV_CONSOLE_WRITE)
		console_write(call->ctx, req, cpl);
	else if (req->opcode == SV_CONSOLE_READ)
		console_read(call->ctx, cpl);
	else
		cpl->status = SV_STATUS_NO_OPCODE;
}

const struct sv_service_ops sv_console_service_ops = {
	.id = SV_SERVICE_CONSOLE, .name = "console", .handle = console_handle};

/* --- bench ----------------------------------------------------------------------------------- */

#define BENCH_SLICE_US 10000u	/* then the reactor goes round once, that is: detaching is possible */
#define BENCH_QUIET_US 100000u	/* nothing bounced for so long: over */
#define BENCH_TOTAL_US 10000000u

static void bench_handle(const struct sv_service_call *call, const struct sv_req *req,
	struct sv_cpl *cpl)
{
	struct sv_bench_service *b = call->ctx;
	uint64_t *line;

	if (req->opcode != SV_BENCH_PINGPONG) {
		cpl->status = SV_STATUS_NO_OPCODE;
		return;
	}
	if (!req->arg[1] || req->arg[1] > SV_BENCH_PINGPONG_MAX || req->arg[0] % SV_CACHE_LINE) {
		cpl->status = SV_STATUS_INVALID;
		return;
	}
	line = sv_gmem_ptr(call->gmem, sv_gpa(req->arg[0]), 2 * SV_CACHE_LINE);
	if (!line) {
		cpl->status = SV_STATUS_BAD_ADDRESS;
		return;
	}
	b->line = line;
	b->next = 1;
	b->last = req->arg[1];
	b->quiet_since = sv_tsc();
	b->end = b->quiet_since + BENCH_TOTAL_US * b->ticks_per_us;
}

/* Bounce for a slice of time. Return: nonzero while a ping-pong is under way. */
static int bench_turn(void *ctx)
{
	struct sv_bench_service *b = ctx;
	uint64_t *mine, now, until;

	if (!b->line)
		return 0;
	mine = b->line + SV_CACHE_LINE / sizeof(*b->line);
	until = sv_tsc() + BENCH_SLICE_US * b->ticks_per_us;
	do {
		now = sv_tsc();
		if (sv_load_acquire(b->line) == b->next) {
			sv_store_release(mine, b->next++);
			b->quiet_since = now;
		}
	} while (b->next <= b->last && now < until);
	if (b->next > b->last || now > b->end || now - b->quiet_since > BENCH_QUIET_US * b->ticks_per_us)
		b->line = NULL;
	return 1;
}

const struct sv_service_ops sv_bench_service_ops = {
	.id = SV_SERVICE_BENCH, .name = "bench", .handle = bench_handle, .turn = bench_turn};
