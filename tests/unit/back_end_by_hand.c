/* SPDX-License-Identifier: BSD-3-Clause */
#include "back_end_by_hand.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <criterion/criterion.h>

#define WAIT_MS 20000

void back_end_init(struct back_end *b)
{
	struct virtio_blk_config c = {.capacity = 1 << 21, .num_queues = 2};

	memset(b, 0, sizeof(*b));
	b->features = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |
		      1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_BLK_F_MQ |
		      1ull << VIRTIO_BLK_F_CONFIG_WCE | VU_F_PROTOCOL_FEATURES | 1ull << 34 | 1ull << 26;
	b->protocol = VU_PROTOCOL_F_MQ | VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_CONFIG | 1ull << 5;
	b->queues = 2;
	b->inflight = -1;
	b->config_bytes = sizeof(c);
	memcpy(b->config, &c, sizeof(c));
}

static bool take(int sock, void *to, size_t n, int *fds, unsigned *nfds)
{
	size_t have = 0;

	while (have < n) {
		unsigned room = 8, got_fds = have ? 0 : room;
		int more[8];
		ssize_t got = sv_fd_recv(sock, (char *)to + have, n - have, more, &got_fds, WAIT_MS);

		if (got <= 0)
			return false;
		if (got_fds && fds) {
			memcpy(fds, more, got_fds * sizeof(int));
			*nfds = got_fds;
		}
		have += (size_t)got;
	}
	return true;
}

static void say(struct back_end *b, struct vu_message *m, uint32_t size)
{
	m->flags = VU_VERSION | VU_FLAG_REPLY;
	m->size = size;
	if (m->request == b->at_request && b->how == BE_WRONG)
		m->request++;
	if (m->request == b->at_request && b->how == BE_SHORT)
		m->size = size / 2;
	if (m->request == b->at_request && b->how == BE_LONG)
		m->size = 0x10000;
	send(b->sock, m, VU_HEADER + size, MSG_NOSIGNAL);
	if (m->request == b->at_request && b->how == BE_CHATTY)
		send(b->sock, m, VU_HEADER + size, MSG_NOSIGNAL);
}

static void take_fd(int *slot, const int *fds, unsigned nfds)
{
	if (*slot >= 0)
		close(*slot);
	*slot = nfds ? fds[0] : -1;
}

#define INFLIGHT_BYTES 8192

static void make_inflight(struct back_end *b, struct vu_message *m)
{
	unsigned n = b->how == BE_TWO && b->at_request == VU_GET_INFLIGHT_FD ? 2 : 1;
	int fds[2];

	b->inflight = memfd_create("inflight", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(b->inflight, INFLIGHT_BYTES), 0);
	m->u.inflight.mmap_size = INFLIGHT_BYTES;
	m->u.inflight.mmap_offset = 0;
	m->flags = VU_VERSION | VU_FLAG_REPLY;
	m->size = sizeof(m->u.inflight);
	fds[0] = fds[1] = b->inflight;
	sv_fd_send(b->sock, m, VU_HEADER + m->size, fds, n, WAIT_MS);
}

static void take_inflight(struct back_end *b, const struct vu_message *m, const int *fds,
	unsigned nfds)
{
	struct stat st;

	cr_assert_eq(nfds, 1);
	cr_assert_eq(m->u.inflight.mmap_size, INFLIGHT_BYTES);
	cr_assert_eq(fstat(fds[0], &st), 0);
	b->inflight_got = st.st_ino;
	close(fds[0]);
}

/* Return: does the request have a reply of its own? */
static bool handle(struct back_end *b, struct vu_message *m, const int *fds, unsigned nfds)
{
	unsigned i = m->u.state.index & 0xff;

	switch (m->request) {
	case VU_GET_FEATURES:
		m->u.u64 = b->features;
		say(b, m, 8);
		return true;
	case VU_GET_PROTOCOL_FEATURES:
		m->u.u64 = b->protocol;
		say(b, m, 8);
		return true;
	case VU_GET_QUEUE_NUM:
		m->u.u64 = b->queues;
		say(b, m, 8);
		return true;
	case VU_GET_VRING_BASE:
		m->u.state.num = b->ring[i].base + 5;
		take_fd(&b->ring[i].kick, NULL, 0);
		b->ring[i].has_kick = false;
		say(b, m, 8);
		return true;
	case VU_GET_CONFIG:
		if (m->u.config.size > b->config_bytes) {
			say(b, m, 0);
			return true;
		}
		memcpy(m->u.config.bytes, b->config, m->u.config.size);
		say(b, m, VU_CONFIG_HEADER + m->u.config.size);
		return true;
	case VU_SET_FEATURES:
		b->driver_features = m->u.u64;
		return false;
	case VU_SET_MEM_TABLE:
		b->regions = m->u.memory.n;
		b->region_bytes = m->u.memory.region[0].size;
		cr_assert_eq(nfds, m->u.memory.n);
		for (unsigned n = 0; n < nfds; n++)
			close(fds[n]);
		return false;
	case VU_SET_BACKEND_REQ_FD:
		cr_assert_eq(nfds, 1);
		if (b->keep_events)
			b->events = fds[0];
		else
			close(fds[0]);
		return false;
	case VU_SET_VRING_NUM:
		b->ring[i].size = m->u.state.num;
		return false;
	case VU_SET_VRING_BASE:
		b->ring[i].base = m->u.state.num;
		return false;
	case VU_SET_VRING_ADDR:
		b->ring[i].desc = m->u.addr.desc;
		b->ring[i].avail = m->u.addr.avail;
		b->ring[i].used = m->u.addr.used;
		return false;
	case VU_SET_VRING_ENABLE:
		b->ring[i].enabled = m->u.state.num;
		return false;
	case VU_SET_VRING_KICK:
		take_fd(&b->ring[i].kick, fds, nfds);
		b->ring[i].has_kick = nfds;
		return false;
	case VU_SET_VRING_CALL:
		take_fd(&b->ring[i].call, fds, nfds);
		b->ring[i].has_call = nfds;
		return false;
	case VU_GET_INFLIGHT_FD:
		make_inflight(b, m);
		return true;
	case VU_SET_INFLIGHT_FD:
		take_inflight(b, m, fds, nfds);
		return false;
	case VU_SET_CONFIG:
		memcpy(b->config_written + m->u.config.offset, m->u.config.bytes, m->u.config.size);
		return false;
	default:
		return false;
	}
}

static void *serve(void *arg)
{
	struct back_end *b = arg;
	struct vu_message m;

	for (;;) {
		unsigned nfds = 0;
		bool ack, odd;
		int fds[8];

		memset(&m, 0, sizeof(m));
		if (!take(b->sock, &m, VU_HEADER, fds, &nfds) || m.size > sizeof(m.u) ||
			(m.size && !take(b->sock, &m.u, m.size, fds, &nfds)))
			break;
		b->requests[m.request % 64]++;
		odd = b->how && m.request == b->at_request;
		ack = m.flags & VU_FLAG_NEED_REPLY;
		if (odd && (b->how == BE_SILENT || b->how == BE_GONE)) {
			for (unsigned i = 0; i < nfds; i++)
				close(fds[i]);
			if (b->how == BE_GONE)
				break;
			continue;
		}
		if (!handle(b, &m, fds, nfds) && ack) {
			m.u.u64 = odd && b->how == BE_NO;
			say(b, &m, 8);
		}
	}
	close(b->sock);
	return NULL;
}

int back_end_start(struct back_end *b)
{
	int pair[2];

	for (unsigned i = 0; i < 256; i++)
		b->ring[i].kick = b->ring[i].call = -1;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	b->sock = pair[0];
	cr_assert_eq(pthread_create(&b->thread, NULL, serve, b), 0);
	b->started = true;
	return pair[1];
}

void back_end_stop(struct back_end *b)
{
	if (!b->started)
		return;
	pthread_join(b->thread, NULL);
	for (unsigned i = 0; i < 256; i++) {
		take_fd(&b->ring[i].kick, NULL, 0);
		take_fd(&b->ring[i].call, NULL, 0);
	}
	if (b->inflight >= 0)
		close(b->inflight);
	b->inflight = -1;
	b->started = false;
}
