/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CLI_RUN_FOREIGN_H
#define CLI_RUN_FOREIGN_H

#include "run_options.h"

/*
 * TYPE,socket=PATH[,queues=N][,tag=NAME], or several with blanks between, added to o->vm.foreign.
 * Return: 0, or -errno with a sentence.
 */
int run_foreign_parse(struct run_options *o, const char *text, struct sv_error *err);

#endif
