/* SPDX-License-Identifier: BSD-3-Clause */
/* The dialer: finds the server of a disk, looks at the export, makes connections on request. */
#include <io/dial.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fdpass.h>

#include "dial_private.h"
#include "nbd_library.h"

#define SHAKE_MS 10000
#define SEND_MS 1000
#define WAIT_MAX_MS 60000u
#define LOCK_MS 3000
#define LOCK_NAP_MS 50u

struct dialer {
	int sock;
	struct dial_address at;
	struct dial_tool tool;
};

/* --- looking at the export ------------------------------------------------------------------- */

static int shake_hands(const struct nbd_calls *nbd, struct nbd_handle *h, struct sv_error *err)
{
	uint64_t until = sv_clock_ms() + SHAKE_MS;

	while (!nbd->aio_is_ready(h)) {
		unsigned dir = nbd->aio_get_direction(h);
		struct pollfd p = {.fd = nbd->aio_get_fd(h),
			.events = (short)((dir & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
					  (dir & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0))};
		int left = (int)(int64_t)(until - sv_clock_ms()), rc = 0;

		if (nbd->aio_is_dead(h) || nbd->aio_is_closed(h))
			return sv_fail(err, EPROTO, "the server refuses: %s", nbd->get_error());
		if (left <= 0 || poll(&p, 1, left) <= 0)
			return sv_fail(err, ETIMEDOUT, "the server connects and says nothing");
		if (p.revents & (POLLIN | POLLHUP | POLLERR) && dir & LIBNBD_AIO_DIRECTION_READ)
			rc = nbd->aio_notify_read(h);
		else if (p.revents & POLLOUT)
			rc = nbd->aio_notify_write(h);
		if (rc < 0)
			return sv_fail(err, EPROTO, "the server refuses: %s", nbd->get_error());
	}
	return 0;
}

static int describe(const struct nbd_calls *nbd, struct nbd_handle *h, struct sv_export *x,
	struct sv_error *err)
{
	int64_t bytes = nbd->get_size(h), least = nbd->get_block_size(h, LIBNBD_SIZE_MINIMUM);
	int64_t preferred = nbd->get_block_size(h, LIBNBD_SIZE_PREFERRED);

	if (bytes < 0)
		return sv_fail(err, EPROTO, "the server does not tell the size of its export");
	if (bytes < 512)
		return sv_fail(err, EINVAL, "the export is empty");
	if (bytes % 512)
		return sv_fail(err, EINVAL,
			"%lld bytes are no whole number of 512-byte sectors; round the export up, for "
			"example with nbdkit's truncate filter", (long long)bytes);
	if (least > 512)
		return sv_fail(err, ENOTSUP,
			"the server wants transfers of %lld bytes, a disk has sectors of 512; put "
			"nbdkit's blocksize filter in front", (long long)least);
	*x = (struct sv_export){.bytes = (uint64_t)bytes,
		.preferred = preferred > 0 && preferred <= 1 << 20 ? (uint32_t)preferred : 0,
		.flags = (nbd->is_read_only(h) ? SV_EXPORT_F_READONLY : 0) |
			 (nbd->can_trim(h) > 0 ? SV_EXPORT_F_DISCARD : 0) |
			 (nbd->can_zero(h) > 0 ? SV_EXPORT_F_ZEROES : 0) |
			 (nbd->can_flush(h) > 0 ? SV_EXPORT_F_FLUSH : 0)};
	return 0;
}

static int probe(const struct dialer *d, struct sv_export *x, struct sv_error *err)
{
	const struct nbd_calls *nbd = nbd_library(err);
	int sock = nbd ? dial_connect(&d->at, err) : -ENOENT, rc;
	struct nbd_handle *h;

	if (sock < 0)
		return sock;
	h = nbd->create();
	if (!h || nbd->set_export_name(h, d->at.name) < 0)
		rc = sv_fail(err, ENOMEM, "libnbd: %s", nbd->get_error());
	else if (nbd->aio_connect_socket(h, sock) < 0) /* it shakes hands as far as it gets */
		rc = sv_fail(err, EPROTO, "the server refuses: %s", nbd->get_error());
	else
		rc = shake_hands(nbd, h, err);
	if (rc == 0)
		rc = describe(nbd, h, x, err);
	if (rc == 0)
		nbd->aio_disconnect(h, 0);
	if (h)
		nbd->close(h);
	return rc;
}

/* --- on request ------------------------------------------------------------------------------ */

static void answer(struct dialer *d, const struct sv_dial_ask *ask)
{
	struct sv_dial_reply r = {.magic = SV_DIAL_MAGIC, .serial = ask->serial};
	struct sv_error err = {""};
	int sock = -EPIPE;

	if (dial_tool_ended(&d->tool, &err))
		r.final = 1;
	else
		sock = dial_connect(&d->at, &err);
	r.status = sock < 0 ? (uint32_t)-sock : 0;
	strcpy(r.name, d->at.name);
	memcpy(r.text, err.text, sizeof(r.text) - 1);
	sv_fd_send(d->sock, &r, sizeof(r), &sock, sock >= 0, SEND_MS);
	if (sock >= 0)
		close(sock);
}

/* Return: false when the other end is gone. */
static bool wait_quietly(struct dialer *d, uint32_t ms)
{
	struct pollfd p = {.fd = d->sock, .events = POLLRDHUP};

	return poll(&p, 1, (int)(ms < WAIT_MAX_MS ? ms : WAIT_MAX_MS)) == 0 ||
	       !(p.revents & (POLLHUP | POLLRDHUP | POLLERR));
}

static void serve(struct dialer *d)
{
	struct sv_dial_ask ask;

	while (sv_fd_recv(d->sock, &ask, sizeof(ask), NULL, NULL, -1) == sizeof(ask)) {
		if (ask.magic != SV_DIAL_MAGIC)
			return;
		if (ask.wait_ms && !wait_quietly(d, ask.wait_ms))
			return;
		answer(d, &ask);
	}
}

static int find(struct dialer *d, const struct sv_dial_spec *spec, struct sv_export *x,
	struct sv_error *err)
{
	uint64_t until = sv_clock_ms() + LOCK_MS;
	int rc;

	if (!spec->format) {
		rc = dial_parse(&d->at, spec->image, err);
		return rc < 0 ? rc : probe(d, x, err);
	}
	for (;;) { /* a predecessor may have the image for a moment */
		rc = dial_tool_start(&d->tool, spec, &d->at, err);
		if (rc == 0)
			rc = probe(d, x, err);
		if (rc == 0)
			return 0;
		if (rc != -EIO && dial_tool_refused(&d->tool, err))
			rc = -EIO;
		dial_tool_stop(&d->tool);
		if (!strstr(err->text, " lock") || sv_clock_ms() > until)
			return rc;
		wait_quietly(d, LOCK_NAP_MS);
	}
}

int sv_dial_main(const struct sv_dial_spec *spec, int sock)
{
	struct dialer d = {.sock = sock, .tool = {.output = -1}};
	struct sv_dial_ready ready = {.magic = SV_DIAL_MAGIC};
	struct sv_error err = {""};
	int rc = find(&d, spec, &ready.export, &err);

	if (rc == 0 && !spec->readonly && ready.export.flags & SV_EXPORT_F_READONLY)
		rc = sv_fail(&err, EROFS, "the server lets nobody write; add `readonly` to the disk");
	ready.status = (uint32_t)-rc;
	memcpy(ready.text, err.text, sizeof(ready.text) - 1);
	if (sv_fd_send(sock, &ready, sizeof(ready), NULL, 0, SEND_MS) == sizeof(ready) && rc == 0)
		serve(&d);
	dial_tool_stop(&d.tool);
	close(sock);
	return rc;
}
