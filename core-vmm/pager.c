/* SPDX-License-Identifier: BSD-3-Clause */
#include "pager.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <channels/control.h>

#include "backing.h"
#include "node.h"
#include "pager_source.h"
#include "topology.h"
#include "uffd.h"

#define WHAT "--memory-source"

/* A node of the guest's memory. */
struct unit {
	int uffd;
	unsigned node;
	uint64_t offset; /* in RAM */
	bool registered, done;
	uint8_t *host;
	uint64_t bytes;
	struct sv_pager_counts counts;
};

struct sv_vm_pager {
	struct sv_pager_source source;
	int report[2]; /* ours, and the end that goes to the node */
	unsigned units, done;
	struct unit unit[SV_MAX_NODES];
};

static const struct sv_memory_source_config *config(const struct sv_vm *vm)
{
	return &vm->config->source;
}

int sv_pager_open(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_vm_pager *p;
	int rc;

	if (!config(vm)->path && (config(vm)->hot || config(vm)->no_prefetch))
		return sv_fail(err, EINVAL, "--memory-hot and --memory-prefetch say how memory arrives; "
			WHAT " is missing");
	if (!config(vm)->path)
		return 0;
	if (vm->config->direct_paging)
		return sv_fail(err, ENOTSUP, WHAT " and --direct-paging: both watch guest memory through "
			"a userfaultfd, of which there can be one; leave one of them out");
	if (vm->config->balloon)
		return sv_fail(err, ENOTSUP, WHAT " and --balloon: a guest cannot give back what has not "
			"arrived; leave one of them out");
	if (vm->config->stage2 == SV_STAGE2_BEFORE)
		return sv_fail(err, ENOTSUP, WHAT " and --stage2 before: nothing can be mapped that has "
			"not arrived; leave it out: the guest's own faults map what is there");
	p = calloc(1, sizeof(*p));
	if (!p)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = sv_pager_source_open(&p->source, config(vm), vm->config->memory_bytes, err);
	if (rc == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p->report) < 0) {
		rc = sv_fail(err, errno, "socketpair: %s", strerror(errno));
		sv_pager_source_close(&p->source);
	}
	if (rc < 0) {
		free(p);
		return rc;
	}
	vm->pager = p;
	return 0;
}

void sv_pager_close(struct sv_vm *vm)
{
	struct sv_vm_pager *p = vm->pager;

	if (!p)
		return;
	sv_pager_release(vm);
	for (unsigned i = 0; i < p->units; i++)
		close(p->unit[i].uffd);
	sv_pager_source_close(&p->source);
	close(p->report[0]);
	close(p->report[1]);
	free(p);
	vm->pager = NULL;
}

/* The sidecore of a vCPU that lives with this memory. */
static uint32_t sidecore_of(const struct sv_vm *vm, unsigned node)
{
	for (unsigned v = 0; v < vm->nvcpus; v++)
		if (sv_node_of_vcpu(vm, v) == node && vm->config->vcpu_sidecore_cpu[v] >= 0)
			return (uint32_t)vm->config->vcpu_sidecore_cpu[v];
	return SV_CONTROL_ANY;
}

/* To a sidecore process, the first one or one that took its place. */
static int tell_unit(struct sv_vm *vm, int sock, unsigned number, struct sv_error *err)
{
	struct sv_vm_pager *p = vm->pager;
	const struct unit *u = &p->unit[number];
	struct sv_control_pager c = {.unit = number,
		.flags = (config(vm)->no_prefetch ? SV_PAGER_F_NO_PREFETCH : 0) |
			 (p->source.is_socket ? SV_PAGER_F_SOCKET : 0),
		.offset = u->offset,
		.user_addr = (uintptr_t)u->host,
		.generation = p->source.generation,
		.timeout_ms = p->source.timeout_ms,
		.read_max = p->source.read_max,
		.sidecore = sidecore_of(vm, u->node)};
	int fds[5] = {u->uffd, vm->gmem.region[0].fd, p->report[1], -1, p->source.hot_fd};
	unsigned nfds = 4;
	int rc;

	for (unsigned i = 0; i < SV_PAGER_PIECES; i++)
		sv_node_memory_range(vm, u->node, i, &c.piece[i].gpa, &c.piece[i].bytes);
	if (p->source.hot_fd >= 0) {
		c.flags |= SV_PAGER_F_HOT;
		nfds = 5;
	}
	fds[3] = sv_pager_source_connect(&p->source, err);
	if (fds[3] < 0)
		return fds[3];
	rc = sv_node_pager(sock, &c, fds, nfds, err);
	if (p->source.is_socket)
		close(fds[3]);
	return rc;
}

int sv_pager_offer(struct sv_vm *vm, int node_sock, struct sv_error *err)
{
	struct sv_vm_pager *p = vm->pager;
	uint64_t offset = 0;
	int rc = 0;

	for (unsigned node = 0; p && node < sv_nodes(vm) && rc == 0; node++) {
		uint64_t bytes = sv_node_bytes(vm, node);
		struct unit *u = &p->unit[p->units];

		if (!bytes)
			continue;
		*u = (struct unit){.node = node,
			.offset = offset,
			.bytes = bytes,
			.host = vm->gmem.region[0].host + offset,
			.uffd = sv_uffd_open(UFFD_FEATURE_MISSING_SHMEM, WHAT, err)};
		if (u->uffd < 0)
			return u->uffd;
		rc = tell_unit(vm, node_sock, p->units++, err);
		offset += bytes;
	}
	return rc;
}

int sv_pager_return(struct sv_vm *vm, int node_sock, struct sv_error *err)
{
	struct sv_vm_pager *p = vm->pager;
	int rc = 0;

	for (unsigned i = 0; p && i < p->units && rc == 0; i++)
		if (!p->unit[i].done)
			rc = tell_unit(vm, node_sock, i, err);
	return rc;
}

int sv_pager_register(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_vm_pager *p = vm->pager;

	for (unsigned i = 0; p && i < p->units; i++) {
		struct unit *u = &p->unit[i];
		struct uffdio_register r = {
			.range = {.start = (uintptr_t)u->host, .len = u->bytes},
			.mode = UFFDIO_REGISTER_MODE_MISSING};

		/* A page at a time is what it can do: no huge page may take the place of absent ones. */
		madvise(u->host, u->bytes, MADV_NOHUGEPAGE);
		if (ioctl(u->uffd, UFFDIO_REGISTER, &r) < 0)
			return sv_fail(err, errno, WHAT ": guest memory cannot be watched: %s",
				strerror(errno));
		u->registered = true;
	}
	return 0;
}

static void unregister(struct unit *u)
{
	struct uffdio_range r = {.start = (uintptr_t)u->host, .len = u->bytes};

	if (!u->registered)
		return;
	ioctl(u->uffd, UFFDIO_UNREGISTER, &r);
	u->registered = false;
}

void sv_pager_release(struct sv_vm *vm)
{
	for (unsigned i = 0; vm->pager && i < vm->pager->units; i++)
		unregister(&vm->pager->unit[i]);
}

/* --- reports --------------------------------------------------------------------------------- */

int sv_pager_fd(const struct sv_vm *vm)
{
	return vm->pager ? vm->pager->report[0] : -1;
}

/* From now on it is memory as any other: huge pages may be made of it again. */
static void unit_done(struct sv_vm *vm, struct unit *u)
{
	if (u->done)
		return;
	u->done = true;
	vm->pager->done++;
	unregister(u);
	if (sv_backing_collapse(vm))
		madvise(u->host, u->bytes, MADV_HUGEPAGE);
}

static void lost(struct sv_vm *vm, struct sv_pager_report *r)
{
	struct sv_error e;

	r->text[sizeof(r->text) - 1] = 0;
	for (char *s = r->text; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
	sv_fail(&e, EIO, "memory source %s: %s; %llu of %llu pages had arrived, the guest cannot go on "
		"without the others", config(vm)->path, r->text, (unsigned long long)r->counts.present,
		(unsigned long long)r->counts.pages);
	sv_vm_end(vm, SV_END_ERROR, 0, &e);
}

void sv_pager_poll(struct sv_vm *vm)
{
	struct sv_vm_pager *p = vm->pager;
	struct sv_pager_report r;

	for (unsigned n = 0; n < 64 && recv(p->report[0], &r, sizeof(r), 0) == sizeof(r); n++) {
		if (r.magic != SV_PAGER_MAGIC || r.unit >= p->units)
			continue;
		p->unit[r.unit].counts = r.counts;
		if (r.kind == SV_PAGER_DONE)
			unit_done(vm, &p->unit[r.unit]);
		else if (r.kind == SV_PAGER_LOST)
			lost(vm, &r);
	}
}

bool sv_pager_state(const struct sv_vm *vm, struct sv_pager_state *out)
{
	const struct sv_vm_pager *p = vm->pager;

	if (!p)
		return false;
	*out = (struct sv_pager_state){.done = p->units && p->done == p->units, .units = p->units};
	for (unsigned i = 0; i < p->units; i++) {
		const struct sv_pager_counts *c = &p->unit[i].counts;

		out->counts.pages += p->unit[i].bytes / SV_SOURCE_PAGE;
		out->counts.present += c->present;
		out->counts.own += c->own;
		out->counts.faults += c->faults;
		out->counts.waits += c->waits;
		out->counts.requests += c->requests;
		out->counts.demanded += c->demanded;
		out->counts.bytes += c->bytes;
		if (c->elapsed_ns > out->counts.elapsed_ns)
			out->counts.elapsed_ns = c->elapsed_ns;
	}
	return true;
}
