/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_STAGE2_H
#define BENCH_STAGE2_H

#include <stdbool.h>

#include <jansson.h>

#include <bench/bench.h>

#include "paging_report.h"

struct bench_stage2_options {
	unsigned mib, vcpus, rounds; /* vcpus: of the rows with several, below 2: no such rows */
	bool quiet; /* nothing on stderr of what the VMs say */
	const char *cpus, *sidecore, *backing; /* NULL: not said */
};

/*
 * First touches of guest memory that is mapped on demand, before the start, and by the VM process's
 * own thread while the guest runs. *out: a new reference. Return: 0, or the exit status.
 */
int bench_stage2(const struct bench_stage2_options *o, const struct sv_bench_vm *vm, json_t **out);
/* As text on stdout. */
void bench_stage2_print(const json_t *j);
/* A bar for each row. @out: empty. */
void bench_stage2_bars(const json_t *j, struct bench_bars *out);

#endif
