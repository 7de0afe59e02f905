/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor-slirp: the process of a slirp uplink. Started by `sidevisor serve` with a socket that
 * carries Ethernet frames (uplink_slirp.h); it ends when that does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libslirp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "slirp_confine.h"
#include "uplink_slirp.h"

#define POLLED 1024u
#define FRAMES_PER_TURN 64u

static struct pollfd polled[POLLED]; /* [0]: the uplink */
static unsigned n_polled;

/* --- what libslirp asks of us ------------------------------------------------------------------
 */

/* A full socket loses the frame, as a wire does; TCP sends it again. */
static ssize_t send_packet(const void *frame, size_t n, void *ctx)
{
	(void)ctx;
	(void)!send(SLIRP_FD, frame, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return (ssize_t)n;
}

static void guest_error(const char *text, void *ctx)
{
	(void)text;
	(void)ctx;
}

static int64_t clock_get_ns(void *ctx)
{
	struct timespec t;

	(void)ctx;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Timers are for IPv6 router advertisements, which are off. */
static void *timer_new(SlirpTimerCb cb, void *cb_ctx, void *ctx)
{
	static char none;

	(void)cb;
	(void)cb_ctx;
	(void)ctx;
	return &none;
}

static void timer_free(void *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
}

static void timer_mod(void *timer, int64_t expire, void *ctx)
{
	(void)timer;
	(void)expire;
	(void)ctx;
}

/* Descriptors are asked for at each turn. */
static void note_fd(int fd, void *ctx)
{
	(void)fd;
	(void)ctx;
}

static void notify(void *ctx)
{
	(void)ctx;
}

static const SlirpCb callbacks = {.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = note_fd,
	.unregister_poll_fd = note_fd,
	.notify = notify};

/* --- start -------------------------------------------------------------------------------------
 */

/* The first message: how it went. */
static int report(int error, const char *text)
{
	char said[256];

	said[0] = (char)error;
	snprintf(said + 1, sizeof(said) - 1, "%s", text);
	(void)!send(SLIRP_FD, said, 1 + strlen(said + 1), MSG_NOSIGNAL);
	return error ? 1 : 0;
}

static Slirp *make(char **argv)
{
	uint32_t net = (uint32_t)strtoul(argv[1], NULL, 16),
		 mask = (uint32_t)strtoul(argv[2], NULL, 16);
	unsigned long flags = strtoul(argv[3], NULL, 10);
	SlirpConfig c = {.version = 1,
		.restricted = flags & SLIRP_RESTRICT,
		.in_enabled = true,
		.vnetwork.s_addr = htonl(net),
		.vnetmask.s_addr = htonl(mask),
		.vhost.s_addr = htonl(net + 2),
		.vnameserver.s_addr = htonl(net + 3),
		.vdhcp_start.s_addr = htonl(net + 15),
		.if_mtu = SLIRP_MTU,
		.if_mru = SLIRP_MTU,
		.disable_host_loopback = !(flags & SLIRP_LOOPBACK)};

	return slirp_new(&c, &callbacks, NULL);
}

static int forward(Slirp *s, const char *text)
{
	unsigned host, host_port, guest, guest_port;
	struct in_addr from, to;
	char kind[4], said[200];

	if (sscanf(text, "%3[a-z]:%x:%u:%x:%u", kind, &host, &host_port, &guest, &guest_port) != 5)
		return report(EINVAL, text);
	from.s_addr = htonl(host);
	to.s_addr = htonl(guest);
	if (slirp_add_hostfwd(s, kind[0] == 'u', from, (int)host_port, to, (int)guest_port) == 0)
		return 0;
	snprintf(said, sizeof(said), "forward=%s:%s:%u: port %u cannot be listened on: %s%s", kind,
		inet_ntoa(from), host_port, host_port, strerror(errno),
		errno == EADDRINUSE ? "; take another, or end what has it"
		: errno == EACCES   ? "; ports below 1024 need CAP_NET_BIND_SERVICE"
				    : "");
	return report(errno, said);
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static int add_poll(int fd, int events, void *ctx)
{
	short e = 0;

	(void)ctx;
	if (n_polled == POLLED)
		return -1;
	e |= events & SLIRP_POLL_IN ? POLLIN : 0;
	e |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
	e |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
	polled[n_polled] = (struct pollfd){.fd = fd, .events = e};
	return (int)n_polled++;
}

static int get_revents(int i, void *ctx)
{
	int e = 0, r = i >= 0 && (unsigned)i < n_polled ? polled[i].revents : 0;

	(void)ctx;
	e |= r & POLLIN ? SLIRP_POLL_IN : 0;
	e |= r & POLLOUT ? SLIRP_POLL_OUT : 0;
	e |= r & POLLPRI ? SLIRP_POLL_PRI : 0;
	e |= r & POLLERR ? SLIRP_POLL_ERR : 0;
	e |= r & POLLHUP ? SLIRP_POLL_HUP : 0;
	return e;
}

/* Return: false: the uplink is gone. */
static bool take_frames(Slirp *s)
{
	static uint8_t frame[SLIRP_FRAME];

	for (unsigned i = 0; i < FRAMES_PER_TURN; i++) {
		ssize_t n = recv(SLIRP_FD, frame, sizeof(frame), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n <= 0)
			return false;
		slirp_input(s, frame, (int)n);
	}
	return true;
}

static void serve(Slirp *s)
{
	for (;;) {
		uint32_t timeout = 1000;
		int rc;

		polled[0] = (struct pollfd){.fd = SLIRP_FD, .events = POLLIN};
		n_polled = 1;
		slirp_pollfds_fill(s, &timeout, add_poll, NULL);
		rc = poll(polled, n_polled, (int)timeout);
		slirp_pollfds_poll(s, rc < 0, get_revents, NULL);
		if (rc > 0 && polled[0].revents && !take_frames(s))
			return;
	}
}

int main(int argc, char **argv)
{
	Slirp *s;
	int rc;

	if (argc < 4 || fcntl(SLIRP_FD, F_GETFD) < 0) {
		fprintf(stderr, "%s is started by `sidevisor serve --uplink slirp:...`\n",
			SLIRP_PROGRAM);
		return 2;
	}
	close_range(SLIRP_FD + 1, ~0u, 0);
	s = make(argv);
	if (!s)
		return report(EINVAL, "libslirp refuses its network");
	for (int i = 4; i < argc; i++)
		if (forward(s, argv[i]))
			return 1;
	rc = slirp_confine();
	if (rc < 0)
		return report(-rc, "its privileges cannot be given up");
	report(0, "");
	serve(s);
	slirp_cleanup(s);
	return 0;
}
