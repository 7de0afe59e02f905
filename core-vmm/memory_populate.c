/* SPDX-License-Identifier: BSD-3-Clause */
/* The pages of guest memory, before the guest runs: most of the time that a start takes. */
#include "memory.h"
#include "backing.h"

#include <errno.h>
#include <numa.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "topology.h"

#define MIB (1ull << 20)
#define EXTENT (2 * MIB)
#define SHARE (64 * MIB) /* less is not worth a thread */
#define THREADS 16u	 /* enough for the memory controllers of a node */

#ifndef MADV_COLLAPSE /* since Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

struct share {
	pthread_t thread;
	uint8_t *at;
	uint64_t bytes;
	bool small; /* no huge pages are to be made */
	int error;  /* errno, 0: done */
};

/*
 * Huge pages for a memfd where the administrator reserved none and shmem_enabled says never: each
 * extent gets one page, by the memory policy, and the kernel makes a huge page of it on that node.
 * One call for all of them: it begins with work on every CPU. Best effort: what it cannot do is
 * populated in small pages.
 */
static void make_huge(const struct share *s)
{
	for (uint64_t at = 0; at + EXTENT <= s->bytes; at += EXTENT)
		if (madvise(s->at + at, 1, MADV_POPULATE_WRITE) < 0)
			return;
	if (s->bytes >= EXTENT)
		madvise(s->at, s->bytes / EXTENT * EXTENT, MADV_COLLAPSE);
}

static void *populate(void *arg)
{
	struct share *s = arg;

	if (!s->small)
		make_huge(s);
	/* EINVAL: before 5.14. Touched by the guest instead. */
	if (madvise(s->at, s->bytes, MADV_POPULATE_WRITE) < 0 && errno != EINVAL)
		s->error = errno;
	return NULL;
}

int sv_memory_make(uint8_t *at, uint64_t bytes, bool collapse)
{
	struct share s = {.at = at, .bytes = bytes, .small = !collapse};

	populate(&s);
	return -s.error;
}

/* Memory that is not bound is to come from this thread's node: then it does the work alone. */
static bool anywhere(const struct sv_vm *vm)
{
	if (numa_available() < 0 || numa_max_node() == 0)
		return true;
	for (unsigned i = 0; i < sv_nodes(vm); i++)
		if (vm->config->memory_node[i] < 0)
			return false;
	return true;
}

static unsigned workers(const struct sv_vm *vm)
{
	uint64_t n = vm->config->memory_bytes / SHARE;
	cpu_set_t cpus;

	if (n > THREADS)
		n = THREADS;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && n > (unsigned)CPU_COUNT(&cpus))
		n = (unsigned)CPU_COUNT(&cpus);
	return n > 1 && anywhere(vm) ? (unsigned)n : 1;
}

int sv_memory_populate(const struct sv_vm *vm, uint8_t *ram, struct sv_error *err)
{
	uint64_t bytes = vm->config->memory_bytes, each;
	struct share share[THREADS] = {{.error = 0}};
	unsigned n, started;
	int error = 0;

	if (vm->config->no_populate || vm->config->source.path)
		return 0;
	n = workers(vm);
	each = bytes / n / EXTENT * EXTENT;
	for (unsigned i = 0; i < n; i++) {
		share[i].at = ram + i * each;
		share[i].small = !sv_backing_collapse(vm);
		share[i].bytes = i == n - 1 ? bytes - i * each : each;
	}
	for (started = 1; started < n; started++)
		if (pthread_create(&share[started].thread, NULL, populate, &share[started]))
			break;
	populate(&share[0]);
	for (unsigned i = started; i < n; i++) /* those for which there was no thread */
		populate(&share[i]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(share[i].thread, NULL);
	for (unsigned i = 0; i < n && !error; i++)
		error = share[i].error;
	if (!error)
		return 0;
	return sv_fail(err, error, "--memory %lluM: the machine cannot give it now: %s",
		(unsigned long long)(bytes / MIB), strerror(error));
}
