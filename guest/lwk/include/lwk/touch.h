/* SPDX-License-Identifier: BSD-3-Clause */
/* What the touch application and bench/stage2.c share in guest memory. */
#ifndef LWK_TOUCH_H
#define LWK_TOUCH_H

#include <stdint.h>

struct lwk_touch {
	uint64_t pages;	  /* of 4 KiB, all vCPUs together, each touched once */
	uint64_t samples; /* address of so many words: TSC ticks of each first touch */
	uint64_t go;	  /* written by the VM process */
	uint64_t wrong;	  /* pages that did not hold what was written */
} __attribute__((aligned(64)));

/* Values of SV_PORT_BENCH below 4096, above: the address of struct lwk_touch. */
#define LWK_TOUCH_ASK 2u  /* may we begin? */
#define LWK_TOUCH_MARK 3u /* before and after */
#define LWK_TOUCH_DONE 4u

#endif
