/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening the image of a disk: a regular file or a block device, locked against a second user. */
#ifndef BASE_DISK_H
#define BASE_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>

#define SV_DISK_SECTOR 512u

/*
 * Open, check and lock. The lock belongs to the open file and travels with its descriptor: it is
 * exclusive for a writer, shared for readers, and ends when the last copy is closed, however that
 * happens. @direct: bypass the host's page cache. *bytes: size, a multiple of 512.
 * Context: set-up; may block on the storage. Return: 0, or -errno with a sentence.
 */
int sv_disk_open(const char *path, bool readonly, bool direct, int *fd, uint64_t *bytes,
	struct sv_error *err);

#endif
