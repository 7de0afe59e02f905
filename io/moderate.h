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
 * pauses aside, that average is the gap, and ten milliseconds are allowed; but, trials aside, only where
 * this was seen to serve the guest: a driver that is not slow but has little to ask for would only wait.
 *
 * Whether holding serves this guest is measured, not assumed. Now and then some hundred requests are
 * answered each way in turns, four epochs of each: with narrow limits and with none held; at a slow
 * pace with the better of those and with wide limits. None held is taken when with narrow limits the
 * shortest epoch took a sixteenth longer. Wide limits are taken when all of the others took an eighth
 * longer than three of their four: a driver of a given rate gains nothing from them, and by chance
 * alone, were its gaps exponential, that is seen in one trial of fifty at most (test `moderate`). Where
 * it is not seen, the next trial is twice as far off (up to a bound, where nothing was held); less far,
 * but not too often, when the pace has become another by a factor of four.
 *
 * Pure: no clock of its own. Context: polling thread.
 */
#ifndef IO_MODERATE_H
#define IO_MODERATE_H

#include <stdbool.h>
#include <stdint.h>

#define SV_MODERATE_TURNS 8u

/* The limits by which interrupts are held. */
enum sv_moderate_limits { SV_MODERATE_NARROW, SV_MODERATE_NONE, SV_MODERATE_WIDE };

struct sv_moderate {
	uint64_t since; /* from when an interrupt has been held; 0: none is */
	uint64_t last;	/* when a request was taken last */
	uint32_t gap_ns; /* between requests that follow each other, smoothed */
	uint32_t deepest; /* the most requests the driver had out lately */
	bool probing; /* seeing whether it goes deeper */
	uint16_t to_probe, interval;
	/* This epoch, and the pace of the last one. */
	uint16_t requests;
	uint64_t ran_ns; /* pauses cut */
	uint32_t pace_ns; /* per request */
	bool slow;
	/* Trials. */
	bool none, wide; /* what was found: not to hold; to hold by wide limits while it is slow */
	uint8_t limits, tried; /* enum sv_moderate_limits: now; those of the trial, NARROW: there is none */
	uint8_t turn;
	uint32_t turn_ns[SV_MODERATE_TURNS]; /* per request */
	uint16_t since_none, since_wide; /* epochs since the last trial of each */
	uint16_t wide_wait; /* epochs to the next, when the last one spoke against them */
	uint32_t wide_pace_ns; /* at the last one */
	uint16_t to_look; /* epochs until another pace may bring the next one nearer */
	uint32_t held_wide; /* interrupts, in this trial */
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
