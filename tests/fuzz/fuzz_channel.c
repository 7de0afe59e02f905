/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_once.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct channel_once sum = {0};

	channel_once(data, bytes, &sum);
	return 0;
}
