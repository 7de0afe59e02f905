/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_PAGING_HOST_H
#define BENCH_PAGING_HOST_H

#include <stdbool.h>

/* Nanoseconds per update, medians of rounds that take turns. */
struct bench_paging_host {
	double validated_ns, plain_ns;
	double books_ns; /* plain stores of the entry, its private copy and the frame's count */
};

bool bench_paging_host(struct bench_paging_host *out);

#endif
