/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A back end in the host's kernel (/dev/vhost-vsock), behind the calls of vhost_user_front.h: its
 * descriptor takes the place of the socket. Context: as there.
 */
#ifndef CORE_VMM_VHOST_KERNEL_H
#define CORE_VMM_VHOST_KERNEL_H

#include "vhost_user_front.h"

#define VHOST_VSOCK_DEVICE "/dev/vhost-vsock"

/*
 * Open the device. Return: the descriptor, or -errno with a sentence that names it and the remedy.
 */
int sv_vhost_vsock_device(struct sv_error *err);

/* As sv_vhost_front_open(), for @fd of sv_vhost_vsock_device() and the guest's address @cid. */
int sv_vhost_vsock_open(struct sv_vhost_front *v, int fd, uint64_t cid, const struct sv_gmem *gm,
	struct sv_error *err);

/* What vhost_user_front.c calls for such a front. */
int vhost_kernel_set_features(struct sv_vhost_front *v, uint64_t features, struct sv_error *err);
int vhost_kernel_start(struct sv_vhost_front *v, unsigned queue, const struct sv_vhost_ring *ring,
	struct sv_error *err);
int vhost_kernel_set_call(struct sv_vhost_front *v, unsigned queue, int call_fd, struct sv_error *err);
int vhost_kernel_stop(struct sv_vhost_front *v, unsigned queue, uint16_t *base, struct sv_error *err);

#endif
