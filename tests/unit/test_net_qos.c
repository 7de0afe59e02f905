/* SPDX-License-Identifier: BSD-3-Clause */
/* What guests may send: by weight, at most so much, and nothing without a link. */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <io/devices.h>
#include <io/net_export.h>

#include "net_guest.h"

#define F(bit) (1ull << (bit))
#define MODERN (F(VIRTIO_F_VERSION_1) | F(VIRTIO_RING_F_EVENT_IDX))
#define RING 64u
#define BACKLOG 32u

static struct guest a, b, c;
static struct received got;
static uint8_t frame[GUEST_FRAME];

static void up(void)
{
	struct sv_control_device d = guest_device("a", 1, 1);

	guest_open(&a, NULL, &d, MODERN, RING);
	d = guest_device("b", 2, 1);
	guest_open(&b, &a, &d, MODERN, RING);
	d = guest_device("c", 3, 1);
	guest_open(&c, &a, &d, MODERN, RING);
}

static void down(void)
{
	guest_close(&c);
	guest_close(&b);
	guest_close(&a);
}

TestSuite(net_qos, .init = up, .fini = down, .timeout = 120);

static void set(struct guest *g, const char *key, const char *value)
{
	struct sv_error err = {""};

	cr_assert_eq(g->fe.class->set(g->fe.handle, key, value, &err), 0, "%s", err.text);
}

static void send_to_b(struct guest *from)
{
	uint32_t len = udp_frame(frame, from, b.mac, 1, 7, 1000);

	guest_send(from, 0, NULL, frame, len, 1);
}

static unsigned receive_at(struct guest *to)
{
	unsigned n = 0;

	while (guest_receive(to, 0, &got))
		n++;
	return n;
}

static unsigned receive_all(void)
{
	return receive_at(&b);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Two that always have something to send. */
Test(net_qos, frames_go_by_weight)
{
	unsigned sent[2] = {0, 0}, out[2] = {0, 0};
	struct guest *from[2] = {&a, &c};

	set(&a, "weight", "300");
	set(&c, "weight", "100");
	guest_fill(&b, 0, BACKLOG, 1536);
	for (unsigned turn = 0; turn < 3000; turn++) {
		for (unsigned i = 0; i < 2; i++)
			for (; out[i] < BACKLOG; out[i]++)
				send_to_b(from[i]);
		sv_reactor_turn(a.fe.reactor);
		guest_fill(&b, 0, receive_all(), 1536);
		for (unsigned i = 0; i < 2; i++) {
			unsigned n = guest_sent(from[i], 0);

			out[i] -= n;
			sent[i] += turn < 100 ? 0 : n;
		}
	}
	cr_expect(sent[0] > 2.85 * sent[1] && sent[0] < 3.15 * sent[1], "%u to %u", sent[0], sent[1]);
}

/* 20 frames at 100 a second: 19 intervals, less the burst of one. */
Test(net_qos, a_maximum_holds)
{
	uint64_t begin;
	unsigned n = 0;
	char *text;

	set(&a, "burst", "1");
	set(&a, "max-iops", "100");
	guest_fill(&b, 0, 40, 1536);
	begin = now_ns();
	for (unsigned i = 0; i < 20; i++)
		send_to_b(&a);
	while (n < 20 && now_ns() - begin < 20000000000u) {
		sv_reactor_turn(a.fe.reactor);
		guest_sent(&a, 0);
		n += receive_all();
	}
	cr_expect_eq(n, 20);
	cr_expect_geq(now_ns() - begin, 180000000, "%llu ns", (unsigned long long)(now_ns() - begin));
	cr_expect_gt(guest_stat(&a, "throttled_ns"), 150000000);
	cr_expect_eq(guest_stat(&b, "throttled_ns"), 0);
	text = a.fe.class->stats(a.fe.handle);
	cr_expect(!strstr(text, "latency_ns"), "it has none: %s", text);
	free(text);
}

Test(net_qos, without_a_link_nothing_passes)
{
	struct vu_config config = {.offset = 6, .size = 2};
	union vu_payload reply;
	struct sv_error err = {""};

	for (unsigned round = 0; round < 3; round++) {
		set(&b, "link", round == 1 ? "down" : "up");
		cr_assert_eq(fe_call(&b.fe, VU_GET_CONFIG, 0, &config, VU_CONFIG_HEADER + 2, NULL, 0, &reply),
			VU_CONFIG_HEADER + 2);
		cr_expect_eq(reply.config.bytes[0], round != 1, "its status says so");
		guest_fill(&b, 0, 4, 1536);
		send_to_b(&a);
		for (unsigned i = 0; i < 3; i++)
			sv_reactor_turn(a.fe.reactor);
		cr_expect_eq(guest_sent(&a, 0), 1, "the sender is not held up");
		cr_expect_eq(receive_all(), round != 1, "round %u", round);
	}
	cr_expect_eq(b.fe.class->set(b.fe.handle, "link", "sideways", &err), -EINVAL);
	cr_expect(strstr(err.text, "up or down"), "%s", err.text);
}

Test(net_qos, a_minimum_above_the_maximum_is_refused_while_it_runs)
{
	struct sv_error err = {""};

	set(&a, "max-iops", "100");
	cr_expect_eq(a.fe.class->set(a.fe.handle, "min-iops", "101", &err), -EINVAL);
	cr_expect(strstr(err.text, "more than max-iops=100"), "%s", err.text);
	cr_expect_eq(guest_stat(&a, "min-iops"), 0);
	set(&a, "min-iops", "100");
	cr_expect_eq(a.fe.class->set(a.fe.handle, "max-iops", "99", &err), -EINVAL);
	cr_expect_eq(guest_stat(&a, "max-iops"), 100);
}

/* What goes to two is twice the work of what goes to one, though it was taken once. */
Test(net_qos, a_flooded_frame_counts_for_each_receiver)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	unsigned sent[2] = {0, 0}, out[2] = {0, 0};
	struct guest *from[2] = {&a, &c};

	guest_fill(&b, 0, RING, 1536);
	guest_fill(&c, 0, RING, 1536);
	while (sent[0] < 1000) { /* the sender's flood bucket holds more */
		for (unsigned i = 0; i < 2; i++)
			for (; out[i] < BACKLOG; out[i]++) {
				uint32_t len = udp_frame(frame, from[i], i ? b.mac : all, 1, 7, 64);

				guest_send(from[i], 0, NULL, frame, len, 1);
			}
		sv_reactor_turn(a.fe.reactor);
		guest_fill(&b, 0, receive_at(&b), 1536);
		guest_fill(&c, 0, receive_at(&c), 1536);
		for (unsigned i = 0; i < 2; i++) {
			unsigned n = guest_sent(from[i], 0);

			out[i] -= n;
			sent[i] += n;
		}
	}
	cr_expect(sent[1] > 1.8 * sent[0] && sent[1] < 2.2 * sent[0], "%u to %u", sent[1], sent[0]);
}

/* --- a device of `serve --net` ----------------------------------------------------------------- */

static struct sv_net_export *export;

/* What is at the sockets of this host is handled. */
static void pump(void)
{
	for (unsigned i = 0; i < FE_WATCHES; i++) {
		struct pollfd p = {.fd = a.fe.watch[i].fd, .events = POLLIN};

		if (p.fd >= 0 && poll(&p, 1, 0) > 0)
			a.fe.watch[i].ready(a.fe.watch[i].ctx);
	}
}

static int connect_to(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(at.sun_path, path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	pump();
	return fd;
}

static int set_export(const char *key, const char *value)
{
	struct sv_error err = {""};
	int rc = sv_net_export_class.set(export, key, value, &err);

	cr_expect(!rc == !*err.text || rc == -ENOENT, "a sentence: %s", err.text);
	return rc;
}

static bool export_says(const char *what)
{
	char *text = sv_net_export_class.stats(export);
	bool says = strstr(text, what);

	free(text);
	return says;
}

Test(net_qos, an_export_keeps_what_was_set_for_those_that_come)
{
	char dir[] = "/tmp/sidevisor-export-XXXXXX", path[64];
	struct sv_net_export_config config = {.socket = path, .net = {.sw = "test"}};
	struct sv_error err = {""};
	int front_end;

	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/port", dir);
	cr_assert_eq(sv_net_export_open(&export, &config, &a.fe.host, &err), 0, "%s", err.text);
	cr_expect_eq(set_export("size", "max"), -ENOTCONN);
	cr_expect_eq(set_export("link", "down"), 0, "before anybody came");
	front_end = connect_to(path);
	cr_expect(export_says("\"link\": \"down\""));
	cr_expect_eq(set_export("link", "sideways"), -EINVAL);
	cr_expect_eq(set_export("wieght", "3"), -ENOENT);
	cr_expect_eq(set_export("max-iops", "100"), 0);
	cr_expect_eq(set_export("min-iops", "101"), -EINVAL);
	close(front_end);
	pump();
	cr_expect_eq(set_export("min-iops", "102"), -EINVAL, "nor while nobody is there");
	cr_expect_eq(set_export("size", "max"), -ENOTCONN, "whom it was for has gone");
	front_end = connect_to(path);
	cr_expect(export_says("\"link\": \"down\""), "it is as the last one left it");
	cr_expect(export_says("\"max-iops\": 100"));
	cr_expect_eq(set_export("link", "up"), 0);
	close(front_end);
	pump();
	front_end = connect_to(path);
	cr_expect(export_says("\"link\": \"up\""));
	close(front_end);
	sv_net_export_close(export);
	rmdir(dir);
}
