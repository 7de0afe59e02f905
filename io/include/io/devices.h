/* SPDX-License-Identifier: BSD-3-Clause */
/* The kinds of devices that a sidecore can serve: registered by whoever composes the node. */
#ifndef IO_DEVICES_H
#define IO_DEVICES_H

#include <channels/device_class.h>

/* fds: vhost-user connection, image. */
extern const struct sv_device_class sv_blk_class;
/* fds: vhost-user connection. */
extern const struct sv_device_class sv_net_class;
/* fds: vhost-user connection. */
extern const struct sv_device_class sv_rng_class;
/* fds: vhost-user connection, input, output. */
extern const struct sv_device_class sv_console_class;

#endif
