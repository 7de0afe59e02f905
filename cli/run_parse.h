/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The values of single options of `sidevisor run`. Each takes its text into @o. Context: start-up.
 * Return: 0, or -errno with a sentence that names the option, the value, and what would be right.
 */
#ifndef CLI_RUN_PARSE_H
#define CLI_RUN_PARSE_H

#include "run_options.h"

int run_parse_disk(struct run_options *o, char *text, struct sv_error *err);
int run_parse_net(struct run_options *o, char *text, struct sv_error *err);
int run_parse_uplink(struct run_options *o, const char *text, struct sv_error *err);
int run_parse_prefetch(struct run_options *o, const char *text, struct sv_error *err);
int run_parse_source_timeout(struct run_options *o, const char *what, const char *text,
	struct sv_error *err);
int run_parse_source(struct run_options *o, const char *text, struct sv_error *err);
int run_parse_topology(struct run_options *o, const char *text, struct sv_error *err);
int run_parse_cpus(struct run_options *o, const char *text, struct sv_error *err);
/* One more CPU that is to be a sidecore; one that is there already is no error. */
int run_add_sidecore(struct run_options *o, int cpu, struct sv_error *err);
int run_parse_sidecores(struct run_options *o, const char *text, struct sv_error *err);
/* *value: the index of @text in @names, which a NULL ends. */
int run_parse_choice(const char *option, const char *text, const char *const *names,
	unsigned *value, struct sv_error *err);
int run_parse_name(struct run_options *o, const char *text, struct sv_error *err);

#endif
