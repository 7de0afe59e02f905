/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The node service: sidecores, and the control thread that attaches VMs to them.
 */
#ifndef SIDECORE_NODE_H
#define SIDECORE_NODE_H

#include <stdbool.h>

#include <base/error.h>
#include <channels/device_class.h>
#include <channels/pager_class.h>
#include <channels/service_class.h>
#include <sidecore/reactor.h>

#define SV_NODE_SIDECORES SV_CONTROL_SIDECORES
#define SV_NODE_VMS 256u
#define SV_NODE_DEVICES 32u /* per VM */
#define SV_NODE_CLASSES 8u

struct sv_node_config {
	int cpu[SV_NODE_SIDECORES]; /* one sidecore on each */
	unsigned sidecores;
	int join_fd;	     /* sidecore threads enter this cpuset (base/pin.h); 0: none */
	int control_cpu;     /* of the control thread; -1: where it is */
	const char *socket;  /* listen there; NULL with private_fd */
	int private_fd;      /* one connected client, the node ends with it; -1: none */
	uint64_t idle_spin_us;
	bool allow_bench;
	const struct sv_device_class *class[SV_NODE_CLASSES];
	unsigned classes;
	const struct sv_service_class *service[SV_NODE_CLASSES];
	unsigned services;
	const struct sv_pager_class *pager; /* NULL: this node has none */
	/*
	 * The node's own devices, or NULL: opened on the first sidecore before the node is confined,
	 * closed (even when opening failed half-way) while the sidecores still run. Control thread.
	 */
	int (*open_devices)(struct sv_poller_host *host, void *ctx, struct sv_error *err);
	void (*close_devices)(void *ctx);
	/*
	 * The one of number @i, for statistics and settings: its name and handle. NULL: no more of them;
	 * or the op itself is NULL.
	 */
	const struct sv_device_class *(*own_device)(void *ctx, unsigned i, const char **name,
		void **handle);
	void *devices;
};

/*
 * Serve until SIGINT or SIGTERM, or until the private client is gone. Context: the main thread,
 * which becomes the control thread. Return: 0, or -errno with a sentence when it cannot start.
 */
int sv_node_run(const struct sv_node_config *config, struct sv_error *err);

#endif
