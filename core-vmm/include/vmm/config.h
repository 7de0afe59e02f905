/* SPDX-License-Identifier: BSD-3-Clause */
/* What a VM is made of: filled by the command line (or a profile), constant while the VM lives. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <channels/control.h>

#define SV_MAX_VCPUS 1024u
#define SV_MAX_DISKS 16u
#define SV_MAX_NETS 8u
#define SV_MAX_NODES 64u
#define SV_MAX_CACHES 6u
#define SV_MAX_CACHE_SETS 8u

enum sv_irqchip { SV_IRQCHIP_SPLIT = 0, SV_IRQCHIP_FULL = 1 };

/* When the tables of KVM that map guest memory (stage 2) are filled. */
enum sv_stage2_when {
	SV_STAGE2_DEFAULT = 0, /* running; demand for memory that is not populated */
	SV_STAGE2_BEFORE,      /* before the guest starts */
	SV_STAGE2_RUNNING,     /* by a thread of the VM process, while the guest runs */
	SV_STAGE2_DEMAND,      /* by the guest's own faults */
};

/* Of what pages guest memory is made. */
enum sv_backing {
	SV_BACKING_AUTO = 0, /* reserved huge pages if there are enough, else the kernel's, else small */
	SV_BACKING_4K,
	SV_BACKING_THP, /* huge ones that the kernel makes of small ones, where it can */
	SV_BACKING_2M,	/* reserved by the administrator; no others will do */
	SV_BACKING_1G,
};

/* What the console of the guest is connected to. */
enum sv_console { SV_CONSOLE_STDIO = 0, SV_CONSOLE_SERIAL_ONLY = 1, SV_CONSOLE_NONE = 2 };

struct sv_disk_config {
	const char *path;   /* base/disk.h: struct sv_disk_spec */
	const char *format; /* NULL: raw */
	const char *filters;
	const char *serial; /* NULL: none */
	unsigned deadline_s; /* of a remote disk; 0: 30 */
	bool readonly, direct, writethrough;
	bool no_discard;
	bool pinned; /* the guest's memory is registered with the disk's ring, and resident */
	bool iopoll; /* completions are polled for */
	unsigned queues; /* 0: min(vCPUs, 8) */
	bool sidecore_given;
	struct sv_control_qos qos;
	int sidecore_cpu; /* given: the CPU of the sidecore that polls it; else vCPU 0's does */
};

struct sv_net_config {
	struct sv_control_net at; /* switch, address, VLAN, MTU */
	struct sv_control_qos qos;
	bool spoof, trunk;
	unsigned queues; /* pairs; 0: min(vCPUs, 4) */
};

/* Where a vCPU is in the guest's machine: each number counts from 0 within the one before it. */
struct sv_place {
	uint16_t package, die, l3, l2, core, thread;
	uint16_t node;	 /* NUMA node of the guest */
	uint16_t caches; /* index into sv_topology.caches */
};

/* A cache of a core, as CPUID tells it. */
struct sv_cache {
	uint64_t bytes;
	uint8_t level, type; /* type: 1 data, 2 instructions, 3 both */
	uint16_t line, ways; /* bytes; ways of associativity; 0: not known */
};

struct sv_caches {
	unsigned n; /* 0: those that KVM reports. By level, data before instructions */
	struct sv_cache cache[SV_MAX_CACHES];
};

/* What the memory of a node does for the node's own CPUs. 0: not known. */
struct sv_node_figures {
	uint32_t read_latency_ns, write_latency_ns, read_mb_s, write_mb_s;
};

/*
 * Guest topology. Either vCPU i is at place[i], or, with `placed` 0, the machine is symmetric:
 * vcpu = ((socket * dies + die) * cores + core) * threads + thread, an L3 for each die, an L2 for
 * each core, vCPUs split evenly over the nodes. The guest starts on vCPU 0, wherever it is.
 */
struct sv_topology {
	unsigned sockets, dies, cores, threads; /* product = vCPUs */
	unsigned nodes;				/* NUMA nodes of the guest */
	uint8_t distance[SV_MAX_NODES][SV_MAX_NODES]; /* 0: default 10 local, 20 remote */
	uint64_t node_bytes[SV_MAX_NODES]; /* memory; the last has the rest; all 0: split evenly */
	struct sv_node_figures figures[SV_MAX_NODES];
	unsigned placed; /* vCPUs that place[] knows */
	struct sv_place place[SV_MAX_VCPUS];
	struct sv_caches caches[SV_MAX_CACHE_SETS];
};

enum sv_source_kind { SV_SOURCE_ANY = 0, SV_SOURCE_FILE, SV_SOURCE_UNIX };

/* Guest memory that arrives while the guest runs (docs/pager.md). path NULL: it has none. */
struct sv_memory_source_config {
	const char *path;
	enum sv_source_kind kind; /* ANY: what is found at the path */
	const char *hot; /* a list of pages that come first; NULL: none */
	bool no_prefetch;
	unsigned timeout_s; /* for an answer of the source */
};

/* A device that another program serves, over vhost-user. */
enum sv_foreign_kind { SV_FOREIGN_BLK = 0, SV_FOREIGN_NET, SV_FOREIGN_FS };

#define SV_MAX_FOREIGN 8u
#define SV_FOREIGN_TAG 36u /* bytes of a shared folder's name, without a final NUL */

struct sv_foreign_config {
	enum sv_foreign_kind kind;
	const char *path; /* the back end's socket */
	const char *tag;  /* the name under which the guest mounts a shared folder */
	unsigned queues;  /* 0: min(vCPUs, 4), a folder: 1 */
};

struct sv_vm_config {
	const char *name;
	const char *kernel, *initrd, *cmdline; /* initrd, cmdline may be NULL */
	uint64_t memory_bytes;
	unsigned vcpus;
	struct sv_topology topology;
	bool overcommit; /* vCPUs may share cores: HLT and PAUSE exits stay on */

	/* vcpu_cpu[i]: host CPU that vCPU i is pinned to; -1: not pinned. control_cpu: same. */
	int vcpu_cpu[SV_MAX_VCPUS];
	/* CPU of the sidecore that serves vCPU i's channel; -1: vCPU 0's, or the node chooses. */
	int vcpu_sidecore_cpu[SV_MAX_VCPUS];
	int control_cpu;
	int join_fd; /* the cpuset that vCPU threads enter (base/pin.h); 0: none */
	const char *placement; /* a JSON object that `stats` shows; NULL: none */
	int memory_node[SV_MAX_NODES]; /* host node of guest node i; -1: not bound */
	bool no_populate;
	enum sv_stage2_when stage2;
	enum sv_backing backing;
	char *paging_choice; /* a JSON object that `stats` shows: why paging is as it is; NULL: none */
	bool track_dirty; /* KVM is to be able to say what the guest writes */
	bool balloon; /* the guest may give memory back */
	struct sv_memory_source_config source;
	bool say_hello; /* nobody greeted the node yet: sv_vmm_run() does, once it needs it */

	/*
	 * The sidecore process went away: connect to one that took its place. The socket stays the
	 * giver's, who closes it at the next call or after the VM. Context: control thread. Return: the
	 * socket, -EAGAIN with a sentence: not there yet, or -errno: there will be none.
	 */
	int (*rejoin)(void *ctx, struct sv_error *err);
	void *rejoin_ctx;
	unsigned rejoin_s; /* for so long it is tried; 0: the VM ends with the process */

	struct sv_disk_config disk[SV_MAX_DISKS];
	unsigned ndisks;
	struct sv_net_config net[SV_MAX_NETS];
	unsigned nnets;
	struct sv_foreign_config foreign[SV_MAX_FOREIGN];
	unsigned nforeign;
	bool rng;
	uint64_t vsock_cid; /* the guest's address; 0: no vsock */

	enum sv_irqchip irqchip;
	enum sv_console console;
	bool exit_port; /* port 0xf4, as bare-metal test kernels expect */
	bool fw_cfg;	/* minimal fw_cfg at 0x510 */
	bool pit, rtc;	/* rtc is on by default */
	bool boot32;	/* bzImage: enter by the 32-bit protocol */

	bool direct_paging; /* a lightweight kernel's page tables belong to the sidecore */
	uint32_t ring_entries; /* of each channel, both ways; 0: 64 */
};

#endif
