/* SPDX-License-Identifier: BSD-3-Clause */
/* What the filters of a disk work with: opened here, used by the sidecore (io/filter.h). */
#ifndef BASE_DISK_FILTERS_H
#define BASE_DISK_FILTERS_H

#include <base/disk.h>

/* Fill in disk->filter_fd and disk->filters. Return: 0, or -errno with a sentence; may be half done. */
int sv_disk_filters_open(const struct sv_disk_spec *spec, struct sv_disk *disk, struct sv_error *err);

#endif
