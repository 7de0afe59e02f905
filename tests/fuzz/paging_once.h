/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PAGING_ONCE_H
#define PAGING_ONCE_H

#include <stddef.h>
#include <stdint.h>

struct paging_once {
	uint64_t requests, done; /* done: answered with OK */
};

/*
 * A hostile guest made of @data: requests of every kind with likely and unlikely words, and stores into
 * tables and request memory between them. Aborts when a count is wrong at the end, when a frame that the
 * service must not write has changed, or when memory outside of the VM is touched (SIGSEGV).
 */
struct paging_once paging_once(const uint8_t *data, size_t bytes);

#endif
