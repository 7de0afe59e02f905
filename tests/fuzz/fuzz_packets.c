/* SPDX-License-Identifier: BSD-3-Clause */
#include "packets_once.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	packets_once(data, size);
	return 0;
}
