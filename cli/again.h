/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting a sidecore process again that crashed: how soon, how often, and the supervisor that does. */
#ifndef CLI_AGAIN_H
#define CLI_AGAIN_H

#include <stdint.h>

/* Lives shorter than this, one after the other: a pause that doubles, up to the longest. */
#define AGAIN_QUICK_MS 250
#define AGAIN_LONGEST_MS 1000
#define AGAIN_QUICK_MOST 10u /* so often by an end of its own */

struct again {
	int64_t born_ms; /* CLOCK_MONOTONIC */
	unsigned quick;
};

int64_t again_now_ms(void);
void again_born(struct again *a);
/*
 * It died just now, with this wait status. What a signal ended is always worth another life; what ends by
 * itself again and again is not. Return: milliseconds to wait before the next life; -1: enough is enough.
 */
int again_died(struct again *a, int status);

/*
 * Become the supervisor of this very process: forks. Context: one thread, nothing set up yet.
 * Return: -1 in each child, which goes on to serve; the exit status in the supervisor, once a child has
 * ended for good or SIGINT or SIGTERM has come, which it passes on.
 */
int again_supervise(void);

#endif
