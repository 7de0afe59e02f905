/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-console: bytes both ways, a reader that does not read, input that ends. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <io/devices.h>

#include "front_end.h"

#define RX 0u
#define TX 1u
#define BUF(i) (FE_DATA + 4096ull * (i))

static struct fe fe;
static int in_write, out_read;
static int in_kept, out_kept; /* the device's ends, as the VM process keeps them */

static void attach(bool threaded)
{
	struct sv_control_device d = {.kind = SV_DEVICE_CONSOLE, .queues = 2, .name = "console"};
	int fds[2] = {dup(in_kept), dup(out_kept)};

	cr_assert_eq(fe_open(&fe, &sv_console_class, &d, fds, 2, threaded, 100), 0, "%s", fe.err.text);
	fe_start(&fe, FE_ALL, 2, 64);
}

static void open_console(bool threaded)
{
	int in[2], out[2], small = 16384;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out), 0);
	cr_assert_eq(setsockopt(out[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	in_write = in[1];
	out_read = out[0];
	fcntl(out_read, F_SETFL, O_NONBLOCK); /* this end alone: the device's would block */
	in_kept = in[0];
	out_kept = out[1];
	attach(threaded);
}

static void up(void)
{
	open_console(false);
}

static void down(void)
{
	fe_close(&fe);
	close(in_write);
	close(out_read);
	close(in_kept);
	close(out_kept);
}

TestSuite(console, .init = up, .fini = down, .timeout = 60);

static void turns(unsigned n)
{
	while (n--)
		sv_reactor_turn(fe.reactor);
}

static void say(const char *text, unsigned slot, uint32_t n)
{
	struct vqd_buf b = {BUF(slot), n, false};

	memcpy(fe.mem + BUF(slot), text, n);
	cr_assert_geq(vqd_add(&fe.q[TX], &b, 1, 0), 0);
	vqd_kick(&fe.q[TX]);
}

Test(console, output_arrives_in_order)
{
	char got[64];

	say("hello, ", 0, 7);
	say("world", 1, 5);
	fe_wait(&fe, TX, NULL);
	fe_wait(&fe, TX, NULL);
	cr_assert_eq(read(out_read, got, sizeof(got)), 12);
	cr_assert_eq(memcmp(got, "hello, world", 12), 0);
}

Test(console, input_waits_for_buffers_of_the_driver)
{
	struct vqd_buf b = {BUF(0), 4, true};
	uint32_t len;

	cr_assert_eq(write(in_write, "abcdef", 6), 6);
	turns(20000);
	cr_assert_eq(vqd_get(&fe.q[RX], &len), -1);
	vqd_add(&fe.q[RX], &b, 1, 0);
	b.gpa = BUF(1);
	vqd_add(&fe.q[RX], &b, 1, 0);
	vqd_kick(&fe.q[RX]);
	fe_wait(&fe, RX, &len);
	cr_assert_eq(len, 4);
	fe_wait(&fe, RX, &len);
	cr_assert_eq(len, 2);
	cr_assert_eq(memcmp(fe.mem + BUF(0), "abcd", 4), 0);
	cr_assert_eq(memcmp(fe.mem + BUF(1), "ef", 2), 0);
}

/* A buffer of the driver's for input. */
static void offer(unsigned slot, uint32_t n)
{
	struct vqd_buf b = {BUF(slot), n, true};

	cr_assert_geq(vqd_add(&fe.q[RX], &b, 1, 0), 0);
	vqd_kick(&fe.q[RX]);
}

Test(console, input_that_the_driver_has_no_room_for_is_the_next_sidecores)
{
	uint32_t len;
	int left;

	offer(0, 2);
	cr_assert_eq(write(in_write, "abcdef", 6), 6);
	fe_wait(&fe, RX, &len);
	cr_assert_eq(len, 2);
	turns(20000);
	cr_assert_eq(ioctl(in_kept, FIONREAD, &left), 0);
	cr_assert_eq(left, 4);
	fe_close(&fe);
	attach(false);
	offer(1, 64);
	fe_wait(&fe, RX, &len);
	cr_assert_eq(len, 4);
	cr_assert_eq(memcmp(fe.mem + BUF(1), "cdef", 4), 0);
}

Test(console, input_without_room_lets_the_sidecore_sleep_until_there_is)
{
	uint32_t len;

	cr_assert_eq(write(in_write, "abc", 3), 3);
	sv_reactor_sleep(fe.reactor, 0);
	turns(20000);
	cr_assert(sv_reactor_sleep(fe.reactor, 0));
	cr_assert(sv_reactor_sleep(fe.reactor, 0));
	cr_assert_leq(sv_reactor_stats(fe.reactor).wakes, 2);
	offer(0, 64);
	cr_assert(!sv_reactor_sleep(fe.reactor, 0), "both are there");
	fe_wait(&fe, RX, &len);
	cr_assert_eq(len, 3);
}

Test(console, room_without_input_lets_the_sidecore_sleep_until_there_is)
{
	uint32_t len;

	offer(0, 64);
	turns(20000);
	cr_assert(sv_reactor_sleep(fe.reactor, 0));
	cr_assert_eq(write(in_write, "abc", 3), 3);
	cr_assert(!sv_reactor_sleep(fe.reactor, 0), "both are there");
	fe_wait(&fe, RX, &len);
	cr_assert_eq(len, 3);
}

Test(console, input_fills_the_buffers_of_a_chain_and_no_more_of_them_than_a_turn_may)
{
	static char block[32768];
	struct vqd_buf b[2] = {{BUF(0), 4096, true}, {BUF(8), 65536, true}};
	uint32_t len;

	memset(block, 'x', sizeof(block));
	block[0] = 'a';
	block[4096] = 'b';
	cr_assert_eq(write(in_write, block, sizeof(block)), (ssize_t)sizeof(block));
	cr_assert_geq(vqd_add(&fe.q[RX], b, 2, 0), 0);
	vqd_kick(&fe.q[RX]);
	fe_wait(&fe, RX, &len);
	cr_assert_eq(len, 16384);
	cr_assert(fe.mem[BUF(0)] == 'a' && fe.mem[BUF(8)] == 'b' && fe.mem[BUF(8) + 1] == 'x');
	cr_assert_eq(fe.mem[BUF(8) + 12288], 0);
	offer(32, 65536);
	fe_wait(&fe, RX, &len);
	cr_assert_eq(len, 16384);
}

Test(console, reader_that_does_not_read_holds_the_queue_and_not_the_sidecore)
{
	static char block[4096];
	unsigned sent = 0, answered = 0;
	size_t got = 0;

	memset(block, 'x', sizeof(block));
	for (; sent < 40; sent++)
		say(block, sent, sizeof(block));
	turns(5000);
	while (vqd_get(&fe.q[TX], NULL) >= 0)
		answered++;
	cr_assert_lt(answered, 40, "a socket holds so much");
	cr_assert(sv_reactor_sleep(fe.reactor, 0), "and the sidecore may sleep meanwhile");
	while (answered < 40) {
		ssize_t n;

		while ((n = read(out_read, block, sizeof(block))) > 0)
			got += (size_t)n;
		turns(600);
		while (vqd_get(&fe.q[TX], NULL) >= 0)
			answered++;
	}
	while (got < 40 * sizeof(block)) {
		ssize_t n = read(out_read, block, sizeof(block));

		cr_assert_gt(n, 0);
		got += (size_t)n;
	}
	cr_assert_eq(got, 40 * sizeof(block));
}

Test(console, slow_reader_does_not_hold_up_a_queue_that_stops)
{
	static char block[4096];
	unsigned base;

	down();
	open_console(true);
	for (unsigned i = 0; i < 20; i++)
		say(block, i, sizeof(block));
	base = fe_stop_queue(&fe, TX);
	cr_assert_leq(base, 20);
	while (vqd_get(&fe.q[TX], NULL) >= 0)
		base--;
	cr_assert_eq(base, 0, "everything taken was answered");
}

Test(console, end_of_input_lets_the_sidecore_sleep)
{
	close(in_write);
	turns(20000);
	sv_reactor_sleep(fe.reactor, 0);
	cr_assert(sv_reactor_sleep(fe.reactor, 0));
	cr_assert_leq(sv_reactor_stats(fe.reactor).wakes, 2);
	in_write = dup(out_read);
}

Test(console, reader_that_is_gone_takes_everything)
{
	close(out_read);
	for (unsigned i = 0; i < 10; i++)
		say("gone", i, 4);
	for (unsigned i = 0; i < 10; i++)
		fe_wait(&fe, TX, NULL);
	out_read = dup(in_write);
}

Test(console, descriptors_that_could_block_are_refused)
{
	struct sv_control_device d = {.kind = SV_DEVICE_CONSOLE, .queues = 2, .name = "console"};
	struct fe other;
	int p[2];

	cr_assert_eq(pipe(p), 0);
	cr_assert_lt(fe_open(&other, &sv_console_class, &d, p, 2, false, 0), 0);
	cr_assert(strstr(other.err.text, "sockets"));
	fe_close(&other);
	close(p[0]);
	close(p[1]);
}

Test(console, readable_buffers_in_the_receive_queue_break_it)
{
	struct vqd_buf b = {BUF(0), 4, false};

	vqd_add(&fe.q[RX], &b, 1, 0);
	vqd_kick(&fe.q[RX]);
	cr_assert_eq(write(in_write, "a", 1), 1);
	turns(20000);
	cr_assert_eq(vqd_get(&fe.q[RX], NULL), -1);
	say("still here", 1, 10);
	fe_wait(&fe, TX, NULL);
}
