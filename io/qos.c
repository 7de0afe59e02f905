/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may take the next request: see docs/qos.md for the rules and their bounds. */
#include "qos_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <channels/atomics.h>

#define SWEEP_NS (QOS_NS / 10)

static void count(uint64_t *counter, uint64_t by)
{
	sv_store_relaxed(counter, *counter + by);
}

/* Is a before b? Tags and times wrap. */
static bool before(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return before(a, b) ? b : a;
}

/* --- the control thread's -------------------------------------------------------------------- */

struct sv_qos *sv_qos_create(void)
{
	return calloc(1, sizeof(struct sv_qos));
}

void sv_qos_destroy(struct sv_qos *q)
{
	while (q->flows) {
		struct sv_qos_flow *f = q->flows;

		SV_BUG_ON(f->open);
		q->flows = f->next;
		free(f);
	}
	while (q->pools) {
		struct sv_qos_pool *p = q->pools;

		q->pools = p->next;
		free(p);
	}
	free(q);
}

/* The pool of this store; one that nobody uses any more is taken over. NULL: out of memory. */
static struct sv_qos_pool *find_pool(struct sv_qos *q, uint64_t store)
{
	struct sv_qos_pool *p, *idle = NULL;

	for (p = q->pools; p; p = p->next) {
		if (p->flows && p->store == store)
			return p;
		if (!p->flows)
			idle = p;
	}
	p = idle;
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->next = q->pools;
		q->pools = p;
	}
	p->store = store;
	p->base_ns = p->since_ns = p->light_ns = 0;
	p->light = true;
	p->tight = QOS_DEPTH_FIRST;
	sv_store_relaxed(&p->depth, QOS_DEPTH_FIRST);
	return p;
}

/* Memory for a flow: of one that the polling thread knows no more, or new. */
static struct sv_qos_flow *find_flow(struct sv_qos *q)
{
	struct sv_qos_flow *f, *idle = NULL;
	unsigned n = 0;

	for (f = q->flows; f; f = f->next, n++)
		if (!f->open && !sv_load_acquire(&f->active))
			idle = f;
	if (idle || n >= SV_QOS_FLOWS)
		return idle;
	f = calloc(1, sizeof(*f));
	if (f) {
		f->next = q->flows;
		q->flows = f;
	}
	return f;
}

int sv_qos_open(struct sv_qos_flow **out, struct sv_qos *q, uint64_t store,
	uint32_t least, const struct sv_qos_params *params, struct sv_error *err)
{
	struct sv_qos_pool *pool = find_pool(q, store);
	struct sv_qos_flow *f = pool ? find_flow(q) : NULL, *next;

	if (!f)
		return sv_fail(err, ENOSPC, "this sidecore has as many devices as it can schedule");
	next = f->next;
	*f = (struct sv_qos_flow){.q = q, .pool = pool, .next = next, .open = true, .least = least};
	if (params)
		f->p = *params;
	else
		sv_qos_defaults(&f->p);
	f->wish = f->p;
	pool->flows++;
	*out = f;
	return 0;
}

void sv_qos_close(struct sv_qos_flow *f)
{
	f->open = false;
	f->pool->flows--;
	sv_store_release(&f->closing, 1);
	sv_store_release(&f->q->closings, f->q->closings + 1);
}

void sv_qos_get_params(const struct sv_qos_flow *f, struct sv_qos_params *params)
{
	*params = f->wish;
}

void sv_qos_set_params(struct sv_qos_flow *f, const struct sv_qos_params *params)
{
	sv_store_relaxed(&f->wish.weight, params->weight);
	sv_store_relaxed(&f->wish.priority, params->priority);
	sv_store_relaxed(&f->wish.min_bps, params->min_bps);
	sv_store_relaxed(&f->wish.max_bps, params->max_bps);
	sv_store_relaxed(&f->wish.min_iops, params->min_iops);
	sv_store_relaxed(&f->wish.max_iops, params->max_iops);
	sv_store_relaxed(&f->wish.burst_ms, params->burst_ms);
	sv_store_relaxed(&f->wish.depth, params->depth);
	sv_store_release(&f->wishes, f->wishes + 1);
}

const struct sv_qos_counters *sv_qos_counters(const struct sv_qos_flow *f)
{
	return &f->counts;
}

unsigned sv_qos_depth(const struct sv_qos_flow *f)
{
	return sv_load_relaxed(&f->pool->depth);
}

/* --- who has work ---------------------------------------------------------------------------- */

static void forget(struct sv_qos_flow **list, unsigned *n, const struct sv_qos_flow *f)
{
	for (unsigned i = 0; i < *n; i++) {
		if (list[i] == f) {
			list[i] = list[--*n];
			return;
		}
	}
}

static void stop_waiting(struct sv_qos_flow *f)
{
	if (f->waiting)
		forget(f->q->waiting, &f->q->nwaiting, f);
	f->waiting = false;
}

static void wait_on(struct sv_qos_flow *f)
{
	if (!f->waiting)
		f->q->waiting[f->q->nwaiting++] = f;
	f->waiting = true;
}

static void deactivate(struct sv_qos_flow *f)
{
	stop_waiting(f);
	forget(f->q->active, &f->q->nactive, f);
	/* A closed one may be somebody else's from now on. */
	sv_store_release(&f->active, 0);
}

/* Those that are closed, or without work for long, are nobody's rivals any more. */
static void sweep(struct sv_qos *q)
{
	uint64_t weights = 0;

	q->swept = sv_load_acquire(&q->closings);
	q->sweep_ns = q->now + SWEEP_NS;
	for (unsigned i = q->nactive; i--;) {
		struct sv_qos_flow *f = q->active[i];
		bool closing = sv_load_acquire(&f->closing);

		if (closing)
			f->pool->out -= f->out;
		if (closing || (!f->out && before(f->busy_ns + QOS_ACTIVE_NS, q->now)))
			deactivate(f);
		else
			weights += f->p.weight;
	}
	q->weights = weights;
}

static void activate(struct sv_qos_flow *f)
{
	f->busy_ns = f->q->now;
	if (f->active)
		return;
	sv_store_relaxed(&f->active, 1);
	f->q->active[f->q->nactive++] = f;
	f->q->weights += f->p.weight;
}

static void take_params(struct sv_qos_flow *f, uint32_t wishes)
{
	const struct sv_qos_params *w = &f->wish;

	f->granted = wishes;
	f->p = (struct sv_qos_params){.weight = sv_load_relaxed(&w->weight),
		.priority = sv_load_relaxed(&w->priority),
		.min_bps = sv_load_relaxed(&w->min_bps),
		.max_bps = sv_load_relaxed(&w->max_bps),
		.min_iops = sv_load_relaxed(&w->min_iops),
		.max_iops = sv_load_relaxed(&w->max_iops),
		.burst_ms = sv_load_relaxed(&w->burst_ms),
		.depth = sv_load_relaxed(&w->depth)};
	/* What was gathered under the old ones counts no more. */
	stop_waiting(f);
	f->tag = f->q->virtual[f->p.priority];
	f->max_bytes_ns = f->max_ops_ns = f->min_bytes_ns = f->min_ops_ns = f->q->now;
	f->q->sweep_ns = f->q->now; /* the weights */
}

/* --- the order ------------------------------------------------------------------------------- */

static bool throttled(const struct sv_qos_flow *f, uint64_t now)
{
	return (f->p.max_bps && before(now, f->max_bytes_ns)) ||
	       (f->p.max_iops && before(now, f->max_ops_ns));
}

/* Its minimum was not reached: when it should have been at the latest. Return: it is due. */
static bool due(const struct sv_qos_flow *f, uint64_t now, uint64_t *at)
{
	bool bytes = f->p.min_bps && !before(now, f->min_bytes_ns);
	bool ops = f->p.min_iops && !before(now, f->min_ops_ns);

	if (bytes && ops)
		*at = before(f->min_bytes_ns, f->min_ops_ns) ? f->min_bytes_ns : f->min_ops_ns;
	else
		*at = bytes ? f->min_bytes_ns : f->min_ops_ns;
	return bytes || ops;
}

static bool full(const struct sv_qos_flow *f)
{
	return f->p.depth && f->out >= f->p.depth;
}

/* The first request of a device is free: the bound is for those that send many. */
static bool has_room(const struct sv_qos_flow *f)
{
	return !f->out || f->q->nactive == 1 || qos_depth_allows(f->pool);
}

/* Does a come before b? Minimum before priority before weight. */
static bool precedes(const struct sv_qos_flow *a, const struct sv_qos_flow *b, uint64_t now)
{
	uint64_t da, db;
	bool a_due = due(a, now, &da), b_due = due(b, now, &db);

	if (a_due != b_due)
		return a_due;
	if (a_due)
		return before(da, db);
	if (a->p.priority != b->p.priority)
		return a->p.priority > b->p.priority;
	return before(a->tag, b->tag);
}

/*
 * Could @w use the room that @f wants? In a pool that is full the first still comes first: else
 * whoever has none outstanding would pass the others each time.
 */
static bool rivals(const struct sv_qos_flow *w, const struct sv_qos_flow *f)
{
	return !throttled(w, w->q->now) && !full(w) && (w->pool == f->pool || has_room(w));
}

/* The first among those that wait and can go on, @f among them. */
static const struct sv_qos_flow *first_of(struct sv_qos *q, const struct sv_qos_flow *f)
{
	const struct sv_qos_flow *best = f;

	for (unsigned i = q->nwaiting; i--;) {
		struct sv_qos_flow *w = q->waiting[i];

		if (w == f)
			continue;
		if (before(w->seen_ns + QOS_STALE_NS, q->now)) {
			stop_waiting(w);
			continue;
		}
		if (precedes(w, best, q->now) && rivals(w, f))
			best = w;
	}
	return best;
}

static uint64_t slack(const struct sv_qos *q)
{
	return ((uint64_t)QOS_QUANTUM << QOS_TAG_SHIFT) / (q->weights ? q->weights : 1);
}

/*
 * Is it this one's turn? The first one's is it, and that of those so little behind it that they
 * would be first after another round: pollers come in a fixed order, and batches are cheap.
 */
static bool has_turn(const struct sv_qos_flow *f)
{
	struct sv_qos *q = f->q;
	uint64_t now = q->now, at, *virtual = &q->virtual[f->p.priority];
	const struct sv_qos_flow *best;

	if (q->nactive == 1) {
		*virtual = later(*virtual, f->tag);
		return true;
	}
	best = first_of(q, f);
	if (due(best, now, &at))
		return best == f;
	*virtual = later(*virtual, best->p.priority == f->p.priority ? best->tag : *virtual);
	if (best == f)
		return true;
	return best->p.priority == f->p.priority && f->tag - best->tag <= slack(q);
}

/* --- a visit --------------------------------------------------------------------------------- */

void sv_qos_tick(struct sv_qos_flow *f, uint64_t now_ns)
{
	f->q->now = later(f->q->now, now_ns);
}

void sv_qos_visit(struct sv_qos_flow *f, uint64_t now_ns)
{
	struct sv_qos *q = f->q;
	uint32_t wishes = sv_load_acquire(&f->wishes);

	sv_qos_tick(f, now_ns);
	if (sv_unlikely(wishes != f->granted))
		take_params(f, wishes);
	if (sv_unlikely(!before(q->now, q->sweep_ns) || sv_load_acquire(&q->closings) != q->swept))
		sweep(q);
	f->seen_ns = q->now;
	f->left = INT64_MAX;
	if (q->nactive > 1 || (q->nactive == 1 && !f->active))
		f->left = (int64_t)(QOS_QUANTUM * f->p.weight / (q->weights ? q->weights : 1));
	if (!f->left)
		f->left = 1;
	/* How long it was refused up to now. */
	if (f->refused != SV_QOS_NOTHING && q->now - f->refused_ns < QOS_GAP_NS)
		count(f->refused == SV_QOS_TIME ? &f->counts.throttled_ns : &f->counts.held_ns,
			q->now - f->refused_ns);
	f->refused = SV_QOS_NOTHING;
}

bool sv_qos_left(const struct sv_qos_flow *f)
{
	return f->refused != SV_QOS_NOTHING;
}

static bool refuse(struct sv_qos_flow *f, enum sv_qos_wait why)
{
	f->refused = why;
	f->refused_ns = f->q->now;
	return false;
}

/* What it did not use while it had nothing is lost; what it could not use, but for a bound. */
static void settle(struct sv_qos_flow *f)
{
	uint64_t now = f->q->virtual[f->p.priority];

	f->tag = later(f->tag, f->waiting ? now - QOS_LAG * slack(f->q) : now);
	wait_on(f);
}

bool sv_qos_admit(struct sv_qos_flow *f)
{
	activate(f);
	if (throttled(f, f->q->now)) {
		stop_waiting(f);
		return refuse(f, SV_QOS_TIME);
	}
	settle(f);
	if (full(f))
		return refuse(f, SV_QOS_COMPLETION);
	if (f->left <= 0 || !has_turn(f))
		return refuse(f, SV_QOS_TURN);
	if (has_room(f))
		return true;
	f->pool->limited = true;
	return refuse(f, SV_QOS_COMPLETION);
}

/* The next one not before: what it took at its rate, after at most a burst of unused time. */
static void pace(uint64_t *at, uint64_t now, uint64_t credit_ns, uint64_t amount, uint64_t rate)
{
	if (rate)
		*at = later(*at, now - credit_ns) + amount * QOS_NS / rate;
}

/* Likewise, and never further ahead than its credit: what comes beyond a minimum is no debt. */
static void pace_minimum(uint64_t *at, uint64_t now, uint64_t amount, uint64_t rate)
{
	uint64_t step = rate ? amount * QOS_NS / rate : 0;

	if (!rate)
		return;
	*at = later(*at, now - QOS_CREDIT_NS) + step;
	if (before(now + QOS_CREDIT_NS + step, *at))
		*at = now + QOS_CREDIT_NS + step;
}

void sv_qos_taken(struct sv_qos_flow *f, struct sv_qos_ticket *t, enum sv_qos_kind kind,
	unsigned n, uint64_t bytes)
{
	uint64_t least = (uint64_t)n * f->least, cost = bytes > least ? bytes : least, now = f->q->now;
	uint64_t burst_ns = f->p.burst_ms * 1000000;

	*t = (struct sv_qos_ticket){.taken_ns = now,
		.bytes = (uint32_t)bytes,
		.n = (uint16_t)n,
		.kind = (uint8_t)kind};
	f->tag += (cost << QOS_TAG_SHIFT) / f->p.weight;
	f->left -= (int64_t)cost;
	pace(&f->max_bytes_ns, now, burst_ns, bytes, f->p.max_bps);
	pace(&f->max_ops_ns, now, burst_ns, n, f->p.max_iops);
	pace_minimum(&f->min_bytes_ns, now, bytes, f->p.min_bps);
	pace_minimum(&f->min_ops_ns, now, n, f->p.min_iops);
	f->took = true;
	f->out++;
	f->pool->out++;
	sv_store_relaxed(&f->counts.outstanding, f->out);
	if (f->out > f->counts.outstanding_max)
		sv_store_relaxed(&f->counts.outstanding_max, f->out);
}

void sv_qos_charge(struct sv_qos_flow *f, uint64_t cost)
{
	f->tag += (cost << QOS_TAG_SHIFT) / f->p.weight;
	f->left -= (int64_t)cost;
}

void sv_qos_leave(struct sv_qos_flow *f)
{
	if (f->refused == SV_QOS_NOTHING) {
		stop_waiting(f);
		if (f->took && f->out <= QOS_LIGHT)
			qos_depth_light(f->pool, f->q->now);
	}
	f->took = false;
}

void sv_qos_done(struct sv_qos_flow *f, const struct sv_qos_ticket *t)
{
	uint64_t now = f->q->now;

	f->out--;
	f->pool->out--;
	f->busy_ns = now;
	sv_store_relaxed(&f->counts.outstanding, f->out);
	count(&f->counts.ops[t->kind], t->n);
	count(&f->counts.bytes[t->kind], t->bytes);
	sv_histogram_add(&f->counts.latency[t->kind], now - t->taken_ns);
	/* What came back within the visit that took it never waited in the store. */
	if (t->taken_ns != f->seen_ns && t->bytes && f->q->nactive > 1)
		qos_depth_sample(f->pool, now, t->taken_ns);
}

enum sv_qos_wait sv_qos_waits(const struct sv_qos_flow *f, uint64_t *until_ns)
{
	*until_ns = 0;
	if (f->refused == SV_QOS_TIME) {
		if (f->p.max_bps)
			*until_ns = f->max_bytes_ns;
		if (f->p.max_iops)
			*until_ns = later(*until_ns, f->max_ops_ns);
	}
	return f->refused;
}
