/* SPDX-License-Identifier: BSD-3-Clause */
/* Running one VM in this process, and asking another VM process about its VM. */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <vmm/config.h>

/* How a VM ended, for the exit status of the program and a sentence. */
struct sv_vmm_result {
	bool ok;	/* poweroff, reboot request, or exit port with status 0 */
	int status;	/* exit port status, where there was one */
	char kind[16];	/* "poweroff", "reboot", "panic", "triple-fault", "exit", "crash", "stopped" … */
	char text[512]; /* one sentence */
};

/*
 * Say hello to a node's sidecores over @sock (channels/control.h). @wish: CPU of the sidecore for
 * all that names none itself, -1: the node chooses. *sidecore_cpu: the CPU of the one it is, may be
 * NULL. Return: 0, or -errno with a sentence (-ENODEV: no sidecore there).
 */
int sv_node_hello(int sock, const char *name, unsigned vcpus, int wish, int *sidecore_cpu,
	struct sv_error *err);
struct sv_node_sidecore {
	int cpu;
	unsigned vms; /* that it serves now */
};
/* The node's sidecores, at most @max of them. Return: how many, or -errno with a sentence. */
int sv_node_sidecores(int sock, struct sv_node_sidecore *out, unsigned max, struct sv_error *err);
/* Ask a node for its statistics: *text is JSON, the caller frees it. Return: 0 or -errno. */
int sv_node_stats(int sock, char **text, struct sv_error *err);
/*
 * Change a setting of a device while it runs (@key NULL: none), and hear what the node knows of it:
 * *text is JSON, the caller frees it. Return: 0, or -errno with a sentence.
 */
int sv_node_set_device(int sock, const char *vm, const char *device, const char *key,
	const char *value, char **text, struct sv_error *err);

/*
 * Create the VM, run it to its end, take everything down. Context: the main thread, which becomes
 * the control thread (pinned to config->control_cpu) and handles SIGINT and SIGTERM through @sigfd
 * (a signalfd; those signals are blocked by the caller). @node_sock: after sv_node_hello().
 * Console input and output are descriptors 0 and 1.
 * Return: 0 with *result, or -errno with a sentence when the VM could not be started.
 */
int sv_vmm_run(const struct sv_vm_config *config, int node_sock, int sigfd,
	struct sv_vmm_result *result, struct sv_error *err);

/* The KVM back end of this machine, and whether its instructions are emulated themselves. */
const char *sv_vmm_substrate(void);
bool sv_vmm_emulated(void);
/* Whether a VM with a bench hook gets KVM_EXIT_HYPERCALL. */
bool sv_vmm_hypercall_exits(void);

/* CLOCK_MONOTONIC in nanoseconds at the first KVM_RUN of the last sv_vmm_run(). */
uint64_t sv_vmm_first_run_ns(void);

/*
 * Ask the VM process called @name: "stats" (JSON), "stop", "pause", "resume", "devices" (what its
 * node knows of all), "device NAME", "device NAME KEY=VALUE", "memory BYTES" (what the guest
 * shall have), "dirty start|stop|take|verify|show". *text: its answer,
 * the caller frees it. Waits 5 s. Return: 0, or -errno with a sentence.
 */
int sv_vmm_ask(const char *name, const char *what, char **text, struct sv_error *err);

/* Names of the VMs running on this machine (of this user, or all for root): a JSON array. */
char *sv_vmm_list(void);

/*
 * SV_PORT_BENCH: called on the vCPU thread with what the guest wrote and a way to guest memory.
 * Set before sv_vmm_run(); used by the measurements alone.
 */
typedef void (*sv_bench_hook)(void *(*gpa_to_host)(void *vm, uint64_t gpa, uint64_t len), void *vm,
	uint32_t value);
void sv_vmm_set_bench_hook(sv_bench_hook hook);
/* Exits to this process so far, of all vCPUs. @vm: what the hook was given. */
uint64_t sv_vmm_exits(const void *vm);
/* Is all of the guest mapped that will be without its own doing? */
bool sv_vmm_stage2_done(const void *vm);
/* One of KVM's own counters, such as "exits" or "pf_taken", of all vCPUs together; 0: it has none. */
uint64_t sv_vmm_kvm_counter(const void *vm, const char *name);

#endif
