/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many requests a shared store gets at a time. More than it can work on at once wait in its own
 * queue, where no order of ours reaches them, and add latency for everybody and throughput for
 * nobody. So: now and then, for a moment, every device gets one request outstanding, and the mean
 * latency of that moment is what the store needs without a queue. In between the depth rises while
 * the mean stays near that, and falls when it is well above. While all that use it have long queues
 * of their own, nobody's latency is at stake, and it may be several times that.
 */
#include "qos_private.h"

#include <channels/atomics.h>

#define WINDOW_NS 20000000ull
#define WINDOW_SAMPLES 32u
#define PROBE_NS 5000000ull
#define PROBE_SAMPLES 16u
#define PROBE_EVERY_NS (2 * QOS_NS)
#define OUTLIER 16u /* times the base: what is longer counts as this */

static void open_window(struct sv_qos_pool *p, uint64_t now_ns, bool probing)
{
	p->probing = probing;
	p->limited = false;
	p->since_ns = now_ns;
	p->samples = p->sum_ns = 0;
}

static void adapt(struct sv_qos_pool *p, uint64_t mean)
{
	uint64_t least = p->light ? 9 : 24, most = p->light ? 10 : 32; /* eighths of the base */
	uint32_t depth = p->depth;

	if (mean * 8 > p->base_ns * most)
		depth -= depth / 4 ? depth / 4 : 1;
	else if (mean * 8 < p->base_ns * least && p->limited)
		depth += depth / 4 ? depth / 4 : 1;
	if (depth < QOS_DEPTH_MIN)
		depth = QOS_DEPTH_MIN;
	if (depth > QOS_DEPTH_MAX)
		depth = QOS_DEPTH_MAX;
	sv_store_relaxed(&p->depth, depth);
}

static void close_window(struct sv_qos_pool *p, uint64_t now_ns)
{
	uint64_t mean = p->sum_ns / p->samples;

	if (p->probing) {
		p->base_ns = mean ? mean : 1;
		p->probed_ns = now_ns;
		open_window(p, now_ns, false);
		return;
	}
	if (p->light && now_ns - p->light_ns > QOS_ACTIVE_NS) {
		p->light = false;
		p->tight = p->depth;
	}
	if (p->base_ns)
		adapt(p, mean);
	open_window(p, now_ns, !p->base_ns || now_ns - p->probed_ns >= PROBE_EVERY_NS);
}

void qos_depth_light(struct sv_qos_pool *p, uint64_t now_ns)
{
	p->light_ns = now_ns;
	if (p->light)
		return;
	p->light = true;
	if (p->depth > p->tight)
		sv_store_relaxed(&p->depth, p->tight);
}

void qos_depth_sample(struct sv_qos_pool *p, uint64_t now_ns, uint64_t taken_ns)
{
	uint64_t ns = now_ns - taken_ns;

	if (!p->since_ns)
		open_window(p, now_ns, true);
	if (taken_ns < p->since_ns) /* it waited behind what the window before let in */
		return;
	if (p->base_ns && ns > p->base_ns * OUTLIER)
		ns = p->base_ns * OUTLIER;
	p->samples++;
	p->sum_ns += ns;
	if (p->samples >= (p->probing ? PROBE_SAMPLES : WINDOW_SAMPLES) &&
		now_ns - p->since_ns >= (p->probing ? PROBE_NS : WINDOW_NS))
		close_window(p, now_ns);
}

bool qos_depth_allows(const struct sv_qos_pool *p)
{
	return p->out < (p->probing ? 1 : p->depth);
}
