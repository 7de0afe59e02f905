/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd_link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/fdpass.h>

#include "nbd_relay.h"

#define ASK_AGAIN_MS 30000u /* a dialer that says nothing for so long is asked again */
#define SHAKE_MS 10000u
#define BACKOFF_MS 2000u
#define ROUNDS 64u
#define MOST (2u << 20)

uint64_t nbd_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void watch(const struct nbd_link *l, int fd, int op, uint32_t events)
{
	struct epoll_event ev = {.events = events};

	epoll_ctl(l->epoll_fd, op, fd, &ev);
}

/* --- giving up ------------------------------------------------------------------------------- */

static void hang_up(struct nbd_link *l)
{
	const struct linger at_once = {.l_onoff = 1};

	if (l->h) {
		int fd = l->relayed ? l->outer : l->nbd->aio_get_fd(l->h);

		if (fd >= 0)
			watch(l, fd, EPOLL_CTL_DEL, 0);
		if (l->relayed) /* whoever shares it cannot make the close wait */
			setsockopt(l->outer, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		l->nbd->close(l->h);
		l->h = NULL;
	}
	nbd_relay_close(l);
}

void nbd_link_drop(struct nbd_link *l, uint64_t now_ms, const char *why)
{
	if (l->state == NBD_UP) {
		blk_notice_say(l->notice, "its server is gone (%s); what it has not answered is asked "
			       "again when it is back", why);
		l->down_since_ms = now_ms;
	}
	hang_up(l);
	if (l->state != NBD_DEAD)
		l->state = NBD_DOWN;
}

static void die(struct nbd_link *l, const char *why)
{
	hang_up(l);
	l->state = NBD_DEAD;
	watch(l, l->dialer, EPOLL_CTL_DEL, 0);
	snprintf(l->why, sizeof(l->why), "%s", why);
}

static void failed(struct nbd_link *l, uint64_t now_ms, const char *why)
{
	if (!l->failures++)
		blk_notice_say(l->notice, "no connection: %s", why);
	nbd_link_drop(l, now_ms, why);
}

/* --- dialing --------------------------------------------------------------------------------- */

static uint32_t backoff(const struct nbd_link *l)
{
	unsigned shift = l->failures < 7 ? l->failures : 7;

	if (!l->failures)
		return 0;
	return 25u << shift < BACKOFF_MS ? 25u << shift : BACKOFF_MS;
}

static void ask(struct nbd_link *l, uint64_t now_ms)
{
	struct sv_dial_ask a = {
		.magic = SV_DIAL_MAGIC, .serial = ++l->serial, .wait_ms = backoff(l)};
	ssize_t n = sv_fd_send(l->dialer, &a, sizeof(a), NULL, 0, 0);

	if (n == sizeof(a)) {
		l->state = NBD_DIALING;
		l->asked_ms = now_ms;
	} else if (n != -ETIMEDOUT) {
		die(l, "who connects it ended");
	}
}

static bool is_stream(int sock)
{
	int type = 0;
	socklen_t n = sizeof(type);

	return getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

static void begin_handshake(struct nbd_link *l, int sock, const char *name, uint64_t now_ms)
{
	int mine;

	if (!is_stream(sock)) {
		close(sock);
		failed(l, now_ms, "what came is no stream socket");
		return;
	}
	mine = nbd_relay_open(l, sock);
	l->h = mine < 0 ? NULL : l->nbd->create();
	if (!l->h || l->nbd->set_export_name(l->h, name) < 0 ||
		l->nbd->set_pread_initialize(l->h, false) < 0) {
		if (mine >= 0)
			close(mine);
		if (l->h)
			l->nbd->close(l->h);
		l->h = NULL;
		failed(l, now_ms, "out of memory or descriptors");
		return;
	}
	if (l->nbd->aio_connect_socket(l->h, mine) < 0) { /* the socket is libnbd's */
		const char *why = l->nbd->get_error();

		l->state = NBD_SHAKING;
		failed(l, now_ms, why ? why : "libnbd fails");
		return;
	}
	watch(l, l->relayed ? l->outer : mine, EPOLL_CTL_ADD, EPOLLIN);
	l->state = NBD_SHAKING;
	l->asked_ms = now_ms;
}

static void hear(struct nbd_link *l, uint64_t now_ms)
{
	struct sv_dial_reply r;
	unsigned nfds = 1;
	int sock = -1;
	ssize_t n = sv_fd_recv(l->dialer, &r, sizeof(r), &sock, &nfds, 0);

	if (n == -ETIMEDOUT || n == -EAGAIN) {
		if (l->state == NBD_DIALING && now_ms - l->asked_ms > ASK_AGAIN_MS)
			l->state = NBD_DOWN;
		return;
	}
	if (n != sizeof(r) || r.magic != SV_DIAL_MAGIC) {
		if (nfds)
			close(sock);
		die(l, "who connects it ended");
		return;
	}
	r.text[sizeof(r.text) - 1] = r.name[sizeof(r.name) - 1] = 0;
	if (l->state != NBD_DIALING || r.serial != l->serial || (!r.status && !nfds)) {
		if (nfds)
			close(sock);
	} else if (!r.status) {
		begin_handshake(l, sock, r.name, now_ms);
	} else {
		if (nfds)
			close(sock);
		if (r.final)
			die(l, r.text);
		else
			failed(l, now_ms, r.text);
	}
}

/* --- the server ------------------------------------------------------------------------------ */

/* Return: libnbd made a step. */
static bool step(struct nbd_link *l)
{
	unsigned dir = l->nbd->aio_get_direction(l->h);
	struct pollfd p = {.fd = l->nbd->aio_get_fd(l->h),
		.events = (short)((dir & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
				  (dir & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0))};

	if (!p.events || poll(&p, 1, 0) <= 0)
		return false;
	if (dir & LIBNBD_AIO_DIRECTION_READ && p.revents & (POLLIN | POLLHUP | POLLERR))
		l->nbd->aio_notify_read(l->h);
	else
		l->nbd->aio_notify_write(l->h);
	return true;
}

static bool ended(const struct nbd_link *l)
{
	return l->nbd->aio_is_dead(l->h) || l->nbd->aio_is_closed(l->h);
}

static void pump(struct nbd_link *l, uint64_t now_ms)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		bool moved = nbd_relay_carry(l);

		moved |= step(l);
		if (ended(l)) {
			const char *why = l->nbd->get_error();

			if (l->state == NBD_UP)
				nbd_link_drop(l, now_ms, why ? why : "it hung up");
			else
				failed(l, now_ms, why ? why : "it hung up");
			return;
		}
		if (!moved)
			return;
	}
}

/* Is it still the disk that the guest has? */
static bool same_export(struct nbd_link *l, char *why, size_t bytes)
{
	int64_t size = l->nbd->get_size(l->h);
	int64_t least = l->nbd->get_block_size(l->h, LIBNBD_SIZE_MINIMUM);
	int64_t most = l->nbd->get_block_size(l->h, LIBNBD_SIZE_MAXIMUM);

	if (size < 0 || (uint64_t)size < l->export.bytes)
		snprintf(why, bytes, "the export has %lld bytes, the disk %llu", (long long)size,
			(unsigned long long)l->export.bytes);
	else if (least > 512)
		snprintf(why, bytes, "the server wants transfers of %lld bytes", (long long)least);
	else if (!(l->export.flags & SV_EXPORT_F_READONLY) && l->nbd->is_read_only(l->h))
		snprintf(why, bytes, "the server lets nobody write any more");
	else if (l->export.flags & SV_EXPORT_F_FLUSH && l->nbd->can_flush(l->h) <= 0)
		snprintf(why, bytes, "the server cannot flush any more");
	else {
		l->most = most >= 512 && most < MOST ? (uint32_t)most & ~511u : MOST;
		return true;
	}
	return false;
}

static void came_up(struct nbd_link *l, uint64_t now_ms)
{
	char why[96];

	if (!same_export(l, why, sizeof(why))) {
		failed(l, now_ms, why);
		return;
	}
	l->can_fua = l->nbd->can_fua(l->h) > 0;
	l->can_flush = l->nbd->can_flush(l->h) > 0;
	l->multi_conn = l->nbd->can_multi_conn(l->h) > 0;
	l->state = NBD_UP;
	l->failures = 0;
	if (l->connections++)
		blk_notice_say(l->notice, "its server is back after %llu ms",
			(unsigned long long)(now_ms - l->down_since_ms));
}

enum nbd_link_state nbd_link_drive(struct nbd_link *l, uint64_t now_ms)
{
	if (l->state == NBD_DEAD)
		return l->state;
	if (l->state == NBD_DOWN)
		ask(l, now_ms);
	if (l->state == NBD_DIALING)
		hear(l, now_ms);
	if (l->h)
		pump(l, now_ms);
	if (l->state == NBD_SHAKING && l->nbd->aio_is_ready(l->h))
		came_up(l, now_ms);
	else if (l->state == NBD_SHAKING && now_ms - l->asked_ms > SHAKE_MS)
		failed(l, now_ms, "the server connects and says nothing");
	return l->state;
}

/* --- sleep ----------------------------------------------------------------------------------- */

bool nbd_link_arm(struct nbd_link *l, uint64_t now_ms)
{
	struct pollfd p = {.fd = l->epoll_fd, .events = POLLIN};
	enum nbd_link_state state = l->state;
	uint32_t events = EPOLLIN;

	if (state != NBD_DIALING && state != NBD_DEAD)
		hear(l, now_ms); /* a late reply, or the end of the dialer */
	if (l->state == NBD_DEAD && state != NBD_DEAD)
		return true;
	if (l->h && l->relayed) {
		if (l->out.at != l->out.end)
			events |= EPOLLOUT;
		watch(l, l->outer, EPOLL_CTL_MOD, events);
	} else if (l->h) {
		if (l->nbd->aio_get_direction(l->h) & LIBNBD_AIO_DIRECTION_WRITE)
			events |= EPOLLOUT;
		watch(l, l->nbd->aio_get_fd(l->h), EPOLL_CTL_MOD, events);
	}
	return poll(&p, 1, 0) > 0;
}

/* --- life ------------------------------------------------------------------------------------ */

void nbd_link_close(struct nbd_link *l)
{
	if (l->h && l->state == NBD_UP) {
		l->nbd->aio_disconnect(l->h, 0);
		step(l);
		nbd_relay_carry(l);
	}
	hang_up(l);
	nbd_relay_free(l);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	if (l->dialer >= 0)
		close(l->dialer);
}

int nbd_link_open(struct nbd_link *l, int dialer, const struct sv_export *export, bool trusted,
	struct blk_notice *notice, struct sv_error *err)
{
	*l = (struct nbd_link){.nbd = nbd_library(err),
		.notice = notice,
		.dialer = -1,
		.inner = -1,
		.outer = -1,
		.export = *export,
		.relayed = !trusted,
		.serial = (uint32_t)nbd_now_ms(),
		.down_since_ms = nbd_now_ms(),
		.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	if (l->nbd && l->epoll_fd >= 0 && (trusted || nbd_relay_alloc(l) == 0)) {
		l->dialer = dialer;
		watch(l, dialer, EPOLL_CTL_ADD, EPOLLIN);
		return 0;
	}
	if (l->nbd)
		sv_fail(err, ENOMEM, "the node is out of memory or descriptors");
	nbd_link_close(l);
	return l->nbd ? -ENOMEM : -ENOENT;
}
