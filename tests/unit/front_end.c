/* SPDX-License-Identifier: BSD-3-Clause */
#include "front_end.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/fdpass.h>

static struct fe *fe_of(struct sv_poller_host *h)
{
	return (struct fe *)(void *)h;
}

static int host_attach(struct sv_poller_host *h, struct sv_poller *p)
{
	return sv_reactor_attach(fe_of(h)->reactor, p);
}

static void host_detach(struct sv_poller_host *h, struct sv_poller *p)
{
	sv_reactor_detach(fe_of(h)->reactor, p);
}

/* Which watch is for this descriptor; FE_WATCHES: none. */
static unsigned find_watch(const struct fe *fe, int fd)
{
	unsigned i = 0;

	while (i < FE_WATCHES && fe->watch[i].fd != fd)
		i++;
	return i;
}

static int host_add_fd(struct sv_poller_host *h, int fd, void (*ready)(void *ctx), void *ctx)
{
	struct fe *fe = fe_of(h);
	unsigned i = find_watch(fe, -1);

	cr_assert_lt(i, FE_WATCHES);
	fe->watch[i].fd = fd;
	fe->watch[i].ready = ready;
	fe->watch[i].ctx = ctx;
	return 0;
}

static void host_del_fd(struct sv_poller_host *h, int fd)
{
	unsigned i = find_watch(fe_of(h), fd);

	cr_assert_lt(i, FE_WATCHES);
	fe_of(h)->watch[i].fd = -1;
}

static void host_sync(struct sv_poller_host *h)
{
	sv_reactor_sync(fe_of(h)->reactor);
}

static int first_cpu(void)
{
	cpu_set_t set;
	int cpu = 0;

	sched_getaffinity(0, sizeof(set), &set);
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	return cpu;
}

static void make_host(struct fe *fe, bool threaded, uint64_t idle_us)
{
	struct sv_reactor_config rc = {.cpu = threaded ? first_cpu() : -1, .idle_spin_us = idle_us};

	fe->host = (struct sv_poller_host){.attach = host_attach,
		.detach = host_detach,
		.add_fd = host_add_fd,
		.del_fd = host_del_fd,
		.sync = host_sync};
	for (unsigned i = 0; i < FE_WATCHES; i++)
		fe->watch[i].fd = -1;
	cr_assert_eq(sv_reactor_create(&fe->reactor, &rc, &fe->err), 0, "%s", fe->err.text);
}

static int attach_device(struct fe *fe, const struct sv_control_device *dev, const int *fds,
	unsigned nfds)
{
	struct sv_device_request req = {.device = dev,
		.vm = "test",
		.host = fe->shared ? &fe->shared->host : &fe->host};
	int pair[2], all[8], rc;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fe->sock = pair[0];
	fe->served = pair[1];
	fe->memfd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert(fe->memfd >= 0 && ftruncate(fe->memfd, FE_MEM) == 0);
	fcntl(fe->memfd, F_ADD_SEALS, F_SEAL_SHRINK);
	fe->mem = mmap(NULL, FE_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, fe->memfd, 0);
	cr_assert(fe->mem != MAP_FAILED);
	all[0] = pair[1];
	for (unsigned i = 0; i < nfds; i++)
		all[1 + i] = fds[i];
	req.fds = all;
	req.nfds = nfds + 1;
	for (unsigned i = 0; i < FE_QUEUES; i++)
		fe->q[i].kick_fd = fe->q[i].call_fd = -1;
	rc = fe->class->attach(&req, &fe->handle, &fe->err);
	if (rc < 0) {
		close(pair[1]);
		fe->handle = NULL;
	}
	return rc;
}

int fe_open(struct fe *fe, const struct sv_device_class *class, const struct sv_control_device *dev,
	const int *fds, unsigned nfds, bool threaded, uint64_t idle_us)
{
	memset(fe, 0, sizeof(*fe));
	fe->class = class;
	make_host(fe, threaded, idle_us);
	return attach_device(fe, dev, fds, nfds);
}

int fe_open_with(struct fe *fe, struct fe *with, const struct sv_device_class *class,
	const struct sv_control_device *dev, const int *fds, unsigned nfds)
{
	memset(fe, 0, sizeof(*fe));
	fe->class = class;
	fe->shared = with;
	fe->reactor = with->reactor;
	return attach_device(fe, dev, fds, nfds);
}

/* The watch of this device's connection; FE_WATCHES: it has none any more. */
static unsigned own_watch(const struct fe *fe)
{
	return find_watch(fe->shared ? fe->shared : fe, fe->served);
}

void fe_close(struct fe *fe)
{
	if (fe->handle)
		fe->class->detach(fe->handle);
	cr_assert_eq(own_watch(fe), FE_WATCHES, "its socket is no longer watched");
	if (!fe->shared)
		sv_reactor_destroy(fe->reactor);
	close(fe->sock);
	close(fe->memfd);
	munmap(fe->mem, FE_MEM);
	for (unsigned i = 0; i < FE_QUEUES; i++) {
		if (fe->q[i].kick_fd >= 0)
			close(fe->q[i].kick_fd);
		if (fe->q[i].call_fd >= 0)
			close(fe->q[i].call_fd);
	}
}

void fe_pump(struct fe *fe)
{
	struct fe *host = fe->shared ? fe->shared : fe;
	struct pollfd p = {.fd = fe->served, .events = POLLIN};
	unsigned i;

	while ((i = own_watch(fe)) < FE_WATCHES && poll(&p, 1, 0) > 0)
		host->watch[i].ready(host->watch[i].ctx);
}

unsigned fe_events(struct fe *fe)
{
	struct fe *host = fe->shared ? fe->shared : fe;
	unsigned n = 0;

	for (unsigned i = 0; i < FE_WATCHES; i++) {
		struct pollfd p = {.fd = host->watch[i].fd, .events = POLLIN};

		if (p.fd < 0 || p.fd == fe->served || poll(&p, 1, 0) <= 0)
			continue;
		host->watch[i].ready(host->watch[i].ctx);
		n++;
	}
	return n;
}

bool fe_dropped(struct fe *fe)
{
	fe_pump(fe);
	return own_watch(fe) == FE_WATCHES;
}

int fe_call(struct fe *fe, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
	const int *fds, unsigned nfds, union vu_payload *reply)
{
	struct vu_header h = {.request = request, .flags = VU_VERSION | flags, .size = size};
	uint8_t out[sizeof(h) + 512], in[sizeof(h) + 512];
	unsigned room = 1;
	ssize_t n;

	fe->reply_fd = -1;
	memcpy(out, &h, sizeof(h));
	if (size)
		memcpy(out + sizeof(h), payload, size);
	n = sv_fd_send(fe->sock, out, sizeof(h) + size, fds, nfds, 1000);
	if (n < 0)
		return -1;
	fe_pump(fe);
	n = sv_fd_recv(fe->sock, in, sizeof(in), &fe->reply_fd, &room, 0);
	if (n < (ssize_t)sizeof(h))
		return -1;
	memcpy(&h, in, sizeof(h));
	cr_assert_eq(h.request, request);
	cr_assert_eq(h.flags, VU_VERSION | VU_FLAG_REPLY);
	cr_assert_eq((size_t)n, sizeof(h) + h.size);
	if (reply)
		memcpy(reply, in + sizeof(h), h.size);
	return (int)h.size;
}

static void ok(struct fe *fe, uint32_t request, const void *payload, uint32_t size, const int *fds,
	unsigned nfds)
{
	union vu_payload reply;

	cr_assert_eq(fe_call(fe, request, VU_FLAG_NEED_REPLY, payload, size, fds, nfds, &reply), 8,
		"request %u is acknowledged", request);
	cr_assert_eq(reply.u64, 0, "request %u is accepted", request);
}

void fe_start_queue(struct fe *fe, unsigned queue, uint16_t size)
{
	struct vqd *q = &fe->q[queue];
	int kick = q->kick_fd, call = q->call_fd;
	struct vu_state s = {.index = queue, .num = size};
	uint64_t index = queue;
	struct vu_addr a;

	vqd_init(q, fe->mem, FE_RINGS * (queue + 1), size,
		fe->features & (1ull << VIRTIO_RING_F_EVENT_IDX));
	q->kick_fd = kick >= 0 ? kick : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->call_fd = call >= 0 ? call : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	a = (struct vu_addr){.index = queue,
		.desc = FE_USER + q->desc_gpa,
		.avail = FE_USER + q->avail_gpa,
		.used = FE_USER + q->used_gpa};
	ok(fe, VU_SET_VRING_NUM, &s, sizeof(s), NULL, 0);
	s.num = 0;
	ok(fe, VU_SET_VRING_BASE, &s, sizeof(s), NULL, 0);
	ok(fe, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	ok(fe, VU_SET_VRING_CALL, &index, sizeof(index), &q->call_fd, 1);
	ok(fe, VU_SET_VRING_KICK, &index, sizeof(index), &q->kick_fd, 1);
	s.num = 1;
	ok(fe, VU_SET_VRING_ENABLE, &s, sizeof(s), NULL, 0);
	vqd_calls(q); /* starting a queue interrupts once */
}

void fe_start(struct fe *fe, uint64_t want, unsigned queues, uint16_t size)
{
	struct vu_memory m = {.n = 1,
		.region[0] = {.gpa = 0, .size = FE_MEM, .user_addr = FE_USER}};
	union vu_payload reply;

	fe_call(fe, VU_SET_OWNER, 0, NULL, 0, NULL, 0, NULL);
	cr_assert_eq(fe_call(fe, VU_GET_PROTOCOL_FEATURES, 0, NULL, 0, NULL, 0, &reply), 8);
	fe_call(fe, VU_SET_PROTOCOL_FEATURES, 0, &reply.u64, 8, NULL, 0, NULL);
	cr_assert_eq(fe_call(fe, VU_GET_FEATURES, 0, NULL, 0, NULL, 0, &reply), 8);
	fe->features = reply.u64 & (want | VU_F_PROTOCOL_FEATURES);
	ok(fe, VU_SET_FEATURES, &fe->features, 8, NULL, 0);
	ok(fe, VU_SET_MEM_TABLE, &m, VU_MEMORY_HEADER + sizeof(m.region[0]), &fe->memfd, 1);
	for (unsigned i = 0; i < queues; i++)
		fe_start_queue(fe, i, size);
}

unsigned fe_stop_queue(struct fe *fe, unsigned queue)
{
	struct vu_state s = {.index = queue};
	union vu_payload reply;

	cr_assert_eq(fe_call(fe, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0, &reply), 8);
	return reply.state.num;
}

int fe_wait(struct fe *fe, unsigned queue, uint32_t *len)
{
	struct timespec begin, now;
	int head;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		if (sv_reactor_cpu(fe->reactor) < 0)
			sv_reactor_turn(fe->reactor);
		head = vqd_get(&fe->q[queue], len);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (head < 0 && now.tv_sec - begin.tv_sec < 10);
	cr_assert_geq(head, 0, "an answer within ten seconds");
	return head;
}

unsigned long long fe_stat(const struct fe *fe, const char *key)
{
	char *text = fe->class->stats(fe->handle), name[40];
	unsigned long long n;

	snprintf(name, sizeof(name), "\"%s\": ", key);
	cr_assert(text && strstr(text, name), "%s in %s", key, text);
	n = strtoull(strstr(text, name) + strlen(name), NULL, 10);
	free(text);
	return n;
}
