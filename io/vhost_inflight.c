/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-flight region of a session: made here, kept by the front end, given to whoever serves the
 * device after us. One record per queue, then, where the file has room for it, what the device itself
 * must remember.
 */
#include "vhost_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/memtrap.h>
#include <channels/atomics.h>

#include "inflight.h"
#include "inflight_packed.h"

#define STATE_MAGIC 0x7473656469736976ull
#define PAGE 4096ull

/* Behind the last queue's record. The magic comes last, and is 0 in a new file. */
struct state {
	uint64_t magic;
	uint8_t bytes[SV_VHOST_STATE];
};

/* The features are known before the region is. */
static bool is_packed(const struct sv_vhost *v)
{
	return v->features & VU_F_RING_PACKED;
}

static uint64_t record_bytes(const struct sv_vhost *v, uint16_t size)
{
	return is_packed(v) ? inflight_packed_bytes(size) : inflight_bytes(size);
}

static uint64_t records_bytes(const struct sv_vhost *v, const struct vu_inflight *i)
{
	return i->queues * record_bytes(v, i->queue_size);
}

static int check(const struct sv_vhost *v, const struct vu_inflight *i, struct sv_error *err)
{
	if (!i->queues || i->queues > v->queues || !sv_virtq_size_valid(i->queue_size))
		return sv_fail(err, EINVAL,
			"vhost-user: in-flight region for %u queues of %u entries; the device has %u",
			i->queues, i->queue_size, v->queues);
	return 0;
}

static void forget(struct sv_vhost *v)
{
	for (unsigned i = 0; i < SV_VHOST_QUEUES; i++) {
		struct sv_vhost_queue *q = &v->queue[i];

		q->vq.record = NULL;
		q->vq.packed_record = NULL;
		free(q->record);
		free(q->packed_record);
		q->record = NULL;
		q->packed_record = NULL;
	}
	if (!v->inflight.base)
		return;
	sv_memtrap_remove(v->inflight.trap);
	munmap(v->inflight.base, v->inflight.bytes);
	v->inflight.base = NULL;
	v->inflight.state = NULL;
}

void sv_vhost_inflight_clear(struct sv_vhost *v)
{
	forget(v);
}

/* --- GET_INFLIGHT_FD ------------------------------------------------------------------------- */

static int make_file(uint64_t bytes, struct sv_error *err)
{
	int fd = (int)syscall(SYS_memfd_create, "sidevisor-inflight",
		MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return sv_fail(err, errno, "vhost-user: in-flight region: %s", strerror(errno));
	if (ftruncate(fd, (off_t)bytes) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int rc = sv_fail(err, errno, "vhost-user: in-flight region: %s", strerror(errno));

		close(fd);
		return rc;
	}
	return fd;
}

int sv_vhost_get_inflight_fd(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	struct vu_inflight *i = &p->inflight;
	int fd, rc = check(v, i, err);

	(void)size; /* the reply is as long as the request */
	if (rc < 0)
		return rc;
	i->mmap_offset = 0;
	i->mmap_size = (records_bytes(v, i) + sizeof(struct state) + PAGE - 1) & ~(PAGE - 1);
	fd = make_file(i->mmap_size, err);
	if (fd < 0)
		return fd;
	v->reply_fd = fd;
	return 0;
}

/* --- SET_INFLIGHT_FD ------------------------------------------------------------------------- */

static int file_check(const struct sv_vhost *v, const struct vu_inflight *i, int fd,
	struct sv_error *err)
{
	uint64_t least = records_bytes(v, i);
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (i->mmap_offset % PAGE || i->mmap_size < least ||
		i->mmap_size > least + (1u << 20) ||
		i->mmap_offset > INT64_MAX - i->mmap_size)
		return sv_fail(err, EINVAL,
			"vhost-user: in-flight region of %" PRIu64 " bytes at %" PRIu64
			" for %u queues of %u entries", i->mmap_size, i->mmap_offset, i->queues,
			i->queue_size);
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < i->mmap_offset + i->mmap_size)
		return sv_fail(err, EINVAL, "vhost-user: in-flight region is larger than its file");
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return sv_fail(err, EPERM,
			"vhost-user: in-flight region could shrink: seal the memfd with F_SEAL_SHRINK");
	return 0;
}

static int record_add(struct sv_vhost *v, unsigned q, const struct vu_inflight *i)
{
	void *at = (uint8_t *)v->inflight.base + q * record_bytes(v, i->queue_size);

	if (is_packed(v)) {
		struct sv_inflight_packed *f = calloc(1, sizeof(*f));

		v->queue[q].packed_record = f;
		if (!f)
			return -ENOMEM;
		f->region = at;
		f->room = i->queue_size;
	} else {
		struct sv_inflight *f = calloc(1, sizeof(*f));

		v->queue[q].record = f;
		if (!f)
			return -ENOMEM;
		f->split = at;
		f->room = i->queue_size;
	}
	return 0;
}

static int map(struct sv_vhost *v, const struct vu_inflight *i, int fd, struct sv_error *err)
{
	void *base = mmap(NULL, i->mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		(off_t)i->mmap_offset);

	if (base == MAP_FAILED)
		return sv_fail(err, errno, "vhost-user: in-flight region: %s", strerror(errno));
	v->inflight.base = base;
	v->inflight.bytes = i->mmap_size;
	v->inflight.trap = sv_memtrap_add(base, i->mmap_size);
	v->inflight.packed = is_packed(v);
	v->inflight.room = i->queue_size;
	if (i->mmap_size >= records_bytes(v, i) + sizeof(struct state))
		v->inflight.state = (uint8_t *)base + records_bytes(v, i);
	for (unsigned q = 0; q < i->queues; q++) {
		if (record_add(v, q, i) < 0) {
			forget(v);
			return sv_fail(err, ENOMEM, "out of memory");
		}
	}
	return 0;
}

int sv_vhost_set_inflight_fd(struct sv_vhost *v, union vu_payload *p, uint32_t *size,
	struct sv_error *err)
{
	int rc;

	(void)size;
	if (v->nfds != 1)
		return sv_fail(err, EPROTO, "vhost-user: in-flight region with %u descriptors",
			v->nfds);
	rc = check(v, &p->inflight, err);
	if (rc == 0)
		rc = file_check(v, &p->inflight, v->fds[0], err);
	if (rc == 0)
		rc = sv_vhost_stop(v, 0, v->queues, err);
	if (rc < 0)
		return rc;
	forget(v);
	rc = map(v, &p->inflight, v->fds[0], err);
	if (rc < 0)
		return rc;
	sv_vhost_state_load(v);
	return sv_vhost_resume(v, err);
}

/* --- the device's own state ------------------------------------------------------------------ */

void sv_vhost_state_store(struct sv_vhost *v)
{
	struct state *s = v->inflight.state;
	uint8_t bytes[SV_VHOST_STATE] = {0};

	if (!s || !v->type->get_state)
		return;
	v->type->get_state(v->dev, bytes);
	/* One byte at a time is whole whenever we end. */
	for (unsigned i = 0; i < sizeof(bytes); i++)
		sv_store_relaxed(&s->bytes[i], bytes[i]);
	sv_store_release(&s->magic, STATE_MAGIC);
}

void sv_vhost_state_load(struct sv_vhost *v)
{
	const struct state *s = v->inflight.state;
	uint8_t bytes[SV_VHOST_STATE];

	if (!s || !v->type->set_state)
		return;
	if (sv_load_acquire(&s->magic) != STATE_MAGIC) {
		sv_vhost_state_store(v);
		return;
	}
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = sv_load_relaxed(&s->bytes[i]);
	v->type->set_state(v->dev, bytes);
}
