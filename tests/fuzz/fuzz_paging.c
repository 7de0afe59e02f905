/* SPDX-License-Identifier: BSD-3-Clause */
#include "paging_once.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	paging_once(data, bytes);
	return 0;
}
