/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stage-2 tables filled off the guest cores: a helper vCPU that never runs the guest takes the faults
 * instead of the guest (KVM_PRE_FAULT_MEMORY), on a thread of its own beside the control thread.
 */
#ifndef CORE_VMM_STAGE2_H
#define CORE_VMM_STAGE2_H

#include <jansson.h>

#include "vm.h"

/*
 * Make the helper vCPU where this KVM can use one; with SV_STAGE2_BEFORE fill the tables now. Context:
 * the main thread, after the vCPUs and memory. Return: 0, also where it cannot be done, which is said
 * if the configuration asks for it; -errno with a sentence when there is no memory.
 */
int sv_stage2_create(struct sv_vm *vm, struct sv_error *err);
/* With SV_STAGE2_RUNNING: start the thread. Return: 0, or -errno with a sentence. */
int sv_stage2_start(struct sv_vm *vm, struct sv_error *err);
/* End the thread, before the devices go: it asks the balloon what is the guest's. For good. */
void sv_stage2_stop(struct sv_vm *vm);
/* The same, and give the helper vCPU back. */
void sv_stage2_destroy(struct sv_vm *vm);

/*
 * Make the pages of [gpa, gpa + bytes), huge ones again where they can be, and map them in stage 2.
 * Context: any thread.
 * Return: 0, -EOPNOTSUPP: pages made, tables not filled; else -errno.
 */
int sv_stage2_ensure(struct sv_vm *vm, uint64_t gpa, uint64_t bytes);

/* Make @thread run where such work belongs: beside the control thread, on no guest core. */
void sv_stage2_pin(const struct sv_vm *vm, pthread_t thread);
/* What the configuration means: never SV_STAGE2_DEFAULT. */
enum sv_stage2_when sv_stage2_when(const struct sv_vm_config *config);
/* The helper vCPU; -1: none. */
int sv_stage2_fd(const struct sv_vm *vm);
/*
 * While writes are tracked nothing is mapped for the guest: each page would be an entry in the helper's
 * dirty ring, which overflows, as nobody leaves the guest for it. No call runs any more on return.
 */
void sv_stage2_hold(struct sv_vm *vm, bool hold);
/* The tables lost their huge pages: fill them again, by this thread. Best effort. */
void sv_stage2_refill(struct sv_vm *vm);
/* Has the thread come to its end (or was there nothing to do)? Context: any thread. */
bool sv_stage2_done(const struct sv_vm *vm);
/* What `stats` shows. A new reference. */
json_t *sv_stage2_json(const struct sv_vm *vm);

#endif
