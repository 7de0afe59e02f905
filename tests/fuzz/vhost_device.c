/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_device.h"

#include <errno.h>
#include <linux/virtio_config.h>

#define REJECTED 77u /* a chain of so many bytes, modulo 256, is not a request */

struct vhost_fuzz vhost_fuzz;

static void take_some(struct vhost_fuzz *f, unsigned q, unsigned budget)
{
	static struct sv_virtq_chain c;
	struct sv_virtq *vq = &f->v.queue[q].vq;
	bool give_back = budget == 5;
	unsigned before = f->held[q].n;

	while (budget-- && f->held[q].n < HELD && sv_vhost_serving(&f->v.queue[q]) &&
		sv_virtq_take(vq, &c) == SV_VIRTQ_ONE) {
		if ((c.readable_bytes + c.writable_bytes) % 256 == REJECTED) {
			sv_virtq_reject(vq);
			break;
		}
		for (unsigned i = 0; i < c.readable + c.writable; i++)
			CHECK(mk_mapped(c.iov[i].iov_base, c.iov[i].iov_len));
		for (unsigned i = c.readable; i < c.readable + c.writable; i++)
			((uint8_t *)c.iov[i].iov_base)[c.iov[i].iov_len - 1] = 1;
		f->held[q].head[f->held[q].n] = c.head;
		f->held[q].bytes[f->held[q].n++] = c.writable_bytes;
	}
	if (give_back && f->held[q].n > before && !vq->broken)
		sv_virtq_untake(vq, f->held[q].head[--f->held[q].n]);
}

static void answer(struct vhost_fuzz *f, unsigned q, unsigned keep)
{
	struct sv_virtq *vq = &f->v.queue[q].vq;

	if (!f->v.queue[q].running)
		return;
	while (f->held[q].n > keep) {
		f->held[q].n--;
		sv_virtq_put(vq, f->held[q].head[f->held[q].n], f->held[q].bytes[f->held[q].n]);
	}
	sv_virtq_publish(vq);
	if (keep)
		sv_virtq_call_owed(vq);
}

void vhost_device_poll(struct vhost_fuzz *f, unsigned budget)
{
	for (unsigned q = 0; q < QUEUES; q++) {
		take_some(f, q, budget);
		answer(f, q, budget & 1);
	}
	sv_vhost_call_again(&f->v);
}

static enum sv_poll poll_one(struct sv_poller *p, unsigned budget)
{
	(void)p;
	vhost_device_poll(&vhost_fuzz, budget);
	return SV_POLL_IDLE;
}

static void finish(void)
{
	CHECK(vhost_fuzz.polled);
	vhost_device_poll(&vhost_fuzz, 8);
}

bool vhost_device_idle(const struct vhost_fuzz *f)
{
	return !f->polled && !f->held[0].n && !f->held[1].n;
}

void vhost_device_reset(struct vhost_fuzz *f)
{
	static const struct sv_poller_ops poller_ops = {.service = "fuzz", .poll = poll_one};

	mk_meanwhile = finish;
	mem_show(mk_file(), GUEST);
	f->polled = f->open = f->hidden = false;
	f->absent = 0;
	memset(f->held, 0, sizeof(f->held));
	memset(f->config, 0, sizeof(f->config));
	memset(&f->inflight, 0, sizeof(f->inflight));
	memset(&f->poller, 0, sizeof(f->poller));
	f->poller.ops = &poller_ops;
}

void vhost_device_view(const struct vhost_fuzz *f, bool driver)
{
	for (unsigned p = 0; f->hidden && p < GUEST / PAGE; p++)
		if (f->absent & 1u << p)
			(driver ? mem_show : mem_hide)(mk_file() + p * PAGE, PAGE);
}

/*
 * Here, and nowhere else, two regions can be at one address: those of one part of the file. What lies in the
 * longer of them may be asked for by the other's addresses.
 */
static bool resident(struct sv_residency *r, uint64_t gpa, uint64_t bytes)
{
	struct vhost_fuzz *f = &vhost_fuzz;
	const uint8_t *host = sv_gmem_ptr(&f->v.gmem, sv_gpa(gpa), 1);
	uint64_t from = (uint64_t)(host - mk_file());
	unsigned pages = 0;

	CHECK(r == &f->residency && host && from + bytes <= GUEST);
	/* By the place in the file: several addresses may lead there. */
	for (uint64_t at = 0; at < GUEST; at += PAGE)
		if (from < at + PAGE && at < from + bytes)
			pages |= 1u << at / PAGE;
	pages &= f->absent;
	vhost_device_view(f, true);
	f->absent &= ~pages;
	vhost_device_view(f, false);
	return !pages;
}

void vhost_device_late(struct vhost_fuzz *f, unsigned pages)
{
	vhost_device_view(f, true);
	f->absent = pages;
	f->residency.resident = resident;
	f->v.gmem.residency = pages ? &f->residency : NULL;
	vhost_device_view(f, false);
}

static bool all_back(const struct vhost_fuzz *f)
{
	for (unsigned q = 0; q < QUEUES; q++)
		if (f->v.queue[q].running &&
			(f->v.queue[q].vq.inflight || sv_virtq_agains(&f->v.queue[q].vq)))
			return false;
	return true;
}

static int attach(void *ctx, struct sv_poller *p)
{
	struct vhost_fuzz *f = &vhost_fuzz;

	(void)ctx;
	CHECK(p == &f->poller && !f->polled);
	/* A sidecore that refuses what it had a moment ago is not one. */
	if (all_back(f) && mk_fails(ENOSPC))
		return -ENOSPC;
	f->polled = true;
	return 0;
}

static void detach(void *ctx, struct sv_poller *p)
{
	struct vhost_fuzz *f = &vhost_fuzz;

	(void)ctx;
	CHECK(p == &f->poller && f->polled);
	f->polled = false;
}

static uint64_t features(void *dev)
{
	(void)dev;
	return 1 | 1ull << VIRTIO_F_IN_ORDER;
}

/* What changes a device comes when nobody polls it. */
static void set_features(void *dev, uint64_t bits)
{
	(void)dev;
	(void)bits;
	CHECK(!vhost_fuzz.polled);
}

static void get_config(void *dev, uint8_t *config)
{
	(void)dev;
	memcpy(config, vhost_fuzz.config, CONFIG);
}

static int set_config(void *dev, uint32_t offset, const uint8_t *bytes, uint32_t n)
{
	(void)dev;
	CHECK(!vhost_fuzz.polled && offset <= CONFIG);
	if (n > CONFIG - offset)
		return -EINVAL;
	memcpy(vhost_fuzz.config + offset, bytes, n);
	return 0;
}

static void get_state(void *dev, uint8_t state[SV_VHOST_STATE])
{
	(void)dev;
	memcpy(state, vhost_fuzz.config, CONFIG);
}

static void set_state(void *dev, const uint8_t state[SV_VHOST_STATE])
{
	(void)dev;
	CHECK(!vhost_fuzz.polled);
	memcpy(vhost_fuzz.config, state, CONFIG);
}

const struct sv_vhost_device vhost_device_type = {.name = "fuzz",
	.features = features,
	.set_features = set_features,
	.config_bytes = CONFIG,
	.get_config = get_config,
	.set_config = set_config,
	.get_state = get_state,
	.set_state = set_state,
	.takes_all = true};

const struct sv_vhost_host vhost_device_host = {.attach = attach, .detach = detach};
