/* SPDX-License-Identifier: BSD-3-Clause */
/* What the vhost-user fuzzer's front end says and its driver writes, from the input's bytes. */
#ifndef TESTS_FUZZ_VHOST_ANY_H
#define TESTS_FUZZ_VHOST_ANY_H

#include <channels/vhost_user.h>

#include "fuzz_input.h"
#include "made_up_kernel.h"

/* Where the made-up file lies in the front end's addresses. */
#define VHOST_USER 0x7f0000000000ull

/* An address of the guest, or one not far from where something ends. */
uint64_t vhost_any_gpa(struct fuzz_input *in);
/* A payload of @request, often a sensible one. @p: zeroed. Return: its size, which may be too
 * large. */
uint32_t vhost_any_payload(struct fuzz_input *in, uint32_t request, union vu_payload *p);

#endif
