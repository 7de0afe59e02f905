/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What measurements that start processes share: they end when they are told to, with everything cleaned
 * up, and say how far they are. Context: the one thread of the program.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <sys/types.h>

#include <base/error.h>

/*
 * From now on SIGINT, SIGTERM and SIGHUP, unless they are ignored, are taken note of. Whoever waits or
 * begins something asks bench_go_on(), gives up, and lets its callers clean up.
 */
void bench_catch_signals(void);
bool bench_interrupted(void);
/* Return: 0, or after such a signal -EINTR with a sentence. */
int bench_go_on(struct sv_error *err);
/*
 * fork() of a child that becomes another program: it has the signals as this one found them, and is told to
 * end when its parent is gone. Return: as fork().
 */
pid_t bench_fork(void);
/* `sidevisor bench NAME` ends without a result: one sentence. Return: the exit status. */
int bench_failed(const char *name, const struct sv_error *err);

/*
 * How far it is, on standard error: a terminal has one line, which the next writes over; anything else a
 * line for each.
 */
void bench_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Steps too many for that: for terminals alone. */
void bench_progress_step(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Before results: the terminal's line is empty again. */
void bench_progress_end(void);

/* The number that an option has. Return: 0: it is 0, too large, or none. */
unsigned bench_number(const char *text);
/* Return: NaN: it is none. */
double bench_seconds(const char *text);

#endif
