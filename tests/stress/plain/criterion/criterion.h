/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * As much of Criterion as helpers of tests use, for a program with one test and no worker process:
 * Criterion's workers do not start under ThreadSanitizer.
 */
#ifndef PLAIN_CRITERION_H
#define PLAIN_CRITERION_H

#include <stdio.h>
#include <stdlib.h>

#define cr_assert(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b))
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b))
#define Test(suite, name) int main(void)

#endif
