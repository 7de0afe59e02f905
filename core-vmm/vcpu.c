/* SPDX-License-Identifier: BSD-3-Clause */
#include "vcpu.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <base/pin.h>
#include <channels/atomics.h>

#include "acpi.h"
#include "cpuid.h"
#include "pager.h"

#define KICK_SIGNAL SIGUSR1
#define STOP_DEADLINE_S 5
#define REST_DEADLINE_MS 2000u

static __thread struct kvm_run *this_run;

/* The signal half of the kick: the next KVM_RUN, or the one under way, returns at once. */
static void on_kick(int sig)
{
	(void)sig;
	if (this_run)
		__atomic_store_n(&this_run->immediate_exit, 1, __ATOMIC_RELAXED);
}

static void pause_while_asked(struct sv_vcpu *vcpu)
{
	struct timespec slice = {.tv_nsec = 2000000};

	while (sv_load_acquire(&vcpu->vm->paused) && !sv_load_acquire(&vcpu->vm->end)) {
		sv_store_release(&vcpu->resting, 1);
		nanosleep(&slice, NULL);
	}
	sv_store_release(&vcpu->resting, 0);
}

bool sv_vcpus_rest(struct sv_vm *vm)
{
	struct timespec slice = {.tv_nsec = 1000000};
	unsigned resting = 0;

	sv_vcpus_kick(vm);
	for (unsigned i = 0; i < REST_DEADLINE_MS; i++) {
		resting = 0;
		for (unsigned v = 0; v < vm->nvcpus; v++)
			resting += sv_load_acquire(&vm->vcpu[v].resting) != 0;
		if (resting == vm->nvcpus)
			break;
		nanosleep(&slice, NULL);
	}
	return resting == vm->nvcpus;
}

static void run_loop(struct sv_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	sv_store_relaxed(&vcpu->first_run_tsc, sv_tsc());
	while (!sv_load_acquire(&vcpu->stop)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
			if (sv_exit_dispatch(vcpu, run) == SV_EXIT_STOP)
				break;
			continue;
		}
		if (errno != EINTR && errno != EAGAIN) {
			struct sv_error err;

			sv_fail(&err, errno, "vCPU %u: KVM_RUN: %s", vcpu->index, strerror(errno));
			sv_vm_end(vcpu->vm, SV_END_ERROR, 0, &err);
			break;
		}
		sv_store_relaxed(&vcpu->kicks, vcpu->kicks + 1);
		__atomic_store_n(&run->immediate_exit, 0, __ATOMIC_RELAXED);
		pause_while_asked(vcpu);
	}
}

/* The guest cores are a cpuset of their own: in first, then to the core. */
static bool enter_core(struct sv_vcpu *vcpu)
{
	const struct sv_vm_config *config = vcpu->vm->config;
	struct sv_error err;
	int rc;

	if (config->join_fd <= 0)
		return true;
	rc = sv_pin_self(config->join_fd, config->vcpu_cpu[vcpu->index]);
	if (rc < 0) {
		sv_fail(&err, -rc, "vCPU %u: cannot enter the cpuset and run on CPU %d: %s",
			vcpu->index, config->vcpu_cpu[vcpu->index], strerror(-rc));
		sv_vm_end(vcpu->vm, SV_END_ERROR, 0, &err);
	}
	return rc == 0;
}

static void *vcpu_thread(void *arg)
{
	struct sv_vcpu *vcpu = arg;
	sigset_t kick;

	sv_store_release(&vcpu->tid, (pid_t)syscall(SYS_gettid));
	this_run = vcpu->run;
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	if (enter_core(vcpu))
		run_loop(vcpu);
	this_run = NULL;
	return NULL;
}

static int set_cpuid(struct sv_vcpu *vcpu, struct sv_error *err)
{
	enum { MAX = 256 };
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + MAX * sizeof(c->entries[0]));
	int rc;

	if (!c)
		return sv_fail(err, ENOMEM, "out of memory");
	c->nent = MAX;
	rc = sv_cpuid_build(vcpu->vm, vcpu->index, c, err);
	if (rc == 0 && ioctl(vcpu->fd, KVM_SET_CPUID2, c) < 0)
		rc = sv_fail(err, errno, "vCPU %u: KVM refuses its CPUID: %s", vcpu->index,
			strerror(errno));
	free(c);
	return rc;
}

static int create_one(struct sv_vm *vm, unsigned i, struct sv_error *err)
{
	struct sv_vcpu *vcpu = &vm->vcpu[i];
	int bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (bytes < (int)sizeof(struct kvm_run))
		return sv_fail(err, EIO, "KVM_GET_VCPU_MMAP_SIZE: %d", bytes);
	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU,
		(unsigned long)sv_apic_id(&vm->config->topology, i));
	if (vcpu->fd < 0)
		return sv_fail(err, errno, "vCPU %u: KVM cannot create it: %s", i, strerror(errno));
	vcpu->run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return sv_fail(err, errno, "vCPU %u: mmap: %s", i, strerror(errno));
	}
	vcpu->run_bytes = (size_t)bytes;
	vcpu->stats_fd = ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);
	return 0;
}

int sv_vcpus_create(struct sv_vm *vm, struct sv_error *err)
{
	uint32_t boot = sv_apic_id(&vm->config->topology, 0);
	int rc = 0, khz;

	if (boot && ioctl(vm->vm_fd, KVM_SET_BOOT_CPU_ID, (unsigned long)boot) < 0)
		return sv_fail(err, errno, "vCPU 0: KVM does not start the guest on it: %s",
			strerror(errno));
	vm->vcpu = calloc(vm->nvcpus, sizeof(vm->vcpu[0]));
	if (!vm->vcpu)
		return sv_fail(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vm->vcpu[i] = (struct sv_vcpu){
			.vm = vm, .index = i, .fd = -1, .stats_fd = -1};
	for (unsigned i = 0; i < vm->nvcpus && rc == 0; i++)
		rc = create_one(vm, i, err);
	if (rc < 0) {
		sv_vcpus_destroy(vm);
		return rc;
	}
	khz = ioctl(vm->vcpu[0].fd, KVM_GET_TSC_KHZ, 0);
	vm->tsc_hz = khz > 0 ? (uint64_t)khz * 1000 : 0;
	return 0;
}

int sv_vcpus_set_up(struct sv_vm *vm, const struct sv_entry *entry, struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < vm->nvcpus && rc == 0; i++) {
		rc = set_cpuid(&vm->vcpu[i], err);
		if (rc == 0)
			rc = sv_vcpu_set_entry(&vm->vcpu[i], entry, err);
	}
	return rc;
}

void sv_vcpus_destroy(struct sv_vm *vm)
{
	for (unsigned i = 0; vm->vcpu && i < vm->nvcpus; i++) {
		struct sv_vcpu *vcpu = &vm->vcpu[i];

		if (vcpu->run)
			munmap(vcpu->run, vcpu->run_bytes);
		if (vcpu->stats_fd >= 0)
			close(vcpu->stats_fd);
		if (vcpu->fd >= 0)
			close(vcpu->fd);
	}
	free(vm->vcpu);
	vm->vcpu = NULL;
}

static int start_one(struct sv_vcpu *vcpu, struct sv_error *err)
{
	int cpu = vcpu->vm->config->vcpu_cpu[vcpu->index], rc;
	pthread_attr_t attr;
	char name[16];
	cpu_set_t set;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	if (cpu >= 0 && vcpu->vm->config->join_fd <= 0) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	rc = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
	pthread_attr_destroy(&attr);
	if (rc)
		return sv_fail(err, rc, "vCPU %u: cannot start its thread on CPU %d: %s",
			vcpu->index, cpu, strerror(rc));
	vcpu->started = true;
	snprintf(name, sizeof(name), "vcpu-%u", vcpu->index);
	pthread_setname_np(vcpu->thread, name);
	return 0;
}

int sv_vcpus_start(struct sv_vm *vm, struct sv_error *err)
{
	struct sigaction sa = {.sa_handler = on_kick};
	sigset_t all, old;
	int rc = 0;

	sigemptyset(&sa.sa_mask);
	sigaction(KICK_SIGNAL, &sa, NULL);
	/* vCPU threads take the kick and nothing else. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < vm->nvcpus && rc == 0; i++)
		rc = start_one(&vm->vcpu[i], err);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc < 0)
		sv_vcpus_stop(vm);
	return rc;
}

void sv_vcpus_kick(struct sv_vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpu && vm->vcpu[i].started)
			pthread_kill(vm->vcpu[i].thread, KICK_SIGNAL);
}

void sv_vcpus_stop(struct sv_vm *vm)
{
	struct timespec until;

	for (unsigned i = 0; vm->vcpu && i < vm->nvcpus; i++)
		sv_store_release(&vm->vcpu[i].stop, 1);
	sv_vcpus_kick(vm);
	sv_pager_release(vm); /* who waits for memory never gets back into the guest */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_DEADLINE_S;
	for (unsigned i = 0; vm->vcpu && i < vm->nvcpus; i++) {
		if (!vm->vcpu[i].started)
			continue;
		SV_BUG_ON(pthread_timedjoin_np(vm->vcpu[i].thread, NULL, &until) != 0);
		vm->vcpu[i].started = false;
	}
}
