/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user requests: one table, one handler each. */
#include "vhost_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <channels/atomics.h>

#include "vhost_mem.h"

#define TRANSPORT_FEATURES                                                        \
	((1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_RING_F_INDIRECT_DESC) |   \
		(1ull << VIRTIO_RING_F_EVENT_IDX) | VU_F_PROTOCOL_FEATURES)
#define PROTOCOL_FEATURES                                                         \
	(VU_PROTOCOL_F_MQ | VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_BACKEND_REQ |  \
		VU_PROTOCOL_F_CONFIG | VU_PROTOCOL_F_RESET_DEVICE |                \
		VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS)

typedef int handler_fn(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err);

static uint64_t offered(const struct sv_vhost *v)
{
	return v->type->features(v->dev) | TRANSPORT_FEATURES;
}

static struct sv_vhost_queue *queue_of(struct sv_vhost *v, uint64_t index, struct sv_error *err)
{
	if (index < v->queues)
		return &v->queue[index];
	sv_fail(err, EINVAL, "vhost-user: queue %llu does not exist, the device has %u",
		(unsigned long long)index, v->queues);
	return NULL;
}

/* --- features --------------------------------------------------------------------------------- */

static int get_features(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)err;
	p->u64 = offered(v);
	*size = sizeof(p->u64);
	return 0;
}

static int set_features(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)size;
	if (p->u64 & ~offered(v))
		return sv_fail(err, EINVAL, "vhost-user: features 0x%llx were not offered",
			(unsigned long long)(p->u64 & ~offered(v)));
	if (p->u64 == v->features)
		return 0;
	if (sv_vhost_stop(v, 0, v->queues, err))
		return -ETIMEDOUT;
	v->features = p->u64;
	v->type->set_features(v->dev, p->u64);
	for (unsigned i = 0; i < v->queues; i++) {
		v->queue[i].vq.event_idx = p->u64 & (1ull << VIRTIO_RING_F_EVENT_IDX);
		v->queue[i].vq.indirect = p->u64 & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
	}
	return sv_vhost_resume(v, err);
}

static int get_protocol_features(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)v;
	(void)err;
	p->u64 = PROTOCOL_FEATURES;
	*size = sizeof(p->u64);
	return 0;
}

static int set_protocol_features(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)size;
	if (p->u64 & ~PROTOCOL_FEATURES)
		return sv_fail(err, EINVAL, "vhost-user: protocol features 0x%llx were not offered",
			(unsigned long long)(p->u64 & ~PROTOCOL_FEATURES));
	v->protocol = p->u64;
	return 0;
}

static int get_queue_num(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)err;
	p->u64 = v->queues;
	*size = sizeof(p->u64);
	return 0;
}

static int set_owner(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)v;
	(void)p;
	(void)size;
	(void)err;
	return 0;
}

/*
 * A socket for requests of ours. There are none yet, but virtio_uml allocates its interrupts only
 * when this was negotiated.
 */
static int set_backend_req_fd(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)p;
	(void)size;
	if (v->nfds != 1)
		return sv_fail(err, EPROTO, "vhost-user: back-end socket message with %u descriptors",
			v->nfds);
	if (v->backend_req_fd >= 0)
		close(v->backend_req_fd);
	v->backend_req_fd = v->fds[0];
	v->fds[0] = -1;
	return 0;
}

/* --- memory ------------------------------------------------------------------------------------ */

static int set_mem_table(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	const struct vu_memory *m = &p->memory;
	int rc;

	if (m->n > VU_TABLE_REGIONS || v->nfds != m->n ||
		*size < VU_MEMORY_HEADER + m->n * sizeof(m->region[0]))
		return sv_fail(err, EPROTO,
			"vhost-user: memory table of %u regions with %u descriptors and %u bytes",
			m->n, v->nfds, *size);
	rc = sv_vhost_stop(v, 0, v->queues, err);
	if (rc)
		return rc;
	sv_vhost_mem_clear(v);
	for (unsigned i = 0; i < m->n; i++) {
		rc = sv_vhost_mem_add(v, &m->region[i], v->fds[i], err);
		if (rc)
			return rc;
	}
	return sv_vhost_resume(v, err);
}

static int get_max_mem_slots(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)v;
	(void)err;
	p->u64 = VU_SLOTS;
	*size = sizeof(p->u64);
	return 0;
}

static int add_mem_reg(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	int rc;

	(void)size;
	if (v->nfds != 1)
		return sv_fail(err, EPROTO, "vhost-user: memory slot with %u descriptors", v->nfds);
	if (v->gmem.n >= VU_SLOTS)
		return sv_fail(err, ENOSPC, "vhost-user: more than %u memory slots", VU_SLOTS);
	/* Adding leaves what is mapped alone: nothing in flight has to wait. */
	sv_vhost_pause(v);
	rc = sv_vhost_mem_add(v, &p->slot.region, v->fds[0], err);
	return rc ? rc : sv_vhost_resume(v, err);
}

static int rem_mem_reg(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	int rc;

	(void)size;
	rc = sv_vhost_stop(v, 0, v->queues, err);
	if (!rc)
		rc = sv_vhost_mem_remove(v, &p->slot.region, err);
	return rc ? rc : sv_vhost_resume(v, err);
}

/* --- queues ------------------------------------------------------------------------------------ */

static int set_vring_num(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->state.index, err);
	int rc;

	(void)size;
	if (!q)
		return -EINVAL;
	if (!sv_virtq_size_valid(p->state.num))
		return sv_fail(err, EINVAL,
			"vhost-user: queue size %u is not a power of two up to %u", p->state.num,
			SV_VIRTQ_MAX_SIZE);
	rc = sv_vhost_stop(v, p->state.index, 1, err);
	if (rc)
		return rc;
	q->size = p->state.num;
	return sv_vhost_resume(v, err);
}

static int set_vring_addr(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->addr.index, err);
	int rc;

	(void)size;
	if (!q)
		return -EINVAL;
	rc = sv_vhost_stop(v, p->addr.index, 1, err);
	if (rc)
		return rc;
	q->desc_user = p->addr.desc;
	q->avail_user = p->addr.avail;
	q->used_user = p->addr.used;
	q->have_addr = true;
	return sv_vhost_resume(v, err);
}

static int set_vring_base(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->state.index, err);
	int rc;

	(void)size;
	if (!q)
		return -EINVAL;
	if (p->state.num > UINT16_MAX)
		return sv_fail(err, EINVAL, "vhost-user: queue position %u is above 65535",
			p->state.num);
	rc = sv_vhost_stop(v, p->state.index, 1, err);
	if (rc)
		return rc;
	q->base = (uint16_t)p->state.num;
	return sv_vhost_resume(v, err);
}

static int get_vring_base(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->state.index, err);
	int rc;

	if (!q)
		return -EINVAL;
	rc = sv_vhost_stop(v, p->state.index, 1, err);
	if (rc)
		return rc;
	q->started = false;
	sv_vhost_kick_close(v, q);
	p->state.num = q->base;
	*size = sizeof(p->state);
	return sv_vhost_resume(v, err);
}

static int set_vring_enable(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->state.index, err);
	int rc = 0;

	(void)size;
	if (!q)
		return -EINVAL;
	if (p->state.num > 1)
		return sv_fail(err, EINVAL, "vhost-user: enable queue with value %u", p->state.num);
	if (!p->state.num && q->running)
		rc = sv_vhost_stop(v, p->state.index, 1, err);
	if (rc)
		return rc;
	q->enabled = p->state.num;
	return sv_vhost_resume(v, err);
}

/*
 * The descriptor of a kick, call or err message: -1 when none came. Only an eventfd, or (@pipe_too)
 * a pipe or socket, which User-mode Linux uses for calls; non-blocking from here on.
 */
static int vring_fd(struct sv_vhost *v, uint64_t word, bool pipe_too, int *fd,
	struct sv_error *err)
{
	char path[32], target[32] = "";
	struct stat st;
	ssize_t n;
	int flags;

	*fd = -1;
	if ((word & ~(VU_VRING_INDEX_MASK | VU_VRING_NO_FD)) ||
		v->nfds != (word & VU_VRING_NO_FD ? 0u : 1u))
		return sv_fail(err, EPROTO,
			"vhost-user: queue descriptor message 0x%llx with %u descriptors",
			(unsigned long long)word, v->nfds);
	if (!v->nfds)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", v->fds[0]);
	n = readlink(path, target, sizeof(target) - 1);
	if (fstat(v->fds[0], &st) < 0)
		return sv_fail(err, errno, "vhost-user: queue descriptor: %s", strerror(errno));
	if (!(pipe_too && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))) &&
		((st.st_mode & S_IFMT) || (n > 0 && strcmp(target, "anon_inode:[eventfd]"))))
		return sv_fail(err, EINVAL, "vhost-user: a queue descriptor is not an eventfd");
	flags = fcntl(v->fds[0], F_GETFL);
	if (flags < 0 || fcntl(v->fds[0], F_SETFL, flags | O_NONBLOCK) < 0)
		return sv_fail(err, errno, "vhost-user: queue descriptor: %s", strerror(errno));
	*fd = v->fds[0];
	v->fds[0] = -1;
	return 0;
}

static int set_vring_kick(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->u64 & VU_VRING_INDEX_MASK, err);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u32 = SV_VHOST_KICK};
	int fd, rc;

	(void)size;
	if (!q)
		return -EINVAL;
	rc = vring_fd(v, p->u64, false, &fd, err);
	if (rc)
		return rc;
	sv_vhost_pause(v);
	sv_vhost_kick_close(v, q);
	if (fd >= 0 && epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		rc = sv_fail(err, errno, "vhost-user: kick descriptor: %s", strerror(errno));
		close(fd);
		return rc;
	}
	q->kick_fd = fd;
	q->started = true;
	return sv_vhost_resume(v, err);
}

static int set_vring_call(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->u64 & VU_VRING_INDEX_MASK, err);
	int fd, rc;

	(void)size;
	if (!q)
		return -EINVAL;
	rc = vring_fd(v, p->u64, true, &fd, err);
	if (rc)
		return rc;
	sv_vhost_pause(v);
	if (q->vq.call_fd >= 0)
		close(q->vq.call_fd);
	q->vq.call_fd = fd;
	/* An interrupt may have gone to the descriptor before. */
	if (q->running)
		sv_virtq_signal(&q->vq);
	return sv_vhost_resume(v, err);
}

static int set_vring_err(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->u64 & VU_VRING_INDEX_MASK, err);
	int fd, rc;

	(void)size;
	if (!q)
		return -EINVAL;
	rc = vring_fd(v, p->u64, true, &fd, err);
	if (rc)
		return rc;
	if (q->err_fd >= 0)
		close(q->err_fd);
	q->err_fd = fd;
	return 0;
}

/* --- configuration space and reset ------------------------------------------------------------- */

static int get_config(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct vu_config *c = &p->config;
	uint8_t all[2 * VU_CONFIG_BYTES] = {0};

	(void)err;
	if (c->size > VU_CONFIG_BYTES || c->offset > VU_CONFIG_BYTES ||
		*size != VU_CONFIG_HEADER + c->size) {
		c->size = 0;
		*size = VU_CONFIG_HEADER;
		return 0;
	}
	/* Beyond the device's own fields, configuration space reads as zero. */
	if (v->type->get_config)
		v->type->get_config(v->dev, all);
	memcpy(c->bytes, all + c->offset, c->size);
	return 0;
}

static int set_config(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	const struct vu_config *c = &p->config;
	int rc;

	if (c->flags || c->size > VU_CONFIG_BYTES || *size != VU_CONFIG_HEADER + c->size ||
		c->offset > v->type->config_bytes || !v->type->set_config)
		return sv_fail(err, EINVAL,
			"vhost-user: write of %u bytes at %u to configuration space refused", c->size,
			c->offset);
	sv_vhost_pause(v);
	rc = v->type->set_config(v->dev, c->offset, c->bytes, c->size);
	if (rc)
		return sv_fail(err, -rc,
			"vhost-user: write of %u bytes at %u to configuration space refused", c->size,
			c->offset);
	return sv_vhost_resume(v, err);
}

static int reset_owner(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	int rc = sv_vhost_stop(v, 0, v->queues, err);

	(void)p;
	(void)size;
	for (unsigned i = 0; i < v->queues; i++) {
		v->queue[i].started = false;
		v->queue[i].enabled = false;
	}
	return rc;
}

static int reset_device(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	int rc = reset_owner(v, p, size, err);

	if (rc)
		return rc;
	for (unsigned i = 0; i < v->queues; i++) {
		struct sv_vhost_queue *q = &v->queue[i];

		sv_vhost_kick_close(v, q);
		q->have_addr = false;
		q->size = 0;
		q->base = 0;
	}
	v->features = 0;
	v->type->set_features(v->dev, 0);
	return 0;
}

static const struct {
	handler_fn *handle;
	uint16_t min, max; /* bytes of payload */
	uint8_t max_fds;
	bool reply;
} table[VU_REQUESTS] = {
	[VU_GET_FEATURES] = {get_features, 0, 0, 0, true},
	[VU_SET_FEATURES] = {set_features, 8, 8, 0, false},
	[VU_SET_OWNER] = {set_owner, 0, 0, 0, false},
	[VU_RESET_OWNER] = {reset_owner, 0, 0, 0, false},
	[VU_SET_MEM_TABLE] = {set_mem_table, VU_MEMORY_HEADER, sizeof(struct vu_memory),
		VU_TABLE_REGIONS, false},
	[VU_SET_VRING_NUM] = {set_vring_num, 8, 8, 0, false},
	[VU_SET_VRING_ADDR] = {set_vring_addr, 40, 40, 0, false},
	[VU_SET_VRING_BASE] = {set_vring_base, 8, 8, 0, false},
	[VU_GET_VRING_BASE] = {get_vring_base, 8, 8, 0, true},
	[VU_SET_VRING_KICK] = {set_vring_kick, 8, 8, 1, false},
	[VU_SET_VRING_CALL] = {set_vring_call, 8, 8, 1, false},
	[VU_SET_VRING_ERR] = {set_vring_err, 8, 8, 1, false},
	[VU_GET_PROTOCOL_FEATURES] = {get_protocol_features, 0, 0, 0, true},
	[VU_SET_PROTOCOL_FEATURES] = {set_protocol_features, 8, 8, 0, false},
	[VU_GET_QUEUE_NUM] = {get_queue_num, 0, 0, 0, true},
	[VU_SET_VRING_ENABLE] = {set_vring_enable, 8, 8, 0, false},
	[VU_SET_BACKEND_REQ_FD] = {set_backend_req_fd, 0, 0, 1, false},
	[VU_GET_CONFIG] = {get_config, VU_CONFIG_HEADER, sizeof(struct vu_config), 0, true},
	[VU_SET_CONFIG] = {set_config, VU_CONFIG_HEADER, sizeof(struct vu_config), 0, false},
	[VU_RESET_DEVICE] = {reset_device, 0, 0, 0, false},
	[VU_GET_MAX_MEM_SLOTS] = {get_max_mem_slots, 0, 0, 0, true},
	[VU_ADD_MEM_REG] = {add_mem_reg, sizeof(struct vu_slot), sizeof(struct vu_slot), 1, false},
	[VU_REM_MEM_REG] = {rem_mem_reg, sizeof(struct vu_slot), sizeof(struct vu_slot), 1, false},
};

bool sv_vhost_request_size_valid(uint32_t request, uint32_t size)
{
	return request < VU_REQUESTS && table[request].handle && size >= table[request].min &&
	       size <= table[request].max;
}

int sv_vhost_request(struct sv_vhost *v, uint32_t request, union vu_payload *p, uint32_t *size,
	bool *reply, struct sv_error *err)
{
	if (v->nfds > table[request].max_fds)
		return sv_fail(err, EPROTO, "vhost-user: request %u came with %u descriptors",
			request, v->nfds);
	*reply = table[request].reply;
	return table[request].handle(v, p, size, err);
}
