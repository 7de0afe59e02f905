/* SPDX-License-Identifier: BSD-3-Clause */
/* Between a front end and a back end: what passes, what does not, and how it ends. */
#include <criterion/criterion.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <channels/vhost_user.h>

#include "vu_mask.h"

#define MASKED (1ull << 17 | 1ull << 22)
#define PATIENCE_MS 10000

static char dir[64], front_at[96], back_at[96];
static struct vu_mask *m;
static struct sv_error err;
static int front, back;

static int unix_socket(const char *at, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(a->sun_path, sizeof(a->sun_path), "%s", at);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void up(void)
{
	struct sockaddr_un a;
	int listener;

	strcpy(dir, "/tmp/sidevisor-mask-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(front_at, sizeof(front_at), "%s/front", dir);
	snprintf(back_at, sizeof(back_at), "%s/back", dir);
	listener = unix_socket(back_at, &a);
	cr_assert_eq(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(vu_mask_start(&m, front_at, back_at, MASKED, &err), 0, "%s", err.text);
	front = unix_socket(front_at, &a);
	cr_assert_eq(connect(front, (struct sockaddr *)&a, sizeof(a)), 0);
	back = accept(listener, NULL, NULL);
	cr_assert_geq(back, 0);
	close(listener);
}

static void down(void)
{
	vu_mask_stop(m);
	close(front);
	close(back);
	unlink(front_at);
	unlink(back_at);
	rmdir(dir);
}

TestSuite(vu_mask, .init = up, .fini = down, .timeout = 60);

static void say_u64(int sock, uint32_t request, uint32_t flags, uint64_t value)
{
	uint8_t out[sizeof(struct vu_header) + 8];
	struct vu_header h = {.request = request, .flags = VU_VERSION | flags, .size = 8};

	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), &value, 8);
	cr_assert_eq(sv_fd_send(sock, out, sizeof(out), NULL, 0, PATIENCE_MS), (ssize_t)sizeof(out));
}

static uint64_t hear_u64(int sock, uint32_t request)
{
	uint8_t in[sizeof(struct vu_header) + 8];
	struct vu_header h;
	uint64_t value;

	cr_assert_eq(recv(sock, in, sizeof(in), MSG_WAITALL), (ssize_t)sizeof(in));
	memcpy(&h, in, sizeof(h));
	memcpy(&value, in + sizeof(h), 8);
	cr_assert_eq(h.request, request);
	cr_assert_eq(h.size, 8);
	return value;
}

Test(vu_mask, features_are_taken_out_of_their_reply_and_of_nothing_else)
{
	say_u64(back, VU_GET_FEATURES, VU_FLAG_REPLY, ~0ull);
	cr_assert_eq(hear_u64(front, VU_GET_FEATURES), ~MASKED);
	say_u64(back, VU_GET_PROTOCOL_FEATURES, VU_FLAG_REPLY, ~0ull);
	cr_assert_eq(hear_u64(front, VU_GET_PROTOCOL_FEATURES), ~0ull);
	say_u64(front, VU_SET_FEATURES, 0, ~0ull);
	cr_assert_eq(hear_u64(back, VU_SET_FEATURES), ~0ull);
}

Test(vu_mask, descriptors_and_long_payloads_pass_whole)
{
	static uint8_t out[sizeof(struct vu_header) + 2000], in[sizeof(out)];
	struct vu_header h = {.request = VU_SET_MEM_TABLE, .flags = VU_VERSION, .size = 2000};
	int event = eventfd(7, EFD_CLOEXEC), fds[4];
	unsigned n = 4;
	eventfd_t value;

	memcpy(out, &h, sizeof(h));
	for (unsigned i = 0; i < 2000; i++)
		out[sizeof(h) + i] = (uint8_t)(i * 7);
	/* In pieces, as a stream may bring it. */
	cr_assert_eq(sv_fd_send(front, out, 5, &event, 1, PATIENCE_MS), 5);
	cr_assert_eq(sv_fd_send(front, out + 5, sizeof(out) - 5, NULL, 0, PATIENCE_MS), (ssize_t)sizeof(out) - 5);
	cr_assert_eq(sv_fd_recv(back, in, sizeof(in), fds, &n, PATIENCE_MS), (ssize_t)sizeof(in));
	cr_assert_eq(n, 1);
	cr_assert_arr_eq(in, out, sizeof(out));
	cr_assert_eq(eventfd_read(fds[0], &value), 0);
	cr_assert_eq(value, 7);
	close(fds[0]);
	close(event);
}

static void ends(int sock)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	char byte;

	cr_assert_eq(poll(&p, 1, PATIENCE_MS), 1);
	cr_assert_leq(recv(sock, &byte, 1, 0), 0);
}

Test(vu_mask, an_end_that_goes_takes_the_other_along)
{
	close(front);
	ends(back);
	front = -1;
}

Test(vu_mask, a_message_too_long_ends_both)
{
	struct vu_header h = {.request = VU_GET_CONFIG, .flags = VU_VERSION, .size = 1u << 30};

	cr_assert_eq(send(front, &h, sizeof(h), 0), (ssize_t)sizeof(h));
	ends(front);
	ends(back);
}

Test(vu_mask, stopping_ends_both)
{
	vu_mask_stop(m);
	m = NULL;
	ends(front);
	ends(back);
}
