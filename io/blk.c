/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk as a device class: its poller, its features and configuration space, its life. */
#include "blk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <io/devices.h>

/* --- the poller ------------------------------------------------------------------------------ */

static struct blk *blk_of(struct sv_poller *p)
{
	return (struct blk *)(void *)sv_session_of(p);
}

/* The kernel's workers belong to the thread that submits: keep them off the guest cores. */
static void place_workers(struct blk *b)
{
	unsigned most[2] = {BLK_WORKERS, BLK_WORKERS};

	b->affinity_set = true;
	/* A kernel before 5.15 has neither: its workers run where they like. */
	(void)io_uring_register_iowq_aff(&b->ring, sizeof(b->workers), &b->workers);
	(void)io_uring_register_iowq_max_workers(&b->ring, most);
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
		n += taken;
	}
	return n;
}

static enum sv_poll blk_poll(struct sv_poller *p, unsigned budget)
{
	struct blk *b = blk_of(p);
	unsigned n = 0;

	if (sv_unlikely(!b->affinity_set))
		place_workers(b);
	if (b->busy)
		n += blk_ring_reap(b);
	n += take_all(b, budget);
	if (!n && !b->to_submit)
		return SV_POLL_IDLE;
	blk_ring_submit(b);
	if (b->busy) {
		n += blk_ring_reap(b); /* what the page cache had is there already */
		blk_ring_submit(b);
	}
	for (unsigned q = 0; q < b->queues; q++)
		if (b->session.vhost.queue[q].running)
			sv_virtq_publish(&b->session.vhost.queue[q].vq);
	sv_vhost_suppress(&b->session.vhost);
	return SV_POLL_BUSY;
}

/* Drained first, looked at afterwards: a completion in between leaves the eventfd readable. */
static bool blk_arm(struct sv_poller *p)
{
	struct blk *b = blk_of(p);
	uint64_t drain;

	if (read(b->cq_event, &drain, sizeof(drain)) < 0 && errno != EAGAIN)
		return true;
	if (blk_ring_pending(b))
		return true;
	/* With every slot in use, completions are the only thing to wait for. */
	return b->free_head != BLK_NONE && sv_vhost_arm(&b->session.vhost);
}

static void blk_disarm(struct sv_poller *p)
{
	struct blk *b = blk_of(p);

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
	if (b->readonly)
		f |= 1ull << VIRTIO_BLK_F_RO;
	if (b->discard)
		f |= 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
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
	struct virtio_blk_config c = {.capacity = b->capacity / BLK_SECTOR,
		.seg_max = BLK_SEG_MAX,
		.blk_size = BLK_SECTOR,
		.physical_block_exp = 3,
		.wce = b->wce_wish,
		.num_queues = (uint16_t)b->queues};

	if (b->discard) {
		c.max_discard_sectors = c.max_write_zeroes_sectors = BLK_RANGE_SECTORS;
		c.max_discard_seg = c.max_write_zeroes_seg = 1;
		c.discard_sector_alignment = 8;
		c.write_zeroes_may_unmap = 1;
	}
	memcpy(config, &c, sizeof(c));
}

/* Only the write cache can be switched. What it held is durable before a write-through begins. */
static int blk_set_config(void *dev, uint32_t offset, const uint8_t *bytes, uint32_t n)
{
	struct blk *b = dev;
	bool flush = b->session.vhost.features & 1ull << VIRTIO_BLK_F_FLUSH;

	if (offset != offsetof(struct virtio_blk_config, wce) || n != 1 || bytes[0] > 1)
		return -EINVAL;
	if (b->wce && !bytes[0] && fdatasync(b->fd) < 0)
		return -errno;
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

static int image_size(int fd, uint64_t *bytes, struct sv_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return sv_fail(err, errno, "disk image: %s", strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, bytes) < 0)
			return sv_fail(err, errno, "disk device: %s", strerror(errno));
	} else if (S_ISREG(st.st_mode)) {
		*bytes = (uint64_t)st.st_size;
	} else {
		return sv_fail(err, EINVAL, "a disk is a regular file or a block device");
	}
	*bytes &= ~(uint64_t)(BLK_SECTOR - 1);
	return *bytes ? 0 : sv_fail(err, EINVAL, "the disk image is empty");
}

/*
 * The guest's sectors are 512 bytes. Storage that transfers only larger units directly is used
 * through the page cache instead. Return: direct transfers work.
 */
static bool direct_works(int fd, const char *name)
{
	int flags = fcntl(fd, F_GETFL);
	void *sector;
	ssize_t n;

	if (flags < 0 || !(flags & O_DIRECT) || posix_memalign(&sector, BLK_SECTOR, BLK_SECTOR))
		return false;
	n = pread(fd, sector, BLK_SECTOR, 0);
	free(sector);
	if (n == BLK_SECTOR)
		return true;
	sv_warn("disk %s: this storage has no direct transfers of 512 bytes; the host's page cache is "
		"used", name);
	fcntl(fd, F_SETFL, flags & ~O_DIRECT);
	return false;
}

static void blk_free(struct blk *b)
{
	blk_ring_close(b);
	free(b->slot);
	free(b);
}

static struct blk *blk_new(const struct sv_device_request *req)
{
	const struct sv_control_device *d = req->device;
	struct blk *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->fd = req->fds[1];
	b->cq_event = -1;
	b->readonly = d->flags & SV_DEVICE_F_READONLY;
	b->discard = (d->flags & SV_DEVICE_F_DISCARD) && !b->readonly;
	b->wce_wish = !(d->flags & SV_DEVICE_F_WRITETHROUGH);
	b->queues = d->queues;
	memcpy(b->serial, d->serial, sizeof(b->serial));
	sched_getaffinity(0, sizeof(b->workers), &b->workers);
	b->slot = calloc(BLK_SLOTS, sizeof(b->slot[0]));
	if (!b->slot) {
		free(b);
		return NULL;
	}
	return b;
}

int blk_open(const struct sv_device_request *req, bool foreign, struct blk **out,
	struct sv_error *err)
{
	struct blk *b;
	int rc;

	if (req->nfds != 2 || !req->device->queues || req->device->queues > SV_VHOST_QUEUES)
		return sv_fail(err, EINVAL, "disk %s: %u descriptors, %u queues (1 to %u)",
			req->device->name, req->nfds, req->device->queues, SV_VHOST_QUEUES);
	b = blk_new(req);
	if (!b)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	rc = image_size(b->fd, &b->capacity, err);
	if (rc == 0) {
		b->direct = direct_works(b->fd, req->device->name);
		rc = blk_ring_open(b, err);
	}
	if (rc == 0) {
		rc = blk_ring_hold(b, req->fds[0]);
		if (rc < 0)
			sv_fail(err, -rc, "disk %s: io_uring: %s", req->device->name, strerror(-rc));
	}
	if (rc == 0)
		rc = sv_session_open(&b->session, req, &blk_type, b, &blk_ops, b->queues, err);
	if (rc < 0) {
		blk_free(b);
		return rc;
	}
	b->session.vhost.sealed_only = !foreign;
	/* Not polled before the front end starts a queue. */
	b->session.poller.wake_fds[1] = b->cq_event;
	*out = b;
	return 0;
}

void blk_close(struct blk *b)
{
	if (sv_session_close(&b->session) < 0)
		return;
	close(b->fd);
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

static char *blk_stats(void *handle)
{
	const struct blk *b = handle;
	const struct blk_counters *c = &b->counts;
	struct sv_virtq_stats q = sv_vhost_stats(&b->session.vhost);
	uint64_t defects = 0;
	char *text;

	for (unsigned i = 0; i < SV_VIRTQ_DEFECTS; i++)
		defects += q.defects[i];
#define N(x) ((unsigned long long)sv_load_relaxed(&(x)))
	if (asprintf(&text,
		    "{\"reads\": %llu, \"writes\": %llu, \"flushes\": %llu, \"discards\": %llu, "
		    "\"read_bytes\": %llu, \"write_bytes\": %llu, \"errors\": %llu, "
		    "\"unsupported\": %llu, \"continued\": %llu, \"bounced\": %llu, "
		    "\"submits\": %llu, \"interrupts\": %llu, \"interrupts_saved\": %llu, "
		    "\"kicks\": %llu, \"defects\": %llu, \"busy_ticks\": %llu, "
		    "\"idle_ticks\": %llu}",
		    N(c->reads), N(c->writes), N(c->flushes), N(c->discards), N(c->read_bytes),
		    N(c->write_bytes), N(c->errors), N(c->unsupported), N(c->continued),
		    N(c->bounced), N(c->submits), N(q.calls), N(q.calls_saved),
		    N(b->session.vhost.kicks), N(defects), N(b->session.poller.ticks.busy_ticks),
		    N(b->session.poller.ticks.idle_ticks)) < 0)
		return NULL;
#undef N
	return text;
}

const struct sv_device_class sv_blk_class = {.kind = SV_DEVICE_BLK,
	.name = "blk",
	.attach = blk_attach,
	.detach = blk_detach,
	.stats = blk_stats};
