/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM whose sidecore process went away: its vCPUs go on, its devices wait, and the control thread
 * tries until a new one is there and has been told everything, or the VM's patience ends. What orders
 * the old process's last transfers before the new one's first is in docs/restart.md.
 */
#ifndef CORE_VMM_REJOIN_H
#define CORE_VMM_REJOIN_H

#include "vm.h"

struct sv_rejoin {
	struct sv_vm *vm;
	int *node_sock;
	bool lost;
	int64_t lost_ms; /* CLOCK_MONOTONIC */
	int64_t alone_ms; /* when a device was seen to be away by itself; 0: it was not */
	int64_t refused_ms; /* when a new one began to say no; 0: it did not */
	struct sv_error why; /* of the last attempt */
};

/*
 * Once in a while. Return: 0; -ECONNRESET with a sentence: a device's connection ended and the node's
 * did not, so nobody will bring it back. Context: control thread.
 */
int sv_rejoin_watch(struct sv_rejoin *r, struct sv_error *err);
/* The node's connection ended. Return: the VM can go on; false: it ends. Context: control thread. */
bool sv_rejoin_lost(struct sv_rejoin *r);
/*
 * One attempt; blocks for as long as a node that answers takes. Context: control thread.
 * Return: 0: all is as it was; -EAGAIN: later; -errno with a sentence: the VM ends.
 */
int sv_rejoin_try(struct sv_rejoin *r, struct sv_error *err);

/* Between two attempts. */
#define SV_REJOIN_PAUSE_MS 5

#endif
