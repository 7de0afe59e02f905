/* SPDX-License-Identifier: BSD-3-Clause */
#include "paging.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <sidevisor/paging.h>
#include <sidevisor/platform.h>
#include <vmm/paging.h>

#include "layout.h"
#include "node.h"
#include "uffd.h"

#define PAGE 4096ull
#define GIB_PAGES (1u << 26) /* CPUID 0x80000001, EDX */

static const struct sv_vmm_paging *paging;

void sv_vmm_set_paging(const struct sv_vmm_paging *p)
{
	paging = p;
}

/* A parameter of a module that is Y, 1, or absent. */
static bool has_nested(const char *path)
{
	FILE *f = fopen(path, "re");
	int c = f ? fgetc(f) : 'Y';

	if (f)
		fclose(f);
	return c == 'Y' || c == '1';
}

bool sv_paging_shadowed(const struct sv_vm *vm)
{
	if (!strcmp(vm->substrate, "kvm_intel"))
		return !has_nested("/sys/module/kvm_intel/parameters/ept");
	if (!strcmp(vm->substrate, "kvm_amd"))
		return !has_nested("/sys/module/kvm_amd/parameters/npt");
	return true; /* KVM-PVM, and what nobody knows: the careful way */
}

/*
 * The tables once more, read-only for the guest: a store comes out as an MMIO exit with its data.
 */
int sv_paging_add_trap_slot(struct sv_vm *vm, struct sv_error *err)
{
	struct kvm_userspace_memory_region slot = {.slot = vm->gmem.n,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = vm->trap_gpa,
		.memory_size = vm->tables_bytes,
		.userspace_addr = (uintptr_t)sv_vm_ptr(vm, vm->tables_gpa, vm->tables_bytes)};

	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return sv_fail(err, errno, "--direct-paging: KVM refuses read-only memory: %s",
			strerror(errno));
	return 0;
}

/* --- userfaultfd: what makes KVM forget ------------------------------------------------------ */

static bool register_memory(const struct sv_vm *vm, int fd)
{
	for (unsigned i = 0; i < vm->gmem.n; i++) {
		const struct sv_gmem_region *r = &vm->gmem.region[i];
		struct uffdio_register reg = {
			.range = {.start = (uintptr_t)r->host, .len = r->size},
			.mode = UFFDIO_REGISTER_MODE_WP};

		if (ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
			return false;
	}
	return true;
}

/* -1: this machine does not let us. The guest is told and decides. */
static int watch_memory(const struct sv_vm *vm)
{
	const uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	struct sv_error why;
	int fd = sv_paging_shadowed(vm) ? sv_uffd_open(features, "--direct-paging", &why) : -1;

	if (fd < 0)
		return -1;
	if (register_memory(vm, fd))
		return fd;
	close(fd);
	return -1;
}

/* --- requests that come as exits ------------------------------------------------------------- */

static void read_zeroes(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)off;
	memset(data, 0, len);
}

static void port_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_vm *vm = dev;
	struct sv_paging_call *call;
	struct sv_cpl cpl = {0};
	struct sv_req req;
	uint32_t at;

	if (off || len != sizeof(at))
		return;
	memcpy(&at, data, sizeof(at));
	call = sv_vm_ptr(vm, (uint64_t)at * SV_CACHE_LINE, sizeof(*call));
	if (!call)
		return;
	req = call->req; /* one copy: other vCPUs may still write */
	if (req.service != SV_SERVICE_PAGING || req.flags)
		cpl.status = SV_STATUS_INVALID;
	else
		paging->handle(vm->paging, (uint32_t)req.tag, &req, &cpl);
	cpl.tag = req.tag;
	cpl.seq = req.seq;
	call->cpl = cpl;
}

/* A store into the trap window. What is refused vanishes, as a store to read-only memory does. */
static void trap_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_vm *vm = dev;
	struct sv_req req = {.service = SV_SERVICE_PAGING, .opcode = SV_PAGING_STORE};
	struct sv_cpl cpl = {0};

	if (len != 8 || off % 8)
		return;
	req.arg[0] = vm->tables_gpa + off;
	memcpy(&req.arg[1], data, 8);
	paging->handle(vm->paging, 0, &req, &cpl);
}

/* Under a read-only memslot, stores to the tables themselves come here too. */
static void dropped_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_vm *vm = dev;

	(void)off;
	(void)data;
	(void)len;
	__atomic_fetch_add(&vm->table_stores, 1, __ATOMIC_RELAXED);
}

static const struct sv_bus_ops port_ops = {read_zeroes, port_write};
static const struct sv_bus_ops trap_ops = {read_zeroes, trap_write};
static const struct sv_bus_ops tables_ops = {read_zeroes, dropped_write};

static int add_ranges(struct sv_vm *vm)
{
	int rc = sv_bus_add(&vm->pio, SV_PORT_PAGING, 4, &port_ops, vm);

	if (rc == 0)
		rc = sv_bus_add(&vm->mmio, vm->trap_gpa, vm->tables_bytes, &trap_ops, vm);
	if (rc == 0)
		rc = sv_bus_add(&vm->mmio, vm->tables_gpa, vm->tables_bytes, &tables_ops, vm);
	return rc;
}

/* --- instances ------------------------------------------------------------------------------- */

static uint64_t host_flags(const struct sv_vm *vm)
{
	unsigned a, b, c, d;
	uint64_t flags = sv_paging_shadowed(vm) ? SV_PAGING_HOST_SHADOWED : 0;

	if (__get_cpuid(0x80000001, &a, &b, &c, &d) && d & GIB_PAGES)
		flags |= SV_PAGING_HOST_GIB;
	return flags;
}

/* The first half of the window is the node's, after the page that both write; the second ours. */
static void fill_args(const struct sv_vm *vm, bool ours, uint64_t arg[SV_PAGING_ARGS])
{
	uint64_t half = vm->tables_bytes / 2;
	uint64_t doorbells = (vm->nvcpus * PAGE + (2ull << 20) - 1) & ~((2ull << 20) - 1);

	memset(arg, 0, SV_PAGING_ARGS * sizeof(arg[0]));
	arg[SV_PAGING_ARG_WINDOW] = vm->tables_gpa;
	arg[SV_PAGING_ARG_WINDOW_BYTES] = vm->tables_bytes;
	arg[SV_PAGING_ARG_POOL] = vm->tables_gpa + (ours ? half : SV_PAGING_PAGE_BYTES);
	arg[SV_PAGING_ARG_POOL_BYTES] = half - (ours ? 0 : SV_PAGING_PAGE_BYTES);
	arg[SV_PAGING_ARG_FLAGS] = host_flags(vm);
	arg[SV_PAGING_ARG_LEVELS] = 4;
	arg[SV_PAGING_ARG_DEVICE] = LAYOUT_HIGH - LAYOUT_GIB;
	arg[SV_PAGING_ARG_DEVICE + 1] = LAYOUT_GIB;
	arg[SV_PAGING_ARG_DEVICE + 2] = vm->doorbell_gpa;
	arg[SV_PAGING_ARG_DEVICE + 3] = doorbells;
	arg[SV_PAGING_ARG_DEVICE + 4] = vm->trap_gpa;
	arg[SV_PAGING_ARG_DEVICE + 5] = vm->tables_bytes;
}

int sv_paging_start(struct sv_vm *vm, int node_sock, struct sv_error *err)
{
	uint64_t arg[SV_PAGING_ARGS];
	int fd, rc;

	if (!paging)
		return sv_fail(err, ENOTSUP, "--direct-paging: this program was built without it");
	fd = watch_memory(vm);
	fill_args(vm, false, arg);
	rc = sv_node_service(node_sock, SV_SERVICE_PAGING, arg, &fd, fd >= 0, err);
	if (rc == 0) {
		fill_args(vm, true, arg);
		rc = paging->open(arg, fd, &vm->gmem, vm->nvcpus, &vm->paging, err);
	}
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	rc = add_ranges(vm);
	if (rc < 0) {
		sv_paging_stop(vm);
		return sv_fail(err, -rc, "--direct-paging: its port and pages: %s", strerror(-rc));
	}
	return 0;
}

void sv_paging_stop(struct sv_vm *vm)
{
	paging->close(vm->paging);
	vm->paging = NULL;
}
