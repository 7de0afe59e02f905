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
#define TRIAL_EPOCHS 8u /* in turns: narrow limits, the other */
#define RUN_EPOCHS 128u /* from one trial to the next, when it spoke for holding; even */
#define OFF_EPOCHS 32u	/* when it spoke against; even */
/* A slow pace begins at BURST_NS and ends below or above these. */
#define SLOW_LEAST_NS 50000u
#define SLOW_MOST_NS 4000000u
#define SLOW_PATIENCE_MOST_NS 3000000u
#define SLOW_HELD_MOST_NS 10000000u
#define SLOW_EPOCH_REQUESTS 128u
#define SLOW_WAIT_LEAST 8u /* epochs; even, as all of the next */
#define SLOW_WAIT_MOST 1024u
#define SLOW_WAIT_EMPTY 4u /* when nothing was held in the trial */

static void count(uint64_t *counter)
{
	sv_store_relaxed(counter, *counter + 1);
}

static uint64_t clamp(uint64_t n, uint64_t least, uint64_t most)
{
	return n < least ? least : n > most ? most : n;
}

static unsigned epoch_requests(const struct sv_moderate *m)
{
	return m->slow ? SLOW_EPOCH_REQUESTS : EPOCH_REQUESTS;
}

/* Epochs from one trial to the next. */
static unsigned trial_wait(const struct sv_moderate *m)
{
	return m->slow ? m->slow_wait : m->trial[0].other ? OFF_EPOCHS : RUN_EPOCHS;
}

static void set_limits(struct sv_moderate *m, bool other)
{
	uint8_t limits = !other ? SV_MODERATE_NARROW : m->slow ? SV_MODERATE_WIDE : SV_MODERATE_NONE;

	/* What the depth is, is not known of a driver that was interrupted for each request. */
	if (limits == SV_MODERATE_WIDE && m->limits != SV_MODERATE_WIDE) {
		m->interval = PROBE_LEAST;
		m->to_probe = 0;
	}
	m->limits = limits;
}

/* How long until wide limits are tried again: where they held nothing that was no trial of them. */
static void settle_wait(struct sv_moderate *m, bool before, bool now)
{
	unsigned twice = before ? SLOW_WAIT_LEAST : m->slow_wait * 2u;

	if (m->held_wide < SLOW_EPOCH_REQUESTS * TRIAL_EPOCHS / 2 / 32)
		m->slow_wait = SLOW_WAIT_EMPTY;
	else if (now)
		m->slow_wait = RUN_EPOCHS;
	else
		m->slow_wait = (uint16_t)clamp(twice, SLOW_WAIT_LEAST, SLOW_WAIT_MOST);
	m->tried_ns = m->pace_ns;
}

/* Another work than that of the last trial: what that said is soon looked at again. */
static void look_again(struct sv_moderate *m)
{
	if (m->pace_ns / 4 <= m->tried_ns && m->tried_ns / 4 <= m->pace_ns)
		return;
	m->slow_wait = SLOW_WAIT_LEAST;
	m->trial[1] = (struct sv_moderate_trial){.other = m->trial[1].other};
	m->tried_ns = m->pace_ns;
}

/* The end of a trial: the other limits are taken where requests took less time with them, noise aside. */
static void judge(struct sv_moderate *m, struct sv_moderate_trial *t)
{
	bool before = t->other;

	t->other = t->best[0] > t->best[1] + t->best[1] / (m->slow ? 8 : 16);
	count(&m->trials);
	if (m->slow)
		settle_wait(m, before, t->other);
	m->held_wide = 0;
	t->best[0] = t->best[1] = 0;
	t->epoch = 0;
}

/* Epochs: as it was judged, then those of a trial, in turns. */
static void epoch_of(struct sv_moderate *m, struct sv_moderate_trial *t, uint64_t ns)
{
	unsigned wait = trial_wait(m), way = t->epoch & 1;

	if (t->epoch >= wait && (!t->best[way] || ns < t->best[way]))
		t->best[way] = ns;
	t->epoch++;
	if (t->epoch == wait + TRIAL_EPOCHS)
		judge(m, t);
	set_limits(m, t->epoch >= trial_wait(m) ? t->epoch & 1 : t->other);
}

/* Return: it is another one than before, whose trial begins anew. */
static bool change_pace(struct sv_moderate *m, uint64_t pace)
{
	bool slow = m->slow ? pace >= SLOW_LEAST_NS && pace <= SLOW_MOST_NS :
			      pace > BURST_NS && pace <= SLOW_MOST_NS;

	if (slow == m->slow)
		return false;
	m->slow = slow;
	m->trial[slow] = (struct sv_moderate_trial){.other = !slow && m->trial[0].other};
	m->held_wide = 0;
	set_limits(m, m->trial[slow].other);
	return true;
}

static void epoch_end(struct sv_moderate *m, uint64_t now)
{
	uint64_t ns = now - m->began, pace = ns / m->requests;

	m->pace_ns = (uint32_t)(pace < SLOW_MOST_NS ? pace : SLOW_MOST_NS);
	if (m->slow && m->trial[1].epoch < m->slow_wait)
		look_again(m);
	if (!change_pace(m, pace))
		epoch_of(m, &m->trial[m->slow], ns);
	m->requests = 0;
	m->began = now;
}

void sv_moderate_taken(struct sv_moderate *m, unsigned n, uint64_t now)
{
	uint64_t gap = (now - m->last) / n;

	if (gap < BURST_NS)
		m->gap_ns = (uint32_t)(m->gap_ns ? (7 * (uint64_t)m->gap_ns + gap) / 8 : gap);
	m->last = now;
	m->requests = (uint16_t)(m->requests + n);
	if (m->requests >= epoch_requests(m))
		epoch_end(m, now);
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
