/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd_by_hand.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <io/dial.h>

static void nap(void)
{
	static const struct timespec slice = {.tv_nsec = 1000000};

	nanosleep(&slice, NULL);
}

void nh_up(struct nh *h)
{
	int fd;

	*h = (struct nh){.server = 0};
	if (access("/usr/sbin/nbdkit", X_OK) && access("/usr/bin/nbdkit", X_OK))
		cr_skip_test("SKIPPED BECAUSE nbdkit is missing");
	strcpy(h->dir, "/tmp/sidevisor-nbd-test-XXXXXX");
	cr_assert(mkdtemp(h->dir));
	snprintf(h->image, sizeof(h->image), "%s/image", h->dir);
	snprintf(h->socket, sizeof(h->socket), "%s/socket", h->dir);
	snprintf(h->address, sizeof(h->address), "nbd+unix:///?socket=%s", h->socket);
	fd = open(h->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && ftruncate(fd, NH_BYTES) == 0);
	close(fd);
}

void nh_down(struct nh *h)
{
	char command[128];

	if (h->store)
		nh_close(h);
	if (h->server)
		nh_kill(h, SIGKILL);
	snprintf(command, sizeof(command), "rm -rf %s", h->dir);
	if (h->dir[0])
		cr_assert_eq(system(command), 0);
}

void nh_serve(struct nh *h, const char *arguments)
{
	char command[512], rest[340];
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	bool up = false;

	strcpy(at.sun_path, h->socket);
	unlink(h->socket);
	snprintf(rest, sizeof(rest), arguments, h->image);
	snprintf(command, sizeof(command), "exec nbdkit -f -U %s %s 2>%s/log", h->socket, rest, h->dir);
	h->server = fork();
	if (h->server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 10000 && !up; i++) {
		int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		cr_assert_eq(waitpid(h->server, NULL, WNOHANG), 0, "%s", command);
		up = connect(sock, (struct sockaddr *)&at, sizeof(at)) == 0;
		close(sock);
		nap();
	}
}

void nh_kill(struct nh *h, int sig)
{
	kill(h->server, SIGCONT);
	kill(h->server, sig);
	waitpid(h->server, NULL, 0);
	h->server = 0;
}

int nh_dial(struct nh *h, const struct sv_dial_spec *spec)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	h->dialer = fork();
	if (h->dialer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		close(pair[0]);
		_exit(sv_dial_main(spec, pair[1]) < 0);
	}
	close(pair[1]);
	cr_assert_eq(sv_fd_recv(pair[0], &h->ready, sizeof(h->ready), NULL, NULL, 20000),
		(ssize_t)sizeof(h->ready));
	return pair[0];
}

void nh_open(struct nh *h, bool trusted, unsigned deadline_ms, uint32_t flags)
{
	struct sv_dial_spec spec = {.image = h->address, .readonly = flags & BLK_RAW_READONLY};
	int sock = nh_dial(h, &spec);
	struct blk_nbd_config c = {
		.flags = flags, .deadline_ms = deadline_ms, .trusted = trusted};
	struct sv_error err = {""};

	cr_assert_eq(h->ready.status, 0, "%s", h->ready.text);
	c.export = h->ready.export;
	cr_assert_eq(blk_nbd_open(&h->store, sock, &c, &err), 0, "%s", err.text);
}

void nh_close(struct nh *h)
{
	h->store->ops->close(h->store);
	h->store = NULL;
	waitpid(h->dialer, NULL, 0); /* it sees the end */
}

static void on_done(struct blk_io *io, int result)
{
	struct nh_io *x = (struct nh_io *)io;

	cr_assert(!x->done, "an operation ended twice");
	x->done = true;
	x->result = result;
}

void nh_begin(struct nh *h, struct nh_io *x, enum blk_op op, uint64_t at, void *data, uint32_t bytes,
	unsigned pieces, uint32_t flags)
{
	uint32_t left = bytes;
	uint8_t *from = data;
	unsigned n = 0;

	*x = (struct nh_io){.io = {.op = op, .flags = flags, .offset = at, .bytes = bytes,
				    .done = on_done}};
	while (data && left) {
		uint32_t k = n + 1 >= pieces ? left : 1 + (uint32_t)rand() % left;

		x->iov[n++] = (struct iovec){.iov_base = from, .iov_len = k};
		from += k;
		left -= k;
	}
	x->io.iov = x->iov;
	x->io.niov = n;
	h->store->ops->begin(h->store, &x->io);
	cr_assert(!x->done);
}

void nh_step(struct nh *h)
{
	h->store->ops->submit(h->store);
	h->store->ops->reap(h->store);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int nh_wait(struct nh *h, struct nh_io *x)
{
	double end = now_s() + 20;

	while (!x->done) {
		cr_assert(now_s() < end, "an operation does not end");
		nh_step(h);
		if (!x->done)
			sched_yield();
	}
	return x->result;
}

int nh_do(struct nh *h, enum blk_op op, uint64_t at, void *data, uint32_t bytes)
{
	struct nh_io x;

	nh_begin(h, &x, op, at, data, bytes, 1, 0);
	return nh_wait(h, &x);
}
