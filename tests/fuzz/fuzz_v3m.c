/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer target: a V3M XML profile. */
#include "profile_once.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	v3m_once(data, size);
	return 0;
}
