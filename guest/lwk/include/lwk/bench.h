/* SPDX-License-Identifier: BSD-3-Clause */
/* What the bench application and bench/exit.c share in guest memory. */
#ifndef LWK_BENCH_H
#define LWK_BENCH_H

#include <stdint.h>

enum lwk_bench_item {
	LWK_BENCH_CLOCK,	  /* two RDTSC in a row: contained in every other sample */
	LWK_BENCH_PINGPONG_HOST,  /* raw line, vCPU thread in host mode */
	LWK_BENCH_PINGPONG_GUEST, /* raw line, from CPL 3 of the guest */
	LWK_BENCH_RING,		  /* an empty request through the channel */
	LWK_BENCH_EXIT_KERNEL,	  /* CPUID */
	LWK_BENCH_EXIT_PIO,	  /* SV_PORT_NOP */
	LWK_BENCH_EXIT_MMIO,	  /* SV_MMIO_NOP_GPA */
	LWK_BENCH_KICK,		  /* SV_MMIO_KICK_GPA */
	LWK_BENCH_HYPERCALL,	  /* LWK_KCALL_HYPERCALL, the clock read at CPL 0 */
	LWK_BENCH_ITEMS
};

struct lwk_bench {
	uint64_t line_gpa; /* of the ping-pong under way: two cache lines, ours, then the sidecore's */
	uint64_t n[LWK_BENCH_ITEMS];
	uint64_t samples[LWK_BENCH_ITEMS]; /* guest-physical addresses of arrays of `room` words */
	uint64_t room, count; /* count: ping-pongs per order */
	uint64_t error; /* status of the service that failed */
} __attribute__((aligned(64)));

/* Values of SV_PORT_BENCH below 4096 are orders, above: the address of struct lwk_bench. */
#define LWK_BENCH_HOST_PINGPONG 1u
#define LWK_BENCH_DONE 2u

#endif
