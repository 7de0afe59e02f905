/* SPDX-License-Identifier: BSD-3-Clause */
/* One load of arbitrary bytes, for the fuzzer and for the bounded loop of the tests. */
#ifndef TESTS_LOADER_ONCE_H
#define TESTS_LOADER_ONCE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Load @data as kernel, or as initrd of a good kernel when @initrd, into 8 MiB of RAM with nothing
 * mapped around it. Aborts when a promise of loader.h is broken. Return: 1 when it was accepted.
 */
int loader_once(const uint8_t *data, size_t size, int initrd, int boot32);

#endif
