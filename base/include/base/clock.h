/* SPDX-License-Identifier: BSD-3-Clause */
/* The time that deadlines and intervals are reckoned in. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds. Context: any thread; no system call. */
static inline uint64_t sv_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t sv_clock_ms(void)
{
	return sv_clock_ns() / 1000000u;
}

#endif
