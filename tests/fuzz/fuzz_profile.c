/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer target: the first byte says which kind of profile the rest is. */
#include "profile_once.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0)
		profile_once(data + 1, size - 1, data[0] & 1);
	return 0;
}
