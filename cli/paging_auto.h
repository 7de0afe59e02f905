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

/*
 * Where the record of @profile, the path of a file, is: of NAME.yaml or NAME.yml NAME.paging.json, of any
 * other NAME the same. Return: 0, or -ENAMETOOLONG with a sentence.
 */
int paging_auto_record_path(const char *profile, char *path, size_t bytes, struct sv_error *err);
/* The same of what a user calls it, a file or the name of a guest. Return: 0, or -errno with a sentence. */
int paging_auto_record_of(const char *operand, char *path, size_t bytes, struct sv_error *err);

#endif
