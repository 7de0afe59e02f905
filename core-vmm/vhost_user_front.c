/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user_front.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <channels/vhost_user.h>

#include "vhost_kernel.h"

#define PROTOCOL_WANTED \
	(VU_PROTOCOL_F_MQ | VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_BACKEND_REQ | \
		VU_PROTOCOL_F_CONFIG | VU_PROTOCOL_F_INFLIGHT_SHMFD | VU_PROTOCOL_F_LOG_SHMFD)
#define MAX_QUEUES 256u

int sv_vhost_front_hurry = 1;

/* --- messages ------------------------------------------------------------------------------------ */

static int gone(struct sv_error *err, int errnum)
{
	return sv_fail(err, errnum,
		"vhost-user: the back end went away (%s); see its messages, and start the VM "
		"again", strerror(errnum));
}

static int silent(struct sv_error *err, unsigned request)
{
	return sv_fail(err, ETIMEDOUT,
		"vhost-user: the back end does not answer request %u in time; see its "
		"messages, and start the VM again", request);
}

static int nonsense(struct sv_error *err, unsigned request, const char *what)
{
	return sv_fail(err, EPROTO,
		"vhost-user: the back end's answer to request %u is not one (%s); it does not keep to "
		"the protocol", request, what);
}

static int send_message(struct sv_vhost_front *v, struct vu_message *m, const int *fds,
	unsigned nfds, struct sv_error *err)
{
	size_t total = VU_HEADER + m->size, sent = 0;

	m->flags |= VU_VERSION;
	while (sent < total) {
		ssize_t n = sv_fd_send(v->sock, (const char *)m + sent, total - sent, fds, nfds,
			VHOST_FRONT_DEADLINE_MS / sv_vhost_front_hurry);

		if (n == -ETIMEDOUT)
			return silent(err, m->request);
		if (n <= 0)
			return gone(err, n < 0 ? (int)-n : ECONNRESET);
		sent += (size_t)n;
		nfds = 0; /* they travelled with the first byte */
	}
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

/* @fd: where a descriptor that comes along goes; NULL: none may. */
static int receive(struct sv_vhost_front *v, unsigned request, void *to, size_t want, int *fd,
	int64_t deadline, struct sv_error *err)
{
	size_t have = 0;

	while (have < want) {
		int64_t left = deadline - now_ms();
		unsigned room = fd && *fd < 0;
		bool takes = room;
		ssize_t n = left <= 0 ? -ETIMEDOUT
				      : sv_fd_recv(v->sock, (char *)to + have, want - have,
						takes ? fd : NULL, takes ? &room : NULL, (int)left);

		if (n < 0 && takes)
			*fd = -1; /* whatever came with it is closed */
		if (n == -ETIMEDOUT)
			return silent(err, request);
		if (n <= 0)
			return gone(err, n < 0 ? (int)-n : ECONNRESET);
		have += (size_t)n;
	}
	return 0;
}

static int receive_reply_fd(struct sv_vhost_front *v, struct vu_message *m, uint32_t least,
	uint32_t most, int *fd, int timeout_ms, struct sv_error *err)
{
	int64_t deadline = now_ms() + timeout_ms / sv_vhost_front_hurry;
	uint32_t request = m->request;
	int rc = receive(v, request, m, VU_HEADER, fd, deadline, err);

	if (rc < 0)
		return rc;
	if (m->request != request || !(m->flags & VU_FLAG_REPLY) || (m->flags & 3) != VU_VERSION)
		return nonsense(err, request, "header");
	if (m->size < least || m->size > most)
		return nonsense(err, request, "length");
	return receive(v, request, &m->u, m->size, fd, deadline, err);
}

/* The reply to @m takes its place. @least, @most: bytes that its payload may have. */
static int receive_reply(struct sv_vhost_front *v, struct vu_message *m, uint32_t least,
	uint32_t most, int timeout_ms, struct sv_error *err)
{
	return receive_reply_fd(v, m, least, most, NULL, timeout_ms, err);
}

/* A request without a reply of its own: asks for an acknowledgement where the back end gives one. */
static int tell(struct sv_vhost_front *v, struct vu_message *m, const int *fds, unsigned nfds,
	struct sv_error *err)
{
	bool ack = v->protocol & VU_PROTOCOL_F_REPLY_ACK;
	uint32_t request = m->request;
	int rc;

	m->flags = ack ? VU_FLAG_NEED_REPLY : 0;
	rc = send_message(v, m, fds, nfds, err);
	if (rc < 0 || !ack)
		return rc;
	rc = receive_reply(v, m, sizeof(m->u.u64), sizeof(m->u.u64), VHOST_FRONT_DEADLINE_MS, err);
	if (rc == 0 && m->u.u64)
		rc = sv_fail(err, EIO, "vhost-user: the back end refuses request %u; see its messages",
			request);
	return rc;
}

static int tell_u64(struct sv_vhost_front *v, enum vu_request request, uint64_t value,
	const int *fds, unsigned nfds, struct sv_error *err)
{
	struct vu_message m = {.request = request, .size = sizeof(m.u.u64), .u.u64 = value};

	return tell(v, &m, fds, nfds, err);
}

static int tell_state(struct sv_vhost_front *v, enum vu_request request, unsigned index,
	unsigned num, struct sv_error *err)
{
	struct vu_message m = {
		.request = request, .size = sizeof(m.u.state), .u.state = {index, num}};

	return tell(v, &m, NULL, 0, err);
}

static int ask_u64(struct sv_vhost_front *v, enum vu_request request, uint64_t *value,
	struct sv_error *err)
{
	struct vu_message m = {.request = request};
	int rc = send_message(v, &m, NULL, 0, err);

	if (rc == 0)
		rc = receive_reply(v, &m, sizeof(m.u.u64), sizeof(m.u.u64), VHOST_FRONT_DEADLINE_MS,
			err);
	if (rc == 0)
		*value = m.u.u64;
	return rc;
}

/* --- greeting ------------------------------------------------------------------------------------ */

static int negotiate_protocol(struct sv_vhost_front *v, struct sv_error *err)
{
	uint64_t offered = 0, queues = 0;
	int rc = ask_u64(v, VU_GET_PROTOCOL_FEATURES, &offered, err);

	if (rc == 0)
		rc = tell_u64(v, VU_SET_PROTOCOL_FEATURES, offered & PROTOCOL_WANTED, NULL, 0, err);
	if (rc < 0)
		return rc;
	v->protocol = offered & PROTOCOL_WANTED;
	if (!(v->protocol & VU_PROTOCOL_F_MQ))
		return 0;
	rc = ask_u64(v, VU_GET_QUEUE_NUM, &queues, err);
	if (rc == 0 && (!queues || queues > MAX_QUEUES))
		rc = nonsense(err, VU_GET_QUEUE_NUM, "number of queues");
	v->queues = (unsigned)queues;
	return rc;
}

/* A socket by which the back end tells that a disk became larger. Without it, it just cannot. */
static int open_events(struct sv_vhost_front *v, struct sv_error *err)
{
	struct vu_message m = {.request = VU_SET_BACKEND_REQ_FD};
	int pair[2], rc;

	if (!(v->protocol & VU_PROTOCOL_F_BACKEND_REQ) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return 0;
	rc = tell(v, &m, &pair[1], 1, err);
	close(pair[1]);
	if (rc < 0)
		close(pair[0]);
	else
		v->events = pair[0];
	return rc;
}

void sv_vhost_front_deafen(struct sv_vhost_front *v)
{
	if (v->events >= 0)
		close(v->events);
	v->events = -1;
}

static int set_memory(struct sv_vhost_front *v, const struct sv_gmem *gm, struct sv_error *err)
{
	struct vu_message m = {.request = VU_SET_MEM_TABLE};
	int fds[VU_TABLE_REGIONS];

	if (gm->n > VU_TABLE_REGIONS)
		return sv_fail(err, EINVAL, "vhost-user: guest memory has %u pieces, at most %u fit",
			gm->n, VU_TABLE_REGIONS);
	m.size = VU_MEMORY_HEADER + gm->n * (uint32_t)sizeof(m.u.memory.region[0]);
	m.u.memory.n = gm->n;
	for (unsigned i = 0; i < gm->n; i++) {
		const struct sv_gmem_region *r = &gm->region[i];

		fds[i] = r->fd;
		m.u.memory.region[i] = (struct vu_region){.gpa = r->gpa,
			.size = r->size,
			.user_addr = (uintptr_t)r->host,
			.fd_offset = r->fd_offset};
	}
	return tell(v, &m, fds, gm->n, err);
}

int sv_vhost_front_open(struct sv_vhost_front *v, int sock, const struct sv_gmem *gm,
	struct sv_error *err)
{
	struct vu_message owner = {.request = VU_SET_OWNER};
	int rc;

	*v = (struct sv_vhost_front){.sock = sock, .events = -1};
	rc = ask_u64(v, VU_GET_FEATURES, &v->features, err);
	v->has_protocol = v->features & VU_F_PROTOCOL_FEATURES;
	v->features &= ~VU_F_PROTOCOL_FEATURES;
	if (rc == 0 && v->has_protocol)
		rc = negotiate_protocol(v, err);
	if (rc == 0)
		rc = tell(v, &owner, NULL, 0, err);
	if (rc == 0)
		rc = open_events(v, err);
	if (rc == 0)
		rc = set_memory(v, gm, err);
	if (rc < 0)
		sv_vhost_front_deafen(v);
	return rc;
}

void sv_vhost_front_close(struct sv_vhost_front *v)
{
	sv_vhost_front_deafen(v);
	close(v->sock);
	v->sock = -1;
}

int sv_vhost_front_set_features(struct sv_vhost_front *v, uint64_t features, struct sv_error *err)
{
	if (v->kernel)
		return vhost_kernel_set_features(v, features, err);
	if (v->has_protocol)
		features |= VU_F_PROTOCOL_FEATURES;
	return tell_u64(v, VU_SET_FEATURES, features, NULL, 0, err);
}

bool sv_vhost_front_can_log(const struct sv_vhost_front *v)
{
	return v->protocol & VU_PROTOCOL_F_LOG_SHMFD && v->features & VU_F_LOG_ALL;
}

int sv_vhost_front_log(struct sv_vhost_front *v, int fd, uint64_t bytes, struct sv_error *err)
{
	struct vu_message m = {
		.request = VU_SET_LOG_BASE, .size = sizeof(m.u.log), .u.log = {.size = bytes}};
	int rc = send_message(v, &m, &fd, 1, err);

	return rc < 0 ? rc
		      : receive_reply(v, &m, sizeof(m.u.u64), sizeof(m.u.u64), VHOST_FRONT_STOP_MS,
				err);
}

/* --- configuration space ------------------------------------------------------------------------- */

int sv_vhost_front_get_config(struct sv_vhost_front *v, void *bytes, uint32_t n,
	struct sv_error *err)
{
	struct vu_message m = {.request = VU_GET_CONFIG,
		.size = VU_CONFIG_HEADER + n,
		.u.config = {.size = n}};
	int rc;

	SV_BUG_ON(n > VU_CONFIG_BYTES);
	if (!(v->protocol & VU_PROTOCOL_F_CONFIG))
		return -ENOTSUP;
	rc = send_message(v, &m, NULL, 0, err);
	if (rc == 0)
		rc = receive_reply(v, &m, 0, sizeof(m.u.config), VHOST_FRONT_DEADLINE_MS, err);
	if (rc < 0)
		return rc;
	if (m.size != VU_CONFIG_HEADER + n) /* an empty answer is how a back end declines */
		return m.size < VU_CONFIG_HEADER + n
			       ? -ENOTSUP
			       : nonsense(err, VU_GET_CONFIG, "configuration");
	memcpy(bytes, m.u.config.bytes, n);
	return 0;
}

int sv_vhost_front_set_config(struct sv_vhost_front *v, uint32_t offset, const void *bytes,
	uint32_t n, struct sv_error *err)
{
	struct vu_message m = {.request = VU_SET_CONFIG,
		.size = VU_CONFIG_HEADER + n,
		.u.config = {.offset = offset, .size = n}};

	SV_BUG_ON(n > VU_CONFIG_BYTES);
	if (!(v->protocol & VU_PROTOCOL_F_CONFIG))
		return -ENOTSUP;
	memcpy(m.u.config.bytes, bytes, n);
	return tell(v, &m, NULL, 0, err);
}

/* --- what is in flight --------------------------------------------------------------------------- */

static void describe(struct vu_message *m, const struct sv_vhost_inflight *i)
{
	m->size = sizeof(m->u.inflight);
	memset(&m->u.inflight, 0, sizeof(m->u.inflight));
	m->u.inflight.mmap_size = i->bytes;
	m->u.inflight.mmap_offset = i->offset;
	m->u.inflight.queues = i->queues;
	m->u.inflight.queue_size = i->queue_size;
}

static int get_inflight(struct sv_vhost_front *v, struct sv_vhost_inflight *i, struct sv_error *err)
{
	struct vu_message m = {.request = VU_GET_INFLIGHT_FD};
	int rc;

	describe(&m, i);
	rc = send_message(v, &m, NULL, 0, err);
	if (rc == 0)
		rc = receive_reply_fd(v, &m, sizeof(m.u.inflight) - sizeof(m.u.inflight.padding),
			sizeof(m.u.inflight), &i->fd, VHOST_FRONT_DEADLINE_MS, err);
	if (rc == 0 && m.u.inflight.mmap_size && i->fd < 0)
		rc = nonsense(err, VU_GET_INFLIGHT_FD, "descriptor");
	if (rc < 0 || !m.u.inflight.mmap_size) { /* an empty region: it has none to offer */
		sv_vhost_inflight_close(i);
		return rc;
	}
	i->bytes = m.u.inflight.mmap_size;
	i->offset = m.u.inflight.mmap_offset;
	i->queues = m.u.inflight.queues;
	i->queue_size = m.u.inflight.queue_size;
	return 0;
}

int sv_vhost_front_inflight(struct sv_vhost_front *v, struct sv_vhost_inflight *i, uint16_t queues,
	uint16_t size, struct sv_error *err)
{
	struct vu_message m = {.request = VU_SET_INFLIGHT_FD};
	int rc = 0;

	if (!(v->protocol & VU_PROTOCOL_F_INFLIGHT_SHMFD))
		return 0;
	if (i->fd < 0) {
		*i = (struct sv_vhost_inflight){.fd = -1, .queues = queues, .queue_size = size};
		rc = get_inflight(v, i, err);
	}
	if (rc < 0 || i->fd < 0)
		return rc;
	describe(&m, i);
	return tell(v, &m, &i->fd, 1, err);
}

void sv_vhost_inflight_close(struct sv_vhost_inflight *i)
{
	if (i->fd >= 0)
		close(i->fd);
	i->fd = -1;
}

/* --- rings --------------------------------------------------------------------------------------- */

static int set_address(struct sv_vhost_front *v, unsigned queue, const struct sv_vhost_ring *ring,
	struct sv_error *err)
{
	struct vu_message m = {.request = VU_SET_VRING_ADDR,
		.size = sizeof(m.u.addr),
		.u.addr = {.index = queue,
			.desc = (uintptr_t)ring->desc,
			.used = (uintptr_t)ring->used,
			.avail = (uintptr_t)ring->avail}};

	return tell(v, &m, NULL, 0, err);
}

int sv_vhost_front_set_call(struct sv_vhost_front *v, unsigned queue, int call_fd,
	struct sv_error *err)
{
	bool none = call_fd < 0;

	if (v->kernel)
		return vhost_kernel_set_call(v, queue, call_fd, err);
	return tell_u64(v, VU_SET_VRING_CALL, queue | (none ? VU_VRING_NO_FD : 0), &call_fd, !none,
		err);
}

int sv_vhost_front_start(struct sv_vhost_front *v, unsigned queue,
	const struct sv_vhost_ring *ring, struct sv_error *err)
{
	int rc;

	if (v->kernel)
		return vhost_kernel_start(v, queue, ring, err);
	rc = tell_state(v, VU_SET_VRING_NUM, queue, ring->size, err);
	if (rc == 0)
		rc = tell_state(v, VU_SET_VRING_BASE, queue, ring->base, err);
	if (rc == 0)
		rc = set_address(v, queue, ring, err);
	if (rc == 0)
		rc = sv_vhost_front_set_call(v, queue, ring->call_fd, err);
	if (rc == 0)
		rc = tell_u64(v, VU_SET_VRING_KICK, queue, &ring->kick_fd, 1, err);
	if (rc == 0 && v->has_protocol)
		rc = tell_state(v, VU_SET_VRING_ENABLE, queue, 1, err);
	return rc;
}

int sv_vhost_front_stop(struct sv_vhost_front *v, unsigned queue, uint16_t *base,
	struct sv_error *err)
{
	struct vu_message m = {.request = VU_GET_VRING_BASE,
		.size = sizeof(m.u.state),
		.u.state = {queue, 0}};
	int rc = 0;

	if (v->kernel)
		return vhost_kernel_stop(v, queue, base, err);
	if (v->has_protocol)
		rc = tell_state(v, VU_SET_VRING_ENABLE, queue, 0, err);
	if (rc == 0)
		rc = send_message(v, &m, NULL, 0, err);
	if (rc == 0)
		rc = receive_reply(v, &m, sizeof(m.u.state), sizeof(m.u.state), VHOST_FRONT_STOP_MS,
			err);
	if (rc < 0)
		return rc;
	if (m.u.state.index != queue)
		return nonsense(err, VU_GET_VRING_BASE, "queue");
	*base = (uint16_t)m.u.state.num;
	return 0;
}

int sv_vhost_front_check(struct sv_vhost_front *v, struct sv_error *err)
{
	char byte;
	ssize_t n = recv(v->sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n > 0)
		return sv_fail(err, EPROTO,
			"vhost-user: the back end sent what nobody asked for; it does not keep to the "
			"protocol");
	if (n == 0)
		return gone(err, ECONNRESET);
	return errno == EAGAIN || errno == EINTR ? 0 : gone(err, errno);
}

static bool acknowledge(int sock, uint32_t request)
{
	struct vu_message m = {
		.request = request, .flags = VU_VERSION | VU_FLAG_REPLY, .size = sizeof(m.u.u64)};
	ssize_t total = VU_HEADER + (ssize_t)m.size;

	return send(sock, &m, (size_t)total, MSG_DONTWAIT | MSG_NOSIGNAL) == total;
}

int sv_vhost_front_event(struct sv_vhost_front *v)
{
	struct {
		uint32_t request, flags, size;
	} head;
	ssize_t n = recv(v->events, &head, sizeof(head), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n == sizeof(head) && head.request == VU_BACKEND_CONFIG_CHANGE && !head.size &&
		(!(head.flags & VU_FLAG_NEED_REPLY) || acknowledge(v->events, head.request)))
		return 1;
	sv_vhost_front_deafen(v); /* it ended, or says what we did not ask for */
	return -1;
}
