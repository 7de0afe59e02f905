/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer target: the first byte says whether the driver or the front end is hostile. */
#include <stdio.h>

#include "blk_once.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *quiet;

	if (!quiet)
		stderr = quiet = fopen("/dev/null", "w"); /* what the node says about a front end */
	if (size && data[0] & 1)
		vhost_messages_once(data + 1, size - 1);
	else if (size)
		blk_driver_once(data + 1, size - 1);
	return 0;
}
