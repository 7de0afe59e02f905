/* SPDX-License-Identifier: BSD-3-Clause */
/* userfaultfd of guest memory: where it may be had, and what to say where it may not. */
#ifndef CORE_VMM_UFFD_H
#define CORE_VMM_UFFD_H

#include <stdint.h>

#include <base/error.h>

/*
 * One that takes faults of the kernel too (KVM's), with these UFFD_FEATURE_*. @what: begins the
 * sentence. Return: the descriptor, non-blocking, or -errno with a sentence.
 */
int sv_uffd_open(uint64_t features, const char *what, struct sv_error *err);

#endif
