/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM from start to end: an ordered table of steps, a control loop, and the mirror of the table.
 */
#include <vmm/vmm.h>

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <sidevisor/platform.h>

#include "acpi.h"
#include "ask.h"
#include "console.h"
#include "devices.h"
#include "dirty.h"
#include "kvm.h"
#include "loader.h"
#include "memory.h"
#include "node.h"
#include "pager.h"
#include "paging.h"
#include "rejoin.h"
#include "stage2.h"
#include "stats.h"
#include "steps.h"
#include "vcpu.h"

#define DEVICE_FDS 136u

/* Everything one run needs: the VM and what the control thread has around it. */
struct run {
	struct sv_vm vm;
	struct sv_console_relay console;
	struct sv_device_link link;
	struct sv_entry entry;
	struct sv_rejoin rejoin;
	int node_sock, sigfd, listener;
	int *doorbells;
	uint64_t rsdp;
};

static sv_bench_hook bench_hook;
static uint64_t first_run_ns;

void sv_vmm_set_bench_hook(sv_bench_hook hook)
{
	bench_hook = hook;
}

uint64_t sv_vmm_first_run_ns(void)
{
	return first_run_ns;
}

const char *sv_vmm_substrate(void)
{
	return sv_kvm_substrate();
}

bool sv_vmm_emulated(void)
{
	return sv_kvm_emulated();
}

bool sv_vmm_hypercall_exits(void)
{
	return sv_kvm_hypercall_exits();
}

void sv_vm_end(struct sv_vm *vm, enum sv_end why, int status, const struct sv_error *err)
{
	int none = 0;
	uint64_t one = 1;

	/* Claim, fill in, publish: readers look at `end` with acquire and see the rest. */
	if (!__atomic_compare_exchange_n(&vm->end_claimed, &none, 1, false, __ATOMIC_ACQ_REL,
		    __ATOMIC_ACQUIRE))
		return;
	vm->end_status = status;
	if (err)
		vm->end_error = *err;
	sv_store_release(&vm->end, (int)why);
	if (write(vm->end_fd, &one, sizeof(one)) < 0)
		sv_warn("the end of the VM cannot be signalled: %s", strerror(errno));
}

bool sv_vmm_stage2_done(const void *vm)
{
	return sv_stage2_done(vm);
}

uint64_t sv_vmm_kvm_counter(const void *vm, const char *name)
{
	return sv_stats_counter(vm, name);
}

uint64_t sv_vmm_exits(const void *vm)
{
	return sv_stats_exits(vm);
}

/* --- steps ----------------------------------------------------------------------------------- */

static int up_end_fd(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;

	r->vm.end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return r->vm.end_fd < 0 ? sv_fail(err, errno, "eventfd: %s", strerror(errno)) : 0;
}

static void down_end_fd(void *ctx)
{
	struct run *r = ctx;

	close(r->vm.end_fd);
}

static int up_name(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;

	r->listener = sv_ask_listen(r->vm.config->name, err);
	return r->listener < 0 ? r->listener : 0;
}

static void down_name(void *ctx)
{
	struct run *r = ctx;

	close(r->listener);
	free(r->vm.settings);
}

static int up_kind(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;
	int rc = sv_loader_is_lwk(r->vm.config->kernel, err);

	r->vm.lwk = rc > 0;
	return rc < 0 ? rc : 0;
}

static int up_kvm(void *ctx, struct sv_error *err)
{
	return sv_kvm_open(&((struct run *)ctx)->vm, err);
}

static void down_kvm(void *ctx)
{
	sv_kvm_close(&((struct run *)ctx)->vm);
}

static int up_source(void *ctx, struct sv_error *err)
{
	return sv_pager_open(&((struct run *)ctx)->vm, err);
}

static void down_source(void *ctx)
{
	sv_pager_close(&((struct run *)ctx)->vm);
}

static int up_memory(void *ctx, struct sv_error *err)
{
	return sv_memory_create(&((struct run *)ctx)->vm, err);
}

static void down_memory(void *ctx)
{
	sv_memory_destroy(&((struct run *)ctx)->vm);
}

static int up_irq(void *ctx, struct sv_error *err)
{
	return sv_irq_create(&((struct run *)ctx)->vm, err);
}

static void down_irq(void *ctx)
{
	sv_irq_destroy(&((struct run *)ctx)->vm);
}

static int up_vcpus(void *ctx, struct sv_error *err)
{
	return sv_vcpus_create(&((struct run *)ctx)->vm, err);
}

static void down_vcpus(void *ctx)
{
	sv_vcpus_destroy(&((struct run *)ctx)->vm);
}

static int up_console(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;

	return sv_console_open(&r->console, &r->vm, err);
}

static void down_console(void *ctx)
{
	sv_console_close(&((struct run *)ctx)->console);
}

static int up_node(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;
	int rc = 0;

	if (r->vm.config->say_hello)
		rc = sv_node_hello(r->node_sock, r->vm.config->name, r->vm.nvcpus,
			r->vm.config->vcpu_sidecore_cpu[0], NULL, err);
	if (rc == 0)
		rc = sv_node_memory(r->node_sock, &r->vm, err);
	if (rc == 0)
		rc = sv_pager_offer(&r->vm, r->node_sock, err);
	if (rc == 0 && r->console.far_remote >= 0 && r->vm.lwk)
		rc = sv_node_console(r->node_sock, r->console.far_remote, err);
	r->vm.console_fd = r->console.far_remote;
	return rc;
}

static int up_devices(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;
	int rc;

	r->link = (struct sv_device_link){.connect = sv_node_connect_device,
		.ctx = &r->node_sock,
		.returns = r->vm.config->rejoin && r->vm.config->rejoin_s};
	rc = sv_devices_create(&r->vm, &r->link, err);
	/* A sidecore process that comes back needs it too. */
	if (rc == 0 && r->console.far_remote >= 0 && !r->vm.config->rejoin) {
		close(r->console.far_remote);
		r->console.far_remote = r->vm.console_fd = -1;
	}
	return rc;
}

static void down_devices(void *ctx)
{
	sv_stage2_stop(&((struct run *)ctx)->vm);
	sv_devices_destroy(&((struct run *)ctx)->vm);
}

static int up_kernel(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;
	int rc = 0;

	if (!r->vm.lwk)
		rc = sv_acpi_build(&r->vm, &r->rsdp, err);
	if (rc == 0)
		rc = sv_loader_load(&r->vm, r->rsdp, &r->entry, err);
	if (rc == 0)
		rc = sv_vcpus_set_up(&r->vm, &r->entry, err);
	return rc < 0 ? rc : sv_pager_register(&r->vm, err);
}

static int up_stage2(void *ctx, struct sv_error *err)
{
	return sv_stage2_create(&((struct run *)ctx)->vm, err);
}

static void down_stage2(void *ctx)
{
	sv_stage2_destroy(&((struct run *)ctx)->vm);
}

static int up_dirty(void *ctx, struct sv_error *err)
{
	return sv_dirty_create(&((struct run *)ctx)->vm, err);
}

static void down_dirty(void *ctx)
{
	sv_dirty_destroy(&((struct run *)ctx)->vm);
}

static int up_paging(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;

	return r->vm.tables_bytes ? sv_paging_start(&r->vm, r->node_sock, err) : 0;
}

static void down_paging(void *ctx)
{
	struct run *r = ctx;

	if (r->vm.paging)
		sv_paging_stop(&r->vm);
}

static int up_channels(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;

	if (!r->vm.lwk)
		return 0;
	r->doorbells = malloc(r->vm.nvcpus * sizeof(int));
	if (!r->doorbells)
		return sv_fail(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < r->vm.nvcpus; i++)
		r->doorbells[i] = -1;
	return sv_node_channels(r->node_sock, &r->vm, r->doorbells, err);
}

static void down_channels(void *ctx)
{
	struct run *r = ctx;

	for (unsigned i = 0; r->doorbells && i < r->vm.nvcpus; i++)
		if (r->doorbells[i] >= 0)
			close(r->doorbells[i]);
	free(r->doorbells);
	r->doorbells = NULL;
}

static int up_start(void *ctx, struct sv_error *err)
{
	return sv_node_start(((struct run *)ctx)->node_sock, err);
}

static void pin_control(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int up_run(void *ctx, struct sv_error *err)
{
	struct run *r = ctx;
	int rc;

	/* From here on nothing but vCPUs runs on guest cores. Setting up may use every core. */
	pin_control(r->vm.config->control_cpu);
	rc = sv_stage2_start(&r->vm, err);
	return rc < 0 ? rc : sv_vcpus_start(&r->vm, err);
}

static void down_run(void *ctx)
{
	sv_vcpus_stop(&((struct run *)ctx)->vm);
}

static const struct sv_step steps[] = {
	{"end", up_end_fd, down_end_fd},
	{"name", up_name, down_name},
	{"kind", up_kind, NULL},
	{"source", up_source, down_source},
	{"kvm", up_kvm, down_kvm},
	{"irq", up_irq, down_irq},
	{"vcpus", up_vcpus, down_vcpus},
	{"memory", up_memory, down_memory},
	{"stage2", up_stage2, down_stage2},
	{"dirty", up_dirty, down_dirty},
	{"console", up_console, down_console},
	{"node", up_node, NULL},
	{"devices", up_devices, down_devices},
	{"kernel", up_kernel, NULL},
	{"paging", up_paging, down_paging},
	{"channels", up_channels, down_channels},
	{"start", up_start, NULL},
	{"run", up_run, down_run},
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* --- the control thread ---------------------------------------------------------------------- */

static void end_with(struct sv_vm *vm, int errnum, const char *text)
{
	struct sv_error e;

	sv_fail(&e, errnum, "%s", text);
	sv_vm_end(vm, SV_END_ERROR, 0, &e);
}

static void poll_devices(struct sv_vm *vm, const struct pollfd *p, unsigned n)
{
	struct sv_error e;

	for (unsigned i = 0; i < n; i++)
		if (p[i].revents && sv_devices_poll(vm, p[i].fd, &e) < 0)
			sv_vm_end(vm, SV_END_ERROR, 0, &e);
}

static void take_signal(struct run *r)
{
	struct signalfd_siginfo si;

	if (read(r->sigfd, &si, sizeof(si)) == sizeof(si))
		sv_vm_end(&r->vm, SV_END_STOPPED, (int)si.ssi_signo, NULL);
}

/* Lightweight kernels talk to the node by channels, whose other end keeps its state for itself. */
static void node_lost(struct run *r)
{
	if (r->vm.lwk || !sv_rejoin_lost(&r->rejoin))
		end_with(&r->vm, ECONNRESET,
			"the sidecore process went away; the VM cannot go on without it. See its "
			"messages, and start the VM again");
}

static void try_rejoin(struct run *r)
{
	struct sv_error e;
	int rc = sv_rejoin_try(&r->rejoin, &e);

	if (rc < 0 && rc != -EAGAIN)
		sv_vm_end(&r->vm, SV_END_ERROR, 0, &e);
}

static void watch(struct run *r)
{
	struct sv_error e;

	if (sv_rejoin_watch(&r->rejoin, &e) < 0)
		sv_vm_end(&r->vm, SV_END_ERROR, 0, &e);
}

static int turn_ms(const struct run *r)
{
	if (r->rejoin.lost)
		return SV_REJOIN_PAUSE_MS;
	return r->console.in_len ? 10 : 1000;
}

/* Until the VM ends: signals, commands, console, the node's and the devices' sockets. */
static void control_loop(struct run *r)
{
	enum { END, SIGNAL, NODE, ASK, PAGER, CONSOLE, DEVICES = CONSOLE + 3, MAX = DEVICES + DEVICE_FDS };
	struct pollfd p[MAX];
	int fds[DEVICE_FDS];

	r->rejoin = (struct sv_rejoin){.vm = &r->vm, .node_sock = &r->node_sock};
	while (!sv_load_acquire(&r->vm.end)) {
		unsigned ndev = sv_devices_poll_fds(&r->vm, fds, DEVICE_FDS);

		p[END] = (struct pollfd){.fd = r->vm.end_fd, .events = POLLIN};
		p[SIGNAL] = (struct pollfd){.fd = r->sigfd, .events = POLLIN};
		p[NODE] = (struct pollfd){.fd = r->node_sock, .events = POLLIN};
		p[ASK] = (struct pollfd){.fd = r->listener, .events = POLLIN};
		p[PAGER] = (struct pollfd){.fd = sv_pager_fd(&r->vm), .events = POLLIN};
		sv_console_poll_fds(&r->console, &p[CONSOLE]);
		for (unsigned i = 0; i < ndev; i++)
			p[DEVICES + i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
		if (poll(p, DEVICES + ndev, turn_ms(r)) < 0 && errno != EINTR)
			return end_with(&r->vm, errno, strerror(errno));
		if (p[SIGNAL].revents)
			take_signal(r);
		if (p[NODE].revents && sv_node_drain(r->node_sock) < 0)
			node_lost(r);
		if (p[PAGER].revents)
			sv_pager_poll(&r->vm);
		if (p[ASK].revents)
			sv_ask_serve(r->listener, &r->vm);
		sv_console_polled(&r->console, &p[CONSOLE], 3);
		poll_devices(&r->vm, &p[DEVICES], ndev);
		if (r->rejoin.lost)
			try_rejoin(r);
		else
			watch(r);
	}
}

/* --- how it ended ---------------------------------------------------------------------------- */

static void crash_text(const struct sv_vm *vm, char *text, size_t bytes)
{
	const struct sv_boot *boot = sv_vm_ptr(vm, SV_BOOT_INFO_GPA, sizeof(*boot));
	struct sv_crash c;

	if (!boot) {
		snprintf(text, bytes, "the guest reported a crash without a record");
		return;
	}
	c = boot->crash; /* one copy: the guest may still write */
	c.cause[sizeof(c.cause) - 1] = 0;
	for (char *s = c.cause; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
	snprintf(text, bytes,
		"the application crashed on vCPU %u: %s (vector %u, error code %#llx) at rip %#llx, "
		"address %#llx, rsp %#llx, privilege level %u",
		c.vcpu, c.cause, c.vector, (unsigned long long)c.error_code,
		(unsigned long long)c.rip, (unsigned long long)c.cr2, (unsigned long long)c.rsp, c.cpl);
}

static void fill_result(const struct sv_vm *vm, struct sv_vmm_result *res)
{
	static const struct {
		const char *kind, *text;
		bool ok;
	} ends[] = {
		[SV_END_POWEROFF] = {"poweroff", "the guest powered off", true},
		[SV_END_REBOOT] = {"reboot", "the guest asked for a reboot", true},
		[SV_END_PANIC] = {"panic", "the guest's kernel panicked", false},
		[SV_END_TRIPLE_FAULT] = {"triple-fault", "a vCPU of the guest triple-faulted", false},
		[SV_END_EXIT] = {"exit", "the guest exited", true},
		[SV_END_CRASH] = {"crash", NULL, false},
		[SV_END_STOPPED] = {"stopped", "stopped by request", true},
		[SV_END_ERROR] = {"error", NULL, false},
	};

	res->ok = ends[vm->end].ok;
	res->status = vm->end_status;
	snprintf(res->kind, sizeof(res->kind), "%s", ends[vm->end].kind);
	if (vm->end == SV_END_CRASH)
		crash_text(vm, res->text, sizeof(res->text));
	else if (vm->end == SV_END_ERROR)
		snprintf(res->text, sizeof(res->text), "%s", vm->end_error.text);
	else if (vm->end == SV_END_TRIPLE_FAULT)
		snprintf(res->text, sizeof(res->text), "vCPU %d of the guest triple-faulted",
			vm->end_status);
	else if (vm->end == SV_END_EXIT)
		snprintf(res->text, sizeof(res->text), "the guest exited with status %d",
			vm->end_status);
	else
		snprintf(res->text, sizeof(res->text), "%s", ends[vm->end].text);
	if (vm->end == SV_END_EXIT)
		res->ok = vm->end_status == 0;
}

static void *bench_ptr(void *vm, uint64_t gpa, uint64_t len)
{
	return sv_vm_ptr(vm, gpa, len);
}

static void call_bench_hook(struct sv_vm *vm, uint32_t value)
{
	bench_hook(bench_ptr, vm, value);
}

/* CLOCK_MONOTONIC at the first KVM_RUN, reckoned back from now by the TSC. */
static void note_start(const struct sv_vm *vm)
{
	uint64_t now = sv_tsc(), first = sv_load_relaxed(&vm->vcpu[0].first_run_tsc);
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (first && vm->tsc_hz)
		first_run_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec -
			   (uint64_t)((double)(now - first) * 1e9 / (double)vm->tsc_hz);
}

int sv_vmm_run(const struct sv_vm_config *config, int node_sock, int sigfd,
	struct sv_vmm_result *result, struct sv_error *err)
{
	struct run *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return sv_fail(err, ENOMEM, "out of memory");
	r->vm.config = config;
	r->vm.nvcpus = config->vcpus;
	r->vm.kvm_fd = r->vm.vm_fd = r->vm.console_fd = -1;
	r->vm.bench_hook = bench_hook ? call_bench_hook : NULL;
	r->node_sock = node_sock;
	r->vm.node_sock = &r->node_sock;
	r->sigfd = sigfd;
	rc = sv_steps_up(steps, STEPS, r, err);
	if (rc == 0) {
		control_loop(r);
		note_start(&r->vm);
		sv_vcpus_stop(&r->vm);
		sv_console_drain(&r->console, 2000);
		fill_result(&r->vm, result);
		sv_steps_down(steps, STEPS, r);
	}
	free(r);
	return rc;
}
