/* SPDX-License-Identifier: BSD-3-Clause */
/* The paging service of a whole node: what a VM process may say, and requests through a channel. */
#include <criterion/criterion.h>

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sidevisor/paging.h>
#include <vmm/paging.h>

#include "node_by_hand.h"
#include "paging.h"

#define WINDOW 0xc0000ull
#define WINDOW_BYTES 0x20000ull
#define POOL (WINDOW + SV_PAGING_PAGE_BYTES)

static struct node_by_hand node;
static struct node_client c;

static void start(void)
{
	node_service = &cli_paging_class;
	node_start(&node, -1);
	client_connect(&c, &node);
	cr_assert_eq(client_hello(&c, "pager", 1), 0);
}

static void end(void)
{
	client_close(&c);
	cr_expect_eq(node_stop(&node), 0);
}

TestSuite(paging_node, .init = start, .fini = end, .timeout = 120);

static struct sv_control_request proper(void)
{
	struct sv_control_request r = request_of(SV_CONTROL_SERVICE);

	r.u.service.id = SV_SERVICE_PAGING;
	r.u.service.arg[SV_PAGING_ARG_WINDOW] = WINDOW;
	r.u.service.arg[SV_PAGING_ARG_WINDOW_BYTES] = WINDOW_BYTES;
	r.u.service.arg[SV_PAGING_ARG_POOL] = POOL;
	r.u.service.arg[SV_PAGING_ARG_POOL_BYTES] = WINDOW_BYTES - SV_PAGING_PAGE_BYTES;
	r.u.service.arg[SV_PAGING_ARG_LEVELS] = 4;
	return r;
}

static int say(const struct sv_control_request *r)
{
	return client_say(&c, r, NULL, 0);
}

static uint32_t ask(uint16_t opcode, uint64_t a, uint64_t b, uint64_t d, struct sv_cpl *cpl)
{
	struct sv_req req = {.service = SV_SERVICE_PAGING, .opcode = opcode, .arg = {a, b, d}};

	cr_assert(sv_client_submit(&c.channel, &req, 1) == 1);
	for (unsigned i = 0; i < 20000; i++)
		if (sv_client_wait(&c.channel, sv_tsc() + 1000000) == SV_CLIENT_OK &&
			sv_client_reap(&c.channel, cpl, 1) == 1)
			return cpl->status;
	cr_assert_fail("no answer");
	return SV_STATUS_IO;
}

Test(paging_node, serves_through_a_channel)
{
	struct sv_control_request r = proper();
	struct sv_cpl cpl;

	cr_assert_eq(client_memory(&c), 0);
	cr_assert_eq(say(&r), 0, "%s", c.reply.text);
	cr_expect_gt(say(&r), 0, "said twice");
	cr_assert_eq(client_channel(&c), 0, "%s", c.reply.text);
	cr_assert_eq(client_simple(&c, SV_CONTROL_START), 0);
	cr_expect(ask(SV_PAGING_INFO, 0, 0, 0, &cpl) == SV_STATUS_OK && cpl.value[1] == POOL &&
		  cpl.value[0] == 0);
	for (uint64_t level = 4; level >= 1; level--) {
		uint64_t at = POOL + (4 - level) * 4096;

		cr_expect_eq(ask(SV_PAGING_PIN, at, level, 0, &cpl), SV_STATUS_OK);
		if (level < 4)
			cr_expect_eq(ask(SV_PAGING_UPDATE, POOL,
					     SV_PAGING_LINK | SV_PAGING_LEVEL(level + 1), at, &cpl),
				SV_STATUS_OK);
	}
	cr_expect_eq(ask(SV_PAGING_UPDATE, POOL, SV_PAGING_MAP | SV_PAGING_LEVEL(1), 0x5007, &cpl),
		SV_STATUS_OK);
	cr_expect_eq(*(uint64_t *)(void *)(c.mem + POOL + 3 * 4096), 0x5067u);
	cr_expect_eq(ask(SV_PAGING_UPDATE, POOL, 0x1000 | SV_PAGING_MAP | SV_PAGING_LEVEL(1),
			     WINDOW | 7, &cpl),
		SV_STATUS_DENIED);
	cr_expect_eq(ask(SV_PAGING_ACTIVATE, POOL, 0, 0, &cpl), SV_STATUS_OK);
	cr_expect_eq(((struct sv_paging_page *)(void *)(c.mem + WINDOW))->root[0], POOL);
}

Test(paging_node, its_place_in_the_conversation)
{
	struct sv_control_request r = proper(), other = proper();

	cr_expect_gt(say(&r), 0, "before MEMORY");
	cr_assert_eq(client_memory(&c), 0);
	other.u.service.id = 6;
	cr_expect_gt(say(&other), 0, "no such service");
	cr_expect(strstr(c.reply.text, "no service 6"), "%s", c.reply.text);
	cr_assert_eq(client_channel(&c), 0);
	cr_expect_gt(say(&r), 0, "after CHANNEL");
}

Test(paging_node, arguments_that_cannot_be_are_refused)
{
	static const struct {
		unsigned arg;
		uint64_t value;
	} bad[] = {{SV_PAGING_ARG_WINDOW, 0x10000000}, {SV_PAGING_ARG_WINDOW_BYTES, 1ull << 50},
		{SV_PAGING_ARG_WINDOW_BYTES, 1ull << 63}, {SV_PAGING_ARG_WINDOW, WINDOW + 1},
		{SV_PAGING_ARG_POOL, WINDOW}, {SV_PAGING_ARG_POOL, 0x1000000},
		{SV_PAGING_ARG_POOL_BYTES, 0}, {SV_PAGING_ARG_POOL_BYTES, ~0ull << 12},
		{SV_PAGING_ARG_LEVELS, 3}, {SV_PAGING_ARG_LEVELS, 1ull << 40 | 4},
		{SV_PAGING_ARG_DEVICE + 1, 4096}, {SV_PAGING_ARG_DEVICE + 1, 1ull << 60}};
	struct sv_control_request r;
	int fd = eventfd(0, EFD_CLOEXEC);

	cr_assert_eq(client_memory(&c), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		r = proper();
		r.u.service.arg[bad[i].arg] = bad[i].value;
		cr_expect_gt(say(&r), 0, "case %u", i);
		cr_expect(strlen(c.reply.text) > 10, "case %u says nothing", i);
	}
	r = proper();
	cr_expect_gt(client_say(&c, &r, &fd, 1), 0, "an eventfd is no userfaultfd");
	cr_assert_eq(say(&r), 0, "what was refused can be said right: %s", c.reply.text);
	close(fd);
}

Test(paging_node, an_instance_ends_with_its_vm)
{
	struct sv_control_request r = proper();
	unsigned before = node_descriptors(&node);

	for (unsigned i = 0; i < 20; i++) {
		struct node_client again;

		client_connect(&again, &node);
		cr_assert_eq(client_hello(&again, "again", 1), 0);
		cr_assert_eq(client_memory(&again), 0);
		cr_assert_eq(client_say(&again, &r, NULL, 0), 0);
		client_close(&again);
	}
	node_settles(&node, before);
}
