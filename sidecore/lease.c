/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM's connection: requests of channels/control.h, checked, and the lease that ends with it.
 */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <channels/control.h>
#include <sidevisor/services.h>

#define REPLY_DEADLINE_MS 1000
#define VCPUS_MAX 1024u

struct message {
	struct sv_control_request req; /* a private copy */
	int fd[SV_FDPASS_MAX];
	unsigned nfds;
};

/* The handler took descriptor @i: it is not closed after the message. */
static int take_fd(struct message *m, unsigned i)
{
	int fd = m->fd[i];

	m->fd[i] = -1;
	return fd;
}

static void terminate(char *text, size_t bytes)
{
	text[bytes - 1] = 0;
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

/* --- HELLO ----------------------------------------------------------------------------------- */

static struct sv_sidecore *choose_sidecore(struct sv_node *n, uint32_t wish)
{
	struct sv_sidecore *best = &n->sidecore[0];

	if (wish < n->config.sidecores)
		return &n->sidecore[wish];
	for (unsigned i = 1; i < n->config.sidecores; i++)
		if (n->sidecore[i].vms < best->vms)
			best = &n->sidecore[i];
	return best;
}

static void register_services(struct sv_lease *l)
{
	l->console = (struct sv_console_service){.in = -1, .out = -1};
	l->service_mask = 1u << SV_SERVICE_CORE | 1u << SV_SERVICE_CONSOLE;
	l->services.ops[SV_SERVICE_CORE] = &sv_core_service;
	l->services.ctx[SV_SERVICE_CORE] = &l->service_mask;
	l->services.ops[SV_SERVICE_CONSOLE] = &sv_console_service_ops;
	l->services.ctx[SV_SERVICE_CONSOLE] = &l->console;
	if (!l->node->config.allow_bench)
		return;
	l->service_mask |= 1u << SV_SERVICE_BENCH;
	l->bench.give_up_ticks = sv_reactor_ticks_per_us() * 100000;
	l->services.ops[SV_SERVICE_BENCH] = &sv_bench_service_ops;
	l->services.ctx[SV_SERVICE_BENCH] = &l->bench;
}

static int do_hello(struct sv_lease *l, struct message *m, struct sv_control_reply *reply,
	struct sv_error *err)
{
	struct sv_control_hello *h = &m->req.u.hello;

	terminate(h->vm, sizeof(h->vm));
	if (l->hello)
		return sv_fail(err, EPROTO, "HELLO was said already");
	if (!h->vm[0] || !h->vcpus || h->vcpus > VCPUS_MAX)
		return sv_fail(err, EINVAL, "HELLO: no name, or %u vCPUs (1 to %u)", h->vcpus, VCPUS_MAX);
	l->endpoint = calloc(h->vcpus, sizeof(l->endpoint[0]));
	if (!l->endpoint)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	l->channels_max = h->vcpus;
	memcpy(l->vm, h->vm, sizeof(l->vm));
	l->sidecore = choose_sidecore(l->node, h->sidecore);
	l->sidecore->vms++;
	l->hello = true;
	register_services(l);
	reply->sidecore_cpu = (uint32_t)sv_reactor_cpu(l->sidecore->reactor);
	return 0;
}

/* --- MEMORY ---------------------------------------------------------------------------------- */

static bool overlaps(const struct sv_gmem *gm, uint64_t gpa, uint64_t size)
{
	for (unsigned i = 0; i < gm->n; i++) {
		const struct sv_gmem_region *r = &gm->region[i];

		if (gpa < r->gpa + r->size && r->gpa < gpa + size)
			return true;
	}
	return false;
}

static int map_region(struct sv_lease *l, const struct sv_control_region *c, int fd,
	struct sv_error *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *p;

	if (!c->size || c->size % 4096 || c->gpa % 4096 || c->fd_offset % 4096 ||
		c->gpa + c->size < c->gpa || c->fd_offset + c->size < c->fd_offset ||
		overlaps(&l->gmem, c->gpa, c->size))
		return sv_fail(err, EINVAL, "memory region at %#llx: not whole pages, or overlapping",
			(unsigned long long)c->gpa);
	if (fstat(fd, &st) < 0 || c->fd_offset + c->size > (uint64_t)st.st_size)
		return sv_fail(err, EINVAL, "memory region at %#llx: larger than its memfd",
			(unsigned long long)c->gpa);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return sv_fail(err, EPERM, "memory region at %#llx: its memfd is not sealed against "
			"shrinking", (unsigned long long)c->gpa);
	p = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		(off_t)c->fd_offset);
	if (p == MAP_FAILED)
		return sv_fail(err, errno, "memory region at %#llx: %s", (unsigned long long)c->gpa,
			strerror(errno));
	madvise(p, c->size, MADV_DONTDUMP);
	l->gmem.region[l->gmem.n++] = (struct sv_gmem_region){.gpa = c->gpa,
		.size = c->size,
		.host = p,
		.fd = -1,
		.fd_offset = c->fd_offset,
		.user_addr = c->user_addr};
	return 0;
}

static int do_memory(struct sv_lease *l, struct message *m, struct sv_error *err)
{
	const struct sv_control_memory *c = &m->req.u.memory;
	int rc = 0;

	if (l->gmem.n)
		return sv_fail(err, EPROTO, "MEMORY was said already");
	if (!c->n || c->n > SV_CONTROL_REGIONS || c->n != m->nfds)
		return sv_fail(err, EINVAL, "MEMORY: %u regions, %u descriptors", c->n, m->nfds);
	for (uint32_t i = 0; i < c->n && rc == 0; i++)
		rc = map_region(l, &c->region[i], m->fd[i], err);
	return rc;
}

/* --- CHANNEL, CONSOLE, DEVICE, START --------------------------------------------------------- */

static int do_channel(struct sv_lease *l, struct message *m, struct sv_error *err)
{
	const struct sv_control_channel *c = &m->req.u.channel;
	uint64_t bytes;
	void *shared;

	if (m->nfds != 2 || c->flags || l->attached || l->channels == l->channels_max)
		return sv_fail(err, EINVAL, "CHANNEL: %u descriptors, %u channels of %u", m->nfds,
			l->channels, l->channels_max);
	if (!sv_ring_entries_valid(c->req_entries) || !sv_ring_entries_valid(c->cpl_entries))
		return sv_fail(err, EINVAL, "CHANNEL: %u and %u entries", c->req_entries,
			c->cpl_entries);
	bytes = sv_channel_bytes(c->req_entries, c->cpl_entries);
	shared = c->gpa % SV_CACHE_LINE ? NULL : sv_gmem_ptr(&l->gmem, sv_gpa(c->gpa), bytes);
	if (!shared || c->bytes < bytes)
		return sv_fail(err, EFAULT, "CHANNEL: %#llx is not in the VM's memory",
			(unsigned long long)c->gpa);
	fcntl(m->fd[0], F_SETFL, O_NONBLOCK);
	sv_endpoint_init(&l->endpoint[l->channels++], shared, c->req_entries, c->cpl_entries,
		c->vcpu, take_fd(m, 0), &l->gmem, &l->services, l->vm);
	return 0;
}

static int do_console(struct sv_lease *l, struct message *m, struct sv_error *err)
{
	if (m->nfds != 2 || l->console.out >= 0 || l->attached)
		return sv_fail(err, EINVAL, "CONSOLE: %u descriptors, or said already", m->nfds);
	for (unsigned i = 0; i < 2; i++)
		fcntl(m->fd[i], F_SETFL, fcntl(m->fd[i], F_GETFL) | O_NONBLOCK);
	l->console.in = take_fd(m, 0);
	l->console.out = take_fd(m, 1);
	return 0;
}

static const struct sv_device_class *find_class(const struct sv_node *n, uint32_t kind)
{
	for (unsigned i = 0; i < n->config.classes; i++)
		if (n->config.class[i]->kind == kind)
			return n->config.class[i];
	return NULL;
}

static int do_device(struct sv_lease *l, struct message *m, struct sv_error *err)
{
	struct sv_control_device *d = &m->req.u.device;
	const struct sv_device_class *class = find_class(l->node, d->kind);
	struct sv_device_request req = {.device = d,
		.fds = m->fd,
		.nfds = m->nfds,
		.gmem = &l->gmem,
		.vm = l->vm,
		.host = &l->sidecore->host};
	void *handle = NULL;
	int rc;

	terminate(d->name, sizeof(d->name));
	if (!class)
		return sv_fail(err, ENODEV, "DEVICE: this node has no device of kind %u", d->kind);
	if (!m->nfds || l->devices == SV_NODE_DEVICES)
		return sv_fail(err, EINVAL, "DEVICE: %u descriptors, %u devices of %u", m->nfds,
			l->devices, SV_NODE_DEVICES);
	rc = class->attach(&req, &handle, err);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < m->nfds; i++)
		take_fd(m, i);
	l->device[l->devices].class = class;
	l->device[l->devices].handle = handle;
	memcpy(l->device[l->devices].name, d->name, sizeof(d->name));
	l->devices++;
	return 0;
}

static int do_start(struct sv_lease *l, struct sv_error *err)
{
	if (l->attached)
		return sv_fail(err, EPROTO, "START was said already");
	l->attached = true;
	for (unsigned i = 0; i < l->channels; i++) {
		int rc = sv_reactor_attach(l->sidecore->reactor, &l->endpoint[i].poller);

		if (rc < 0) {
			while (i--)
				sv_reactor_detach(l->sidecore->reactor, &l->endpoint[i].poller);
			l->attached = false;
			return sv_fail(err, -rc, "START: the sidecore polls too much already");
		}
	}
	return 0;
}

/* --- dispatch -------------------------------------------------------------------------------- */

static int dispatch(struct sv_lease *l, struct message *m, struct sv_control_reply *reply,
	struct sv_error *err)
{
	if (m->req.op != SV_CONTROL_HELLO && m->req.op != SV_CONTROL_STATS && !l->hello)
		return sv_fail(err, EPROTO, "HELLO comes first");
	switch (m->req.op) {
	case SV_CONTROL_HELLO:
		return do_hello(l, m, reply, err);
	case SV_CONTROL_MEMORY:
		return do_memory(l, m, err);
	case SV_CONTROL_CHANNEL:
		return do_channel(l, m, err);
	case SV_CONTROL_DEVICE:
		return do_device(l, m, err);
	case SV_CONTROL_CONSOLE:
		return do_console(l, m, err);
	case SV_CONTROL_STATS:
		return 0;
	case SV_CONTROL_START:
		return do_start(l, err);
	default:
		return sv_fail(err, EPROTO, "unknown request %u", m->req.op);
	}
}

static int send_reply(struct sv_lease *l, struct sv_control_reply *reply, char *text)
{
	size_t len = text ? strlen(text) : 0;
	char *buf = malloc(sizeof(*reply) + len);
	ssize_t n = -ENOMEM;

	if (buf) {
		reply->text_bytes = (uint32_t)len;
		memcpy(buf, reply, sizeof(*reply));
		if (len)
			memcpy(buf + sizeof(*reply), text, len);
		n = sv_fd_send(l->sock, buf, sizeof(*reply) + len, NULL, 0, REPLY_DEADLINE_MS);
	}
	free(buf);
	return n < 0 ? (int)n : 0;
}

/* One message is waiting. What is malformed as a message ends the lease; what is wrong is answered. */
static void on_message(void *ctx)
{
	struct sv_control_reply reply = {.magic = SV_CONTROL_MAGIC};
	struct message m = {.nfds = SV_FDPASS_MAX};
	struct sv_error err = {""};
	struct sv_lease *l = ctx;
	char *text = NULL;
	ssize_t n;
	int rc;

	if (l->gone)
		return;
	n = sv_fd_recv(l->sock, &m.req, sizeof(m.req), m.fd, &m.nfds, 0);
	if (n != sizeof(m.req) || m.req.magic != SV_CONTROL_MAGIC ||
		m.req.version != SV_CONTROL_VERSION) {
		l->gone = n != -EAGAIN && n != -ETIMEDOUT;
	} else {
		rc = dispatch(l, &m, &reply, &err);
		if (rc == 0 && m.req.op == SV_CONTROL_STATS)
			text = sv_node_stats_json(l->node);
		reply.status = (uint32_t)-rc;
		memcpy(reply.text, err.text, sizeof(reply.text));
		l->gone = send_reply(l, &reply, text) < 0;
		free(text);
	}
	for (unsigned i = 0; i < m.nfds; i++)
		if (m.fd[i] >= 0)
			close(m.fd[i]);
}

int sv_lease_open(struct sv_node *n, int sock)
{
	struct sv_lease *l = n->nleases < SV_NODE_VMS ? calloc(1, sizeof(*l)) : NULL;
	int rc = l ? sv_node_watch(n, sock, on_message, l) : -ENOMEM;

	if (rc < 0) {
		free(l);
		close(sock);
		return rc;
	}
	l->node = n;
	l->sock = sock;
	l->console = (struct sv_console_service){.in = -1, .out = -1};
	l->next = n->leases;
	n->leases = l;
	n->nleases++;
	return 0;
}

void sv_lease_close(struct sv_lease *l)
{
	struct sv_node *n = l->node;

	for (struct sv_lease **at = &n->leases; *at; at = &(*at)->next) {
		if (*at == l) {
			*at = l->next;
			break;
		}
	}
	n->nleases--;
	sv_node_unwatch(n, l->sock);
	while (l->devices--)
		l->device[l->devices].class->detach(l->device[l->devices].handle);
	for (unsigned i = 0; i < l->channels; i++) {
		if (l->attached)
			sv_reactor_detach(l->sidecore->reactor, &l->endpoint[i].poller);
		close(l->endpoint[i].doorbell);
	}
	for (unsigned i = 0; i < l->gmem.n; i++)
		munmap(l->gmem.region[i].host, l->gmem.region[i].size);
	if (l->console.in >= 0)
		close(l->console.in);
	if (l->console.out >= 0)
		close(l->console.out);
	if (l->sidecore)
		l->sidecore->vms--;
	close(l->sock);
	free(l->endpoint);
	free(l);
}
