/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_VHOST_ONCE_H
#define TESTS_VHOST_ONCE_H

#include <stddef.h>
#include <stdint.h>

/*
 * A vhost-user session over a made-up kernel: messages in order and out of order with descriptors of
 * every kind, while its queues are served. Aborts when a promise of io/vhost.h is broken.
 */
void vhost_once(const uint8_t *bytes, size_t n);

#endif
