/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-blk (virtio 1.2, section 5.2) over an image file or block device through io_uring.
 *
 * A flush is an fdatasync submitted after the guest asked for it: every write that the guest saw
 * completed has been handed to the kernel before, and is durable when the flush completes. Without a
 * negotiated flush, or with the write cache switched off, every write carries RWF_DSYNC.
 *
 * The polling thread makes one system call per batch to submit, none to reap. Nothing is allocated
 * per request.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <io/devices.h>

#include "session.h"

#define SLOTS 256u	 /* requests in flight, all queues together */
#define SEG_MAX 126u	 /* data segments of a request; header and status come on top */
#define SECTOR 512u
#define DISCARD_MAX_SECTORS 0x400000u /* 2 GiB per request */
#define RETRIES 8u

/* One request in flight: taken from a slot list, never allocated. */
struct slot {
	struct sv_virtq_chain chain;
	struct iovec *iov; /* what is left to transfer, into chain.iov */
	unsigned niov;
	uint64_t offset, left; /* bytes */
	uint8_t *status;
	uint32_t type;
	uint32_t written; /* bytes the driver finds written when it succeeds */
	uint16_t queue;
	uint16_t next; /* free list */
	uint16_t retries;
	uint8_t op;
	int mode; /* of fallocate */
};

struct counters {
	uint64_t reads, writes, flushes, discards, errors, unsupported, read_bytes, write_bytes;
};

struct blk {
	struct sv_session session; /* first */
	int fd, cq_event;
	uint64_t capacity; /* bytes */
	bool readonly, discard, wce, wce_wish;
	char serial[VIRTIO_BLK_ID_BYTES];
	unsigned queues;
	bool ring_open, affinity_set;
	cpu_set_t workers; /* where the kernel's workers for this ring may run */

	/* The polling thread's. */
	struct io_uring ring;
	struct slot *slot;
	uint16_t free_head;
	unsigned busy;
	unsigned to_submit;
	struct counters counts; /* read relaxed by others */
};

#define NO_SLOT UINT16_MAX

static void count(uint64_t *c, uint64_t by)
{
	sv_store_relaxed(c, *c + by);
}

static struct slot *slot_take(struct blk *b)
{
	struct slot *s;

	if (b->free_head == NO_SLOT)
		return NULL;
	s = &b->slot[b->free_head];
	b->free_head = s->next;
	b->busy++;
	return s;
}

static void slot_give(struct blk *b, struct slot *s)
{
	s->next = b->free_head;
	b->free_head = (uint16_t)(s - b->slot);
	b->busy--;
}

static void complete(struct blk *b, struct slot *s, uint8_t status)
{
	sv_store_relaxed(s->status, status);
	if (status == VIRTIO_BLK_S_IOERR)
		count(&b->counts.errors, 1);
	else if (status == VIRTIO_BLK_S_UNSUPP)
		count(&b->counts.unsupported, 1);
	sv_virtq_put(&b->session.vhost.queue[s->queue].vq, s->chain.head,
		status == VIRTIO_BLK_S_OK ? s->written + 1 : 1);
	slot_give(b, s);
}

/* --- pieces ---------------------------------------------------------------------------------- */

/* Copy the first @n bytes of the pieces out and drop them from the front. Return: all there. */
static bool iov_pull(struct iovec **iov, unsigned *niov, void *to, size_t n)
{
	uint8_t *at = to;

	while (n && *niov) {
		size_t k = (*iov)->iov_len < n ? (*iov)->iov_len : n;

		if (at) {
			memcpy(at, (*iov)->iov_base, k);
			at += k;
		}
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + k;
		(*iov)->iov_len -= k;
		n -= k;
		if (!(*iov)->iov_len) {
			(*iov)++;
			(*niov)--;
		}
	}
	return n == 0;
}

/* The last writable byte is the status; it leaves the data. */
static uint8_t *iov_status(struct sv_virtq_chain *c)
{
	struct iovec *last;
	uint8_t *status;

	if (!c->writable)
		return NULL;
	last = &c->iov[c->readable + c->writable - 1];
	status = (uint8_t *)last->iov_base + last->iov_len - 1;
	if (--last->iov_len == 0)
		c->writable--;
	c->writable_bytes--;
	return status;
}

/* --- submission ------------------------------------------------------------------------------ */

static void submit(struct blk *b, struct slot *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);

	if (!sqe) { /* as many entries as slots: only after a failed submission */
		complete(b, s, VIRTIO_BLK_S_IOERR);
		return;
	}
	switch (s->op) {
	case IORING_OP_READV:
		io_uring_prep_readv(sqe, b->fd, s->iov, s->niov, s->offset);
		break;
	case IORING_OP_WRITEV:
		io_uring_prep_writev(sqe, b->fd, s->iov, s->niov, s->offset);
		sqe->rw_flags = sv_load_relaxed(&b->wce) ? 0 : RWF_DSYNC;
		break;
	case IORING_OP_FSYNC:
		io_uring_prep_fsync(sqe, b->fd, IORING_FSYNC_DATASYNC);
		break;
	default:
		io_uring_prep_fallocate(sqe, b->fd, s->mode, s->offset, s->left);
	}
	io_uring_sqe_set_data(sqe, s);
	b->to_submit++;
}

static bool in_range(const struct blk *b, uint64_t sector, uint64_t bytes)
{
	return sector <= b->capacity / SECTOR && bytes <= b->capacity - sector * SECTOR;
}

static uint8_t begin_rw(struct blk *b, struct slot *s, uint64_t sector)
{
	bool write = s->type == VIRTIO_BLK_T_OUT;

	s->left = write ? s->chain.readable_bytes - sizeof(struct virtio_blk_outhdr)
			: s->chain.writable_bytes;
	if ((write && b->readonly) || !s->left || s->left % SECTOR || !in_range(b, sector, s->left))
		return VIRTIO_BLK_S_IOERR;
	if (!write) {
		s->iov = &s->chain.iov[s->chain.readable];
		s->niov = s->chain.writable;
		s->written = (uint32_t)s->left;
	}
	s->op = write ? IORING_OP_WRITEV : IORING_OP_READV;
	s->offset = sector * SECTOR;
	count(write ? &b->counts.writes : &b->counts.reads, 1);
	count(write ? &b->counts.write_bytes : &b->counts.read_bytes, s->left);
	submit(b, s);
	return VIRTIO_BLK_S_OK;
}

/* Discard and write-zeroes: one segment (max_*_seg is 1), copied once. */
static uint8_t begin_range(struct blk *b, struct slot *s)
{
	struct virtio_blk_discard_write_zeroes seg;
	bool unmap;

	if (!b->discard)
		return VIRTIO_BLK_S_UNSUPP;
	if (s->chain.readable_bytes != sizeof(struct virtio_blk_outhdr) + sizeof(seg) ||
		!iov_pull(&s->iov, &s->niov, &seg, sizeof(seg)))
		return VIRTIO_BLK_S_IOERR;
	unmap = seg.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	if ((seg.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) ||
		(s->type == VIRTIO_BLK_T_DISCARD && unmap))
		return VIRTIO_BLK_S_UNSUPP;
	s->left = (uint64_t)seg.num_sectors * SECTOR;
	if (b->readonly || !seg.num_sectors || seg.num_sectors > DISCARD_MAX_SECTORS ||
		!in_range(b, seg.sector, s->left))
		return VIRTIO_BLK_S_IOERR;
	s->offset = seg.sector * SECTOR;
	s->op = IORING_OP_FALLOCATE;
	s->mode = FALLOC_FL_KEEP_SIZE |
		  (s->type == VIRTIO_BLK_T_DISCARD || unmap ? FALLOC_FL_PUNCH_HOLE
							     : FALLOC_FL_ZERO_RANGE);
	count(&b->counts.discards, 1);
	submit(b, s);
	return VIRTIO_BLK_S_OK;
}

static uint8_t get_id(struct blk *b, struct slot *s)
{
	struct iovec *iov = &s->chain.iov[s->chain.readable];
	size_t done = 0;

	for (unsigned i = 0; i < s->chain.writable && done < sizeof(b->serial); i++) {
		size_t k = sizeof(b->serial) - done;

		k = iov[i].iov_len < k ? iov[i].iov_len : k;
		memcpy(iov[i].iov_base, b->serial + done, k);
		done += k;
	}
	s->written = (uint32_t)done;
	return VIRTIO_BLK_S_OK;
}

/* Decode a chain and begin what it asks for; what ends at once is completed here. */
static void begin(struct blk *b, struct slot *s)
{
	struct virtio_blk_outhdr head;
	uint8_t status = VIRTIO_BLK_S_OK;
	bool async = true;

	iov_pull(&s->iov, &s->niov, &head, sizeof(head));
	s->type = head.type;
	switch (head.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		status = begin_rw(b, s, head.sector);
		break;
	case VIRTIO_BLK_T_FLUSH:
		s->op = IORING_OP_FSYNC;
		count(&b->counts.flushes, 1);
		submit(b, s);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		status = begin_range(b, s);
		break;
	case VIRTIO_BLK_T_GET_ID:
		status = get_id(b, s);
		async = false;
		break;
	default:
		status = VIRTIO_BLK_S_UNSUPP;
	}
	if (!async || status != VIRTIO_BLK_S_OK)
		complete(b, s, status);
}

/* --- completion ------------------------------------------------------------------------------ */

/* A transfer came back: done, to be continued, or failed. */
static void came_back(struct blk *b, struct slot *s, int res)
{
	bool transfer = s->op == IORING_OP_READV || s->op == IORING_OP_WRITEV;

	if ((res == -EAGAIN || res == -EINTR) && s->retries++ < RETRIES) {
		submit(b, s);
		return;
	}
	if (res < 0) {
		bool unsupported = s->op == IORING_OP_FALLOCATE && res == -EOPNOTSUPP;

		complete(b, s, unsupported ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
		return;
	}
	if (transfer && (uint64_t)res < s->left) {
		if (res == 0) { /* the image shrank under us */
			complete(b, s, VIRTIO_BLK_S_IOERR);
			return;
		}
		s->left -= (uint64_t)res;
		s->offset += (uint64_t)res;
		iov_pull(&s->iov, &s->niov, NULL, (size_t)res);
		submit(b, s);
		return;
	}
	complete(b, s, VIRTIO_BLK_S_OK);
}

static unsigned reap(struct blk *b)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&b->ring, head, cqe) {
		came_back(b, io_uring_cqe_get_data(cqe), cqe->res);
		n++;
	}
	if (n)
		io_uring_cq_advance(&b->ring, n);
	return n;
}

/* --- the poller ------------------------------------------------------------------------------ */

static struct blk *blk_of(struct sv_poller *p)
{
	return (struct blk *)(void *)sv_session_of(p);
}

/* The kernel's workers belong to the thread that submits: keep them off the guest cores. */
static void set_affinity(struct blk *b)
{
	b->affinity_set = true;
	io_uring_register_iowq_aff(&b->ring, sizeof(b->workers), &b->workers);
}

static unsigned take_queue(struct blk *b, unsigned q, unsigned budget)
{
	struct sv_vhost_queue *queue = &b->session.vhost.queue[q];
	unsigned n = 0;

	while (n < budget && sv_vhost_serving(queue)) {
		struct slot *s = slot_take(b);

		if (!s)
			break;
		if (sv_virtq_take(&queue->vq, &s->chain) != SV_VIRTQ_ONE) {
			slot_give(b, s);
			break;
		}
		n++;
		s->status = iov_status(&s->chain);
		s->iov = s->chain.iov;
		s->niov = s->chain.readable;
		s->queue = (uint16_t)q;
		s->retries = 0;
		s->written = 0;
		if (!s->status || s->chain.readable_bytes < sizeof(struct virtio_blk_outhdr)) {
			sv_virtq_reject(&queue->vq);
			slot_give(b, s);
			break;
		}
		begin(b, s);
	}
	return n;
}

static void submit_batch(struct blk *b)
{
	int n;

	if (!b->to_submit)
		return;
	n = io_uring_submit(&b->ring);
	if (n > 0)
		b->to_submit -= (unsigned)n < b->to_submit ? (unsigned)n : b->to_submit;
	/* EAGAIN, EBUSY: the entries stay in the ring and go with the next turn. */
}

static enum sv_poll blk_poll(struct sv_poller *p, unsigned budget)
{
	struct blk *b = blk_of(p);
	struct sv_vhost *v = &b->session.vhost;
	unsigned n = 0;

	if (!b->affinity_set)
		set_affinity(b);
	if (b->busy)
		n += reap(b);
	for (unsigned q = 0; q < b->queues; q++)
		n += take_queue(b, q, budget);
	submit_batch(b);
	if (n && b->busy)
		n += reap(b); /* what the page cache had is there already */
	if (!n)
		return SV_POLL_IDLE;
	submit_batch(b);
	for (unsigned q = 0; q < b->queues; q++)
		if (v->queue[q].running)
			sv_virtq_publish(&v->queue[q].vq);
	sv_vhost_suppress(v);
	return SV_POLL_BUSY;
}

static bool blk_arm(struct sv_poller *p)
{
	struct blk *b = blk_of(p);

	io_uring_cq_eventfd_toggle(&b->ring, true);
	return sv_vhost_arm(&b->session.vhost) || b->to_submit || io_uring_cq_ready(&b->ring);
}

static void blk_disarm(struct sv_poller *p)
{
	struct blk *b = blk_of(p);
	uint64_t drain;

	io_uring_cq_eventfd_toggle(&b->ring, false);
	if (read(b->cq_event, &drain, sizeof(drain)) < 0 && errno != EAGAIN)
		count(&b->counts.errors, 1);
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
	bool flush = features & 1ull << VIRTIO_BLK_F_FLUSH;

	sv_store_relaxed(&b->wce, flush && b->wce_wish);
}

static void blk_get_config(void *dev, uint8_t *config)
{
	const struct blk *b = dev;
	struct virtio_blk_config c = {.capacity = b->capacity / SECTOR,
		.seg_max = SEG_MAX,
		.blk_size = SECTOR,
		.physical_block_exp = 3,
		.wce = sv_load_relaxed(&b->wce),
		.num_queues = (uint16_t)b->queues};

	if (b->discard) {
		c.max_discard_sectors = c.max_write_zeroes_sectors = DISCARD_MAX_SECTORS;
		c.max_discard_seg = c.max_write_zeroes_seg = 1;
		c.discard_sector_alignment = 8;
		c.write_zeroes_may_unmap = 1;
	}
	memcpy(config, &c, sizeof(c));
}

/* Only the write cache can be switched. */
static int blk_set_config(void *dev, uint32_t offset, const uint8_t *bytes, uint32_t n)
{
	struct blk *b = dev;

	if (offset != offsetof(struct virtio_blk_config, wce) || n != 1)
		return -EINVAL;
	b->wce_wish = bytes[0] != 0;
	sv_store_relaxed(&b->wce, b->wce_wish);
	return 0;
}

static const struct sv_vhost_device blk_type = {.name = "virtio-blk",
	.features = blk_features,
	.set_features = blk_set_features,
	.config_bytes = sizeof(struct virtio_blk_config),
	.get_config = blk_get_config,
	.set_config = blk_set_config};

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
	*bytes &= ~(uint64_t)(SECTOR - 1);
	return *bytes ? 0 : sv_fail(err, EINVAL, "the disk image is empty");
}

static int open_ring(struct blk *b, struct sv_error *err)
{
	int rc = io_uring_queue_init(SLOTS, &b->ring, 0);

	if (rc < 0)
		return sv_fail(err, -rc, "io_uring cannot be set up: %s", strerror(-rc));
	b->ring_open = true;
	b->cq_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->cq_event < 0)
		return sv_fail(err, errno, "eventfd: %s", strerror(errno));
	rc = io_uring_register_eventfd(&b->ring, b->cq_event);
	if (rc < 0)
		return sv_fail(err, -rc, "io_uring: %s", strerror(-rc));
	io_uring_cq_eventfd_toggle(&b->ring, false);
	return 0;
}

static void blk_free(struct blk *b)
{
	if (b->ring_open)
		io_uring_queue_exit(&b->ring);
	if (b->cq_event >= 0)
		close(b->cq_event);
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
	b->wce = b->wce_wish = !(d->flags & SV_DEVICE_F_WRITETHROUGH);
	b->queues = d->queues;
	memcpy(b->serial, d->serial, sizeof(b->serial));
	sched_getaffinity(0, sizeof(b->workers), &b->workers);
	b->slot = calloc(SLOTS, sizeof(b->slot[0]));
	if (!b->slot) {
		free(b);
		return NULL;
	}
	for (unsigned i = 0; i < SLOTS; i++)
		b->slot[i].next = i + 1 < SLOTS ? (uint16_t)(i + 1) : NO_SLOT;
	return b;
}

static int blk_attach(const struct sv_device_request *req, void **handle, struct sv_error *err)
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
	if (rc == 0)
		rc = open_ring(b, err);
	if (rc == 0)
		rc = sv_session_open(&b->session, req, &blk_type, b, &blk_ops, b->queues, err);
	if (rc < 0) {
		blk_free(b);
		return rc;
	}
	b->session.poller.wake_fds[1] = b->cq_event; /* not polled before the front end starts a queue */
	*handle = b;
	return 0;
}

static void blk_detach(void *handle)
{
	struct blk *b = handle;

	if (sv_session_close(&b->session) < 0)
		return;
	close(b->fd);
	blk_free(b);
}

static char *blk_stats(void *handle)
{
	const struct blk *b = handle;
	const struct counters *c = &b->counts;
	uint64_t calls = 0, saved = 0, defects = 0;
	char *text;

	for (unsigned q = 0; q < b->queues; q++) {
		const struct sv_virtq_stats *s = &b->session.vhost.queue[q].vq.stats;

		calls += sv_load_relaxed(&s->calls);
		saved += sv_load_relaxed(&s->calls_saved);
		for (unsigned i = 0; i < SV_VIRTQ_DEFECTS; i++)
			defects += sv_load_relaxed(&s->defects[i]);
	}
	if (asprintf(&text,
		    "{\"reads\": %llu, \"writes\": %llu, \"flushes\": %llu, \"discards\": %llu, "
		    "\"read_bytes\": %llu, \"write_bytes\": %llu, \"errors\": %llu, "
		    "\"unsupported\": %llu, \"interrupts\": %llu, \"interrupts_saved\": %llu, "
		    "\"defects\": %llu, \"busy_ticks\": %llu, \"idle_ticks\": %llu}",
		    (unsigned long long)sv_load_relaxed(&c->reads),
		    (unsigned long long)sv_load_relaxed(&c->writes),
		    (unsigned long long)sv_load_relaxed(&c->flushes),
		    (unsigned long long)sv_load_relaxed(&c->discards),
		    (unsigned long long)sv_load_relaxed(&c->read_bytes),
		    (unsigned long long)sv_load_relaxed(&c->write_bytes),
		    (unsigned long long)sv_load_relaxed(&c->errors),
		    (unsigned long long)sv_load_relaxed(&c->unsupported), (unsigned long long)calls,
		    (unsigned long long)saved, (unsigned long long)defects,
		    (unsigned long long)sv_load_relaxed(&b->session.poller.ticks.busy_ticks),
		    (unsigned long long)sv_load_relaxed(&b->session.poller.ticks.idle_ticks)) < 0)
		return NULL;
	return text;
}

const struct sv_device_class sv_blk_class = {.kind = SV_DEVICE_BLK,
	.name = "blk",
	.attach = blk_attach,
	.detach = blk_detach,
	.stats = blk_stats};
