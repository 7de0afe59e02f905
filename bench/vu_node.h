/* SPDX-License-Identifier: BSD-3-Clause */
/* A node service of one sidecore with disks, and drivers for them: what `bench fairness` and `bench scale` share. */
#ifndef BENCH_VU_NODE_H
#define BENCH_VU_NODE_H

#include <sys/types.h>

#include "vu_disk.h"

#define VU_NODE_DISKS 64u

struct vu_node {
	char dir[64];
	pid_t pid;
	int control;			/* connection of an operator */
	int sidecore_cpu, driver_cpu; /* the driver is this process */
	bool direct;
	unsigned guests, disks, per_guest;
	uint64_t blocks; /* of an image */
	/*
	 * A host that is busy otherwise takes the CPU away from sidecore and driver: what it does then is
	 * not theirs. Windows in which that happened are left out of the latencies.
	 */
	int schedstat;	     /* of the sidecore's thread; -1: this kernel does not tell */
	uint64_t waited_ns;  /* for a CPU, as it said last */
	uint64_t window_ns;  /* its start */
	uint64_t clean_ns;   /* what began before this is not kept */
	bool told;	     /* schedstat was there */
	bool late;	     /* the driver itself was away */
	uint64_t kept, lost; /* latencies, all disks */
	struct vu_memory_map memory[VU_NODE_DISKS];
	struct vu_disk disk[VU_NODE_DISKS];
};

/*
 * Images of @blocks blocks below @dir (NULL: a temporary directory), a service on the first CPU that this process
 * may use, and @guests times @per_guest drivers; this process is pinned to the last such CPU.
 * Return: 0, or -errno with a sentence; vu_node_close() either way.
 */
int vu_node_open(struct vu_node *n, const char *dir, unsigned guests, unsigned per_guest,
	uint64_t blocks, bool direct, struct sv_error *err);
void vu_node_close(struct vu_node *n);

/*
 * Kill the service by SIGKILL, start it again with the same arguments, and connect all drivers to it;
 * what was out is completed by it. Drivers should be quiet. *ready_ns: until the last driver had its queue. Return: 0, or -errno
 * with a sentence.
 */
int vu_node_restart(struct vu_node *n, uint64_t *ready_ns, struct sv_error *err);

/* A setting of a device while it runs. */
int vu_node_set(struct vu_node *n, unsigned disk, const char *key, const char *value,
	struct sv_error *err);
/* Poll all drivers for so long, or until a signal asks for an end. */
void vu_node_run(struct vu_node *n, uint64_t ns);
/* Let all be quiet, and wait until nothing is outstanding. Return: 0, or -ETIMEDOUT or -EINTR with a sentence. */
int vu_node_quiet(struct vu_node *n, struct sv_error *err);
void vu_node_mark(struct vu_node *n);
uint64_t vu_now_ns(void);

#endif
