/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * n= requests through every vCPU's channel, batch= at a time: each answer is checked for its tag,
 * its order and its value.
 */
#include "apps.h"

#include <lwk/lwk.h>

#define BATCH_MAX 64u

static uint64_t errors[LWK_MAX_VCPUS];

static void stress(void *arg)
{
	uint64_t n = lwk_arg_u64("n", 1000000), batch = lwk_arg_u64("batch", 1), sent = 0, got = 0;
	struct sv_req req[BATCH_MAX];
	struct sv_cpl cpl;

	(void)arg;
	if (!batch || batch > BATCH_MAX)
		batch = 1;
	while (got < n) {
		uint64_t k = n - sent < batch ? n - sent : batch;

		if (k && lwk_channel_room((unsigned)k) >= k) {
			for (uint64_t i = 0; i < k; i++)
				req[i] = (struct sv_req){.service = SV_SERVICE_CORE,
					.opcode = SV_CORE_NOP,
					.tag = sent + i,
					.arg = {(sent + i) * 3}};
			lwk_submit(req, (unsigned)k);
			sent += k;
		}
		lwk_wait(&cpl);
		do {
			if (cpl.tag != got || cpl.status != SV_STATUS_OK || cpl.value[0] != got * 3)
				errors[lwk_vcpu()]++;
			got++;
		} while (got < sent && lwk_reap(&cpl));
	}
}

int app_stress(void)
{
	uint64_t start = lwk_tsc(), sum = 0, ns;

	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_start(i, stress, NULL);
	stress(NULL);
	for (unsigned i = 1; i < lwk_vcpus(); i++)
		lwk_thread_join(i);
	ns = lwk_ticks_to_ns(lwk_tsc() - start);
	for (unsigned i = 0; i < lwk_vcpus(); i++)
		sum += errors[i];
	lwk_printf("%lu requests on %u vCPUs in %lu ms, %lu errors\n",
		lwk_arg_u64("n", 1000000) * lwk_vcpus(), lwk_vcpus(), ns / 1000000, sum);
	return sum != 0;
}
