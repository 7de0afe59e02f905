/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dirty log of a front end that migrates its guest: memory of its own where we set a bit for every
 * page that we write. It is asked for by VHOST_F_LOG_ALL; queues have nothing in flight when it
 * begins, so that no write goes unlogged.
 */
#include "vhost_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <base/memtrap.h>

#define PAGE 4096ull
#define LOG_MAX (4ull << 30) /* bits for 128 TiB of guest memory */

void sv_vhost_log_stop(struct sv_vhost_queue *q)
{
	q->vq.log = NULL;
	free(q->logged.written);
	q->logged.written = NULL;
}

int sv_vhost_log_start(struct sv_vhost *v, struct sv_vhost_queue *q)
{
	sv_vhost_log_stop(q);
	if (!v->log.base || !(v->features & VU_F_LOG_ALL))
		return 0;
	q->logged.bits = v->log.base;
	q->logged.bytes = v->log.bytes;
	q->logged.written = calloc(q->vq.size, sizeof(*q->logged.written));
	if (!q->logged.written)
		return -ENOMEM;
	q->vq.log = &q->logged;
	return 0;
}

void sv_vhost_log_clear(struct sv_vhost *v)
{
	for (unsigned i = 0; i < v->queues; i++)
		sv_vhost_log_stop(&v->queue[i]);
	if (!v->log.base)
		return;
	sv_memtrap_remove(v->log.trap);
	munmap(v->log.base, v->log.bytes);
	v->log.base = NULL;
}

static int map(struct sv_vhost *v, const struct vu_log *l, int fd, struct sv_error *err)
{
	struct stat st;
	void *base;

	if (!l->size || l->size > LOG_MAX || l->offset % PAGE || l->offset > INT64_MAX - l->size)
		return sv_fail(err, EINVAL,
			"vhost-user: dirty log of %" PRIu64 " bytes at %" PRIu64, l->size, l->offset);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size < l->offset + l->size)
		return sv_fail(err, EINVAL, "vhost-user: the dirty log is larger than its file");
	base = mmap(NULL, l->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)l->offset);
	if (base == MAP_FAILED)
		return sv_fail(err, errno, "vhost-user: dirty log: %s", strerror(errno));
	v->log.base = base;
	v->log.bytes = l->size;
	v->log.trap = sv_memtrap_add(base, l->size);
	return 0;
}

int sv_vhost_set_log_base(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct vu_log l = p->log;
	int rc;

	if (!(v->protocol & VU_PROTOCOL_F_LOG_SHMFD) || v->nfds != 1)
		return sv_fail(err, EPROTO, "vhost-user: dirty log with %u descriptors%s", v->nfds,
			v->protocol & VU_PROTOCOL_F_LOG_SHMFD ? "" : ", and LOG_SHMFD not negotiated");
	rc = sv_vhost_stop(v, 0, v->queues, err);
	if (rc < 0)
		return rc;
	sv_vhost_log_clear(v);
	rc = map(v, &l, v->fds[0], err);
	if (rc < 0)
		return rc;
	p->u64 = 0;
	*size = sizeof(p->u64);
	return sv_vhost_resume(v, err);
}

/* An eventfd for whoever waits for the log: those who read it do so on their own. */
int sv_vhost_set_log_fd(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	(void)p;
	(void)size;
	if (v->nfds != 1)
		return sv_fail(err, EPROTO, "vhost-user: log descriptor message with %u descriptors",
			v->nfds);
	return 0;
}
