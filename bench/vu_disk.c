/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/fdpass.h>
#include <channels/atomics.h>
#include <channels/vhost_user.h>

#define USER 0x10000000000ull /* front-end address of guest-physical 0 */
#define DEADLINE_MS 5000
#define RINGS 0x4000u
#define SLOT 128u /* header, status, table */
#define PART (RINGS + VU_DISK_DEPTH * (SLOT + VU_DISK_BLOCK))

int vu_memory_open(struct vu_memory_map *m, unsigned devices, struct sv_error *err)
{
	*m = (struct vu_memory_map){.bytes = (uint64_t)devices * PART};
	m->bytes = (m->bytes + 0x1fffff) & ~0x1fffffull;
	m->fd = memfd_create("bench-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->fd < 0 || ftruncate(m->fd, (off_t)m->bytes) < 0)
		return sv_fail(err, errno, "memory of a guest: %s", strerror(errno));
	fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK);
	m->base = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	return m->base == MAP_FAILED ? sv_fail(err, errno, "memory of a guest: %s", strerror(errno)) : 0;
}

void vu_memory_close(struct vu_memory_map *m)
{
	munmap(m->base, m->bytes);
	close(m->fd);
}

/* --- the session ----------------------------------------------------------------------------- */

/* Ask, and take an eight-byte answer: a value, or 0 for done. */
static int ask(struct vu_disk *d, uint32_t request, const void *payload, uint32_t size, const int *fds,
	unsigned nfds, bool value, uint64_t *answer)
{
	struct vu_header h = {.request = request,
		.flags = VU_VERSION | (value ? 0 : VU_FLAG_NEED_REPLY),
		.size = size};
	uint8_t out[sizeof(h) + sizeof(union vu_payload)], in[sizeof(h) + 8];
	ssize_t n;

	memcpy(out, &h, sizeof(h));
	if (size)
		memcpy(out + sizeof(h), payload, size);
	n = sv_fd_send(d->sock, out, sizeof(h) + size, fds, nfds, DEADLINE_MS);
	if (n < 0)
		return (int)n;
	n = sv_fd_recv(d->sock, in, sizeof(in), NULL, NULL, DEADLINE_MS);
	if (n != sizeof(in))
		return n < 0 ? (int)n : -EPROTO;
	memcpy(answer, in + sizeof(h), 8);
	return value || !*answer ? 0 : -EPROTO;
}

static int tell(struct vu_disk *d, uint32_t request, const void *payload, uint32_t size, const int *fds,
	unsigned nfds)
{
	uint64_t answer;

	return ask(d, request, payload, size, fds, nfds, false, &answer);
}

/* Before acknowledgements are agreed on. */
static int tell_blindly(struct vu_disk *d, uint32_t request, const void *payload, uint32_t size)
{
	struct vu_header h = {.request = request, .flags = VU_VERSION, .size = size};
	uint8_t out[sizeof(h) + 8];
	ssize_t n;

	memcpy(out, &h, sizeof(h));
	if (size)
		memcpy(out + sizeof(h), payload, size);
	n = sv_fd_send(d->sock, out, sizeof(h) + size, NULL, 0, DEADLINE_MS);
	return n < 0 ? (int)n : 0;
}

static int agree(struct vu_disk *d)
{
	static const uint64_t want = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |
				     VU_F_PROTOCOL_FEATURES;
	uint64_t f = 0;
	int rc = tell_blindly(d, VU_SET_OWNER, NULL, 0);

	if (rc == 0)
		rc = ask(d, VU_GET_PROTOCOL_FEATURES, NULL, 0, NULL, 0, true, &f);
	f &= VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_INFLIGHT_SHMFD;
	if (rc == 0)
		rc = f & VU_PROTOCOL_F_REPLY_ACK ? tell_blindly(d, VU_SET_PROTOCOL_FEATURES, &f, 8) : -EOPNOTSUPP;
	if (!(f & VU_PROTOCOL_F_INFLIGHT_SHMFD))
		d->inflight_bytes = UINT64_MAX;
	if (rc == 0)
		rc = ask(d, VU_GET_FEATURES, NULL, 0, NULL, 0, true, &f);
	f &= want;
	if (rc == 0)
		rc = f == want ? tell(d, VU_SET_FEATURES, &f, 8, NULL, 0) : -EOPNOTSUPP;
	return rc;
}

/* Let what is out be recorded; the first time the service makes the file. */
static int record(struct vu_disk *d)
{
	struct vu_inflight i = {
		.mmap_size = d->inflight_bytes, .queues = 1, .queue_size = VU_DISK_DEPTH};
	struct vu_header h = {.request = VU_GET_INFLIGHT_FD, .flags = VU_VERSION, .size = sizeof(i)};
	uint8_t m[sizeof(h) + sizeof(i)];
	unsigned nfds = 1;
	ssize_t n;

	if (d->inflight_bytes == UINT64_MAX)
		return 0;
	if (d->inflight < 0) {
		memcpy(m, &h, sizeof(h));
		memcpy(m + sizeof(h), &i, sizeof(i));
		n = sv_fd_send(d->sock, m, sizeof(m), NULL, 0, DEADLINE_MS);
		if (n >= 0)
			n = sv_fd_recv(d->sock, m, sizeof(m), &d->inflight, &nfds, DEADLINE_MS);
		if (n != sizeof(m) || d->inflight < 0)
			return n < 0 ? (int)n : -EPROTO;
		memcpy(&i, m + sizeof(h), sizeof(i));
		d->inflight_bytes = i.mmap_size;
	}
	return tell(d, VU_SET_INFLIGHT_FD, &i, sizeof(i), &d->inflight, 1);
}

static struct vring ring_of(const struct vu_disk *d)
{
	uint8_t *base = d->base + d->at;

	return (struct vring){.num = VU_DISK_DEPTH,
		.desc = (void *)base,
		.avail = (void *)(base + 0x1000),
		.used = (void *)(base + 0x2000)};
}

static int start(struct vu_disk *d, const struct vu_memory_map *m)
{
	struct vu_memory mem = {.n = 1, .region[0] = {.size = m->bytes, .user_addr = USER}};
	struct vu_addr a = {.desc = USER + d->at,
		.avail = USER + d->at + 0x1000,
		.used = USER + d->at + 0x2000};
	struct vu_state s = {.num = VU_DISK_DEPTH};
	uint64_t no_call = VU_VRING_NO_FD, index = 0;
	int rc = tell(d, VU_SET_MEM_TABLE, &mem, VU_MEMORY_HEADER + sizeof(mem.region[0]), &m->fd, 1);

	if (rc == 0)
		rc = record(d);
	if (rc == 0)
		rc = tell(d, VU_SET_VRING_NUM, &s, sizeof(s), NULL, 0);
	s.num = sv_load_acquire(&ring_of(d).used->idx);
	if (rc == 0)
		rc = tell(d, VU_SET_VRING_BASE, &s, sizeof(s), NULL, 0);
	if (rc == 0)
		rc = tell(d, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	if (rc == 0)
		rc = tell(d, VU_SET_VRING_CALL, &no_call, 8, NULL, 0);
	if (rc == 0)
		rc = tell(d, VU_SET_VRING_KICK, &index, 8, &d->kick, 1);
	s.num = 1;
	if (rc == 0)
		rc = tell(d, VU_SET_VRING_ENABLE, &s, sizeof(s), NULL, 0);
	return rc;
}

static int connect_to(struct vu_disk *d, const char *path, const struct vu_memory_map *m)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int rc;

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	d->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (d->sock < 0 || connect(d->sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	rc = agree(d);
	return rc == 0 ? start(d, m) : rc;
}

int vu_disk_reopen(struct vu_disk *d, const char *path, const struct vu_memory_map *m,
	struct sv_error *err)
{
	struct pollfd p = {.fd = d->sock, .events = POLLIN};
	char byte;
	int rc;

	if (d->sock >= 0) {
		if (poll(&p, 1, DEADLINE_MS) != 1 || recv(d->sock, &byte, 1, 0) > 0)
			return sv_fail(err, ETIMEDOUT, "%s: the old connection does not end", path);
		close(d->sock);
		d->sock = -1;
	}
	rc = connect_to(d, path, m);
	if (rc == 0)
		return 0;
	close(d->sock);
	d->sock = -1;
	return sv_fail(err, -rc, "%s: %s", path, strerror(-rc));
}

int vu_disk_open(struct vu_disk *d, const char *socket_path, const struct vu_memory_map *m,
	unsigned part, uint64_t blocks, struct sv_error *err)
{
	struct vring v;
	int rc;

	*d = (struct vu_disk){.base = m->base,
		.at = (uint64_t)part * PART,
		.blocks = blocks,
		.random = 0x9e3779b97f4a7c15ull * (part + 1) + (uintptr_t)d,
		.nfree = VU_DISK_DEPTH,
		.inflight = -1};
	for (unsigned i = 0; i < VU_DISK_DEPTH; i++)
		d->free[i] = (uint16_t)i;
	v = ring_of(d);
	memset(d->base + d->at, 0, RINGS);
	v.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	d->sock = -1;
	d->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = d->kick < 0 ? -errno : connect_to(d, socket_path, m);
	if (rc == 0)
		return 0;
	vu_disk_close(d);
	return sv_fail(err, -rc, "%s: %s", socket_path, strerror(-rc));
}

void vu_disk_close(struct vu_disk *d)
{
	if (d->sock >= 0)
		close(d->sock);
	if (d->kick >= 0)
		close(d->kick);
	if (d->inflight >= 0)
		close(d->inflight);
	d->sock = d->kick = d->inflight = -1;
}

/* --- requests -------------------------------------------------------------------------------- */

static uint64_t next_random(struct vu_disk *d)
{
	d->random ^= d->random << 13;
	d->random ^= d->random >> 7;
	d->random ^= d->random << 17;
	return d->random;
}

static uint8_t *slot(const struct vu_disk *d, unsigned id, uint64_t *gpa)
{
	*gpa = d->at + RINGS + (uint64_t)id * SLOT;
	return d->base + *gpa;
}

static uint64_t data_gpa(const struct vu_disk *d, unsigned id)
{
	return d->at + RINGS + VU_DISK_DEPTH * SLOT + (uint64_t)id * VU_DISK_BLOCK;
}

static void post(struct vu_disk *d, struct vring *v, uint64_t now)
{
	unsigned id = d->free[--d->nfree];
	uint64_t gpa, block = next_random(d) % d->blocks;
	uint8_t *s = slot(d, id, &gpa);
	struct virtio_blk_outhdr h = {
		.type = VIRTIO_BLK_T_IN, .sector = block * (VU_DISK_BLOCK / 512)};
	struct vring_desc t[3] = {{gpa, sizeof(h), VRING_DESC_F_NEXT, 1},
		{data_gpa(d, id), VU_DISK_BLOCK, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2},
		{gpa + 16, 1, VRING_DESC_F_WRITE, 0}};

	memcpy(s, &h, sizeof(h));
	s[16] = 0xff;
	memcpy(s + 32, t, sizeof(t));
	v->desc[id] = (struct vring_desc){gpa + 32, sizeof(t), VRING_DESC_F_INDIRECT, 0};
	v->avail->ring[d->avail_idx % VU_DISK_DEPTH] = (uint16_t)id;
	d->avail_idx++;
	d->out[id / 64] |= 1ull << id % 64;
	d->posted_ns[id] = now;
	d->block[id] = block;
}

static void take(struct vu_disk *d, struct vring *v, uint64_t now)
{
	uint16_t used = sv_load_acquire(&v->used->idx);

	while (d->used_seen != used) {
		unsigned id = v->used->ring[d->used_seen % VU_DISK_DEPTH].id % VU_DISK_DEPTH;
		uint64_t gpa, first;

		d->errors += !(d->out[id / 64] & 1ull << id % 64);
		d->out[id / 64] &= ~(1ull << id % 64);
		memcpy(&first, d->base + data_gpa(d, id), sizeof(first));
		d->errors += slot(d, id, &gpa)[16] != VIRTIO_BLK_S_OK || first != d->block[id];
		if (d->nsamples < VU_DISK_SAMPLES) {
			d->sample[d->nsamples].posted_ns = d->posted_ns[id];
			d->sample[d->nsamples++].ns = now - d->posted_ns[id];
		}
		d->done++;
		d->window_done++;
		d->free[d->nfree++] = (uint16_t)id;
		d->used_seen++;
	}
}

void vu_disk_poll(struct vu_disk *d, uint64_t now_ns)
{
	struct vring v = ring_of(d);
	uint16_t before = d->avail_idx;
	uint64_t one = 1;

	take(d, &v, now_ns);
	while (vu_disk_out(d) < d->depth)
		post(d, &v, now_ns);
	if (d->every_ns && now_ns >= d->next_ns && d->nfree) {
		post(d, &v, now_ns);
		d->next_ns = now_ns + d->every_ns / 2 + next_random(d) % d->every_ns;
	}
	if (d->avail_idx == before)
		return;
	sv_exchange_full(&v.avail->idx, d->avail_idx);
	if (sv_load_relaxed(&v.used->flags) & VRING_USED_F_NO_NOTIFY)
		return;
	d->kicks += write(d->kick, &one, sizeof(one)) == sizeof(one);
}

unsigned vu_disk_keep(struct vu_disk *d, bool keep, uint64_t since_ns)
{
	unsigned lost = 0, n = d->nsamples;

	d->nsamples = 0;
	d->kept_done += keep ? d->window_done : 0;
	d->window_done = 0;
	for (unsigned i = 0; i < n; i++) {
		if (keep && d->sample[i].posted_ns >= since_ns)
			sv_histogram_add(&d->latency, d->sample[i].ns);
		else
			lost++;
	}
	return lost;
}

void vu_disk_mark(struct vu_disk *d)
{
	d->done = d->kept_done = d->window_done = d->errors = d->kicks = 0;
	d->nsamples = 0;
	memset(&d->latency, 0, sizeof(d->latency));
}
