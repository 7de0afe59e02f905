/* SPDX-License-Identifier: BSD-3-Clause */
/* What the session (vhost.c) and its requests (vhost_request.c) share. Control thread only. */
#ifndef IO_VHOST_PRIVATE_H
#define IO_VHOST_PRIVATE_H

#include <channels/vhost_user.h>
#include <io/vhost.h>

/* Nobody polls after this; in-flight requests stay in flight. */
void sv_vhost_pause(struct sv_vhost *v);
/* Start whatever queue is complete and poll again. Return: 0, or -errno with a sentence. */
int sv_vhost_resume(struct sv_vhost *v, struct sv_error *err);
/*
 * Let queues [first, first + n) finish what is in flight and stop them; leaves the poller paused.
 * Return: 0, or -ETIMEDOUT with a sentence (v->stuck is set).
 */
int sv_vhost_stop(struct sv_vhost *v, unsigned first, unsigned n, struct sv_error *err);
void sv_vhost_kick_close(struct sv_vhost *v, struct sv_vhost_queue *q);
void sv_vhost_call_close(struct sv_vhost_queue *q);

/* vhost_inflight.c: unmap the in-flight region; queues are stopped. */
void sv_vhost_inflight_clear(struct sv_vhost *v);
/* Take over a predecessor's state, if there is one. */
void sv_vhost_state_load(struct sv_vhost *v);

/*
 * vhost_log.c: writes of this queue are logged from now on if that was asked for, or no longer. Queue
 * not polled. Return: 0 or -ENOMEM.
 */
int sv_vhost_log_start(struct sv_vhost *v, struct sv_vhost_queue *q);
void sv_vhost_log_stop(struct sv_vhost_queue *q);
void sv_vhost_log_clear(struct sv_vhost *v);

/*
 * Serve one complete request. On success *size bytes of *p are the reply when *reply is set.
 * Descriptors taken over are replaced by -1 in v->fds.
 */
int sv_vhost_request(struct sv_vhost *v, uint32_t request, union vu_payload *p, uint32_t *size,
	bool *reply, struct sv_error *err);
/* Does a payload of this size belong to this request? */
bool sv_vhost_request_size_valid(uint32_t request, uint32_t size);

/* vhost_request_queue.c: a request's handler; *size: bytes of the payload, then of the reply. */
typedef int sv_vhost_handler(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err);
sv_vhost_handler sv_vhost_set_mem_table, sv_vhost_get_max_mem_slots, sv_vhost_add_mem_reg,
	sv_vhost_rem_mem_reg, sv_vhost_set_vring_num, sv_vhost_set_vring_addr,
	sv_vhost_set_vring_base, sv_vhost_get_vring_base, sv_vhost_set_vring_enable,
	sv_vhost_set_vring_kick, sv_vhost_set_vring_call, sv_vhost_set_vring_err,
	sv_vhost_get_inflight_fd, sv_vhost_set_inflight_fd, sv_vhost_set_log_base,
	sv_vhost_set_log_fd;

#endif
