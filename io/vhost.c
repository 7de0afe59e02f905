/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user session: bytes in and out, queues started and stopped. */
#include <io/vhost.h>

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fdpass.h>
#include <channels/atomics.h>

#include "vhost_mem.h"
#include "vhost_private.h"

#define MESSAGES_PER_CALL 32u
#define REPLY_TIMEOUT_MS 200

static void close_fds(struct sv_vhost *v)
{
	for (unsigned i = 0; i < v->nfds; i++)
		if (v->fds[i] >= 0)
			close(v->fds[i]);
	v->nfds = 0;
}

int sv_vhost_open(struct sv_vhost *v, int sock, const struct sv_vhost_device *type, void *dev,
	unsigned queues, struct sv_poller *poller, const struct sv_vhost_host *host,
	struct sv_error *err)
{
	int epoll_fd;

	if (!queues || queues > SV_VHOST_QUEUES)
		return sv_fail(err, EINVAL, "%s: %u queues asked for, 1 to %u are possible",
			type->name, queues, SV_VHOST_QUEUES);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		return sv_fail(err, errno, "%s: epoll_create1: %s", type->name, strerror(errno));
	memset(v, 0, sizeof(*v));
	v->sock = sock;
	v->type = type;
	v->dev = dev;
	v->host = *host;
	v->poller = poller;
	v->queues = queues;
	v->epoll_fd = epoll_fd;
	v->backend_req_fd = v->reply_fd = -1;
	for (unsigned i = 0; i < SV_VHOST_QUEUES; i++) {
		v->queue[i].kick_fd = v->queue[i].err_fd = -1;
	}
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		poller->wake_fds[i] = -1;
	poller->wake_fds[0] = epoll_fd;
	return 0;
}

/* --- queues ---------------------------------------------------------------------------------- */

void sv_vhost_pause(struct sv_vhost *v)
{
	if (!v->attached)
		return;
	v->host.detach(v->host.ctx, v->poller);
	v->attached = false;
	/* The polling thread may have meant to interrupt a little later. */
	for (unsigned i = 0; i < v->queues; i++)
		if (v->queue[i].running)
			sv_virtq_call_owed(&v->queue[i].vq);
}

static bool complete(const struct sv_vhost *v, const struct sv_vhost_queue *q)
{
	return q->have_addr && q->size && q->started &&
	       (q->enabled || !(v->features & VU_F_PROTOCOL_FEATURES));
}

static int queue_start(struct sv_vhost *v, struct sv_vhost_queue *q, struct sv_error *err)
{
	struct sv_virtq *vq = &q->vq;
	uint16_t size = (uint16_t)q->size;

	vq->gmem = &v->gmem;
	vq->size = size;
	vq->desc = sv_vhost_mem_user(v, q->desc_user, sv_virtq_desc_bytes(size), 16);
	vq->avail = sv_vhost_mem_user(v, q->avail_user, sv_virtq_avail_bytes(size, vq->packed),
		vq->packed ? 4 : 2);
	vq->used = sv_vhost_mem_user(v, q->used_user, sv_virtq_used_bytes(size, vq->packed), 4);
	if (!vq->desc || !vq->avail || !vq->used)
		return sv_fail(err, EINVAL,
			"vhost-user: the rings of queue %u lie outside the shared memory or are "
			"misaligned", (unsigned)(q - v->queue));
	if (v->inflight.base && vq->packed != v->inflight.packed)
		return sv_fail(err, EINVAL,
			"vhost-user: the in-flight region is for the other format of queues");
	if (v->inflight.base && size > v->inflight.room)
		return sv_fail(err, EINVAL,
			"vhost-user: queue %u has %u entries, its in-flight region %u",
			(unsigned)(q - v->queue), size, v->inflight.room);
	vq->record = q->record;
	vq->packed_record = q->packed_record;
	if (sv_vhost_log_start(v, q) < 0)
		return sv_fail(err, ENOMEM, "out of memory");
	sv_virtq_start(vq, q->base);
	sv_store_relaxed(&q->stopping, 0);
	q->running = true;
	/* What the driver waits for may have been announced while nobody served it. */
	sv_virtq_signal(vq);
	return 0;
}

int sv_vhost_resume(struct sv_vhost *v, struct sv_error *err)
{
	bool any = false;

	for (unsigned i = 0; i < v->queues; i++) {
		struct sv_vhost_queue *q = &v->queue[i];

		if (!q->running && complete(v, q)) {
			int rc;

			sv_vhost_pause(v); /* other queues may be polled at this moment */
			rc = queue_start(v, q, err);
			if (rc)
				return rc;
		}
		any |= q->running;
	}
	if (any && !v->attached) {
		int rc = v->host.attach(v->host.ctx, v->poller);

		if (rc)
			return sv_fail(err, -rc, "%s: the sidecore does not take the device: %s",
				v->type->name, strerror(-rc));
		v->attached = true;
	}
	return 0;
}

static uint32_t inflight(const struct sv_vhost *v, unsigned first, unsigned n)
{
	uint32_t sum = 0;

	for (unsigned i = first; i < first + n; i++)
		if (v->queue[i].running)
			sum += sv_load_acquire(&v->queue[i].vq.inflight);
	return sum;
}

/* Chains of a predecessor that this device will take by itself. The poller is detached. */
static bool agains(const struct sv_vhost *v, unsigned first, unsigned n)
{
	for (unsigned i = first; v->type->takes_all && i < first + n; i++)
		if (v->queue[i].running && !v->queue[i].vq.broken &&
			sv_virtq_agains(&v->queue[i].vq))
			return true;
	return false;
}

int sv_vhost_stop(struct sv_vhost *v, unsigned first, unsigned n, struct sv_error *err)
{
	static const struct timespec nap = {.tv_nsec = 50000};
	uint64_t deadline = sv_clock_ms() + SV_VHOST_DRAIN_MS;

	for (unsigned i = first; i < first + n; i++)
		sv_store_relaxed(&v->queue[i].stopping, 1);
	sv_vhost_pause(v);
	while (inflight(v, first, n) || agains(v, first, n)) {
		if (sv_clock_ms() > deadline || v->stuck) {
			v->stuck = true;
			return sv_fail(err, ETIMEDOUT,
				"%s: %u requests did not end within %d s; the host's storage hangs",
				v->type->name, inflight(v, first, n), SV_VHOST_DRAIN_MS / 1000);
		}
		if (v->host.attach(v->host.ctx, v->poller) == 0)
			v->attached = true;
		do
			nanosleep(&nap, NULL);
		while (inflight(v, first, n) && sv_clock_ms() <= deadline);
		sv_vhost_pause(v);
	}
	for (unsigned i = first; i < first + n; i++) {
		struct sv_vhost_queue *q = &v->queue[i];

		if (q->running)
			q->base = sv_virtq_position(&q->vq);
		q->running = false;
		sv_vhost_log_stop(q);
	}
	return 0;
}

void sv_vhost_kick_close(struct sv_vhost *v, struct sv_vhost_queue *q)
{
	if (q->kick_fd < 0)
		return;
	epoll_ctl(v->epoll_fd, EPOLL_CTL_DEL, q->kick_fd, NULL);
	close(q->kick_fd);
	q->kick_fd = -1;
}

int sv_vhost_close(struct sv_vhost *v)
{
	int rc = sv_vhost_stop(v, 0, v->queues, NULL);

	close_fds(v);
	if (v->sock >= 0) {
		/* Others may hold it (blk_store_ops.hold): the front end is to know now. */
		shutdown(v->sock, SHUT_RDWR);
		close(v->sock);
	}
	if (v->backend_req_fd >= 0)
		close(v->backend_req_fd);
	v->sock = v->backend_req_fd = -1;
	if (rc)
		return rc;
	for (unsigned i = 0; i < SV_VHOST_QUEUES; i++) {
		struct sv_vhost_queue *q = &v->queue[i];

		sv_vhost_kick_close(v, q);
		sv_vhost_call_close(q);
		if (q->err_fd >= 0)
			close(q->err_fd);
		q->err_fd = -1;
	}
	sv_vhost_inflight_clear(v);
	sv_vhost_log_clear(v);
	sv_vhost_mem_clear(v);
	close(v->epoll_fd);
	v->epoll_fd = -1;
	return 0;
}

/* --- the polling thread's side --------------------------------------------------------------- */

bool sv_vhost_serving(const struct sv_vhost_queue *q)
{
	return q->running && !q->vq.broken &&
	       (!sv_load_relaxed(&q->stopping) || sv_virtq_agains(&q->vq));
}

void sv_vhost_drain_kicks(struct sv_vhost *v)
{
	struct epoll_event ev[SV_VHOST_QUEUES + 4];

	/* Edge-triggered: being told is what consumes an event; nothing is read. */
	int n = epoll_wait(v->epoll_fd, ev, SV_VHOST_QUEUES + 4, 0);

	for (int i = 0; i < n; i++)
		if (ev[i].data.u32 == SV_VHOST_KICK)
			sv_store_relaxed(&v->kicks, v->kicks + 1);
}

struct sv_virtq_stats sv_vhost_stats(const struct sv_vhost *v)
{
	struct sv_virtq_stats sum = {0};

	for (unsigned i = 0; i < v->queues; i++) {
		const struct sv_virtq_stats *s = &v->queue[i].vq.stats;

		sum.requests += sv_load_relaxed(&s->requests);
		sum.calls += sv_load_relaxed(&s->calls);
		sum.calls_saved += sv_load_relaxed(&s->calls_saved);
		sum.calls_again += sv_load_relaxed(&s->calls_again);
		for (unsigned k = 0; k < SV_VIRTQ_DEFECTS; k++)
			sum.defects[k] += sv_load_relaxed(&s->defects[k]);
	}
	return sum;
}

void sv_vhost_suppress(struct sv_vhost *v)
{
	for (unsigned i = 0; i < v->queues; i++)
		if (sv_vhost_serving(&v->queue[i]))
			sv_virtq_suppress(&v->queue[i].vq);
}

bool sv_vhost_arm(struct sv_vhost *v)
{
	bool pending = false;

	for (unsigned i = 0; i < v->queues; i++) {
		struct sv_vhost_queue *q = &v->queue[i];

		if (sv_vhost_serving(q))
			pending |= sv_virtq_arm(&q->vq) || q->kick_fd < 0;
	}
	return pending;
}

/* --- bytes ----------------------------------------------------------------------------------- */

static int reply_send(struct sv_vhost *v, uint32_t request, const void *payload, uint32_t size,
	struct sv_error *err)
{
	uint8_t out[sizeof(struct vu_header) + sizeof(union vu_payload)];
	struct vu_header h = {
		.request = request, .flags = VU_VERSION | VU_FLAG_REPLY, .size = size};
	ssize_t n;

	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), payload, size);
	n = sv_fd_send(v->sock, out, sizeof(h) + size, &v->reply_fd, v->reply_fd >= 0,
		REPLY_TIMEOUT_MS);
	if (v->reply_fd >= 0)
		close(v->reply_fd);
	v->reply_fd = -1;
	if (n != (ssize_t)(sizeof(h) + size))
		return sv_fail(err, n < 0 ? (int)-n : EIO,
			"vhost-user: the front end does not take its reply");
	return 0;
}

static int header_check(const struct vu_header *h, struct sv_error *err)
{
	if ((h->flags & VU_FLAG_VERSION_MASK) != VU_VERSION || (h->flags & VU_FLAG_REPLY))
		return sv_fail(err, EPROTO,
			"vhost-user: message with flags 0x%x: not a request of version 1", h->flags);
	if (!sv_vhost_request_size_valid(h->request, h->size))
		return sv_fail(err, EPROTO,
			"vhost-user: request %u with %u bytes is unknown or malformed", h->request,
			h->size);
	return 0;
}

static int message_complete(struct sv_vhost *v, const struct vu_header *h, struct sv_error *err)
{
	uint32_t size = h->size;
	union vu_payload p;
	bool reply = false;
	int rc;

	memset(&p, 0, sizeof(p));
	memcpy(&p, v->message + sizeof(*h), h->size);
	rc = sv_vhost_request(v, h->request, &p, &size, &reply, err);
	close_fds(v);
	v->have = 0;
	if (!rc && reply)
		return reply_send(v, h->request, &p, size, err);
	/* Negotiated by this very message counts: Linux's virtio_uml waits for that answer. */
	if ((h->flags & VU_FLAG_NEED_REPLY) && (v->protocol & VU_PROTOCOL_F_REPLY_ACK)) {
		uint64_t status = rc ? 1 : 0;
		int sent = reply_send(v, h->request, &status, sizeof(status), rc ? NULL : err);

		return rc ? rc : sent;
	}
	return rc;
}

/* Receive up to what the header, or then the payload, still lacks. Return: 1 when all is there. */
static int message_fill(struct sv_vhost *v, unsigned want, struct sv_error *err)
{
	unsigned room = (unsigned)(sizeof(v->fds) / sizeof(v->fds[0])) - v->nfds;
	ssize_t n;

	if (v->have == want)
		return 1;
	n = sv_fd_recv(v->sock, v->message + v->have, want - v->have, v->fds + v->nfds, &room, 0);
	if (n == -ETIMEDOUT || n == -EAGAIN)
		return 0;
	if (n == 0)
		return sv_fail(err, ECONNRESET, "vhost-user: the front end closed the connection");
	if (n < 0)
		return sv_fail(err, (int)-n, "vhost-user: receiving: %s", strerror((int)-n));
	v->nfds += room;
	v->have += (unsigned)n;
	return v->have == want;
}

int sv_vhost_input(struct sv_vhost *v, struct sv_error *err)
{
	for (unsigned i = 0; i < MESSAGES_PER_CALL; i++) {
		struct vu_header h;
		int rc = 1;

		if (v->have < sizeof(h))
			rc = message_fill(v, sizeof(h), err);
		if (rc <= 0)
			return rc;
		memcpy(&h, v->message, sizeof(h));
		rc = header_check(&h, err);
		if (rc)
			return rc;
		rc = message_fill(v, (unsigned)sizeof(h) + h.size, err);
		if (rc <= 0)
			return rc;
		rc = message_complete(v, &h, err);
		if (rc)
			return rc;
	}
	return 0;
}
