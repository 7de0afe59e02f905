/* SPDX-License-Identifier: BSD-3-Clause */
#include "moderate.h"

#include <channels/atomics.h>

#define BURST_NS 200000u /* requests further apart do not follow each other */
#define PATIENCE_GAPS 3u
#define PATIENCE_LEAST_NS 2000u
#define PATIENCE_MOST_NS 150000u
#define HELD_GAPS 16u
#define HELD_MOST_NS 500000u
#define PROBE_LEAST 64u  /* interrupts from one probe to the next */
#define PROBE_MOST 8192u
#define EPOCH_REQUESTS 256u
#define RUN_EPOCHS 128u /* from one trial to the next, when it spoke for holding */
#define OFF_EPOCHS 32u	/* when it spoke against */
#define PAUSE_NS 16000000u /* what is longer is no part of an epoch, and no doing of ours (SLOW_HELD_MOST_NS) */
/* A slow pace begins at BURST_NS and ends at these. */
#define SLOW_LEAST_NS 50000u
#define SLOW_MOST_NS 3000000u
#define SLOW_PATIENCE_MOST_NS 3000000u
#define SLOW_HELD_MOST_NS 10000000u
#define SLOW_EPOCH_REQUESTS 128u
#define WIDE_WAIT_LEAST 8u
#define WIDE_WAIT_MOST 1024u
#define WIDE_WAIT_EMPTY 64u /* the most, when there was next to nothing to hold */
#define WIDE_EMPTY 16u /* interrupts held in a trial */
#define LOOK_EPOCHS 256u /* from one early look to the next */
/* Which turns are those of the limits tried: no rhythm of the driver has the others to itself. */
#define TURNS_TRIED 0x96u

static void count(uint64_t *counter)
{
	sv_store_relaxed(counter, *counter + 1);
}

static uint64_t clamp(uint64_t n, uint64_t least, uint64_t most)
{
	return n < least ? least : n > most ? most : n;
}

/* --- trials ----------------------------------------------------------------------------------- */

static bool turn_tried(unsigned turn)
{
	return TURNS_TRIED >> turn & 1;
}

/* By what this epoch's interrupts are held. */
static void choose(struct sv_moderate *m)
{
	uint8_t narrow = m->none && m->tried != SV_MODERATE_NONE ? SV_MODERATE_NONE : SV_MODERATE_NARROW;
	uint8_t limits = m->tried ? (turn_tried(m->turn) ? m->tried : narrow) :
			 m->slow && m->wide ? SV_MODERATE_WIDE : narrow;

	/* How deep it goes is not known of a driver that was interrupted for each request. */
	if (limits == SV_MODERATE_WIDE && m->limits != SV_MODERATE_WIDE) {
		m->interval = PROBE_LEAST;
		m->to_probe = 0;
	}
	m->limits = limits;
}

/* The @nth shortest, from 0, of the turns of the limits @tried, or of the others. */
static uint32_t nth_turn(const struct sv_moderate *m, bool tried, unsigned nth)
{
	for (unsigned i = 0; i < SV_MODERATE_TURNS; i++) {
		unsigned shorter = 0;

		for (unsigned k = 0; k < SV_MODERATE_TURNS; k++)
			shorter += turn_tried(k) == tried &&
				   (m->turn_ns[k] < m->turn_ns[i] || (k < i && m->turn_ns[k] == m->turn_ns[i]));
		if (turn_tried(i) == tried && shorter == nth)
			return m->turn_ns[i];
	}
	return UINT32_MAX;
}

static void judge_none(struct sv_moderate *m)
{
	uint32_t with = nth_turn(m, false, 0), without = nth_turn(m, true, 0);

	m->none = with > without + without / 16;
	m->since_none = 0;
}

/* A trial of wide limits is over; @wide: they are taken. */
static void end_wide(struct sv_moderate *m, bool wide)
{
	bool empty = !wide && m->held_wide < WIDE_EMPTY;

	m->wide = wide;
	m->wide_wait = (uint16_t)clamp(wide ? m->wide_wait / 2 : m->wide_wait * 2, WIDE_WAIT_LEAST,
		empty ? WIDE_WAIT_EMPTY : WIDE_WAIT_MOST);
	m->wide_pace_ns = m->pace_ns;
	m->since_wide = 0;
}

static void judge_wide(struct sv_moderate *m)
{
	uint32_t narrow = nth_turn(m, false, 0), wide = nth_turn(m, true, SV_MODERATE_TURNS / 2 - 2);

	end_wide(m, narrow > wide + wide / 8);
}

static void take_turn(struct sv_moderate *m)
{
	m->turn_ns[m->turn++] = m->pace_ns;
	if (m->turn < SV_MODERATE_TURNS)
		return;
	if (m->tried == SV_MODERATE_WIDE)
		judge_wide(m);
	else
		judge_none(m);
	m->tried = SV_MODERATE_NARROW;
	count(&m->trials);
}

static void begin_trial(struct sv_moderate *m, uint8_t of)
{
	m->tried = of;
	m->turn = 0;
	m->held_wide = 0;
}

/* Other work than that of the last trial: what it said is looked at again before its time. */
static void look_again(struct sv_moderate *m)
{
	if (m->to_look) {
		m->to_look--;
		return;
	}
	if (m->pace_ns / 4 <= m->wide_pace_ns && m->wide_pace_ns / 4 <= m->pace_ns)
		return;
	m->wide_wait = (uint16_t)clamp(m->wide_wait / 4, WIDE_WAIT_LEAST, WIDE_WAIT_MOST);
	if (m->wide && m->since_wide < RUN_EPOCHS - WIDE_WAIT_LEAST)
		m->since_wide = RUN_EPOCHS - WIDE_WAIT_LEAST;
	m->wide_pace_ns = m->pace_ns;
	m->to_look = LOOK_EPOCHS;
}

/* One is due. Those of holding at all are of no use while wide limits are. */
static void next_trial(struct sv_moderate *m)
{
	if (m->slow) {
		look_again(m);
		m->since_wide++;
		if (m->since_wide >= (m->wide ? RUN_EPOCHS : m->wide_wait)) {
			begin_trial(m, SV_MODERATE_WIDE);
			return;
		}
		if (m->wide)
			return;
	}
	m->since_none++;
	if (m->since_none >= (m->none ? OFF_EPOCHS : RUN_EPOCHS))
		begin_trial(m, SV_MODERATE_NONE);
}

static void change_pace(struct sv_moderate *m)
{
	uint64_t begin = m->slow ? SLOW_LEAST_NS : BURST_NS + 1;

	m->slow = m->pace_ns >= begin && m->pace_ns < SLOW_MOST_NS;
	if (m->slow || m->tried != SV_MODERATE_WIDE)
		return;
	/* The trial comes to nothing. */
	m->wide_wait = (uint16_t)clamp(m->wide_wait * 2, WIDE_WAIT_LEAST, WIDE_WAIT_MOST);
	m->since_wide = 0;
	m->tried = SV_MODERATE_NARROW;
}

static void epoch_end(struct sv_moderate *m)
{
	m->pace_ns = (uint32_t)(m->ran_ns / m->requests); /* less than PAUSE_NS */
	change_pace(m);
	if (m->tried)
		take_turn(m);
	else
		next_trial(m);
	choose(m);
	m->requests = 0;
	m->ran_ns = 0;
}

/* --- the driver --------------------------------------------------------------------------------- */

void sv_moderate_taken(struct sv_moderate *m, unsigned n, uint64_t now)
{
	uint64_t passed = now - m->last, gap = passed / n;

	if (gap < BURST_NS)
		m->gap_ns = (uint32_t)(m->gap_ns ? (7 * (uint64_t)m->gap_ns + gap) / 8 : gap);
	m->last = now;
	if (passed >= PAUSE_NS)
		return;
	m->ran_ns += passed;
	m->requests = (uint16_t)(m->requests + n);
	if (m->requests >= (m->slow ? SLOW_EPOCH_REQUESTS : EPOCH_REQUESTS))
		epoch_end(m);
}

/* The driver goes as deep as @out. When that is no news, the next probe is further off. */
static void settle(struct sv_moderate *m, uint32_t out)
{
	if (out != m->deepest)
		m->interval = PROBE_LEAST;
	else if (m->probing && m->interval < PROBE_MOST)
		m->interval = (uint16_t)(m->interval * 2);
	m->deepest = out;
	m->probing = false;
	m->to_probe = m->interval;
}

static bool at_its_depth(struct sv_moderate *m, uint32_t out)
{
	if (out < m->deepest || m->probing)
		return false;
	if (out > m->deepest)
		settle(m, out);
	else if (!m->to_probe--)
		m->probing = true;
	return !m->probing;
}

bool sv_moderate_due(struct sv_moderate *m, uint32_t out, uint64_t now)
{
	bool wide = m->limits == SV_MODERATE_WIDE, none = m->limits == SV_MODERATE_NONE;
	uint64_t gap = wide ? m->pace_ns : m->gap_ns;
	uint64_t patience = clamp(gap * PATIENCE_GAPS, PATIENCE_LEAST_NS,
		wide ? SLOW_PATIENCE_MOST_NS : PATIENCE_MOST_NS);
	uint64_t longest =
		clamp(gap * HELD_GAPS, PATIENCE_LEAST_NS, wide ? SLOW_HELD_MOST_NS : HELD_MOST_NS);
	bool silent = now - m->last > patience, late = m->since && now - m->since > longest;

	if (!none && (silent || (late && m->probing)))
		settle(m, out);
	if (none || silent || late || at_its_depth(m, out)) {
		m->since = 0;
		return true;
	}
	if (!m->since) {
		m->since = now;
		m->held_wide += wide;
		count(&m->held);
	}
	return false;
}
