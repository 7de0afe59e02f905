/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLI_PAGING_AUTO_H
#define CLI_PAGING_AUTO_H

#include "run_options.h"

/*
 * `paging: auto`: take populate, stage2, backing and direct_paging, as far as nobody said them, from the
 * record beside the profile. Without a record that fits this machine: as before, which is said. Return:
 * 0, or -errno with a sentence.
 */
int paging_auto_apply(struct run_options *o, struct sv_error *err);

#endif
