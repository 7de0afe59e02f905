/* SPDX-License-Identifier: BSD-3-Clause */
/* One thread per vCPU: the others wait in a loop for something to run. */
#include "internal.h"

#define IDLE 0u
#define GIVEN 1u

struct lwk_cpu lwk_cpus[LWK_MAX_VCPUS];

void lwk_give_way(void)
{
	if (lwk_boot.flags & SV_BOOT_F_OVERCOMMIT)
		lwk_out32(SV_PORT_YIELD, 0);
}

void lwk_halt(void)
{
	lwk_kcall(LWK_KCALL_HALT, 0, 0);
}

void lwk_wake(unsigned vcpu)
{
	lwk_kcall(LWK_KCALL_WAKE, vcpu, 0);
}

void lwk_thread_loop(unsigned vcpu)
{
	struct lwk_cpu *c = &lwk_cpus[vcpu];
	unsigned turns = 0;

	for (;;) {
		if (__atomic_load_n(&c->state, __ATOMIC_ACQUIRE) != GIVEN) {
			lwk_relax(&turns);
			continue;
		}
		c->fn(c->arg);
		__atomic_store_n(&c->state, IDLE, __ATOMIC_RELEASE);
	}
}

bool lwk_thread_start(unsigned vcpu, void (*fn)(void *arg), void *arg)
{
	struct lwk_cpu *c;

	if (!vcpu || vcpu >= lwk_boot.vcpus)
		return false;
	c = &lwk_cpus[vcpu];
	if (__atomic_load_n(&c->state, __ATOMIC_ACQUIRE) != IDLE)
		return false;
	c->fn = fn;
	c->arg = arg;
	__atomic_store_n(&c->state, GIVEN, __ATOMIC_RELEASE);
	return true;
}

void lwk_thread_join(unsigned vcpu)
{
	unsigned turns = 0;

	while (__atomic_load_n(&lwk_cpus[vcpu].state, __ATOMIC_ACQUIRE) != IDLE)
		lwk_relax(&turns);
}

void lwk_barrier_wait(struct lwk_barrier *b)
{
	uint32_t phase = __atomic_load_n(&b->phase, __ATOMIC_ACQUIRE);
	unsigned turns = 0;

	if (__atomic_add_fetch(&b->arrived, 1, __ATOMIC_ACQ_REL) == b->n) {
		__atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&b->phase, phase + 1, __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n(&b->phase, __ATOMIC_ACQUIRE) == phase)
		lwk_relax(&turns);
}
