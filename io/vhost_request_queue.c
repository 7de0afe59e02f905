/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user requests about memory and queues. */
#include "vhost_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/clock.h>

#include "call.h"
#include "vhost_mem.h"

/* --- memory ---------------------------------------------------------------------------------- */

int sv_vhost_set_mem_table(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
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

int sv_vhost_get_max_mem_slots(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)v;
	(void)err;
	p->u64 = VU_SLOTS;
	*size = sizeof(p->u64);
	return 0;
}

int sv_vhost_add_mem_reg(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
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

int sv_vhost_rem_mem_reg(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	int rc;

	(void)size;
	rc = sv_vhost_stop(v, 0, v->queues, err);
	if (!rc)
		rc = sv_vhost_mem_remove(v, &p->slot.region, err);
	return rc ? rc : sv_vhost_resume(v, err);
}

static struct sv_vhost_queue *queue_of(struct sv_vhost *v, uint64_t index, struct sv_error *err)
{
	if (index < v->queues)
		return &v->queue[index];
	sv_fail(err, EINVAL, "vhost-user: queue %llu does not exist, the device has %u",
		(unsigned long long)index, v->queues);
	return NULL;
}

/* --- queues ---------------------------------------------------------------------------------- */

int sv_vhost_set_vring_num(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
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

int sv_vhost_set_vring_addr(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
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

int sv_vhost_set_vring_base(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->state.index, err);
	int rc;

	(void)size;
	if (!q)
		return -EINVAL;
	if (p->state.num > UINT16_MAX && !q->vq.packed)
		return sv_fail(err, EINVAL, "vhost-user: queue position %u is above 65535",
			p->state.num);
	rc = sv_vhost_stop(v, p->state.index, 1, err);
	if (rc)
		return rc;
	q->base = p->state.num;
	return sv_vhost_resume(v, err);
}

int sv_vhost_get_vring_base(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
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

int sv_vhost_set_vring_enable(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
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
 * The descriptor of a kick, call or err message: -1 when none came. Only an eventfd, or (@socket_too)
 * a socket, which User-mode Linux uses for calls.
 */
static int vring_fd(struct sv_vhost *v, uint64_t word, bool *socket_too, int *fd,
	struct sv_error *err)
{
	char path[32], target[32] = "";
	struct stat st;
	bool is_socket;
	ssize_t n;

	*fd = -1;
	if ((word & ~(VU_VRING_INDEX_MASK | VU_VRING_NO_FD)) ||
		v->nfds != (word & VU_VRING_NO_FD ? 0u : 1u))
		return sv_fail(err, EPROTO,
			"vhost-user: queue descriptor message 0x%llx with %u descriptors",
			(unsigned long long)word, v->nfds);
	if (!v->nfds)
		return 0;
	if (fstat(v->fds[0], &st) < 0)
		return sv_fail(err, errno, "vhost-user: queue descriptor: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", v->fds[0]);
	n = readlink(path, target, sizeof(target) - 1);
	is_socket = socket_too && S_ISSOCK(st.st_mode);
	if (!is_socket &&
		((st.st_mode & S_IFMT) || (n > 0 && strcmp(target, "anon_inode:[eventfd]"))))
		return sv_fail(err, EINVAL, "vhost-user: a queue descriptor is not an eventfd");
	if (socket_too)
		*socket_too = is_socket;
	*fd = v->fds[0];
	v->fds[0] = -1;
	return 0;
}

int sv_vhost_set_vring_kick(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->u64 & VU_VRING_INDEX_MASK, err);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u32 = SV_VHOST_KICK};
	int fd, rc;

	(void)size;
	if (!q)
		return -EINVAL;
	rc = vring_fd(v, p->u64, NULL, &fd, err);
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

static void signal_call(void *call)
{
	sv_call_signal(call);
}

static int call_open(struct sv_vhost_queue *q, int fd, bool socket, struct sv_error *err)
{
	struct sv_call *c = malloc(sizeof(*c));
	int rc = c ? sv_call_open(c, fd, socket, err) : sv_fail(err, ENOMEM, "out of memory");

	if (rc < 0) {
		free(c);
		close(fd);
		return rc;
	}
	q->call = c;
	q->vq.call = signal_call;
	q->vq.call_ctx = c;
	q->vq.calls_missed = socket;
	return 0;
}

void sv_vhost_call_close(struct sv_vhost_queue *q)
{
	if (q->call)
		sv_call_close(q->call);
	free(q->call);
	q->call = NULL;
	q->vq.call = NULL;
	q->vq.calls_missed = q->vq.unheeded = false;
}

void sv_vhost_call_again(struct sv_vhost *v)
{
	for (unsigned i = 0; i < v->queues && v->calls_missed; i++)
		if (v->queue[i].running && v->queue[i].vq.unheeded)
			sv_virtq_call_again(&v->queue[i].vq, sv_clock_ns());
}

static bool some_miss_calls(const struct sv_vhost *v)
{
	bool some = false;

	for (unsigned i = 0; i < v->queues; i++)
		some |= v->queue[i].vq.calls_missed;
	return some;
}

int sv_vhost_set_vring_call(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->u64 & VU_VRING_INDEX_MASK, err);
	bool socket = false;
	int fd, rc;

	(void)size;
	if (!q)
		return -EINVAL;
	rc = vring_fd(v, p->u64, &socket, &fd, err);
	if (rc)
		return rc;
	sv_vhost_pause(v);
	sv_vhost_call_close(q);
	if (fd >= 0)
		rc = call_open(q, fd, socket, err);
	v->calls_missed = some_miss_calls(v);
	if (rc)
		return rc;
	/* An interrupt may have gone to the descriptor before. */
	if (q->running)
		sv_virtq_signal(&q->vq);
	return sv_vhost_resume(v, err);
}

/* Kept and never used: a defect shows in the counters. */
int sv_vhost_set_vring_err(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct sv_vhost_queue *q = queue_of(v, p->u64 & VU_VRING_INDEX_MASK, err);
	bool socket = false;
	int fd, rc;

	(void)size;
	if (!q)
		return -EINVAL;
	rc = vring_fd(v, p->u64, &socket, &fd, err);
	if (rc)
		return rc;
	if (q->err_fd >= 0)
		close(q->err_fd);
	q->err_fd = fd;
	return 0;
}
