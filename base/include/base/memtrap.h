/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of a peer that may go away under its mapping.
 *
 * A sealed memfd cannot shrink, but a huge page that its owner punches out may find no other to take
 * its place, and memory can fail. The SIGBUS of such an access is caught here: zeroes take the place
 * of the whole range, the range is marked, and the process goes on without that peer.
 */
#ifndef BASE_MEMTRAP_H
#define BASE_MEMTRAP_H

#include <stdbool.h>
#include <stddef.h>

#define SV_MEMTRAP_RANGES 4096u

/*
 * Catch SIGBUS from now on. @notify_fd: an eventfd, written when a range is marked; -1: none.
 * Context: start-up. The threads that touch such memory must not block SIGBUS. Return: 0 or -errno.
 */
int sv_memtrap_start(int notify_fd);

/* Guard a mapping. Context: one thread adds and removes. Return: a slot, or -ENOSPC. */
int sv_memtrap_add(void *base, size_t bytes);
/* Was it lost? Context: any thread. */
bool sv_memtrap_lost(int slot);
/* After the last access to the range. A slot below 0 is ignored. */
void sv_memtrap_remove(int slot);

#endif
