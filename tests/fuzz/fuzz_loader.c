/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer target: the first byte says how the rest is loaded. */
#include "loader_once.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0)
		loader_once(data + 1, size - 1, data[0] & 1, data[0] & 2);
	return 0;
}
