/* SPDX-License-Identifier: BSD-3-Clause */
/* The balloon of a VM: what the guest says of its memory (vmm/balloon.h) and what follows (reclaim.h). */
#ifndef CORE_VMM_BALLOON_H
#define CORE_VMM_BALLOON_H

#include <jansson.h>

#include "virtio_pci.h"

struct sv_balloon;

/*
 * Make the back end and the PCI function, if the configuration asks for it. *out: NULL where guest
 * memory cannot be given back, which is said. Return: 0, or -errno with a sentence.
 */
int sv_balloon_create(struct sv_vm *vm, struct sv_pci *pci, const struct sv_gmem *ram,
	struct sv_balloon **out, struct sv_error *err);
void sv_balloon_destroy(struct sv_balloon *b);
struct sv_virtio_pci *sv_balloon_function(struct sv_balloon *b);

/* The guest shall have @bytes of memory from now on. Context: control thread. Return: 0 or -errno. */
int sv_balloon_set(struct sv_balloon *b, uint64_t bytes);
/*
 * While it is locked nothing is given to the host, and nothing comes back. Of [gpa, gpa + bytes): how many
 * bytes from @gpa on are alike; *given: with the host, all or some of each block of 2 MiB.
 * Context: any thread but the balloon's own.
 */
void sv_balloon_lock(struct sv_balloon *b);
void sv_balloon_unlock(struct sv_balloon *b);
uint64_t sv_balloon_span(const struct sv_balloon *b, uint64_t gpa, uint64_t bytes, bool *given);
/* For `stats`. A new reference. */
json_t *sv_balloon_json(const struct sv_balloon *b);

#endif
