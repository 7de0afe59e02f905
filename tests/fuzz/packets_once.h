/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_PACKETS_ONCE_H
#define TESTS_PACKETS_ONCE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Frames with headers as the bytes say, through a switch between guests, a trunk with packet filters
 * and an uplink. Aborts when a promise of io/switch.h is broken.
 */
void packets_once(const uint8_t *bytes, size_t n);

#endif
