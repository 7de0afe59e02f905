/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-rng (virtio 1.2, section 5.4): the kernel's random bytes for the guest. A request gets at most
 * BYTES_PER_REQUEST, a turn at most BYTES_PER_TURN: a guest that asks for more than its share waits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <channels/atomics.h>
#include <io/devices.h>

#include "session.h"

#define QUEUES 1u
#define BYTES_PER_REQUEST 256u /* getrandom() gives so many whole */
#define BYTES_PER_TURN 1024u

struct rng {
	struct sv_session session; /* first */
	uint64_t bytes;		   /* read relaxed by others */
};

static struct rng *rng_of(struct sv_poller *p)
{
	return (struct rng *)(void *)sv_session_of(p);
}

/* Return: bytes, 0: not now. */
static uint32_t fill(struct rng *r, const struct sv_virtq_chain *c)
{
	uint8_t random[BYTES_PER_REQUEST];
	size_t want = c->writable_bytes < sizeof(random) ? c->writable_bytes : sizeof(random), at = 0;

	if (getrandom(random, want, GRND_NONBLOCK) != (ssize_t)want)
		return 0;
	for (unsigned i = c->readable; i < c->readable + c->writable && at < want; i++) {
		size_t n = c->iov[i].iov_len < want - at ? c->iov[i].iov_len : want - at;

		memcpy(c->iov[i].iov_base, random + at, n);
		at += n;
	}
	explicit_bzero(random, sizeof(random));
	sv_store_relaxed(&r->bytes, r->bytes + want);
	return (uint32_t)want;
}

static enum sv_poll rng_poll(struct sv_poller *p, unsigned budget)
{
	struct rng *r = rng_of(p);
	struct sv_vhost_queue *q = &r->session.vhost.queue[0];
	struct sv_virtq_chain chain;
	bool did = false;

	if (budget > BYTES_PER_TURN / BYTES_PER_REQUEST)
		budget = BYTES_PER_TURN / BYTES_PER_REQUEST;
	for (; budget && sv_vhost_serving(q) && sv_virtq_take(&q->vq, &chain) == SV_VIRTQ_ONE; budget--) {
		uint32_t n;

		if (chain.readable || !chain.writable) {
			sv_virtq_reject(&q->vq);
			break;
		}
		n = fill(r, &chain);
		if (!n) {
			sv_virtq_untake(&q->vq, chain.head);
			break;
		}
		sv_virtq_put(&q->vq, chain.head, n);
		did = true;
	}
	if (did) {
		sv_virtq_publish(&q->vq);
		sv_vhost_suppress(&r->session.vhost);
	}
	return did ? SV_POLL_BUSY : SV_POLL_IDLE;
}

static bool rng_arm(struct sv_poller *p)
{
	return sv_vhost_arm(&rng_of(p)->session.vhost);
}

static void rng_disarm(struct sv_poller *p)
{
	struct rng *r = rng_of(p);

	sv_vhost_drain_kicks(&r->session.vhost);
	sv_vhost_suppress(&r->session.vhost);
}

static const struct sv_poller_ops rng_ops = {
	.service = "rng", .poll = rng_poll, .arm = rng_arm, .disarm = rng_disarm};

static uint64_t rng_features(void *dev)
{
	(void)dev;
	return 0;
}

static void rng_set_features(void *dev, uint64_t features)
{
	(void)dev;
	(void)features;
}

static const struct sv_vhost_device rng_type = {
	.name = "virtio-rng", .features = rng_features, .set_features = rng_set_features};

static int rng_attach(const struct sv_device_request *req, void **handle, struct sv_error *err)
{
	struct rng *r;
	int rc;

	if (req->nfds != 1 || req->device->queues != QUEUES)
		return sv_fail(err, EINVAL, "rng %s: %u descriptors, %u queues (1 and 1 are right)",
			req->device->name, req->nfds, req->device->queues);
	r = calloc(1, sizeof(*r));
	if (!r)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	rc = sv_session_open(&r->session, req, &rng_type, r, &rng_ops, QUEUES, err);
	if (rc < 0) {
		free(r);
		return rc;
	}
	*handle = r;
	return 0;
}

static void rng_detach(void *handle)
{
	struct rng *r = handle;

	if (sv_session_close(&r->session) == 0)
		free(r);
}

static char *rng_stats(void *handle)
{
	const struct rng *r = handle;
	char *text;

	if (asprintf(&text, "{\"bytes\": %llu}", (unsigned long long)sv_load_relaxed(&r->bytes)) < 0)
		return NULL;
	return text;
}

const struct sv_device_class sv_rng_class = {.kind = SV_DEVICE_RNG,
	.name = "rng",
	.attach = rng_attach,
	.detach = rng_detach,
	.stats = rng_stats};
