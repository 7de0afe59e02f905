/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_CHANNEL_OPTIONS_H
#define BENCH_CHANNEL_OPTIONS_H

#include <stdbool.h>

/*
 * Messages that are timed together. A rate is the median over the windows of a round: a thread that
 * lost its CPU in the middle spoils a window and not the round.
 */
#define BENCH_WINDOW 4096u

struct channel_options {
	int cpu[2];
	unsigned rounds, messages, entries;
	bool json;
};

/* Context: set-up; prints what is wrong, or the help. Return: -1 to go on, or the exit status. */
int channel_options_parse(struct channel_options *o, int argc, char **argv);

#endif
