/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user back end with features that its driver shall not see, because they need a partner
 * the back end does not have: between it and a front end the messages pass unchanged with their
 * descriptors, but for the reply to GET_FEATURES. Rings and events do not pass here, so that it
 * costs nothing while packets flow. Context: one thread starts and stops; the messages are passed
 * by a thread of its own.
 */
#ifndef BENCH_VU_MASK_H
#define BENCH_VU_MASK_H

#include <stdint.h>

#include <base/error.h>

struct vu_mask;

/*
 * One front end may connect to the new socket @front; it gets the back end that listens at @back,
 * without the features of the bits @without. Return: 0, or -errno with a sentence.
 */
int vu_mask_start(struct vu_mask **out, const char *front, const char *back, uint64_t without,
	struct sv_error *err);
/* Both ends are closed. NULL is allowed. */
void vu_mask_stop(struct vu_mask *m);

#endif
