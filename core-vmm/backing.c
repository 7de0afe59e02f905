/* SPDX-License-Identifier: BSD-3-Clause */
#include "backing.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/memfd.h>
#include <numa.h>
#include <stdio.h>
#include <sys/sysinfo.h>

#include "topology.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define PAGE_2M (2 * MIB)
#define PAGE_1G (1024 * MIB)
#define GIB_PAGES (1u << 26) /* CPUID 0x80000001, EDX */

const char *sv_backing_name(enum sv_backing backing)
{
	static const char *const name[] = {"auto", "4k", "thp", "2m", "1g"};

	return name[backing];
}

static uint64_t page_bytes(enum sv_backing b)
{
	return b == SV_BACKING_1G ? PAGE_1G : b == SV_BACKING_2M ? PAGE_2M : 4 * KIB;
}

/* Reserved pages of a size that are free: of a host node, or of all (-1). */
static uint64_t free_pages(uint64_t page, int node)
{
	unsigned long long n = 0;
	char path[128];
	FILE *f;

	if (node < 0)
		snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/free_hugepages",
			(unsigned long long)(page / KIB));
	else
		snprintf(path, sizeof(path),
			"/sys/devices/system/node/node%d/hugepages/hugepages-%llukB/free_hugepages",
			node, (unsigned long long)(page / KIB));
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

/* Bytes that the guest wants of host node @node; -1: of any. */
static uint64_t wanted(const struct sv_vm *vm, int node)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < sv_nodes(vm); i++)
		if (node < 0 || vm->config->memory_node[i] == node)
			n += sv_node_bytes(vm, i);
	return n;
}

static int each_node(const struct sv_vm *vm, uint64_t page, int *lacking)
{
	int last = numa_available() < 0 ? -1 : numa_max_node();

	for (int node = -1; node <= last; node++)
		if (wanted(vm, node) > free_pages(page, node) * page) {
			*lacking = node;
			return -ENOMEM;
		}
	return 0;
}

static int refuse_pages(const struct sv_vm *vm, uint64_t page, int node, struct sv_error *err)
{
	const char *name = sv_backing_name(vm->config->backing);
	char where[32] = "";

	if (node >= 0)
		snprintf(where, sizeof(where), " on NUMA node %d", node);
	return sv_fail(err, ENOMEM,
		"--backing %s: %llu pages of %llu MiB are needed%s and %llu are free; reserve them "
		"(nr_hugepages under /sys/%s/hugepages-%llukB), or use --backing auto",
		name, (unsigned long long)((wanted(vm, node) + page - 1) / page),
		(unsigned long long)(page / MIB), where, (unsigned long long)free_pages(page, node),
		node < 0 ? "kernel/mm/hugepages" : "devices/system/node/nodeN/hugepages",
		(unsigned long long)(page / KIB));
}

static bool has_gib_pages(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000001, &a, &b, &c, &d) && d & GIB_PAGES;
}

/* A page lies on one node: what is bound to a node is whole pages. */
static int check_shares(const struct sv_vm *vm, uint64_t page, struct sv_error *err)
{
	for (unsigned i = 0; i < sv_nodes(vm); i++)
		if (vm->config->memory_node[i] >= 0 && sv_node_bytes(vm, i) % page)
			return sv_fail(err, EINVAL,
				"--backing %s: %llu MiB of --memory are to come from NUMA node %d, not a "
				"whole number of pages of %llu MiB; ask for more or less, or use 2m",
				sv_backing_name(vm->config->backing),
				(unsigned long long)(sv_node_bytes(vm, i) / MIB),
				vm->config->memory_node[i], (unsigned long long)(page / MIB));
	return 0;
}

static int check_reserved(struct sv_vm *vm, struct sv_error *err)
{
	uint64_t page = page_bytes(vm->config->backing), bytes = vm->config->memory_bytes;
	const char *name = sv_backing_name(vm->config->backing);
	int node, rc;

	if (page == PAGE_1G && !has_gib_pages())
		return sv_fail(err, ENOTSUP,
			"--backing 1g: this processor has no pages of 1 GiB (pdpe1gb); use 2m");
	if (bytes % page)
		return sv_fail(err, EINVAL,
			"--backing %s: --memory %lluM is not a whole number of pages of %llu MiB", name,
			(unsigned long long)(bytes / MIB), (unsigned long long)(page / MIB));
	rc = check_shares(vm, page, err);
	if (rc == 0 && each_node(vm, page, &node) < 0)
		rc = refuse_pages(vm, page, node, err);
	return rc;
}

static int check_size(const struct sv_vm *vm, struct sv_error *err)
{
	uint64_t bytes = vm->config->memory_bytes, host;
	struct sysinfo si;

	if (bytes < 4 * MIB || bytes % 4096)
		return sv_fail(err, EINVAL,
			"--memory %llu: a guest needs at least 4 MiB, in whole pages of 4 KiB",
			(unsigned long long)bytes);
	if (sysinfo(&si) < 0)
		return 0;
	host = (uint64_t)si.totalram * si.mem_unit;
	if (bytes > host)
		return sv_fail(err, ENOMEM,
			"--memory %lluM: this machine has only %lluM; ask for less",
			(unsigned long long)(bytes / MIB), (unsigned long long)(host / MIB));
	return 0;
}

static int check_nodes(const struct sv_vm *vm, struct sv_error *err)
{
	int last = numa_available() < 0 ? -1 : numa_max_node();

	for (int node = 0; node <= last; node++) {
		long long has = numa_node_size64(node, NULL);
		uint64_t want = wanted(vm, node);

		if (has >= 0 && want > (uint64_t)has)
			return sv_fail(err, ENOMEM,
				"--memory: NUMA node %d of this machine has only %lluM, and %lluM of "
				"the guest's are to come from it; ask for less, or spread the vCPUs "
				"over more nodes",
				node, (unsigned long long)has / MIB, (unsigned long long)(want / MIB));
	}
	return 0;
}

static int decide_for_source(struct sv_vm *vm, struct sv_error *err)
{
	enum sv_backing want = vm->config->backing;

	if (want == SV_BACKING_2M || want == SV_BACKING_1G)
		return sv_fail(err, ENOTSUP,
			"--backing %s and --memory-source: memory arrives in pages of 4 KiB; use "
			"--backing thp or 4k", sv_backing_name(want));
	if (want == SV_BACKING_AUTO)
		vm->backing = SV_BACKING_THP;
	return 0;
}

int sv_backing_decide(struct sv_vm *vm, struct sv_error *err)
{
	enum sv_backing want = vm->config->backing;
	int rc = check_size(vm, err), node;

	if (rc == 0)
		rc = check_nodes(vm, err);
	if (rc < 0)
		return rc;
	vm->backing = want;
	if (vm->config->source.path) /* it arrives in small pages; huge ones are made of them later */
		return decide_for_source(vm, err);
	if (want == SV_BACKING_2M || want == SV_BACKING_1G)
		return check_reserved(vm, err);
	if (want == SV_BACKING_AUTO)
		vm->backing = vm->config->memory_bytes % PAGE_2M == 0 &&
					      each_node(vm, PAGE_2M, &node) == 0
				      ? SV_BACKING_2M
				      : SV_BACKING_THP;
	return 0;
}

unsigned sv_backing_memfd(const struct sv_vm *vm)
{
	if (vm->backing == SV_BACKING_2M)
		return MFD_HUGETLB | MFD_HUGE_2MB;
	return vm->backing == SV_BACKING_1G ? MFD_HUGETLB | MFD_HUGE_1GB : 0;
}

uint64_t sv_backing_align(const struct sv_vm *vm)
{
	return vm->backing == SV_BACKING_1G ? PAGE_1G : PAGE_2M;
}

bool sv_backing_collapse(const struct sv_vm *vm)
{
	return vm->backing == SV_BACKING_THP;
}
