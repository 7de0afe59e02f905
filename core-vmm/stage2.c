/* SPDX-License-Identifier: BSD-3-Clause */
#include "stage2.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <channels/atomics.h>

#include "backing.h"
#include "balloon.h"
#include "cpuid.h"
#include "devices.h"
#include "memory.h"
#include "paging.h"
#include "topology.h"
#include "vcpu.h"

#define PIECE (64ull << 20) /* one look at `stop`, one call of the kernel's for huge pages */
#define RETRIES 1000u

/* Since Linux 6.11; our headers may be older. */
struct pre_fault {
	uint64_t gpa, size, flags, padding[5];
};
#define PRE_FAULT _IOWR(KVMIO, 0xd5, struct pre_fault)

struct sv_stage2 {
	int fd;		     /* the helper vCPU; -1: none */
	const char *why_not; /* no helper: a sentence */
	pthread_mutex_t lock; /* one call to KVM for a piece; hold */
	bool hold;
	pthread_t thread;
	bool started;
	int stop, done;
	/* Written by whoever fills, read by anyone (relaxed). */
	uint64_t made_bytes, mapped_bytes, calls, again, ns;
	int error;
};

static const char *const when_name[] = {"", "before", "running", "demand"};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void add(uint64_t *to, uint64_t n)
{
	__atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

/* --- the helper vCPU ------------------------------------------------------------------------- */

/* As vCPU 0's: tables are shared by vCPUs that agree on what decides their shape. */
static int give_cpuid(struct sv_vm *vm, int fd)
{
	enum { MAX = 256 };
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + MAX * sizeof(c->entries[0]));
	struct sv_error ignored;
	int rc = -ENOMEM;

	if (!c)
		return rc;
	c->nent = MAX;
	rc = sv_cpuid_build(vm, 0, c, &ignored);
	if (rc == 0 && ioctl(fd, KVM_SET_CPUID2, c) < 0)
		rc = -errno;
	free(c);
	return rc;
}

/* Its local APIC is off, so that no interrupt of the guest is ever routed to it. */
static int hide(int fd)
{
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.apic_base = 0;
	return ioctl(fd, KVM_SET_SREGS, &s) < 0 ? -errno : 0;
}

/* An APIC id that no vCPU of the guest has. */
static uint32_t free_id(const struct sv_vm *vm)
{
	uint32_t id = 0;

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		uint32_t its = sv_apic_id(&vm->config->topology, i);

		id = its >= id ? its + 1 : id;
	}
	return id;
}

static const char *make_helper(struct sv_vm *vm, struct sv_stage2 *s)
{
	uint32_t id = free_id(vm);

	if (sv_paging_shadowed(vm))
		return "this KVM builds shadow tables from the guest's own; it has no stage 2";
	if (!vm->caps.pre_fault)
		return "this kernel has no KVM_PRE_FAULT_MEMORY (Linux 6.11)";
	if (vm->nvcpus >= (unsigned)vm->caps.max_vcpus || id >= (uint32_t)vm->caps.max_vcpu_id)
		return "KVM allows no vCPU beyond the guest's";
	s->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (s->fd < 0)
		return "KVM creates no vCPU beyond the guest's";
	if (give_cpuid(vm, s->fd) == 0 && hide(s->fd) == 0)
		return NULL;
	close(s->fd);
	s->fd = -1;
	return "KVM does not take the helper vCPU's registers";
}

/* --- filling --------------------------------------------------------------------------------- */

static int map_locked(struct sv_stage2 *s, uint64_t gpa, uint64_t bytes)
{
	struct pre_fault p = {.gpa = gpa, .size = bytes};
	unsigned tries = 0;

	if (s->fd < 0 || s->hold)
		return -EOPNOTSUPP;
	while (p.size) {
		uint64_t left = p.size;
		int rc = ioctl(s->fd, PRE_FAULT, &p);

		add(&s->calls, 1);
		add(&s->mapped_bytes, left - p.size);
		if (p.size < left)
			tries = 0;
		if (rc == 0)
			continue;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		/* Somebody changes the same tables: the guest, or the kernel that moves a page. */
		add(&s->again, 1);
		if (++tries == RETRIES)
			return -EAGAIN;
		sched_yield();
	}
	return 0;
}

static int map_range(struct sv_stage2 *s, uint64_t gpa, uint64_t bytes)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = map_locked(s, gpa, bytes);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void sv_stage2_hold(struct sv_vm *vm, bool hold)
{
	pthread_mutex_lock(&vm->stage2->lock);
	vm->stage2->hold = hold;
	pthread_mutex_unlock(&vm->stage2->lock);
}

static int fill(struct sv_vm *vm, uint64_t gpa, uint64_t bytes, bool collapse)
{
	struct sv_stage2 *s = vm->stage2;
	void *at = sv_vm_ptr(vm, gpa, bytes);
	uint64_t t = now_ns();
	int rc = at ? sv_memory_make(at, bytes, collapse) : -EFAULT;

	if (rc == 0) {
		add(&s->made_bytes, bytes);
		rc = map_range(s, gpa, bytes);
	}
	add(&s->ns, now_ns() - t);
	return rc;
}

int sv_stage2_ensure(struct sv_vm *vm, uint64_t gpa, uint64_t bytes)
{
	return fill(vm, gpa, bytes, sv_backing_collapse(vm));
}

/* What was given back to the host stays there, whole or in part; nobody gives more back meanwhile. */
static int fill_kept(struct sv_vm *vm, uint64_t gpa, uint64_t bytes, bool collapse)
{
	struct sv_balloon *b = sv_devices_balloon(vm);
	int rc = 0;

	if (!b)
		return fill(vm, gpa, bytes, collapse);
	sv_balloon_lock(b);
	while (bytes && (rc == 0 || rc == -EOPNOTSUPP || rc == -EAGAIN)) {
		bool given;
		uint64_t n = sv_balloon_span(b, gpa, bytes, &given);

		if (!given)
			rc = fill(vm, gpa, n, collapse);
		gpa += n;
		bytes -= n;
	}
	sv_balloon_unlock(b);
	return rc;
}

/* The whole guest, from its lowest address up. The tables of direct paging may be read-only: left out. */
static int fill_all(struct sv_vm *vm)
{
	struct sv_stage2 *s = vm->stage2;
	bool collapse = vm->config->no_populate && sv_backing_collapse(vm);
	int rc = 0;

	for (unsigned i = 0; i < vm->gmem.n; i++) {
		const struct sv_gmem_region *r = &vm->gmem.region[i];

		if (vm->tables_bytes && r->gpa == vm->tables_gpa)
			continue;
		for (uint64_t at = 0; at < r->size; at += PIECE) {
			uint64_t n = r->size - at < PIECE ? r->size - at : PIECE;

			if (sv_load_acquire(&s->stop))
				return -ECANCELED;
			rc = fill_kept(vm, r->gpa + at, n, collapse);
			/* Without a helper the pages are made all the same. */
			if (rc < 0 && rc != -EOPNOTSUPP && rc != -EAGAIN)
				return rc;
		}
	}
	return rc;
}

/* --- the thread ------------------------------------------------------------------------------ */

/* The control thread's CPU, or else any that has no vCPU. */
static void choose_cpus(const struct sv_vm *vm, cpu_set_t *set)
{
	CPU_ZERO(set);
	if (vm->config->control_cpu >= 0) {
		CPU_SET(vm->config->control_cpu, set);
		return;
	}
	if (sched_getaffinity(0, sizeof(*set), set) < 0)
		return;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->config->vcpu_cpu[i] >= 0 && CPU_COUNT(set) > 1)
			CPU_CLR(vm->config->vcpu_cpu[i], set);
}

void sv_stage2_pin(const struct sv_vm *vm, pthread_t thread)
{
	cpu_set_t set;

	choose_cpus(vm, &set);
	if (CPU_COUNT(&set))
		pthread_setaffinity_np(thread, sizeof(set), &set);
}

static void *run(void *arg)
{
	struct sv_vm *vm = arg;
	struct sv_stage2 *s = vm->stage2;
	int rc = fill_all(vm);

	if (rc < 0 && rc != -EOPNOTSUPP && rc != -ECANCELED) {
		sv_store_relaxed(&s->error, -rc);
		sv_warn("stage 2 is left to the guest's own faults: %s", strerror(-rc));
	}
	sv_store_release(&s->done, 1);
	return NULL;
}

int sv_stage2_start(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_stage2 *s = vm->stage2;
	sigset_t all, old;
	int rc;

	if (sv_stage2_when(vm->config) != SV_STAGE2_RUNNING || (s->fd < 0 && !vm->config->no_populate)) {
		sv_store_release(&s->done, 1);
		return 0;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&s->thread, NULL, run, vm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return sv_fail(err, rc, "--stage2 running: cannot start its thread: %s", strerror(rc));
	s->started = true;
	sv_stage2_pin(vm, s->thread);
	pthread_setname_np(s->thread, "stage2");
	return 0;
}

/* --- life ------------------------------------------------------------------------------------ */

enum sv_stage2_when sv_stage2_when(const struct sv_vm_config *config)
{
	/* Memory that arrives while the guest runs cannot be made before it is there. */
	if (config->source.path)
		return SV_STAGE2_DEMAND;
	if (config->stage2 != SV_STAGE2_DEFAULT)
		return config->stage2;
	return config->no_populate ? SV_STAGE2_DEMAND : SV_STAGE2_RUNNING;
}

int sv_stage2_create(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_stage2 *s = calloc(1, sizeof(*s));
	int rc = 0;

	if (!s)
		return sv_fail(err, ENOMEM, "out of memory");
	s->fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	vm->stage2 = s;
	if (vm->config->source.path)
		s->why_not = "memory that arrives while the guest runs is mapped by its own faults";
	else if (sv_stage2_when(vm->config) == SV_STAGE2_DEMAND)
		s->why_not = "the guest's own faults fill it, as asked for";
	else
		s->why_not = make_helper(vm, s);
	if (s->why_not && (vm->config->stage2 == SV_STAGE2_BEFORE ||
			vm->config->stage2 == SV_STAGE2_RUNNING))
		sv_warn("--stage2 %s: %s%s", when_name[vm->config->stage2], s->why_not,
			vm->config->source.path
				? ""
				: ". Pages are made, and the guest's own faults map them");
	if (sv_stage2_when(vm->config) == SV_STAGE2_BEFORE)
		rc = fill_all(vm);
	if (rc == 0 || rc == -EOPNOTSUPP || rc == -EAGAIN)
		return 0;
	sv_stage2_destroy(vm);
	return sv_fail(err, -rc, "--stage2 before: memory cannot be mapped: %s", strerror(-rc));
}

void sv_stage2_stop(struct sv_vm *vm)
{
	struct sv_stage2 *s = vm->stage2;

	if (!s)
		return;
	sv_store_release(&s->stop, 1);
	if (s->started)
		pthread_join(s->thread, NULL);
	s->started = false;
}

void sv_stage2_destroy(struct sv_vm *vm)
{
	struct sv_stage2 *s = vm->stage2;

	if (!s)
		return;
	sv_stage2_stop(vm);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
	vm->stage2 = NULL;
}

int sv_stage2_fd(const struct sv_vm *vm)
{
	return vm->stage2 ? vm->stage2->fd : -1;
}

void sv_stage2_refill(struct sv_vm *vm)
{
	if (vm->stage2 && vm->stage2->fd >= 0)
		fill_all(vm);
}

bool sv_stage2_done(const struct sv_vm *vm)
{
	return !vm->stage2 || sv_load_acquire(&vm->stage2->done);
}

json_t *sv_stage2_json(const struct sv_vm *vm)
{
	const struct sv_stage2 *s = vm->stage2;

	if (!s)
		return json_null();
	return json_pack("{s:s, s:b, s:s*, s:b, s:I, s:I, s:I, s:I, s:f, s:s*}", "when",
		when_name[sv_stage2_when(vm->config)], "helper_vcpu", s->fd >= 0, "why_not", s->why_not,
		"done", sv_load_acquire(&s->done), "made_bytes",
		(json_int_t)sv_load_relaxed(&s->made_bytes), "mapped_bytes",
		(json_int_t)sv_load_relaxed(&s->mapped_bytes), "calls",
		(json_int_t)sv_load_relaxed(&s->calls), "again",
		(json_int_t)sv_load_relaxed(&s->again), "seconds",
		(double)sv_load_relaxed(&s->ns) / 1e9, "error",
		sv_load_relaxed(&s->error) ? strerror(sv_load_relaxed(&s->error)) : NULL);
}
