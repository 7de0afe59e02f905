/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages the guest has written: KVM's dirty rings, emptied by a thread beside the control thread
 * while the vCPUs run, into one bitmap; or KVM's dirty log, where there are no rings.
 *
 * A page is in the bitmap before its next write can go unseen: it is taken from the ring, its bit is set,
 * and only then does KVM protect it again. Whoever copies pages takes the bits first and reads the pages
 * afterwards; what is written meanwhile comes again. Device back ends note what they write in a log of
 * their own (vhost-user's), which is added when the bitmap is taken.
 */
#ifndef CORE_VMM_DIRTY_H
#define CORE_VMM_DIRTY_H

#include <jansson.h>

#include "vm.h"

/* Before the first vCPU: have KVM keep rings, if the configuration asks for tracking. */
void sv_dirty_enable(struct sv_vm *vm);
/* After vCPUs and memory. Return: 0, or -errno with a sentence. */
int sv_dirty_create(struct sv_vm *vm, struct sv_error *err);
void sv_dirty_destroy(struct sv_vm *vm);

/* Begin with an empty bitmap; end. Context: control thread. Return: 0, or -errno with a sentence. */
int sv_dirty_start(struct sv_vm *vm, struct sv_error *err);
void sv_dirty_stop(struct sv_vm *vm);

/*
 * Everything written until now is in the bitmap when this returns. Context: any thread; vCPU threads
 * whose ring is full. Return: pages that were new, or -errno.
 */
int64_t sv_dirty_harvest(struct sv_vm *vm);
/*
 * Move the bitmap (a bit per 4 KiB of RAM as one piece) to @bits, sv_dirty_words() words of it, and go on
 * with an empty one. Return: set bits. Context: any thread.
 */
uint64_t sv_dirty_take(struct sv_vm *vm, uint64_t *bits);
uint64_t sv_dirty_words(const struct sv_vm *vm);

/* [offset, offset + bytes) of RAM changes by our own doing. Context: any thread. */
void sv_dirty_mark(struct sv_vm *vm, uint64_t offset, uint64_t bytes);

/*
 * Is every page that changed since the last call, or since the start, in the bitmap? By checksums of all
 * of RAM, with the vCPUs at rest. A new reference, or NULL with a sentence. Context: control thread.
 */
json_t *sv_dirty_verify(struct sv_vm *vm, struct sv_error *err);
/* For `stats`. A new reference. */
json_t *sv_dirty_json(const struct sv_vm *vm);

#endif
