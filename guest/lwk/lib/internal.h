/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LWK_INTERNAL_H
#define LWK_INTERNAL_H

#include <lwk/lwk.h>
#include <channels/client.h>

/* What the library keeps per vCPU. */
struct lwk_cpu {
	struct sv_client client;
	/* threads: written by the starter (fn, arg, then state) and by the vCPU (state) */
	void (*fn)(void *arg);
	void *arg;
	uint32_t state;
} __attribute__((aligned(64)));

extern struct lwk_cpu lwk_cpus[LWK_MAX_VCPUS];

/* Entered from the kernel, at CPL 3 on the vCPU's own stack. */
void lwk_user_start(unsigned vcpu);
void lwk_vcpu_init(unsigned vcpu);
__attribute__((noreturn)) void lwk_thread_loop(unsigned vcpu);
int lwk_app_main(void);
/* The library found something that cannot be: say so and end the application on the spot. */
__attribute__((noreturn)) void lwk_panic(const char *what);

static inline struct lwk_cpu *lwk_this(void)
{
	return &lwk_cpus[lwk_vcpu()];
}

#endif
