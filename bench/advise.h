/* SPDX-License-Identifier: BSD-3-Clause */
/* Which paging suits a guest: what was measured of it and of this machine, and what follows. */
#ifndef BENCH_ADVISE_H
#define BENCH_ADVISE_H

#include <stdbool.h>
#include <stdint.h>

#include <vmm/config.h>

struct bench_advise_facts {
	/* The guest, watched for a while with pages of 4 KiB that are mapped on demand. */
	double seconds;
	uint64_t memory_bytes, touched_bytes;
	double faults_per_s;	 /* of KVM's tables, all causes */
	uint64_t written_bytes;	 /* the most in a fifth of a second, pages of 4 KiB */
	double updates_per_s;	 /* requests to the paging service */
	bool lightweight;	 /* its tables could be the sidecore's */
	/* The machine. */
	double touch_ns;	 /* what a first touch on demand costs more than one of mapped memory */
	double small_over_huge;	 /* time of random reads: pages of 4 KiB against huge ones; 0: unknown */
	bool pre_fault;		 /* KVM can map memory for the guest */
	uint64_t free_2m, free_1g; /* reserved pages */
};

#define BENCH_ADVISE_WHYS 4u

struct bench_advice {
	bool populate, direct_paging;
	enum sv_backing backing;
	enum sv_stage2_when stage2;
	char why[BENCH_ADVISE_WHYS][320]; /* populate, stage 2, backing, tables */
};

/* Pure. */
void bench_advise(const struct bench_advise_facts *f, struct bench_advice *a);

/* sidevisor bench paging --advise. Return: the exit status. */
struct sv_bench_vm;
int bench_advise_run(int argc, char **argv, const struct sv_bench_vm *vm);

#endif
