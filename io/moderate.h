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
 *   the oldest completion has waited for sixteen of those gaps, or for as long as is allowed.
 *
 * Allowed is half a millisecond, and gaps are those of less than 200 us: what else comes later does
 * not follow. A guest that is itself slow (one CPU for many, an emulated one) never has such gaps, and
 * pays the most for an interrupt. Where requests are more than 200 us apart on average over an epoch,
 * that average is the gap, and ten milliseconds are allowed; but only where this was seen to serve the
 * guest, for a driver that is not slow but has little to ask for would only wait for its answers.
 *
 * Whether holding serves this guest is measured, not assumed: now and then some hundred requests are
 * answered each way in turns. At a fast pace that is: narrow limits or none held. At a slow one: narrow
 * limits or wide ones. The latter of the two is taken where requests took less time with it, by a
 * sixteenth and an eighth. A driver of a given rate gains nothing from wide limits, so it has them for
 * the turns of a trial only, and each trial that says so puts the next one twice as far off; until its
 * pace is another, by a factor of four.
 *
 * Pure: no clock of its own. Context: polling thread.
 */
#ifndef IO_MODERATE_H
#define IO_MODERATE_H

#include <stdbool.h>
#include <stdint.h>

/* The limits by which interrupts are held. */
enum sv_moderate_limits { SV_MODERATE_NARROW, SV_MODERATE_NONE, SV_MODERATE_WIDE };

struct sv_moderate_trial {
	uint64_t best[2]; /* the shortest epoch of this trial: narrow limits, the other */
	uint16_t epoch;	  /* since the last trial */
	bool other;	  /* what the last one said */
};

struct sv_moderate {
	uint64_t since; /* from when an interrupt has been held; 0: none is */
	uint64_t last;	/* when a request was taken last */
	uint32_t gap_ns; /* between requests that follow each other, smoothed */
	uint32_t pace_ns; /* between requests of the last epoch */
	uint32_t deepest; /* the most requests the driver had out lately */
	bool probing; /* seeing whether it goes deeper */
	uint16_t to_probe, interval;
	/* Trials. */
	bool slow; /* the driver's pace */
	uint8_t limits; /* enum sv_moderate_limits */
	uint16_t requests; /* of this epoch */
	uint16_t slow_wait; /* epochs from one trial of a slow pace to the next */
	uint32_t tried_ns; /* the pace of the last one */
	uint64_t began; /* this epoch */
	uint32_t held_wide; /* interrupts, since the last trial */
	struct sv_moderate_trial trial[2]; /* of a fast pace, of a slow one */
	/* Counters, read by anyone (relaxed). */
	uint64_t held, trials;
};

/* @n requests were taken. */
void sv_moderate_taken(struct sv_moderate *m, unsigned n, uint64_t now_ns);
/*
 * An interrupt is owed; the driver has @out requests it was not told the end of. Return: interrupt
 * now; false: ask again.
 */
bool sv_moderate_due(struct sv_moderate *m, uint32_t out, uint64_t now_ns);

#endif
