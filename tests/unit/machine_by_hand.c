/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine_by_hand.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "layout.h"

static void add_region(struct by_hand *m, uint64_t gpa, uint64_t bytes)
{
	uint8_t *p;

	if (!bytes)
		return;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		0);
	cr_assert(p != MAP_FAILED);
	m->vm.gmem.region[m->vm.gmem.n++] =
		(struct sv_gmem_region){.gpa = gpa, .size = bytes, .host = p, .fd = -1};
}

void by_hand_topology(struct by_hand *m, unsigned sockets, unsigned dies, unsigned cores,
	unsigned threads, unsigned nodes)
{
	m->config.topology.sockets = sockets;
	m->config.topology.dies = dies;
	m->config.topology.cores = cores;
	m->config.topology.threads = threads;
	m->config.topology.nodes = nodes;
	m->config.vcpus = m->vm.nvcpus = sockets * dies * cores * threads;
}

void by_hand_asymmetric(struct by_hand *m)
{
	static const unsigned cores_of_l3[] = {3, 2, 3, 3};
	struct sv_topology *t = &m->config.topology;

	*t = (struct sv_topology){.nodes = 2};
	for (uint16_t l3 = 0; l3 < 4; l3++)
		for (uint16_t core = 0; core < cores_of_l3[l3]; core++)
			t->place[t->placed++] = (struct sv_place){
				.package = l3 / 2, .l3 = l3 % 2, .l2 = core, .node = l3 / 2};
	t->place[t->placed] = t->place[t->placed - 1];
	t->place[t->placed++].thread = 1;
	t->node_bytes[0] = m->config.memory_bytes / 4;
	t->node_bytes[1] = m->config.memory_bytes / 4 * 3;
	t->distance[0][1] = t->distance[1][0] = 32;
	m->config.vcpus = m->vm.nvcpus = t->placed;
}

struct by_hand *by_hand_new(uint64_t low, uint64_t high, unsigned vcpus)
{
	struct by_hand *m = calloc(1, sizeof(*m));

	cr_assert(m != NULL);
	m->vm.config = &m->config;
	m->vm.kvm_fd = m->vm.vm_fd = -1;
	m->vm.substrate = "kvm";
	m->vm.ram_low_bytes = low;
	m->vm.ram_high_bytes = high;
	m->vm.window_gpa = LAYOUT_HIGH + ((high + LAYOUT_GIB - 1) & ~(LAYOUT_GIB - 1));
	m->vm.window_bytes = 2 * MIB;
	m->vm.doorbell_gpa = m->vm.window_gpa + LAYOUT_GIB;
	m->vm.pci64_gpa = LAYOUT_PCI64_BYTES * 2;
	m->vm.tsc_hz = 2500000000u;
	m->config.name = "by-hand";
	m->config.rtc = true;
	m->config.memory_bytes = low + high;
	by_hand_topology(m, 1, 1, vcpus, 1, 1);
	add_region(m, 0, low);
	add_region(m, LAYOUT_HIGH, high);
	return m;
}

void by_hand_free(struct by_hand *m)
{
	for (unsigned i = 0; i < m->vm.gmem.n; i++)
		munmap(m->vm.gmem.region[i].host, m->vm.gmem.region[i].size);
	free(m);
}

bool by_hand_zero(const struct by_hand *m, uint64_t gpa, uint64_t bytes)
{
	const char *p = sv_vm_ptr(&m->vm, gpa, bytes);

	return bytes == 0 || (p[0] == 0 && !memcmp(p, p + 1, bytes - 1));
}

/* Pages that were never touched are not resident: that says it without touching them. */
bool by_hand_untouched(const struct by_hand *m)
{
	for (unsigned i = 0; i < m->vm.gmem.n; i++) {
		const struct sv_gmem_region *r = &m->vm.gmem.region[i];
		size_t pages = r->size / 4096;
		unsigned char *in = malloc(pages);
		bool any = false;

		cr_assert(in && mincore(r->host, r->size, in) == 0);
		for (size_t p = 0; p < pages; p++)
			any |= in[p] & 1;
		free(in);
		if (any)
			return false;
	}
	return true;
}

static char dir[] = "/tmp/sidevisor-test-XXXXXX";
static bool have_dir;

static void remove_dir(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command) != 0)
		fprintf(stderr, "%s was left behind\n", dir);
}

const char *by_hand_dir(void)
{
	if (!have_dir) {
		cr_assert(mkdtemp(dir) != NULL);
		have_dir = true;
		atexit(remove_dir);
	}
	return dir;
}

const char *by_hand_file(const char *name, const void *bytes, size_t n)
{
	static char path[4][128];
	static unsigned turn;
	char *p = path[turn++ % 4];
	FILE *f;

	snprintf(p, sizeof(path[0]), "%s/%s", by_hand_dir(), name);
	f = fopen(p, "we");
	cr_assert(f != NULL);
	cr_assert(fwrite(bytes, 1, n, f) == n);
	fclose(f);
	return p;
}
