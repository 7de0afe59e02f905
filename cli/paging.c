/* SPDX-License-Identifier: BSD-3-Clause */
#include "paging.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <paging/paging.h>
#include <sidevisor/paging.h>

/* An instance and what makes KVM forget for it. */
struct instance {
	struct sv_paging *paging;
	const struct sv_gmem *gmem;
	int uffd;
	uint64_t page; /* what memory can be protected by */
};

#define LARGEST_PAGE (1ull << 30)

static int protect_twice(int uffd, uint64_t start, uint64_t bytes)
{
	struct uffdio_writeprotect wp = {
		.range = {.start = start, .len = bytes}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
	int rc = ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) < 0 ? -errno : 0;

	wp.mode = 0;
	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

/*
 * Take write access to [start, start + bytes) of the VM process away and give it back: KVM drops
 * what it has built for these frames and every vCPU's translations to them. Who writes meanwhile
 * waits. Memory of reserved huge pages takes whole ones only, which it says.
 */
static int forget_range(struct instance *in, uint64_t start, uint64_t bytes)
{
	for (uint64_t page = in->page;; page *= 512) {
		uint64_t from = start & -page, end = (start + bytes + page - 1) & -page;
		int rc = protect_twice(in->uffd, from, end - from);

		if (rc == 0)
			in->page = page;
		if (rc != -EINVAL || page >= LARGEST_PAGE)
			return rc;
	}
}

static int forget(void *ctx, uint64_t gpa, uint64_t bytes)
{
	struct instance *in = ctx;
	int rc = 0;

	while (bytes && rc == 0) {
		uint64_t n = bytes;
		const struct sv_gmem_region *r = in->gmem->region;
		unsigned i = 0;

		while (i < in->gmem->n && gpa - r[i].gpa >= r[i].size)
			i++;
		if (i == in->gmem->n)
			return 0; /* a device: nothing of KVM's depends on our mapping */
		if (n > r[i].size - (gpa - r[i].gpa))
			n = r[i].size - (gpa - r[i].gpa);
		rc = forget_range(in, r[i].user_addr + (gpa - r[i].gpa), n);
		gpa += n;
		bytes -= n;
	}
	return rc;
}

static int open_instance(const uint64_t *arg, int uffd, const struct sv_gmem *gmem, unsigned vcpus,
	void **ctx, struct sv_error *err)
{
	struct instance *in = malloc(sizeof(*in));
	struct sv_paging_config c = {.gmem = gmem,
		.pool_gpa = arg[SV_PAGING_ARG_POOL],
		.pool_bytes = arg[SV_PAGING_ARG_POOL_BYTES],
		.closed_gpa = arg[SV_PAGING_ARG_WINDOW],
		.closed_bytes = arg[SV_PAGING_ARG_WINDOW_BYTES],
		.page_gpa = arg[SV_PAGING_ARG_WINDOW],
		.levels = arg[SV_PAGING_ARG_LEVELS] > 5 ? 0 : (unsigned)arg[SV_PAGING_ARG_LEVELS],
		.vcpus = vcpus,
		.gib_pages = arg[SV_PAGING_ARG_FLAGS] & SV_PAGING_HOST_GIB,
		.shadowed = arg[SV_PAGING_ARG_FLAGS] & SV_PAGING_HOST_SHADOWED,
		.forget = uffd >= 0 ? forget : NULL,
		.forget_ctx = in};
	int rc;

	if (!in)
		return sv_fail(err, ENOMEM, "paging: out of memory");
	*in = (struct instance){.gmem = gmem, .uffd = uffd, .page = 4096};
	for (unsigned i = SV_PAGING_ARG_DEVICE;
		i + 1 < SV_PAGING_ARGS && arg[i + 1] && c.devices < SV_PAGING_DEVICES; i += 2) {
		c.device[c.devices].gpa = arg[i];
		c.device[c.devices++].bytes = arg[i + 1];
	}
	rc = sv_paging_create(&in->paging, &c, err);
	if (rc < 0)
		free(in);
	else
		*ctx = in;
	return rc;
}

static void close_instance(void *ctx)
{
	struct instance *in = ctx;

	sv_paging_destroy(in->paging);
	if (in->uffd >= 0)
		close(in->uffd);
	free(in);
}

static void handle_exit(void *ctx, uint32_t vcpu, const struct sv_req *req, struct sv_cpl *cpl)
{
	sv_paging_handle(((struct instance *)ctx)->paging, vcpu, req, cpl);
}

const struct sv_vmm_paging cli_paging_hooks = {
	.open = open_instance, .close = close_instance, .handle = handle_exit};

/* --- for the node ---------------------------------------------------------------------------- */

static void handle_request(
	const struct sv_service_call *call, const struct sv_req *req, struct sv_cpl *cpl)
{
	handle_exit(call->ctx, call->vcpu, req, cpl);
}

/* By the name that the kernel gives it, as sidecore/lease_requests.c does with eventfds. */
static bool is_uffd(int fd)
{
	static const char name[] = "anon_inode:[userfaultfd]";
	char path[32], link[sizeof(name)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof(link)) == sizeof(name) - 1 &&
	       !memcmp(link, name, sizeof(name) - 1);
}

static int open_service(const struct sv_service_request *req, void **ctx, struct sv_error *err)
{
	if (req->nfds > 1 || (req->nfds && !is_uffd(req->fds[0])))
		return sv_fail(
			err, EINVAL, "SERVICE paging: one userfaultfd is what may come with it");
	return open_instance(
		req->arg, req->nfds ? req->fds[0] : -1, req->gmem, req->vcpus, ctx, err);
}

static const struct sv_service_ops service_ops = {
	.id = SV_SERVICE_PAGING, .name = "paging", .handle = handle_request};

const struct sv_service_class cli_paging_class = {
	.ops = &service_ops, .open = open_service, .close = close_instance};
