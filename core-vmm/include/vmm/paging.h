/* SPDX-License-Identifier: BSD-3-Clause */
/* Whoever knows paging gives it to the VM process, which serves requests that come as exits with it. */
#ifndef VMM_PAGING_H
#define VMM_PAGING_H

#include <base/error.h>
#include <base/gmem.h>
#include <sidevisor/channel.h>

/* The arguments of SV_CONTROL_SERVICE for the paging service, in order. */
enum sv_paging_arg {
	SV_PAGING_ARG_WINDOW,	    /* guest-physical start of the window of tables */
	SV_PAGING_ARG_WINDOW_BYTES,
	SV_PAGING_ARG_POOL, /* this instance's part of it */
	SV_PAGING_ARG_POOL_BYTES,
	SV_PAGING_ARG_FLAGS,  /* SV_PAGING_HOST_* */
	SV_PAGING_ARG_LEVELS, /* of a root */
	SV_PAGING_ARG_DEVICE, /* ranges that are no memory: start, bytes, start, bytes … to the end */
	SV_PAGING_ARGS = 16,
};

#define SV_PAGING_HOST_SHADOWED (1ull << 0)
#define SV_PAGING_HOST_GIB (1ull << 1)

struct sv_vmm_paging {
	/*
	 * An instance over @gmem. @uffd: a userfaultfd with write-protection of that memory, where it is
	 * mapped at user_addr, or -1; the instance's from now on, if it succeeds. Return: 0 or -errno.
	 */
	int (*open)(const uint64_t *arg, int uffd, const struct sv_gmem *gmem, unsigned vcpus,
		void **ctx, struct sv_error *err);
	void (*close)(void *ctx);
	/* Context: vCPU threads. */
	void (*handle)(void *ctx, uint32_t vcpu, const struct sv_req *req, struct sv_cpl *cpl);
};

/* Before sv_vmm_run(). */
void sv_vmm_set_paging(const struct sv_vmm_paging *paging);

#endif
