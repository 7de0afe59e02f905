/* SPDX-License-Identifier: BSD-3-Clause */
/* What a VM asks for over its connection, each field checked: see channels/control.h. */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/memtrap.h>
#include <sidevisor/services.h>

#define VCPUS_MAX 1024u
#define GPA_MAX (1ull << 52)
#define VM_BYTES_MAX (16ull << 40) /* of address space: all VMs of a node share 128 TiB */

/* The handler took descriptor @i: it is not closed after the message. */
static int take_fd(struct sv_message *m, unsigned i)
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

static struct sv_sidecore *least_loaded(struct sv_node *n)
{
	struct sv_sidecore *best = &n->sidecore[0];

	for (unsigned i = 1; i < n->config.sidecores; i++)
		if (n->sidecore[i].vms < best->vms)
			best = &n->sidecore[i];
	return best;
}

/* The sidecore on CPU @wish; @any when the VM leaves it to us. NULL with a sentence: none there. */
static struct sv_sidecore *find_sidecore(struct sv_node *n, uint32_t wish, struct sv_sidecore *any,
	const char *what, struct sv_error *err)
{
	char list[SV_NODE_SIDECORES * 8] = "";
	size_t at = 0;

	if (wish == SV_CONTROL_ANY)
		return any;
	for (unsigned i = 0; i < n->config.sidecores; i++) {
		int cpu = sv_reactor_cpu(n->sidecore[i].reactor);

		if ((uint32_t)cpu == wish)
			return &n->sidecore[i];
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%d", i ? ", " : "", cpu);
	}
	sv_fail(err, ENODEV, "%s: no sidecore on CPU %u; this node has them on %s", what, wish, list);
	return NULL;
}

/* From now on @s serves something of this VM. */
static struct sv_share *use_sidecore(struct sv_lease *l, struct sv_sidecore *s)
{
	struct sv_share *share = sv_lease_share(l, s);

	s->vms += !share->used;
	share->used = true;
	return share;
}

/* What this VM may call through channels of one sidecore. NULL: out of memory. */
static struct sv_service_table *make_services(struct sv_lease *l, struct sv_share *share,
	struct sv_console_service *console)
{
	struct sv_service_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	sv_service_table_add(t, &sv_core_service, &l->service_mask);
	sv_service_table_add(t, &sv_console_service_ops, console ? console : &l->no_console);
	if (l->node->config.allow_bench)
		sv_service_table_add(t, &sv_bench_service_ops, &share->bench);
	for (unsigned i = 0; i < l->services; i++)
		sv_service_table_add(t, l->service[i].class->ops, l->service[i].ctx);
	return t;
}

/*
 * The console of all channels goes to @console, the lease's from now on, which may be NULL. Each
 * sidecore gets a new table of services; those before are freed when no sidecore reads them any more.
 * All or nothing.
 */
static int publish_console(struct sv_lease *l, struct sv_console_service *console,
	struct sv_error *err)
{
	struct sv_service_table *fresh[SV_NODE_SIDECORES] = {NULL};
	unsigned n = l->node->config.sidecores;

	for (unsigned i = 0; i < n; i++) {
		if (!l->share[i].services)
			continue;
		fresh[i] = make_services(l, &l->share[i], console);
		if (!fresh[i]) {
			while (i--)
				free(fresh[i]);
			return sv_fail(err, ENOMEM, "the node is out of memory");
		}
	}
	/* POINT OF NO RETURN */
	for (unsigned i = 0; i < l->channels; i++)
		sv_endpoint_set_services(&l->endpoint[i], fresh[l->polled_by[i] - l->node->sidecore]);
	for (unsigned i = 0; i < n; i++) {
		if (!fresh[i])
			continue;
		sv_reactor_sync(l->node->sidecore[i].reactor);
		free(l->share[i].services);
		l->share[i].services = fresh[i];
	}
	sv_console_free(l->console);
	l->console = console;
	return 0;
}

static int do_hello(struct sv_lease *l, struct sv_message *m, struct sv_control_reply *reply,
	struct sv_error *err)
{
	struct sv_control_hello *h = &m->req.u.hello;
	struct sv_sidecore *home;

	terminate(h->vm, sizeof(h->vm));
	if (l->hello)
		return sv_fail(err, EPROTO, "HELLO was said already");
	if (!h->vm[0] || !h->vcpus || h->vcpus > VCPUS_MAX)
		return sv_fail(err, EINVAL, "HELLO: no name, or %u vCPUs (1 to %u)", h->vcpus, VCPUS_MAX);
	home = find_sidecore(l->node, h->sidecore, least_loaded(l->node), "HELLO", err);
	if (!home)
		return -ENODEV;
	free(l->endpoint); /* of a HELLO that failed half-way */
	free(l->polled_by);
	l->endpoint = calloc(h->vcpus, sizeof(l->endpoint[0]));
	l->polled_by = calloc(h->vcpus, sizeof(l->polled_by[0]));
	if (!l->endpoint || !l->polled_by)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	l->channels_max = h->vcpus;
	memcpy(l->vm, h->vm, sizeof(l->vm));
	l->home = home;
	use_sidecore(l, home);
	l->hello = true;
	l->service_mask = 1u << SV_SERVICE_CORE | 1u << SV_SERVICE_CONSOLE;
	if (l->node->config.allow_bench)
		l->service_mask |= 1u << SV_SERVICE_BENCH;
	l->no_console = (struct sv_console_service){.in = -1, .out = -1};
	for (unsigned i = 0; i < l->node->config.sidecores; i++)
		l->share[i].bench.ticks_per_us = sv_reactor_ticks_per_us();
	reply->sidecore_cpu = (uint32_t)sv_reactor_cpu(home->reactor);
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

static int check_region(const struct sv_lease *l, const struct sv_control_region *c, int fd,
	struct sv_error *err)
{
	unsigned long long gpa = c->gpa;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (!c->size || c->size % 4096 || c->gpa % 4096 || c->fd_offset % 4096)
		return sv_fail(err, EINVAL, "memory region at %#llx: not whole pages", gpa);
	if (c->gpa > GPA_MAX || c->size > GPA_MAX - c->gpa || c->size > VM_BYTES_MAX - l->bytes)
		return sv_fail(err, EINVAL, "memory region at %#llx: too large", gpa);
	if (overlaps(&l->gmem, c->gpa, c->size))
		return sv_fail(err, EINVAL, "memory region at %#llx: overlaps another", gpa);
	if (fstat(fd, &st) < 0 || c->fd_offset > (uint64_t)st.st_size ||
		c->size > (uint64_t)st.st_size - c->fd_offset)
		return sv_fail(err, EINVAL, "memory region at %#llx: larger than its memfd", gpa);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return sv_fail(err, EPERM,
			"memory region at %#llx: its memfd is not sealed against shrinking "
			"(F_SEAL_SHRINK)", gpa);
	return 0;
}

static int map_region(struct sv_lease *l, const struct sv_control_region *c, int fd,
	struct sv_error *err)
{
	int rc = check_region(l, c, fd, err);
	void *p;

	if (rc < 0)
		return rc;
	p = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		(off_t)c->fd_offset);
	if (p == MAP_FAILED)
		return sv_fail(err, errno, "memory region at %#llx: %s", (unsigned long long)c->gpa,
			strerror(errno));
	madvise(p, c->size, MADV_DONTDUMP);
	l->bytes += c->size;
	l->trap[l->gmem.n] = sv_memtrap_add(p, c->size);
	l->gmem.region[l->gmem.n++] = (struct sv_gmem_region){.gpa = c->gpa,
		.size = c->size,
		.host = p,
		.fd = -1,
		.fd_offset = c->fd_offset,
		.user_addr = c->user_addr};
	return 0;
}

/* All or nothing: what was refused can be said again, right. */
static void unmap_regions(struct sv_lease *l)
{
	for (unsigned i = 0; i < l->gmem.n; i++) {
		munmap(l->gmem.region[i].host, l->gmem.region[i].size);
		sv_memtrap_remove(l->trap[i]);
	}
	l->gmem.n = 0;
	l->bytes = 0;
}

static int do_memory(struct sv_lease *l, struct sv_message *m, struct sv_error *err)
{
	const struct sv_control_memory *c = &m->req.u.memory;
	int rc = 0;

	if (l->gmem.n)
		return sv_fail(err, EPROTO, "MEMORY was said already");
	if (!c->n || c->n > SV_CONTROL_REGIONS || c->n != m->nfds)
		return sv_fail(err, EINVAL, "MEMORY: %u regions, %u descriptors", c->n, m->nfds);
	for (uint32_t i = 0; i < c->n && rc == 0; i++)
		rc = map_region(l, &c->region[i], m->fd[i], err);
	if (rc < 0)
		unmap_regions(l);
	return rc;
}

/* --- CHANNEL, CONSOLE, DEVICE, START --------------------------------------------------------- */

/*
 * Exactly an eventfd, by the name that the kernel gives it: looking whether another kind of file is
 * readable may run code of its owner (FUSE) and keep the sidecore waiting.
 */
static bool is_eventfd(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char path[32], link[sizeof(name)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof(link)) == sizeof(name) - 1 &&
	       !memcmp(link, name, sizeof(name) - 1);
}

static bool is_stream_socket(int fd)
{
	int domain = 0, type = 0;
	socklen_t dlen = sizeof(domain), tlen = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &dlen) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &tlen) == 0 && type == SOCK_STREAM;
}

static int do_channel(struct sv_lease *l, struct sv_message *m, struct sv_error *err)
{
	const struct sv_control_channel *c = &m->req.u.channel;
	struct sv_sidecore *by;
	struct sv_share *share;
	uint64_t bytes;
	void *shared;

	if (m->nfds != 2 || l->attached || l->channels == l->channels_max)
		return sv_fail(err, EINVAL, "CHANNEL: %u descriptors, %u channels of %u", m->nfds,
			l->channels, l->channels_max);
	by = find_sidecore(l->node, c->sidecore, l->home, "CHANNEL", err);
	if (!by)
		return -ENODEV;
	if (c->flags || c->irq_vector)
		return sv_fail(err, ENOTSUP, "CHANNEL: this node knows no flags and raises no "
			"interrupts for completions");
	if (!is_eventfd(m->fd[0]))
		return sv_fail(err, EINVAL, "CHANNEL: the doorbell of vCPU %u is no eventfd (or the "
			"node sees no /proc)", c->vcpu);
	if (!sv_ring_entries_valid(c->req_entries) || !sv_ring_entries_valid(c->cpl_entries))
		return sv_fail(err, EINVAL, "CHANNEL: %u and %u entries", c->req_entries,
			c->cpl_entries);
	bytes = sv_channel_bytes(c->req_entries, c->cpl_entries);
	shared = c->gpa % SV_CACHE_LINE ? NULL : sv_gmem_ptr(&l->gmem, sv_gpa(c->gpa), bytes);
	if (!shared || c->bytes < bytes)
		return sv_fail(err, EFAULT, "CHANNEL: %#llx is not in the VM's memory",
			(unsigned long long)c->gpa);
	share = sv_lease_share(l, by);
	if (!share->services)
		share->services = make_services(l, share, l->console);
	if (!share->services)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	use_sidecore(l, by);
	l->polled_by[l->channels] = by;
	sv_endpoint_init(&l->endpoint[l->channels++], shared, c->req_entries, c->cpl_entries,
		c->vcpu, take_fd(m, 0), &l->gmem, share->services, l->vm);
	return 0;
}

/* May be said again: the channels write to the new place from then on. */
static int do_console(struct sv_lease *l, struct sv_message *m, struct sv_error *err)
{
	struct sv_console_service *c;
	int rc;

	if (m->nfds != 2 || !is_stream_socket(m->fd[0]) || !is_stream_socket(m->fd[1]))
		return sv_fail(err, EINVAL, "CONSOLE: two Unix stream sockets are needed, input and "
			"output (they may be the same)");
	c = calloc(1, sizeof(*c));
	if (!c)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	*c = (struct sv_console_service){.in = m->fd[0], .out = m->fd[1]};
	rc = publish_console(l, c, err);
	if (rc < 0) {
		free(c);
		return rc;
	}
	take_fd(m, 0);
	take_fd(m, 1);
	return 0;
}

static const struct sv_device_class *find_class(const struct sv_node *n, uint32_t kind)
{
	for (unsigned i = 0; i < n->config.classes; i++)
		if (n->config.class[i]->kind == kind)
			return n->config.class[i];
	return NULL;
}

static int do_device(struct sv_lease *l, struct sv_message *m, struct sv_error *err)
{
	struct sv_control_device *d = &m->req.u.device;
	const struct sv_device_class *class = find_class(l->node, d->kind);
	struct sv_device_request req = {.device = d,
		.fds = m->fd,
		.nfds = m->nfds,
		.gmem = &l->gmem,
		.vm = l->vm};
	struct sv_sidecore *by = find_sidecore(l->node, d->sidecore, l->home, "DEVICE", err);
	void *handle = NULL;
	int rc;

	terminate(d->name, sizeof(d->name));
	if (!by)
		return -ENODEV;
	if (!class)
		return sv_fail(err, ENODEV, "DEVICE: this node has no device of kind %u", d->kind);
	if (!m->nfds || l->devices == SV_NODE_DEVICES)
		return sv_fail(err, EINVAL, "DEVICE: %u descriptors, %u devices of %u", m->nfds,
			l->devices, SV_NODE_DEVICES);
	req.host = &by->host;
	rc = class->attach(&req, &handle, err);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < m->nfds; i++)
		take_fd(m, i);
	l->device[l->devices].class = class;
	l->device[l->devices].handle = handle;
	l->device[l->devices].sidecore = by;
	use_sidecore(l, by);
	memcpy(l->device[l->devices].name, d->name, sizeof(d->name));
	l->devices++;
	return 0;
}

static const struct sv_service_class *find_service(const struct sv_node *n, uint32_t id)
{
	for (unsigned i = 0; i < n->config.services; i++)
		if (n->config.service[i]->ops->id == id)
			return n->config.service[i];
	return NULL;
}

static int do_service(struct sv_lease *l, struct sv_message *m, struct sv_error *err)
{
	const struct sv_control_service *s = &m->req.u.service;
	const struct sv_service_class *class = find_service(l->node, s->id);
	struct sv_service_request req = {.arg = s->arg,
		.fds = m->fd,
		.nfds = m->nfds,
		.gmem = &l->gmem,
		.vcpus = l->channels_max,
		.vm = l->vm};
	void *ctx = NULL;
	int rc;

	if (!class)
		return sv_fail(err, ENOTSUP, "SERVICE: this node has no service %u", s->id);
	if (!l->gmem.n || l->channels || l->service_mask & 1ull << s->id)
		return sv_fail(err, EPROTO, "SERVICE %u: said twice, before MEMORY, or after CHANNEL",
			s->id);
	rc = class->open(&req, &ctx, err);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < m->nfds; i++)
		take_fd(m, i);
	l->service[l->services].class = class;
	l->service[l->services++].ctx = ctx;
	l->service_mask |= 1ull << s->id;
	return 0;
}

/* Devices learn of it when they are made, and the guest's first request may need it. */
static int do_pager(struct sv_lease *l, struct sv_message *m, struct sv_error *err)
{
	const struct sv_pager_class *class = l->node->config.pager;
	struct sv_pager_request req = {.unit = &m->req.u.pager,
		.fds = m->fd,
		.nfds = m->nfds,
		.gmem = &l->gmem,
		.vm = l->vm};
	struct sv_sidecore *by =
		find_sidecore(l->node, m->req.u.pager.sidecore, l->home, "PAGER", err);
	int rc;

	if (!by)
		return -ENODEV;
	if (!class)
		return sv_fail(err, ENOTSUP, "PAGER: this node has none");
	if (!l->gmem.n || l->devices || l->channels || l->attached)
		return sv_fail(err, EPROTO, "PAGER: said before MEMORY, or after DEVICE or CHANNEL");
	if (!l->pager)
		l->pager = class->create();
	if (!l->pager)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	req.host = &by->host;
	rc = class->add(l->pager, &req, err);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < m->nfds; i++)
		take_fd(m, i);
	use_sidecore(l, by);
	l->gmem.residency = class->residency(l->pager);
	return 0;
}

static int do_start(struct sv_lease *l, struct sv_error *err)
{
	if (l->attached)
		return sv_fail(err, EPROTO, "START was said already");
	if (l->pager) {
		int rc = l->node->config.pager->start(l->pager, err);

		if (rc < 0)
			return rc;
	}
	l->attached = true;
	for (unsigned i = 0; i < l->channels; i++) {
		int rc = sv_reactor_attach(l->polled_by[i]->reactor, &l->endpoint[i].poller);

		if (rc < 0) {
			while (i--)
				sv_reactor_detach(l->polled_by[i]->reactor, &l->endpoint[i].poller);
			l->attached = false;
			return sv_fail(err, -rc, "START: channel %u: %s", i,
				rc == -ENOSPC ? "the sidecore polls as much as it can already"
					      : strerror(-rc));
		}
	}
	return 0;
}

/* --- dispatch -------------------------------------------------------------------------------- */

int sv_lease_serve(struct sv_lease *l, struct sv_message *m, struct sv_control_reply *reply,
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
	case SV_CONTROL_SERVICE:
		return do_service(l, m, err);
	case SV_CONTROL_STATS:
		return 0;
	case SV_CONTROL_PAGER:
		return do_pager(l, m, err);
	case SV_CONTROL_START:
		return do_start(l, err);
	default:
		return sv_fail(err, EPROTO, "unknown request %u", m->req.op);
	}
}
