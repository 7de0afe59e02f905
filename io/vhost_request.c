/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user requests: one table, one handler each. */
#include "vhost_private.h"

#include <base/fdpass.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TRANSPORT_FEATURES                                                        \
	((1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_RING_F_INDIRECT_DESC) |   \
		(1ull << VIRTIO_RING_F_EVENT_IDX) | (1ull << VIRTIO_F_RING_PACKED) | \
		VU_F_LOG_ALL | VU_F_PROTOCOL_FEATURES)
#define PROTOCOL_FEATURES                                                         \
	(VU_PROTOCOL_F_MQ | VU_PROTOCOL_F_REPLY_ACK | VU_PROTOCOL_F_BACKEND_REQ |  \
		VU_PROTOCOL_F_CONFIG | VU_PROTOCOL_F_RESET_DEVICE |                \
		VU_PROTOCOL_F_INFLIGHT_SHMFD | VU_PROTOCOL_F_LOG_SHMFD |           \
		VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS)

static uint64_t offered(const struct sv_vhost *v)
{
	return v->type->features(v->dev) | TRANSPORT_FEATURES;
}

/* --- features -------------------------------------------------------------------------------- */

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
	/* Logging begins and ends under a driver that has negotiated long ago. */
	if ((p->u64 ^ v->features) & ~VU_F_LOG_ALL)
		v->type->set_features(v->dev, p->u64 & ~VU_F_LOG_ALL);
	v->features = p->u64;
	for (unsigned i = 0; i < v->queues; i++) {
		v->queue[i].vq.event_idx = p->u64 & (1ull << VIRTIO_RING_F_EVENT_IDX);
		v->queue[i].vq.indirect = p->u64 & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
		v->queue[i].vq.packed = p->u64 & (1ull << VIRTIO_F_RING_PACKED);
		v->queue[i].vq.in_order = p->u64 & (1ull << VIRTIO_F_IN_ORDER);
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
	p->u64 = v->type->queue_group ? v->queues / v->type->queue_group : v->queues;
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

/* A socket for what we say by ourselves; virtio_uml allocates its interrupts only when it is there. */
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

void sv_vhost_config_changed(struct sv_vhost *v)
{
	const uint32_t head[3] = {VU_BACKEND_CONFIG_CHANGE, 1, 0};

	if (v->backend_req_fd >= 0)
		sv_fd_send(v->backend_req_fd, head, sizeof(head), NULL, 0, 100);
}

/* --- configuration space and reset ----------------------------------------------------------- */

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
	sv_vhost_state_store(v);
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
	sv_vhost_inflight_clear(v);
	sv_vhost_log_clear(v);
	v->features = 0;
	v->type->set_features(v->dev, 0);
	return 0;
}

static const struct {
	sv_vhost_handler *handle;
	uint16_t min, max; /* bytes of payload */
	uint8_t max_fds;
	bool reply;
} table[VU_REQUESTS] = {
	[VU_GET_FEATURES] = {get_features, 0, 0, 0, true},
	[VU_SET_FEATURES] = {set_features, 8, 8, 0, false},
	[VU_SET_OWNER] = {set_owner, 0, 0, 0, false},
	[VU_RESET_OWNER] = {reset_owner, 0, 0, 0, false},
	[VU_SET_MEM_TABLE] = {sv_vhost_set_mem_table, VU_MEMORY_HEADER, sizeof(struct vu_memory),
		VU_TABLE_REGIONS, false},
	[VU_SET_LOG_BASE] = {sv_vhost_set_log_base, 16, 16, 1, true},
	[VU_SET_LOG_FD] = {sv_vhost_set_log_fd, 0, 0, 1, false},
	[VU_SET_VRING_NUM] = {sv_vhost_set_vring_num, 8, 8, 0, false},
	[VU_SET_VRING_ADDR] = {sv_vhost_set_vring_addr, 40, 40, 0, false},
	[VU_SET_VRING_BASE] = {sv_vhost_set_vring_base, 8, 8, 0, false},
	[VU_GET_VRING_BASE] = {sv_vhost_get_vring_base, 8, 8, 0, true},
	[VU_SET_VRING_KICK] = {sv_vhost_set_vring_kick, 8, 8, 1, false},
	[VU_SET_VRING_CALL] = {sv_vhost_set_vring_call, 8, 8, 1, false},
	[VU_SET_VRING_ERR] = {sv_vhost_set_vring_err, 8, 8, 1, false},
	[VU_GET_PROTOCOL_FEATURES] = {get_protocol_features, 0, 0, 0, true},
	[VU_SET_PROTOCOL_FEATURES] = {set_protocol_features, 8, 8, 0, false},
	[VU_GET_QUEUE_NUM] = {get_queue_num, 0, 0, 0, true},
	[VU_SET_VRING_ENABLE] = {sv_vhost_set_vring_enable, 8, 8, 0, false},
	[VU_SET_BACKEND_REQ_FD] = {set_backend_req_fd, 0, 0, 1, false},
	[VU_GET_CONFIG] = {get_config, VU_CONFIG_HEADER, sizeof(struct vu_config), 0, true},
	[VU_SET_CONFIG] = {set_config, VU_CONFIG_HEADER, sizeof(struct vu_config), 0, false},
	[VU_GET_INFLIGHT_FD] = {sv_vhost_get_inflight_fd, VU_INFLIGHT_LEAST,
		sizeof(struct vu_inflight), 0, true},
	[VU_SET_INFLIGHT_FD] = {sv_vhost_set_inflight_fd, VU_INFLIGHT_LEAST,
		sizeof(struct vu_inflight), 1, false},
	[VU_RESET_DEVICE] = {reset_device, 0, 0, 0, false},
	[VU_GET_MAX_MEM_SLOTS] = {sv_vhost_get_max_mem_slots, 0, 0, 0, true},
	[VU_ADD_MEM_REG] = {sv_vhost_add_mem_reg, sizeof(struct vu_slot), sizeof(struct vu_slot), 1, false},
	[VU_REM_MEM_REG] = {sv_vhost_rem_mem_reg, sizeof(struct vu_slot), sizeof(struct vu_slot), 1, false},
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
