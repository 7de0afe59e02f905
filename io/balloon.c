/* SPDX-License-Identifier: BSD-3-Clause */
#include <io/balloon.h>

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stdlib.h>
#include <string.h>

#include <channels/atomics.h>

#include "session.h"

#define QUEUES 3u
#define PFN_BYTES 4096ull
#define PFNS 1024u /* in one buffer; drivers send at most 256 */
#define PER_TURN 4u

enum { INFLATE, DEFLATE, REPORT };

struct sv_balloon_device {
	struct sv_session session; /* first */
	const struct sv_balloon_ops *ops;
	void *ctx;
	uint32_t target, actual; /* pages (relaxed) */
};

static struct sv_balloon_device *device_of(struct sv_poller *p)
{
	return (struct sv_balloon_device *)(void *)sv_session_of(p);
}

/* --- what the driver says ---------------------------------------------------------------------- */

/* The numbers of pages in a chain, copied once. Return: how many; 0: it makes no sense. */
static unsigned copy_pfns(const struct sv_virtq_chain *c, uint32_t pfn[PFNS])
{
	size_t n = 0;

	for (unsigned i = 0; i < c->readable; i++) {
		if (c->iov[i].iov_len > PFNS * sizeof(pfn[0]) - n)
			return 0;
		memcpy((uint8_t *)pfn + n, c->iov[i].iov_base, c->iov[i].iov_len);
		n += c->iov[i].iov_len;
	}
	return n % sizeof(pfn[0]) ? 0 : (unsigned)(n / sizeof(pfn[0]));
}

static bool take_pages(struct sv_balloon_device *d, unsigned queue, const struct sv_virtq_chain *c)
{
	uint32_t pfn[PFNS];
	unsigned n = copy_pfns(c, pfn);

	for (unsigned i = 0; i < n; i++) {
		if (queue == INFLATE)
			d->ops->inflate(d->ctx, pfn[i] * PFN_BYTES);
		else
			d->ops->deflate(d->ctx, pfn[i] * PFN_BYTES);
	}
	return n != 0;
}

/* The buffers of a report are the free pages themselves. */
static bool take_report(struct sv_balloon_device *d, const struct sv_virtq_chain *c)
{
	const struct sv_gmem *gm = &d->session.vhost.gmem;

	for (unsigned i = c->readable; i < c->readable + c->writable; i++) {
		uint64_t off;
		const struct sv_gmem_region *r = sv_gmem_region_of(gm, c->iov[i].iov_base, &off);

		if (r)
			d->ops->report(d->ctx, r->gpa + off, c->iov[i].iov_len);
	}
	return c->writable != 0;
}

static unsigned take_queue(struct sv_balloon_device *d, unsigned i)
{
	struct sv_vhost_queue *q = &d->session.vhost.queue[i];
	struct sv_virtq_chain c;
	uint16_t head[PER_TURN];
	unsigned n = 0;

	while (n < PER_TURN && sv_vhost_serving(q) && sv_virtq_take(&q->vq, &c) == SV_VIRTQ_ONE) {
		if (i == REPORT ? !take_report(d, &c) : !take_pages(d, i, &c)) {
			sv_virtq_reject(&q->vq);
			break;
		}
		head[n++] = c.head;
	}
	if (!n)
		return 0;
	d->ops->settle(d->ctx);
	for (unsigned k = 0; k < n; k++)
		sv_virtq_put(&q->vq, head[k], 0);
	sv_virtq_publish(&q->vq);
	return n;
}

static enum sv_poll balloon_poll(struct sv_poller *p, unsigned budget)
{
	struct sv_balloon_device *d = device_of(p);
	unsigned n = 0;

	(void)budget;
	for (unsigned i = 0; i < QUEUES; i++)
		n += take_queue(d, i);
	return n ? SV_POLL_BUSY : SV_POLL_IDLE;
}

static bool balloon_arm(struct sv_poller *p)
{
	return sv_vhost_arm(&device_of(p)->session.vhost);
}

static void balloon_disarm(struct sv_poller *p)
{
	struct sv_balloon_device *d = device_of(p);

	sv_vhost_drain_kicks(&d->session.vhost);
	sv_vhost_suppress(&d->session.vhost);
}

static const struct sv_poller_ops balloon_ops = {
	.service = "balloon", .poll = balloon_poll, .arm = balloon_arm, .disarm = balloon_disarm};

/* --- the device type --------------------------------------------------------------------------- */

static uint64_t balloon_features(void *dev)
{
	(void)dev;
	return 1ull << VIRTIO_BALLOON_F_MUST_TELL_HOST | 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
	       1ull << VIRTIO_BALLOON_F_REPORTING;
}

static void balloon_set_features(void *dev, uint64_t features)
{
	(void)dev;
	(void)features;
}

static void balloon_get_config(void *dev, uint8_t *config)
{
	const struct sv_balloon_device *d = dev;
	uint32_t target = sv_load_relaxed(&d->target), actual = sv_load_relaxed(&d->actual);

	memset(config, 0, sizeof(struct virtio_balloon_config));
	memcpy(config + offsetof(struct virtio_balloon_config, num_pages), &target, 4);
	memcpy(config + offsetof(struct virtio_balloon_config, actual), &actual, 4);
}

static int balloon_set_config(void *dev, uint32_t offset, const uint8_t *bytes, uint32_t n)
{
	struct sv_balloon_device *d = dev;
	uint32_t actual;

	if (offset != offsetof(struct virtio_balloon_config, actual) || n != sizeof(actual))
		return -EINVAL;
	memcpy(&actual, bytes, sizeof(actual));
	sv_store_relaxed(&d->actual, actual);
	return 0;
}

static const struct sv_vhost_device balloon_type = {.name = "virtio-balloon",
	.features = balloon_features,
	.set_features = balloon_set_features,
	.config_bytes = sizeof(struct virtio_balloon_config),
	.get_config = balloon_get_config,
	.set_config = balloon_set_config};

void sv_balloon_set_target(struct sv_balloon_device *d, uint64_t bytes)
{
	sv_store_relaxed(&d->target, (uint32_t)(bytes / PFN_BYTES));
}

uint64_t sv_balloon_actual(const struct sv_balloon_device *d)
{
	return sv_load_relaxed(&d->actual) * PFN_BYTES;
}

int sv_balloon_open(const struct sv_device_request *req, const struct sv_balloon_ops *ops, void *ctx,
	struct sv_balloon_device **out, struct sv_error *err)
{
	struct sv_balloon_device *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return sv_fail(err, ENOMEM, "out of memory");
	d->ops = ops;
	d->ctx = ctx;
	rc = sv_session_open(&d->session, req, &balloon_type, d, &balloon_ops, QUEUES, err);
	if (rc < 0)
		free(d);
	else
		*out = d;
	return rc;
}

void sv_balloon_close(struct sv_balloon_device *d)
{
	if (sv_session_close(&d->session) == 0)
		free(d);
}
