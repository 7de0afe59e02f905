/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that arrives while the guest runs: the VM process's part of docs/pager.md. It opens the
 * source, hands userfaultfds of its RAM to the sidecores, one per NUMA node, and hears how it goes.
 */
#ifndef CORE_VMM_PAGER_H
#define CORE_VMM_PAGER_H

#include <channels/memory_source.h>

#include "vm.h"

/*
 * Open and check the source before anything else is made. Return: 0, or -errno with a sentence.
 * Nothing where the VM has no source.
 */
int sv_pager_open(struct sv_vm *vm, struct sv_error *err);
/* Tell the node, between MEMORY and the first DEVICE. */
int sv_pager_offer(struct sv_vm *vm, int node_sock, struct sv_error *err);
/* The same to a sidecore process that took the first one's place: it goes on with what is absent. */
int sv_pager_return(struct sv_vm *vm, int node_sock, struct sv_error *err);
/* The kernel is loaded: from now on what is missing in RAM comes from the source. */
int sv_pager_register(struct sv_vm *vm, struct sv_error *err);
/*
 * Whoever waits for memory waits no more: reads zeroes. vCPUs must have been kicked out for good.
 * Context: any thread; may be called again.
 */
void sv_pager_release(struct sv_vm *vm);
void sv_pager_close(struct sv_vm *vm);

/* For the control thread: readable when there is a report; -1: nothing to hear. */
int sv_pager_fd(const struct sv_vm *vm);
/* Take the reports that are there. A source that was lost ends the VM. */
void sv_pager_poll(struct sv_vm *vm);

struct sv_pager_state {
	bool done; /* all of the memory is there */
	unsigned units;
	struct sv_pager_counts counts; /* of all units, as last reported */
};
/* Return: false: this VM has no source. Context: the control thread. */
bool sv_pager_state(const struct sv_vm *vm, struct sv_pager_state *out);

#endif
