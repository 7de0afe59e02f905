/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/memfd.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <channels/ring.h>

#include "backing.h"
#include "layout.h"
#include "topology.h"
#include "paging.h"

#define MIB (1ull << 20)
#define HUGE_2M (2 * MIB)

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

static uint32_t ring_entries(const struct sv_vm *vm)
{
	return vm->config->ring_entries ? vm->config->ring_entries : 64;
}

uint64_t sv_memory_channel_stride(const struct sv_vm *vm)
{
	return round_up(sv_channel_bytes(ring_entries(vm), ring_entries(vm)), 4096);
}

static void decide_map(struct sv_vm *vm)
{
	uint64_t bytes = vm->config->memory_bytes, end;

	vm->ram_low_bytes = bytes < LAYOUT_LOW_MAX ? bytes : LAYOUT_LOW_MAX;
	vm->ram_high_bytes = bytes - vm->ram_low_bytes;
	end = round_up(LAYOUT_HIGH + vm->ram_high_bytes, LAYOUT_GIB);
	vm->window_gpa = end;
	vm->window_bytes = round_up(sv_memory_channel_stride(vm) * vm->nvcpus, HUGE_2M);
	vm->doorbell_gpa = round_up(end + vm->window_bytes, LAYOUT_GIB);
	if (vm->lwk && vm->config->direct_paging) {
		vm->tables_bytes = PAGING_WINDOW_BYTES;
		vm->tables_gpa = vm->doorbell_gpa + PAGING_TABLES_OFFSET;
		vm->trap_gpa = vm->doorbell_gpa + PAGING_TRAP_OFFSET;
	}
	vm->pci64_gpa = round_up(vm->doorbell_gpa + LAYOUT_GIB, LAYOUT_PCI64_BYTES);
}

static int make_memfd(const char *name, uint64_t bytes, unsigned flags, struct sv_error *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0)
		return sv_fail(err, errno, "memfd_create: %s", strerror(errno));
	if (ftruncate(fd, (off_t)bytes) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int e = errno;

		close(fd);
		return sv_fail(err, e, "guest memory of %llu MiB: %s", (unsigned long long)(bytes / MIB),
			strerror(e));
	}
	return fd;
}

static void *map_fd(int fd, uint64_t bytes, uint64_t align)
{
	/* Aligned, so that huge pages of the file are huge in the mapping and in stage 2. */
	uint8_t *area = mmap(NULL, bytes + align, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *at, *p;

	if (area == MAP_FAILED)
		return NULL;
	at = (uint8_t *)round_up((uintptr_t)area, align);
	p = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED) {
		munmap(area, bytes + align);
		return NULL;
	}
	if (at > area)
		munmap(area, (size_t)(at - area));
	if (at < area + align)
		munmap(at + bytes, (size_t)(area + align - at));
	madvise(p, bytes, MADV_DONTFORK);
	madvise(p, bytes, MADV_DONTDUMP);
	return p;
}

static void add_region(struct sv_vm *vm, uint64_t gpa, uint64_t size, uint8_t *host, int fd,
	uint64_t offset)
{
	vm->gmem.region[vm->gmem.n++] = (struct sv_gmem_region){.gpa = gpa,
		.size = size,
		.host = host,
		.fd = fd,
		.fd_offset = offset,
		.user_addr = (uintptr_t)host};
}

/* For a sentence: the nodes whose memory this process may have. */
static const char *allowed_nodes(void)
{
	static char line[256];
	FILE *f = fopen("/proc/self/status", "re");
	const char *at = "?";

	while (f && at[0] == '?' && fgets(line, sizeof(line), f))
		if (!strncmp(line, "Mems_allowed_list:", 18)) {
			line[strcspn(line, "\n")] = 0;
			at = line + 18 + strspn(line + 18, " \t");
		}
	if (f)
		fclose(f);
	return at;
}

/* Each of the guest's nodes has its part of RAM, in gmem order (the SRAT says the same). */
static int bind_ram(struct sv_vm *vm, uint8_t *ram, struct sv_error *err)
{
	uint64_t at = 0;

	if (numa_available() < 0)
		return 0;
	for (unsigned i = 0; i < sv_nodes(vm); i++) {
		uint64_t len = sv_node_bytes(vm, i);
		int node = vm->config->memory_node[i];
		struct bitmask *mask;
		long rc;

		if (node >= 0 && len) {
			mask = numa_allocate_nodemask();
			numa_bitmask_setbit(mask, (unsigned)node);
			rc = mbind(ram + at, len, MPOL_BIND, mask->maskp, mask->size + 1, 0);
			numa_bitmask_free(mask);
			if (rc < 0 && (errno == ENOSYS || errno == EPERM))
				sv_warn("guest memory is not bound to NUMA node %d: %s (a container's "
					"filter?)", node, strerror(errno));
			else if (rc < 0)
				return sv_fail(err, errno == EINVAL ? ENODEV : errno,
					"cannot bind guest memory to NUMA node %d: %s; this process may use "
					"nodes %s", node, strerror(errno), allowed_nodes());
		}
		at += len;
	}
	return 0;
}

static int give_to_kvm(struct sv_vm *vm, struct sv_error *err)
{
	for (unsigned i = 0; i < vm->gmem.n; i++) {
		const struct sv_gmem_region *r = &vm->gmem.region[i];
		struct kvm_userspace_memory_region slot = {.slot = i,
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host};

		/* Where processors walk the tables themselves, their walks write: paging.md. */
		if (vm->tables_bytes && r->gpa == vm->tables_gpa && sv_paging_shadowed(vm))
			slot.flags = KVM_MEM_READONLY;

		if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return sv_fail(err, errno, "KVM refuses memory at %#llx, %llu MiB: %s",
				(unsigned long long)r->gpa, (unsigned long long)(r->size / MIB),
				strerror(errno));
	}
	return vm->tables_bytes ? sv_paging_add_trap_slot(vm, err) : 0;
}

static void init_channels(struct sv_vm *vm, uint8_t *window)
{
	uint64_t stride = sv_memory_channel_stride(vm);
	uint32_t entries = ring_entries(vm);

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct sv_channel *ch = (struct sv_channel *)(void *)(window + i * stride);

		ch->info = (struct sv_channel_info){
			.magic = SV_CHANNEL_MAGIC,
			.version = SV_CHANNEL_VERSION,
			.size = (uint32_t)sv_channel_bytes(entries, entries),
			.features = SV_CHANNEL_F_DOORBELL,
			.req_entries = entries,
			.cpl_entries = entries,
			.req_offset = sizeof(struct sv_channel),
			.cpl_offset = (uint32_t)(sizeof(struct sv_channel) + 64ull * entries),
			.doorbell_gpa = vm->doorbell_gpa + i * 4096ull,
			.vcpu = i,
		};
	}
}

static int make_ram(struct sv_vm *vm, struct sv_error *err)
{
	uint64_t bytes = vm->config->memory_bytes;
	int fd = -1, rc;
	uint8_t *ram;

	fd = make_memfd("sidevisor-ram", bytes, sv_backing_memfd(vm), err);
	if (fd < 0 && vm->config->backing == SV_BACKING_AUTO && vm->backing == SV_BACKING_2M) {
		vm->backing = SV_BACKING_THP; /* somebody else took the pages meanwhile */
		fd = make_memfd("sidevisor-ram", bytes, 0, err);
	}
	if (fd < 0)
		return fd;
	ram = map_fd(fd, bytes, sv_backing_align(vm));
	if (!ram && vm->config->backing == SV_BACKING_AUTO && vm->backing == SV_BACKING_2M) {
		close(fd);
		vm->backing = SV_BACKING_THP;
		return make_ram(vm, err);
	}
	if (!ram) {
		rc = sv_fail(err, errno, "--memory: cannot map guest memory: %s", strerror(errno));
		close(fd);
		return rc;
	}
	add_region(vm, 0, vm->ram_low_bytes, ram, fd, 0);
	if (vm->ram_high_bytes)
		add_region(vm, LAYOUT_HIGH, vm->ram_high_bytes, ram + vm->ram_low_bytes, fd,
			vm->ram_low_bytes);
	madvise(ram, bytes, vm->backing == SV_BACKING_4K ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	rc = bind_ram(vm, ram, err);
	return rc < 0 ? rc : sv_memory_populate(vm, ram, err);
}

static int make_window(struct sv_vm *vm, struct sv_error *err)
{
	int fd = make_memfd("sidevisor-channels", vm->window_bytes, 0, err);
	uint8_t *window;

	if (fd < 0)
		return fd;
	window = map_fd(fd, vm->window_bytes, HUGE_2M);
	if (!window) {
		close(fd);
		return sv_fail(err, ENOMEM, "cannot map the channel window");
	}
	add_region(vm, vm->window_gpa, vm->window_bytes, window, fd, 0);
	init_channels(vm, window);
	return 0;
}

static int make_tables(struct sv_vm *vm, struct sv_error *err)
{
	int fd = make_memfd("sidevisor-tables", vm->tables_bytes, 0, err);
	uint8_t *tables;

	if (fd < 0)
		return fd;
	tables = map_fd(fd, vm->tables_bytes, HUGE_2M);
	if (!tables) {
		close(fd);
		return sv_fail(err, ENOMEM, "cannot map the window of page tables");
	}
	add_region(vm, vm->tables_gpa, vm->tables_bytes, tables, fd, 0);
	return 0;
}

int sv_memory_create(struct sv_vm *vm, struct sv_error *err)
{
	int rc;

	vm->gmem.n = 0;
	decide_map(vm);
	rc = sv_backing_decide(vm, err);
	if (rc < 0)
		return rc;
	rc = make_ram(vm, err);
	if (rc == 0)
		rc = make_window(vm, err);
	if (rc == 0 && vm->tables_bytes)
		rc = make_tables(vm, err);
	if (rc == 0)
		rc = give_to_kvm(vm, err);
	if (rc < 0)
		sv_memory_destroy(vm);
	return rc;
}

void sv_memory_destroy(struct sv_vm *vm)
{
	int last = -1;

	for (unsigned i = 0; i < vm->gmem.n; i++) {
		struct sv_gmem_region *r = &vm->gmem.region[i];

		munmap(r->host, r->size);
		if (r->fd != last)
			close(r->fd);
		last = r->fd;
	}
	vm->gmem.n = 0;
}
