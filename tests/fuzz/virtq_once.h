/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_VIRTQ_ONCE_H
#define TESTS_VIRTQ_ONCE_H

#include <stddef.h>
#include <stdint.h>

/*
 * A virtqueue, split or packed as the bytes say, whose ring, tables, in-flight record and memory
 * table change as they say. Aborts when a promise of io/virtq.h is broken.
 */
void virtq_once(const uint8_t *bytes, size_t n);

#endif
