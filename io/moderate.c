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
#define TRIAL_EPOCHS 8u /* in turns: holding, not holding */
#define RUN_EPOCHS 128u /* from one trial to the next, when it spoke for holding; even */
#define OFF_EPOCHS 32u	/* when it spoke against; even */

static void count(uint64_t *counter)
{
	sv_store_relaxed(counter, *counter + 1);
}

/* The end of a trial: holding is left off where it made requests take longer, noise aside. */
static void judge(struct sv_moderate *m)
{
	m->off = m->best[0] > m->best[1] + m->best[1] / 16;
	count(&m->trials);
	if (m->off)
		count(&m->rejected);
}

/* Epochs: as it was judged, then those of a trial, in turns. */
static void epoch_end(struct sv_moderate *m, uint64_t now)
{
	unsigned trial = m->off_since ? OFF_EPOCHS : RUN_EPOCHS, way = m->epoch & 1;

	if (m->epoch >= trial && (!m->best[way] || now - m->began < m->best[way]))
		m->best[way] = now - m->began;
	m->epoch++;
	if (m->epoch == trial + TRIAL_EPOCHS) {
		judge(m);
		m->off_since = m->off;
		m->best[0] = m->best[1] = 0;
		m->epoch = 0;
	} else if (m->epoch >= trial) {
		m->off = m->epoch & 1;
	}
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
	if (m->requests >= EPOCH_REQUESTS)
		epoch_end(m, now);
}

static uint64_t clamp(uint64_t ns, uint64_t least, uint64_t most)
{
	return ns < least ? least : ns > most ? most : ns;
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
	uint64_t patience =
		clamp((uint64_t)m->gap_ns * PATIENCE_GAPS, PATIENCE_LEAST_NS, PATIENCE_MOST_NS);
	uint64_t longest = clamp((uint64_t)m->gap_ns * HELD_GAPS, PATIENCE_LEAST_NS, HELD_MOST_NS);
	bool silent = now - m->last > patience, late = m->since && now - m->since > longest;

	if (!m->off && (silent || (late && m->probing)))
		settle(m, out);
	if (m->off || silent || late || at_its_depth(m, out)) {
		m->since = 0;
		return true;
	}
	if (!m->since) {
		m->since = now;
		count(&m->held);
	}
	return false;
}
