/* SPDX-License-Identifier: BSD-3-Clause */
/* Every vCPU computes its share of a sum, is interrupted, meets the others at barriers, and answers. */
#include "apps.h"

#include <lwk/lwk.h>

#define TERMS 1000000u

static struct lwk_barrier barrier;
static uint64_t part[LWK_MAX_VCPUS], total[LWK_MAX_VCPUS];
static double harmonic[LWK_MAX_VCPUS];

/* The same for everybody, if the kernel leaves our vector registers alone. */
static double series(void)
{
	double sum = 0;

	for (unsigned i = 1; i < TERMS; i++)
		sum += 1.0 / i;
	return sum;
}

static void share(void *arg)
{
	unsigned me = lwk_vcpu(), n = lwk_vcpus();
	static const uint64_t none[5];
	struct sv_cpl cpl;

	(void)arg;
	for (uint64_t i = me; i < TERMS; i += n)
		part[me] += i;
	lwk_kcall(LWK_KCALL_TIMER, 10000, 0);
	harmonic[me] = series();
	lwk_barrier_wait(&barrier);
	for (unsigned i = 0; i < n; i++)
		total[me] += part[i];
	if (lwk_call(SV_SERVICE_CORE, SV_CORE_INFO, none, &cpl) != SV_STATUS_OK)
		total[me] = 0;
	lwk_barrier_wait(&barrier);
}

int app_threads(void)
{
	const uint64_t want = (uint64_t)TERMS * (TERMS - 1) / 2;
	unsigned right = 0;

	barrier.n = lwk_vcpus();
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		if (!lwk_thread_start(i, share, NULL))
			return 1;
	share(NULL);
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_join(i);
	for (unsigned i = 0; i < lwk_vcpus(); i++)
		right += total[i] == want && harmonic[i] == harmonic[0];
	lwk_printf("%u of %u vCPUs answered rightly\n", right, lwk_vcpus());
	return right == lwk_vcpus() ? 0 : 1;
}
