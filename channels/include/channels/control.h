/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control protocol between a VM process and the node's sidecore process.
 *
 * A Unix SOCK_SEQPACKET connection per VM; one request, one reply, in order. The connection is the
 * lease: when it ends, everything attached through it is detached and freed. Descriptors travel
 * with the request that names them. The receiver believes nothing: sizes, offsets and counts are
 * checked against the descriptors (fstat, memfd seals) before anything is mapped.
 *
 *   HELLO      first. Names the VM and the sidecore of what names none itself. fds: none.
 *   MEMORY     the VM's memory. fds: one memfd per region, in order.
 *   CHANNEL    one channel. fds: doorbell eventfd, irq eventfd (no use of it yet).
 *   DEVICE     one virtio device. fds: our end of a vhost-user connection, then what the kind needs
 *              (SV_DEVICE_BLK: the image, or the socket of its dialer; SV_DEVICE_CONSOLE: input, output).
 *   CONSOLE    where the console service of the VM's channels goes, from now on. fds: input,
 *              output: Unix stream sockets, which may be the same.
 *   SERVICE    an instance of a service that some VMs have (paging), before the first CHANNEL. What
 *              the arguments and descriptors are is the service's matter (channels/service_class.h).
 *   PAGER      one unit of a VM whose memory arrives while it runs, after MEMORY and before the
 *              first DEVICE. fds: userfaultfd of the VM process for this range (registered by START),
 *              the memfd of RAM, a SEQPACKET socket for reports (channels/memory_source.h), the
 *              source, and, with SV_PAGER_F_HOT, a memfd of struct sv_pager_range.
 *   STATS      reply text: JSON. Works before HELLO too: the reply tells the node's sidecores.
 *   START      everything is attached: serve.
 *   DEVICE_SET change one setting of a device while it runs, or none; reply text: the device, JSON.
 *              After HELLO of a device of this VM; before it of any, for the node's own user and root.
 *
 * One VM may be served by several sidecores, named by their CPUs: each channel and each device is
 * polled by one. A CPU without a sidecore is refused.
 */
#ifndef CHANNELS_CONTROL_H
#define CHANNELS_CONTROL_H

#include <stdint.h>

#define SV_CONTROL_MAGIC 0x53564354u /* "SVCT" */
#define SV_CONTROL_VERSION 2u
#define SV_CONTROL_NAME 32u
#define SV_CONTROL_TEXT 512u
#define SV_CONTROL_REGIONS 8u
#define SV_CONTROL_SIDECORES 64u
#define SV_CONTROL_ANY (~0u) /* sidecore: the least loaded (HELLO), HELLO's (CHANNEL, DEVICE) */
#define SV_CONTROL_SOCKET "/run/sidevisor/node.sock" /* default of `sidevisor serve` */

enum sv_control_op {
	SV_CONTROL_HELLO = 1,
	SV_CONTROL_MEMORY = 2,
	SV_CONTROL_CHANNEL = 3,
	SV_CONTROL_DEVICE = 4,
	SV_CONTROL_CONSOLE = 5,
	SV_CONTROL_STATS = 6,
	SV_CONTROL_START = 7,
	SV_CONTROL_SERVICE = 8,
	SV_CONTROL_DEVICE_SET = 9,
	SV_CONTROL_PAGER = 16,
};

struct sv_control_region {
	uint64_t gpa, size, fd_offset;
	uint64_t user_addr; /* where the VM process has it mapped (vhost-user addresses) */
};

struct sv_control_memory {
	uint32_t n;
	uint32_t reserved0;
	struct sv_control_region region[SV_CONTROL_REGIONS];
};

struct sv_control_channel {
	uint64_t gpa; /* of the struct sv_channel, inside the memory attached before */
	uint32_t bytes;
	uint32_t req_entries, cpl_entries;
	uint32_t vcpu;
	uint32_t irq_vector; /* must be zero: completions raise no interrupts yet */
	uint32_t flags;	     /* must be zero */
	uint32_t sidecore;   /* the CPU of the one that polls it, or SV_CONTROL_ANY */
	uint32_t reserved0;
};

/* kind of device: the virtio device type */
#define SV_DEVICE_NET 1u
#define SV_DEVICE_BLK 2u
#define SV_DEVICE_CONSOLE 3u
#define SV_DEVICE_RNG 4u

#define SV_DEVICE_F_READONLY (1u << 0)
#define SV_DEVICE_F_DIRECT (1u << 1)	 /* O_DIRECT: bypass the host's page cache */
#define SV_DEVICE_F_DISCARD (1u << 2)	 /* offer discard and write-zeroes */
#define SV_DEVICE_F_WRITETHROUGH (1u << 3)
#define SV_DEVICE_F_IN_ORDER (1u << 8) /* offer VIRTIO_F_IN_ORDER: one slow request delays those behind it */
#define SV_DEVICE_F_PINNED (1u << 9) /* with DIRECT: register the guest's memory with the disk's ring */
#define SV_DEVICE_F_IOPOLL (1u << 10) /* with DIRECT: poll for completions where the storage can */
#define SV_DEVICE_F_SPOOF (1u << 4) /* network: the guest may send from any address */
#define SV_DEVICE_F_TRUNK (1u << 5) /* network: the guest may send and receive tagged frames */
#define SV_DEVICE_F_LINK_DOWN (1u << 6) /* network: begins without a link */

#define SV_CONTROL_FILTER 256u

/* Of a network interface. The switch is made when its first interface comes. */
struct sv_control_net {
	char sw[16];	  /* the switch's name, terminated */
	uint8_t mac[6];	  /* all zero: one that the node derives from the names of VM and device */
	uint16_t vlan;	  /* 0: none; with SV_DEVICE_F_TRUNK all, tagged by the guest */
	uint16_t mtu;	  /* 0: 1500 */
	uint16_t reserved0;
	char filter[SV_CONTROL_FILTER]; /* packet filters as text, docs/network.md; empty: none */
};

/* What a device may take of its sidecore and store: docs/qos.md. All zero: the defaults. */
struct sv_control_qos {
	uint64_t weight, priority;
	uint64_t min_bps, max_bps, min_iops, max_iops; /* 0: none */
	uint64_t burst_ms, depth;
};

/* Of a disk. Behind a server: what the dialer (base/dial.h) said of its export. */
struct sv_control_blk {
	uint64_t bytes; /* 0: the image is a file or block device */
	uint32_t preferred, export_flags; /* SV_EXPORT_F_* */
	uint32_t deadline_ms; /* a request that the server does not answer fails after it; 0: 30000 */
	uint32_t reserved0;
	char filters[64]; /* NAME[+NAME...], next to the guest first; fds: what each works with */
};

struct sv_control_device {
	uint32_t kind;
	uint32_t flags;
	uint32_t queues; /* SV_DEVICE_NET: pairs of them */
	uint32_t sidecore; /* the CPU of the one that polls it, or SV_CONTROL_ANY */
	char serial[20]; /* virtio-blk serial, NUL-padded */
	char name[SV_CONTROL_NAME]; /* for accounting and messages */
	struct sv_control_net net;
	struct sv_control_qos qos;
	struct sv_control_blk blk;
};

/*
 * Names are as STATS tells them. The node's own devices are those of the VM "node"; who said HELLO
 * reaches those of its own lease alone.
 */
struct sv_control_device_set {
	char vm[SV_CONTROL_NAME], device[SV_CONTROL_NAME];
	char key[32], value[96]; /* no key: nothing changes */
};

#define SV_CONTROL_SERVICE_ARGS 16u
struct sv_control_service {
	uint32_t id; /* SV_SERVICE_* */
	uint32_t reserved0;
	uint64_t arg[SV_CONTROL_SERVICE_ARGS];
};

#define SV_PAGER_F_SOCKET (1u << 0) /* the source is a stream socket; else a file */
#define SV_PAGER_F_HOT (1u << 1)
#define SV_PAGER_F_NO_PREFETCH (1u << 2) /* only what somebody waits for, and the hot list */
#define SV_PAGER_PIECES 2u
#define SV_PAGER_HOT_MAX 65536u /* ranges */

struct sv_pager_range {
	uint64_t offset, bytes; /* in RAM as in the memfd; multiples of 4096 */
};

struct sv_control_pager {
	uint32_t unit; /* counted from 0 */
	uint32_t flags;
	uint64_t offset; /* of the unit in the memfd and in the source */
	uint64_t user_addr; /* of it, in the VM process */
	struct {
		uint64_t gpa, bytes;
	} piece[SV_PAGER_PIECES]; /* where the guest has it, in order; 0 bytes: no such piece */
	uint64_t generation; /* of the source, as its HELLO said, or sv_source_file_generation() */
	uint32_t timeout_ms; /* a request that takes longer: the source is lost */
	uint32_t sidecore;   /* the CPU of the one that polls it, or SV_CONTROL_ANY */
	uint32_t read_max;   /* bytes of one request at most */
	uint32_t reserved0;
};

struct sv_control_hello {
	char vm[SV_CONTROL_NAME]; /* NUL-terminated */
	uint32_t vcpus;
	uint32_t sidecore; /* the CPU of the one that serves it, or SV_CONTROL_ANY */
};

struct sv_control_request {
	uint32_t magic;
	uint16_t version;
	uint16_t op;
	union {
		struct sv_control_hello hello;
		struct sv_control_memory memory;
		struct sv_control_channel channel;
		struct sv_control_device device;
		struct sv_control_service service;
		struct sv_control_device_set device_set;
		struct sv_control_pager pager;
	} u;
};

struct sv_control_sidecore {
	uint32_t cpu;
	uint32_t vms; /* that it serves now */
};

/* The reply: status 0 or a positive errno with a sentence. STATS: `text_bytes` of JSON follow. */
struct sv_control_reply {
	uint32_t magic;
	uint32_t status;
	uint32_t text_bytes; /* of what follows this struct in the same message */
	uint32_t sidecore_cpu; /* HELLO: the CPU of the sidecore that serves this VM */
	uint32_t sidecores;    /* HELLO, STATS: how many the node has */
	uint32_t reserved0;
	struct sv_control_sidecore sidecore[SV_CONTROL_SIDECORES];
	char text[SV_CONTROL_TEXT];
};

#endif
