/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk as a device class: its poller, its features and configuration space, its life. */
#include "blk.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <channels/atomics.h>
#include <io/devices.h>

#include "blk_nbd.h"
#include "blk_stack.h"
#include "vhost_private.h"

/* --- the poller ------------------------------------------------------------------------------ */

static struct blk *blk_of(struct sv_poller *p)
{
	return (struct blk *)(void *)sv_session_of(p);
}

/* One round over the queues. The one after whoever takes the last slot is the first of the next. */
static unsigned take_all(struct blk *b, unsigned budget)
{
	unsigned n = 0, first = b->first_queue;

	for (unsigned i = 0; i < b->queues && b->free_head != BLK_NONE; i++) {
		unsigned q = (first + i) % b->queues;
		unsigned taken = blk_take(b, q, budget);

		if (taken && b->free_head == BLK_NONE)
			b->first_queue = (q + 1) % b->queues;
		if (taken)
			sv_moderate_taken(&b->moderate[q], taken, sv_clock_ns());
		n += taken;
	}
	return n;
}

static void publish_all(struct blk *b)
{
	for (unsigned q = 0; q < b->queues; q++)
		if (b->session.vhost.queue[q].running)
			sv_virtq_publish(&b->session.vhost.queue[q].vq);
}

/* The driver has something that could be taken. */
static bool waiting(struct blk *b)
{
	for (unsigned q = 0; q < b->queues; q++)
		if (sv_vhost_serving(&b->session.vhost.queue[q]) &&
			sv_virtq_waiting(&b->session.vhost.queue[q].vq))
			return true;
	return false;
}

static void begin_visit(struct blk *b)
{
	qos_device_visit(&b->qos);
	while (sv_unlikely(b->nlate))
		sv_qos_done(b->qos.flow, &b->late[--b->nlate]);
}

/* Interrupt where it is time. Return: some wait for theirs. */
static bool interrupt_all(struct blk *b)
{
	bool held = false;

	for (unsigned i = 0; i < b->queues; i++) {
		struct sv_vhost_queue *q = &b->session.vhost.queue[i];

		if (!q->running || !q->vq.owed)
			continue;
		if (sv_moderate_due(&b->moderate[i], q->vq.inflight + q->vq.unseen, sv_clock_ns()))
			sv_virtq_call_owed(&q->vq);
		else
			held = true;
	}
	return held;
}

static enum sv_poll blk_poll(struct sv_poller *p, unsigned budget)
{
	struct blk *b = blk_of(p);
	struct blk_store *s = b->store;
	unsigned n = 0;

	sv_vhost_call_again(&b->session.vhost);
	if (!b->busy && !b->held && !b->unsubmitted && !b->nlate && !sv_qos_left(b->qos.flow) &&
		!waiting(b))
		return SV_POLL_IDLE;
	begin_visit(b);
	if (b->busy)
		n += s->ops->reap(s);
	n += take_all(b, budget);
	sv_qos_leave(b->qos.flow);
	if (!n && !b->unsubmitted) {
		if (!b->held)
			return SV_POLL_IDLE;
		b->held = interrupt_all(b);
		p->waited_ticks = UINT64_MAX; /* waiting is no work */
		return SV_POLL_BUSY;
	}
	b->unsubmitted = s->ops->submit(s);
	if (b->busy) {
		qos_device_tick(&b->qos);
		s->ops->reap(s); /* what the page cache had is there already */
		b->unsubmitted = s->ops->submit(s);
	}
	publish_all(b);
	b->held = interrupt_all(b);
	sv_vhost_suppress(&b->session.vhost);
	return SV_POLL_BUSY;
}

static bool blk_arm(struct sv_poller *p)
{
	struct blk *b = blk_of(p);
	bool pending;

	if (b->held || b->store->ops->pending(b->store))
		return true;
	if (qos_device_arm(&b->qos, &pending))
		return pending;
	/* With every slot in use, completions are the only thing to wait for. */
	return b->free_head != BLK_NONE && sv_vhost_arm(&b->session.vhost);
}

static void blk_disarm(struct sv_poller *p)
{
	struct blk *b = blk_of(p);

	qos_device_disarm(&b->qos);
	sv_vhost_drain_kicks(&b->session.vhost);
	sv_vhost_suppress(&b->session.vhost);
}

static const struct sv_poller_ops blk_ops = {
	.service = "blk", .poll = blk_poll, .arm = blk_arm, .disarm = blk_disarm};

/* --- what the vhost-user session asks -------------------------------------------------------- */

static uint64_t blk_features(void *dev)
{
	const struct blk *b = dev;
	uint64_t f = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
		     1ull << VIRTIO_BLK_F_TOPOLOGY | 1ull << VIRTIO_BLK_F_FLUSH |
		     1ull << VIRTIO_BLK_F_CONFIG_WCE;

	if (b->queues > 1)
		f |= 1ull << VIRTIO_BLK_F_MQ;
	if (b->store->geometry.readonly)
		f |= 1ull << VIRTIO_BLK_F_RO;
	if (b->store->geometry.discard)
		f |= 1ull << VIRTIO_BLK_F_DISCARD;
	if (b->store->geometry.zeroes)
		f |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	if (b->in_order)
		f |= 1ull << VIRTIO_F_IN_ORDER;
	return f;
}

/* A driver that cannot flush gets a disk that needs none. */
static void blk_set_features(void *dev, uint64_t features)
{
	struct blk *b = dev;

	b->wce = (features & 1ull << VIRTIO_BLK_F_FLUSH) && b->wce_wish;
}

static void blk_get_config(void *dev, uint8_t *config)
{
	const struct blk *b = dev;
	const struct blk_geometry *g = &b->store->geometry;
	struct virtio_blk_config c = {.capacity = g->bytes / BLK_SECTOR,
		.seg_max = BLK_SEG_MAX,
		.blk_size = BLK_SECTOR,
		.physical_block_exp = (uint8_t)__builtin_ctz(g->physical / BLK_SECTOR),
		.min_io_size = (uint16_t)(g->min_io / BLK_SECTOR),
		.opt_io_size = g->opt_io / BLK_SECTOR,
		.wce = b->wce_wish,
		.num_queues = (uint16_t)b->queues};

	if (g->discard) {
		c.max_discard_sectors = BLK_RANGE_SECTORS;
		c.max_discard_seg = 1;
		c.discard_sector_alignment = g->discard_align / BLK_SECTOR;
	}
	if (g->zeroes) {
		c.max_write_zeroes_sectors = BLK_RANGE_SECTORS;
		c.max_write_zeroes_seg = 1;
		c.write_zeroes_may_unmap = 1;
	}
	memcpy(config, &c, sizeof(c));
}

struct flush {
	struct blk_io io; /* first */
	bool done;
	int result;
};

static void flushed(struct blk_io *io, int result)
{
	struct flush *f = (struct flush *)io;

	f->result = result;
	f->done = true;
}

/*
 * Everything the driver has seen completed becomes durable. Context: control thread in the place of
 * the polling thread. Return: 0, or -errno; -ETIMEDOUT: the flush is out and *f must stay.
 */
static int flush_now(struct blk *b, struct flush *f)
{
	static const struct timespec nap = {.tv_nsec = 200000};
	struct blk_store *s = b->store;

	f->io = (struct blk_io){.op = BLK_FLUSH, .done = flushed};
	b->unsubmitted = s->ops->submit(s);
	if (b->unsubmitted)
		return -EBUSY;
	s->ops->begin(s, &f->io);
	b->stood_in = true;
	for (unsigned i = 0; i < SV_VHOST_DRAIN_MS * 5 && !f->done; i++) {
		nanosleep(&nap, NULL);
		b->unsubmitted = s->ops->submit(s);
		s->ops->reap(s);
	}
	b->stood_in = false;
	publish_all(b);
	b->held = true; /* the next turn sees whether one is */
	return f->done ? f->result : -ETIMEDOUT;
}

/* Only the write cache can be switched. What it held is durable before a write-through begins. */
static int blk_set_config(void *dev, uint32_t offset, const uint8_t *bytes, uint32_t n)
{
	struct blk *b = dev;
	bool flush = b->session.vhost.features & 1ull << VIRTIO_BLK_F_FLUSH;

	if (offset != offsetof(struct virtio_blk_config, wce) || n != 1 || bytes[0] > 1)
		return -EINVAL;
	if (b->wce && !bytes[0]) {
		struct flush *f = calloc(1, sizeof(*f));
		int rc = f ? flush_now(b, f) : -ENOMEM;

		if (rc == -ETIMEDOUT)
			return rc; /* the session ends, and keeps what the host's storage holds */
		free(f);
		if (rc < 0)
			return rc;
	}
	b->wce_wish = bytes[0];
	b->wce = flush && b->wce_wish;
	return 0;
}

/* Whether the driver switched the write cache off: a front end need not say so again. */
static void blk_get_state(void *dev, uint8_t *state)
{
	const struct blk *b = dev;

	state[0] = b->wce_wish;
}

static void blk_set_state(void *dev, const uint8_t *state)
{
	struct blk *b = dev;

	b->wce_wish = state[0];
	b->wce = (b->session.vhost.features & 1ull << VIRTIO_BLK_F_FLUSH) && b->wce_wish;
}

static const struct sv_vhost_device blk_type = {.name = "virtio-blk",
	.features = blk_features,
	.set_features = blk_set_features,
	.config_bytes = sizeof(struct virtio_blk_config),
	.get_config = blk_get_config,
	.set_config = blk_set_config,
	.get_state = blk_get_state,
	.set_state = blk_set_state,
	.takes_all = true};

/* --- life ------------------------------------------------------------------------------------ */

static void blk_free(struct blk *b)
{
	blk_pin_unwatch(b);
	qos_device_close(&b->qos);
	if (b->store)
		b->store->ops->close(b->store);
	blk_notice_close(&b->notice);
	free(b->slot);
	free(b);
}

static struct blk *blk_new(const struct sv_device_request *req)
{
	const struct sv_control_device *d = req->device;
	struct blk *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->wce_wish = !(d->flags & SV_DEVICE_F_WRITETHROUGH);
	b->in_order = d->flags & SV_DEVICE_F_IN_ORDER;
	b->pinned = d->flags & SV_DEVICE_F_PINNED;
	b->queues = d->queues;
	memcpy(b->serial, d->serial, sizeof(b->serial));
	b->slot = calloc(BLK_SLOTS, sizeof(b->slot[0]));
	if (!b->slot) {
		free(b);
		return NULL;
	}
	blk_slots_init(b);
	return b;
}

/* Where its bytes are. @fd: the store's own on success. */
static int open_base(struct blk *b, const struct sv_device_request *req, int fd, bool trusted,
	struct sv_error *err)
{
	const struct sv_control_blk *c = &req->device->blk;
	uint32_t flags = (req->device->flags & SV_DEVICE_F_READONLY ? BLK_RAW_READONLY : 0) |
			 (req->device->flags & SV_DEVICE_F_DISCARD ? BLK_RAW_DISCARD : 0) |
			 (req->device->flags & SV_DEVICE_F_IOPOLL ? BLK_RAW_IOPOLL : 0) |
			 (b->pinned ? BLK_RAW_PINNED : 0);
	struct blk_nbd_config remote = {
		.export = {.bytes = c->bytes, .preferred = c->preferred, .flags = c->export_flags},
		.flags = flags,
		.deadline_ms = c->deadline_ms ? c->deadline_ms : BLK_NBD_DEADLINE_MS,
		.trusted = trusted,
		.notice = &b->notice};
	int rc;

	if (!c->bytes && !c->filters[0])
		return blk_raw_open(&b->store, fd, flags, req->device->name, err);
	rc = blk_notice_open(&b->notice, req->host, req->device->name, req->vm);
	if (rc < 0)
		return sv_fail(err, -rc, "disk %s: %s", req->device->name, strerror(-rc));
	return c->bytes ? blk_nbd_open(&b->store, fd, &remote, err)
			: blk_raw_open(&b->store, fd, flags, req->device->name, err);
}

static int open_filters(struct blk *b, const struct sv_device_request *req, struct sv_error *err)
{
	char names[sizeof(req->device->blk.filters) + 1] = "";
	int files[SV_FILTER_STACK] = {-1, -1, -1, -1}, rc = 0;
	unsigned n = req->nfds - 2;

	memcpy(names, req->device->blk.filters, sizeof(names) - 1);
	if (!names[0])
		return n ? sv_fail(err, EINVAL, "disk %s: %u descriptors too many", req->device->name, n)
			 : 0;
	for (unsigned i = 0; i < n && rc == 0; i++) {
		files[i] = fcntl(req->fds[2 + i], F_DUPFD_CLOEXEC, 0);
		if (files[i] < 0)
			rc = sv_fail(err, errno, "disk %s: %s", req->device->name, strerror(errno));
	}
	if (rc == 0)
		rc = blk_stack_open(&b->store, names, files, n, &b->notice, err);
	for (unsigned i = 0; i < n; i++)
		if (files[i] >= 0)
			close(files[i]);
	return rc;
}

int blk_check(const struct sv_control_device *d, struct sv_error *err)
{
	if (!(d->flags & (SV_DEVICE_F_PINNED | SV_DEVICE_F_IOPOLL)) ||
		(d->flags & SV_DEVICE_F_DIRECT && !d->blk.bytes && !d->blk.filters[0]))
		return 0;
	return sv_fail(err, EINVAL, "disk %s: pinned and iopoll are for a raw image with direct and "
		       "without filters", d->name);
}

static int open_store(struct blk *b, const struct sv_device_request *req, bool trusted,
	struct sv_error *err)
{
	/* What fails from here on leaves the caller's descriptors open. */
	int fd = fcntl(req->fds[1], F_DUPFD_CLOEXEC, 0), rc;

	if (fd < 0)
		return sv_fail(err, errno, "disk %s: %s", req->device->name, strerror(errno));
	rc = blk_check(req->device, err);
	if (rc == 0)
		rc = open_base(b, req, fd, trusted, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	rc = open_filters(b, req, err);
	if (rc < 0)
		return rc;
	rc = b->store->ops->hold ? b->store->ops->hold(b->store, req->fds[0]) : 0;
	return rc < 0 ? sv_fail(err, -rc, "disk %s: io_uring: %s", req->device->name, strerror(-rc)) : 0;
}

/* Images on one file system, or on one device, share what is below them; remote ones share nothing. */
static int open_qos(struct blk *b, const struct sv_device_request *req, struct sv_error *err)
{
	struct stat st;
	uint64_t place = (uintptr_t)b->store;

	if (fstat(req->fds[1], &st) == 0 && (S_ISBLK(st.st_mode) || S_ISREG(st.st_mode)))
		place = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	return qos_device_open(&b->qos, req->host, place, SV_QOS_COST_REQUEST, &req->device->qos, err);
}

int blk_open(const struct sv_device_request *req, bool foreign, struct blk **out,
	struct sv_error *err)
{
	struct blk *b;
	int rc;

	if (req->nfds < 2 || req->nfds > 2 + SV_FILTER_STACK || !req->device->queues ||
		req->device->queues > SV_VHOST_QUEUES)
		return sv_fail(err, EINVAL, "disk %s: %u descriptors, %u queues (1 to %u)",
			req->device->name, req->nfds, req->device->queues, SV_VHOST_QUEUES);
	b = blk_new(req);
	if (!b)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	rc = open_store(b, req, foreign, err);
	if (rc == 0)
		rc = open_qos(b, req, err);
	if (rc == 0)
		rc = blk_pin_watch(b, req, err);
	if (rc == 0)
		rc = sv_session_open(&b->session, req, &blk_type, b, &blk_ops, b->queues, err);
	if (rc < 0) {
		blk_free(b);
		return rc;
	}
	b->session.vhost.sealed_only = !foreign;
	b->session.prepare = blk_pin_prepare;
	for (unsigned i = 0; i < b->queues; i++)
		b->session.vhost.queue[i].vq.calls_held = true;
	/* Not polled before the front end starts a queue. */
	b->session.poller.wake_fds[1] = b->store->wake_fd[0];
	b->session.poller.wake_fds[2] = b->store->wake_fd[1];
	b->session.poller.wake_fds[3] = b->qos.timer;
	for (unsigned i = 1; i < req->nfds; i++)
		close(req->fds[i]);
	*out = b;
	return 0;
}

void blk_close(struct blk *b)
{
	blk_pin_unwatch(b);
	if (sv_session_close(&b->session) < 0)
		qos_device_close(&b->qos);
	else
		blk_free(b);
}

static int blk_attach(const struct sv_device_request *req, void **handle, struct sv_error *err)
{
	struct blk *b;
	int rc = blk_open(req, false, &b, err);

	if (rc == 0)
		*handle = b;
	return rc;
}

static void blk_detach(void *handle)
{
	blk_close(handle);
}

char *blk_stats(void *handle)
{
	const struct blk *b = handle;
	const struct blk_counters *c = &b->counts;
	const struct blk_store_counters *sc = &b->store->counts;
	struct sv_virtq_stats q = sv_vhost_stats(&b->session.vhost);
	char *text = NULL, *qos = qos_device_json(&b->qos, true),
	     *filters = blk_stack_json(b->store);
	uint64_t defects = 0, held = 0;

	for (unsigned i = 0; i < SV_VIRTQ_DEFECTS; i++)
		defects += q.defects[i];
	for (unsigned i = 0; i < b->queues; i++)
		held += sv_load_relaxed(&b->moderate[i].held);
#define N(x) ((unsigned long long)sv_load_relaxed(&(x)))
	if (asprintf(&text,
		    "{\"reads\": %llu, \"writes\": %llu, \"flushes\": %llu, \"discards\": %llu, "
		    "\"read_bytes\": %llu, \"write_bytes\": %llu, \"errors\": %llu, "
		    "\"unsupported\": %llu, \"continued\": %llu, \"bounced\": %llu, "
		    "\"submits\": %llu, \"pinned\": %llu, \"polled\": %llu, "
		    "\"interrupts\": %llu, \"interrupts_saved\": %llu, \"interrupts_again\": %llu, "
		    "\"interrupts_held\": %llu, "
		    "\"kicks\": %llu, \"defects\": %llu, \"busy_ticks\": %llu, "
		    "\"idle_ticks\": %llu, \"reconnects\": %llu, \"retried\": %llu, "
		    "\"filters\": %s, \"qos\": %s}",
		    N(c->reads), N(c->writes), N(c->flushes), N(c->discards), N(c->read_bytes),
		    N(c->write_bytes), N(c->errors), N(c->unsupported), N(sc->continued),
		    N(sc->bounced), N(sc->submits), N(sc->pinned), N(sc->polled), N(q.calls),
		    N(q.calls_saved), N(q.calls_again), N(held),
		    N(b->session.vhost.kicks), N(defects), N(b->session.poller.ticks.busy_ticks),
		    N(b->session.poller.ticks.idle_ticks), N(sc->reconnects), N(sc->retried),
		    filters ? filters : "[]", qos ? qos : "{}") < 0)
		text = NULL;
#undef N
	free(qos);
	free(filters);
	return text;
}

/* A size such as 12884901888, 12G or 512M; max: as much as its storage has now. */
static int parse_size(const char *text, uint64_t *bytes, struct sv_error *err)
{
	static const char units[] = "KMGT";
	char *end = NULL;
	const char *unit;

	*bytes = 0;
	if (!strcmp(text, "max"))
		return 0;
	errno = 0;
	if (*text >= '0' && *text <= '9')
		*bytes = strtoull(text, &end, 10);
	unit = end && *end ? strchr(units, *end) : NULL;
	if (unit) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);

		errno = *bytes > UINT64_MAX >> shift ? ERANGE : errno;
		*bytes <<= shift;
		end++;
	}
	return end && !*end && *bytes && !errno
		       ? 0
		       : sv_fail(err, EINVAL, "size=%s: write a number of bytes, with K, M, G or T behind "
				 "it, or max", text);
}

static int resize(struct blk *b, const char *text, struct sv_error *err)
{
	struct sv_vhost *v = &b->session.vhost;
	uint64_t before = b->store->geometry.bytes, bytes;
	struct sv_error why;
	int rc = parse_size(text, &bytes, err);

	if (rc < 0)
		return rc;
	if (!b->session.open)
		return sv_fail(err, ENOTCONN, "no front end is there");
	sv_vhost_pause(v);
	rc = b->store->ops->resize(b->store, bytes, err);
	if (sv_vhost_resume(v, &why) < 0)
		sv_warn("%s of %s: %s", b->session.name, b->session.poller.vm, why.text);
	if (rc == 0 && b->store->geometry.bytes != before)
		sv_vhost_config_changed(v);
	return rc;
}

int blk_set(void *handle, const char *key, const char *value, struct sv_error *err)
{
	struct blk *b = handle;

	return strcmp(key, "size") ? qos_device_set(&b->qos, key, value, err) : resize(b, value, err);
}

const struct sv_device_class sv_blk_class = {.kind = SV_DEVICE_BLK,
	.name = "blk",
	.attach = blk_attach,
	.detach = blk_detach,
	.stats = blk_stats,
	.set = blk_set};
