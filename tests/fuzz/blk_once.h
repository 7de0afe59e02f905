/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk served to a driver that is made of the fuzzer's bytes: rings, descriptors, headers and
 * indices are whatever the bytes say. And a front end that says whatever the bytes say.
 */
#ifndef TESTS_BLK_ONCE_H
#define TESTS_BLK_ONCE_H

#include <stddef.h>
#include <stdint.h>

/* One disk, one hostile driver, until nothing moves any more. */
void blk_driver_once(const uint8_t *bytes, size_t n);
/* One session of messages. */
void vhost_messages_once(const uint8_t *bytes, size_t n);

#endif
