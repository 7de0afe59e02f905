/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When to interrupt the driver of a queue whose completions are published already. A sidecore answers
 * a request while the driver still writes the next one; an interrupt for each then costs the guest
 * more than the request. So the interrupt is held while the driver is likely to go on, and comes at
 * once when it has nothing more to do than to wait:
 *
 *   the driver has as many requests out as it had at most lately: it waits. At depth 1 this is always
 *   so, and no interrupt is late but for a rare probe, which is how a greater depth is noticed at all:
 *   a driver that is interrupted for each request never has a second one out;
 *   it has been silent for some of its own gaps between requests: it waits after all, and is known to
 *   go no deeper;
 *   the oldest completion has waited for sixteen of those gaps, or half a millisecond.
 *
 * Whether holding serves this guest is measured, not assumed: now and then a few hundred requests
 * are answered each way in turns, and what took longer is left off until the next trial.
 *
 * Pure: no clock of its own. Context: polling thread.
 */
#ifndef IO_MODERATE_H
#define IO_MODERATE_H

#include <stdbool.h>
#include <stdint.h>

struct sv_moderate {
	uint64_t since; /* from when an interrupt has been held; 0: none is */
	uint64_t last;	/* when a request was taken last */
	uint32_t gap_ns; /* between requests that follow each other, smoothed */
	uint32_t deepest; /* the most requests the driver had out lately */
	bool probing; /* seeing whether it goes deeper */
	uint16_t to_probe, interval;
	/* Trials. */
	bool off, off_since; /* do not hold; and that is what the last one said */
	uint16_t requests, epoch;
	uint64_t began;
	uint64_t best[2]; /* the shortest epoch of the trial: while holding, while not */
	/* Counters, read by anyone (relaxed). */
	uint64_t held, trials, rejected;
};

/* @n requests were taken. */
void sv_moderate_taken(struct sv_moderate *m, unsigned n, uint64_t now_ns);
/*
 * An interrupt is owed; the driver has @out requests it was not told the end of. Return: interrupt
 * now; false: ask again.
 */
bool sv_moderate_due(struct sv_moderate *m, uint32_t out, uint64_t now_ns);

#endif
