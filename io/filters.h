/* SPDX-License-Identifier: BSD-3-Clause */
/* The filters of disks that there are. */
#ifndef IO_FILTERS_H
#define IO_FILTERS_H

#include <io/filter.h>

extern const struct sv_blk_filter_class filter_integrity, filter_xts;
void filter_xts_preload(void);

#endif
