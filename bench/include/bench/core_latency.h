/* SPDX-License-Identifier: BSD-3-Clause */
/* How far two CPUs are from each other, by our own channel. */
#ifndef BENCH_CORE_LATENCY_H
#define BENCH_CORE_LATENCY_H

#include <base/error.h>

/*
 * Half the round trip of one message on a pair of rings, between a thread pinned to @a and one
 * pinned to @b: the median of batches, in nanoseconds. Context: any thread but one of a VM; it makes
 * two threads and waits for at most a second for them. Return: 0; -ETIMEDOUT: too busy a CPU;
 * -EINVAL: this process may not run there; each with a sentence.
 */
int sv_core_latency(int a, int b, double *ns, struct sv_error *err);

#endif
