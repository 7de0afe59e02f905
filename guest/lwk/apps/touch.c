/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's half of the stage-2 rows of `sidevisor bench paging`: each vCPU writes to its part of
 * mib= MiB, one word per 4 KiB, and notes what each took. With `wait` it works elsewhere until the VM
 * process says that memory is mapped.
 */
#include "apps.h"

#include <lwk/lwk.h>
#include <lwk/touch.h>

#define PAGE 4096ull
#define PAGE_2M 0x200000ull

static struct lwk_touch *t;
static uint8_t *area;
static struct lwk_barrier ready, over;

static uint64_t first_of(unsigned vcpu)
{
	return t->pages * vcpu / lwk_vcpus();
}

static void touch(void *arg)
{
	uint64_t from = first_of(lwk_vcpu()), to = first_of(lwk_vcpu() + 1), wrong = 0;
	uint64_t *samples = (uint64_t *)t->samples;

	(void)arg;
	lwk_barrier_wait(&ready);
	for (uint64_t i = from; i < to; i++) {
		volatile uint64_t *p = (volatile uint64_t *)(area + i * PAGE);
		uint64_t at = lwk_tsc();

		*p = i + 1;
		samples[i] = lwk_tsc() - at;
	}
	lwk_barrier_wait(&over);
	for (uint64_t i = from; i < to; i++)
		wrong += *(volatile uint64_t *)(area + i * PAGE) != i + 1;
	__atomic_add_fetch(&t->wrong, wrong, __ATOMIC_RELAXED);
}

/* Asking is an exit: not often. */
static void wait_for_memory(void)
{
	while (!__atomic_load_n(&t->go, __ATOMIC_ACQUIRE)) {
		uint64_t from = lwk_tsc();
		unsigned turns = 0;

		while (lwk_tsc() - from < lwk_boot.tsc_hz / 200)
			lwk_relax(&turns);
		lwk_out32(SV_PORT_BENCH, LWK_TOUCH_ASK);
	}
}

static bool prepare(void)
{
	uint64_t *samples;

	t = lwk_alloc(sizeof(*t), 64);
	if (!t)
		return false;
	t->pages = lwk_arg_u64("mib", 64) * (PAGE_2M / 2 / PAGE);
	samples = lwk_alloc(t->pages * sizeof(uint64_t), PAGE);
	area = lwk_alloc(t->pages * PAGE, PAGE_2M);
	if (!samples || !area)
		return false;
	for (uint64_t i = 0; i < t->pages; i += PAGE / sizeof(uint64_t))
		((volatile uint64_t *)samples)[i] = 0;
	t->samples = (uint64_t)samples;
	ready.n = over.n = lwk_vcpus();
	return true;
}

int app_touch(void)
{
	if (!prepare()) {
		lwk_printf("touch: no memory for mib=%lu\n", lwk_arg_u64("mib", 64));
		return 1;
	}
	lwk_out32(SV_PORT_BENCH, (uint32_t)(uint64_t)t);
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_start(i, touch, NULL);
	if (lwk_arg_word("wait"))
		wait_for_memory();
	lwk_out32(SV_PORT_BENCH, LWK_TOUCH_MARK);
	touch(NULL);
	lwk_out32(SV_PORT_BENCH, LWK_TOUCH_MARK);
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_join(i);
	lwk_out32(SV_PORT_BENCH, LWK_TOUCH_DONE);
	lwk_printf("%lu pages touched, %lu errors\n", t->pages, t->wrong);
	return t->wrong != 0;
}
