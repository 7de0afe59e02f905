/* SPDX-License-Identifier: BSD-3-Clause */
/* One profile or one V3M file of arbitrary bytes, for the fuzzers and for the loop of the tests. */
#ifndef TESTS_PROFILE_ONCE_H
#define TESTS_PROFILE_ONCE_H

#include <stddef.h>
#include <stdint.h>

/* Aborts when a promise of profile.h is broken. Return: 1 when it was accepted. */
int profile_once(const uint8_t *data, size_t size, int want);
int v3m_once(const uint8_t *data, size_t size);

#endif
