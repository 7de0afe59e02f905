/* SPDX-License-Identifier: BSD-3-Clause */
/* The sidecores that serve a VM: the node's, or a private process of ours. */
#ifndef CLI_NODE_PROCESS_H
#define CLI_NODE_PROCESS_H

#include <sys/types.h>

#include <channels/control.h>

#include "again.h"
#include "cli.h"

struct node_process {
	int sock;  /* control connection (channels/control.h) */
	pid_t pid; /* of the private process; 0: the node's service, or it is between two lives */
	/* A private one: what it is started with, and again. */
	bool private;
	int sidecore[SV_CONTROL_SIDECORES], control, join_fd;
	unsigned sidecores;
	const char *idle, *uplink;
	bool allow_bench, remote_disks;
	struct again again;
	int64_t not_before_ms;
};

/*
 * Connect to the node service at @path (NULL: the default place). Return: 0; -ENOENT when nobody
 * serves there and @path is NULL; else -errno with a sentence.
 */
int node_connect(struct node_process *np, const char *path, struct sv_error *err);

/*
 * Start `sidevisor serve` for this VM alone, a sidecore on each of @n CPUs, its control thread on
 * @control (-1: anywhere allowed), the sidecores in the cpuset of @join_fd (base/pin.h). @uplink: what
 * --uplink says, or NULL.
 * Return: 0, or -errno with a sentence.
 */
int node_spawn(struct node_process *np, const int *sidecore, unsigned n, int control,
	const char *idle, const char *uplink, bool allow_bench, bool remote_disks, int join_fd,
	 struct sv_error *err);

/*
 * The node went away: connect to the one that took its place, or start another private one with the
 * arguments that node_spawn() had. Return: 0; -EAGAIN with a sentence: not yet; else -errno.
 */
int node_connect_again(struct node_process *np, const char *path, struct sv_error *err);

/* End the connection; a private process gets 2 s to go, then SIGKILL. */
void node_leave(struct node_process *np);

#endif
