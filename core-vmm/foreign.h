/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtio devices that another program serves: a back end that listens on a Unix socket and speaks
 * vhost-user (`--vhost-user`). It maps all of the guest's memory; what it answers is checked. When it
 * goes away the VM ends: what it had begun is not known.
 */
#ifndef CORE_VMM_FOREIGN_H
#define CORE_VMM_FOREIGN_H

#include "virtio_pci.h"

struct sv_foreign;

/* All of the configuration's. Return: 0, or -errno with a sentence that names the socket. */
int sv_foreign_create(struct sv_vm *vm, struct sv_pci *pci, const struct sv_gmem *ram,
	struct sv_foreign **out, struct sv_error *err);
/* @f: NULL is none. */
void sv_foreign_destroy(struct sv_foreign *f);

/* As sv_devices_poll_fds() and sv_devices_poll(). */
unsigned sv_foreign_poll_fds(const struct sv_foreign *f, int *fds, unsigned max);
int sv_foreign_poll(struct sv_foreign *f, int fd, struct sv_error *err);
/* sv_virtio_pci_log() for each. Return: how many cannot, or -errno with a sentence. */
int sv_foreign_log(struct sv_foreign *f, int fd, uint64_t bytes, struct sv_error *err);

#endif
