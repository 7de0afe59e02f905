/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest: bytes are turned into writes anywhere into its channel's region and into turns of
 * a sidecore that also serves a guest that keeps the rules. Aborts when the host was harmed.
 */
#ifndef TESTS_CHANNEL_ONCE_H
#define TESTS_CHANNEL_ONCE_H

#include <stddef.h>
#include <stdint.h>

struct channel_once {
	uint64_t requests, rejected, defects, stalls, sleeps;
};

/* Context: one thread, any number of times. Adds to *sum what the host counted. */
void channel_once(const uint8_t *data, size_t bytes, struct channel_once *sum);

#endif
