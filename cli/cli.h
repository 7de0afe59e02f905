/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line: one verb, one file. Exit status: 0 done, 1 failed, 2 wrong usage. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int cli_run(int argc, char **argv);
/* The CPUs that the last cli_run() used. */
int cli_run_guest_cpu(void);
int cli_run_sidecore_cpu(void);
int cli_serve(int argc, char **argv);
int cli_stats(int argc, char **argv);
int cli_dirty(int argc, char **argv);
int cli_memory(int argc, char **argv);
int cli_ps(int argc, char **argv);
int cli_device(int argc, char **argv);
int cli_control(int argc, char **argv); /* stop, pause, resume */
int cli_profile(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_restore(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_dial(int argc, char **argv); /* of sidevisor itself */

/* One sentence on stderr. Return: EXIT_USAGE. */
int cli_usage_error(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One sentence on stderr. Return: EXIT_USAGE for -EINVAL, else EXIT_FAILED. */
int cli_fail(const struct sv_error *err, int rc);

/*
 * "512", "512K", "256M", "4G", "1T" in bytes. Return: 0, or -EINVAL with a sentence that names the
 * option and the value.
 */
int cli_parse_size(const char *option, const char *text, uint64_t *bytes, struct sv_error *err);
/* A flag's value: NULL is on; else on or off, yes or no, true or false: how it overrides a profile. */
int cli_parse_flag(const char *text, bool *value, struct sv_error *err);
/* A decimal number in [min, max]. Return: 0, or -EINVAL with a sentence. */
int cli_parse_number(const char *option, const char *text, uint64_t min, uint64_t max,
	uint64_t *value, struct sv_error *err);

#endif
