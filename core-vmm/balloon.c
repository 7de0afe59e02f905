/* SPDX-License-Identifier: BSD-3-Clause */
#include "balloon.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <vmm/balloon.h>

#include "backing.h"
#include "dirty.h"
#include "layout.h"
#include "reclaim.h"
#include "stage2.h"

#define QUEUES 3u /* inflate, deflate, reports */
#define LOOK_PAGES (RECLAIM_BLOCK / RECLAIM_PAGE)

struct sv_balloon {
	struct sv_vm *vm;
	struct sv_reclaim *reclaim;
	pthread_mutex_t lock; /* reclaim: its thread, and who fills stage 2 */
	struct sv_virtio_pci *virtio;
	void *back_end;
	uint64_t target; /* bytes that the guest is to give back */
};

static const struct sv_vmm_balloon *protocol;

void sv_vmm_set_balloon(const struct sv_vmm_balloon *b)
{
	protocol = b;
}

/* --- RAM as one piece ------------------------------------------------------------------------ */

static bool to_offset(const struct sv_vm *vm, uint64_t gpa, uint64_t bytes, uint64_t *offset)
{
	if (gpa < vm->ram_low_bytes && bytes <= vm->ram_low_bytes - gpa)
		*offset = gpa;
	else if (gpa >= LAYOUT_HIGH && gpa - LAYOUT_HIGH < vm->ram_high_bytes &&
		 bytes <= vm->ram_high_bytes - (gpa - LAYOUT_HIGH))
		*offset = gpa - LAYOUT_HIGH + vm->ram_low_bytes;
	else
		return false;
	return true;
}

/* Both parts of RAM are one mapping: the low one is a whole number of pages of every size. */
static uint8_t *at_offset(const struct sv_vm *vm, uint64_t offset)
{
	return vm->gmem.region[0].host + offset;
}

/* What [offset, offset + bytes) is for the guest, piece by piece. */
static uint64_t piece(const struct sv_vm *vm, uint64_t offset, uint64_t bytes, uint64_t *gpa)
{
	uint64_t low = vm->ram_low_bytes;

	*gpa = offset < low ? offset : LAYOUT_HIGH + (offset - low);
	return offset < low && bytes > low - offset ? low - offset : bytes;
}

static int release(void *ctx, uint64_t offset, uint64_t bytes)
{
	struct sv_balloon *b = ctx;

	/* Free memory, with other contents from now on. */
	sv_dirty_mark(b->vm, offset, bytes);
	/* The file gets a hole: gone from every process that maps it, and from KVM's tables. */
	if (madvise(at_offset(b->vm, offset), bytes, MADV_REMOVE) < 0)
		return -errno;
	/* Whoever took the bits in between has seen the old contents. */
	sv_dirty_mark(b->vm, offset, bytes);
	return 0;
}

static int ensure(void *ctx, uint64_t offset, uint64_t bytes)
{
	struct sv_balloon *b = ctx;
	uint64_t total = b->vm->config->memory_bytes, gpa, n;
	int rc = 0;

	if (bytes > total - offset)
		bytes = total - offset;
	for (; bytes && (rc == 0 || rc == -EOPNOTSUPP); offset += n, bytes -= n) {
		n = piece(b->vm, offset, bytes, &gpa);
		rc = sv_stage2_ensure(b->vm, gpa, n);
	}
	return rc == -EOPNOTSUPP ? 0 : rc;
}

static bool touched(void *ctx, uint64_t offset, uint64_t bytes)
{
	struct sv_balloon *b = ctx;
	unsigned char vec[LOOK_PAGES];

	if (bytes > sizeof(vec) * RECLAIM_PAGE ||
		mincore(at_offset(b->vm, offset), bytes, vec) < 0)
		return false;
	for (uint64_t i = 0; i < bytes / RECLAIM_PAGE; i++)
		if (vec[i] & 1)
			return true;
	return false;
}

static const struct sv_reclaim_ops reclaim_ops = {release, ensure, touched};

/* --- for who fills stage 2 ----------------------------------------------------------------------- */

void sv_balloon_lock(struct sv_balloon *b)
{
	pthread_mutex_lock(&b->lock);
}

void sv_balloon_unlock(struct sv_balloon *b)
{
	pthread_mutex_unlock(&b->lock);
}

uint64_t sv_balloon_span(const struct sv_balloon *b, uint64_t gpa, uint64_t bytes, bool *given)
{
	uint64_t offset, n;

	*given = false;
	if (!to_offset(b->vm, gpa, bytes, &offset))
		return bytes;
	*given = sv_reclaim_given(b->reclaim, offset);
	n = RECLAIM_BLOCK - offset % RECLAIM_BLOCK;
	while (n < bytes && sv_reclaim_given(b->reclaim, offset + n) == *given)
		n += RECLAIM_BLOCK;
	return n < bytes ? n : bytes;
}

/* --- for the back end's thread ----------------------------------------------------------------- */

static void op_enter(void *ctx)
{
	struct sv_balloon *b = ctx;

	sv_stage2_pin(b->vm, pthread_self());
	pthread_setname_np(pthread_self(), "balloon");
}

static void op_inflate(void *ctx, uint64_t gpa)
{
	struct sv_balloon *b = ctx;
	uint64_t offset = UINT64_MAX;

	to_offset(b->vm, gpa, RECLAIM_PAGE, &offset);
	sv_balloon_lock(b);
	sv_reclaim_inflate(b->reclaim, offset);
	sv_balloon_unlock(b);
}

static void op_deflate(void *ctx, uint64_t gpa)
{
	struct sv_balloon *b = ctx;
	uint64_t offset = UINT64_MAX;

	to_offset(b->vm, gpa, RECLAIM_PAGE, &offset);
	sv_balloon_lock(b);
	sv_reclaim_deflate(b->reclaim, offset);
	sv_balloon_unlock(b);
}

static void op_report(void *ctx, uint64_t gpa, uint64_t bytes)
{
	struct sv_balloon *b = ctx;
	uint64_t offset = UINT64_MAX;

	to_offset(b->vm, gpa, bytes, &offset);
	sv_balloon_lock(b);
	sv_reclaim_report(b->reclaim, offset, bytes);
	sv_balloon_unlock(b);
}

static void op_settle(void *ctx)
{
	struct sv_balloon *b = ctx;

	sv_balloon_lock(b);
	sv_reclaim_settle(b->reclaim);
	sv_balloon_unlock(b);
}

static int op_tick(void *ctx)
{
	struct sv_balloon *b = ctx;
	struct timespec ts;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	sv_balloon_lock(b);
	rc = sv_reclaim_tick(b->reclaim,
		(uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u);
	sv_balloon_unlock(b);
	return rc;
}

static const struct sv_vmm_memory_ops memory_ops = {.enter = op_enter,
	.inflate = op_inflate,
	.deflate = op_deflate,
	.report = op_report,
	.settle = op_settle,
	.tick = op_tick};

/* --- life ------------------------------------------------------------------------------------ */

static int plug(struct sv_balloon *b, struct sv_pci *pci, const struct sv_gmem *ram,
	struct sv_error *err)
{
	struct sv_virtio_pci_options o = {
		.name = "balloon", .kind = VIRTIO_ID_BALLOON, .queues = QUEUES, .ram = ram};
	int rc = protocol->open(&memory_ops, b, ram, b->vm->config->name, &o.sock, &b->back_end, err);

	if (rc < 0)
		return rc;
	b->virtio = sv_virtio_pci_create(pci, &o, &rc, err);
	if (b->virtio)
		return 0;
	close(o.sock);
	protocol->close(b->back_end);
	return rc;
}

int sv_balloon_create(struct sv_vm *vm, struct sv_pci *pci, const struct sv_gmem *ram,
	struct sv_balloon **out, struct sv_error *err)
{
	struct sv_balloon *b;
	int rc;

	*out = NULL;
	if (!vm->config->balloon || !protocol)
		return 0;
	if (vm->backing == SV_BACKING_2M || vm->backing == SV_BACKING_1G) {
		/* Another process could take a page meanwhile, and the guest would die of its absence. */
		sv_warn("--balloon: guest memory is of reserved huge pages, which are not given back; "
			"--backing thp gives it others");
		return 0;
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		return sv_fail(err, ENOMEM, "out of memory");
	b->vm = vm;
	b->reclaim = sv_reclaim_create(vm->config->memory_bytes, vm->backing == SV_BACKING_4K,
		&reclaim_ops, b);
	pthread_mutex_init(&b->lock, NULL);
	rc = b->reclaim ? plug(b, pci, ram, err) : sv_fail(err, ENOMEM, "out of memory");
	if (rc < 0) {
		sv_reclaim_destroy(b->reclaim);
		pthread_mutex_destroy(&b->lock);
		free(b);
		return rc;
	}
	*out = b;
	return 0;
}

void sv_balloon_destroy(struct sv_balloon *b)
{
	if (!b)
		return;
	sv_virtio_pci_destroy(b->virtio);
	protocol->close(b->back_end);
	sv_reclaim_destroy(b->reclaim);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

struct sv_virtio_pci *sv_balloon_function(struct sv_balloon *b)
{
	return b->virtio;
}

int sv_balloon_set(struct sv_balloon *b, uint64_t bytes)
{
	uint64_t all = b->vm->config->memory_bytes;

	if (!bytes || bytes > all || bytes % RECLAIM_PAGE)
		return -EINVAL;
	sv_store_relaxed(&b->target, all - bytes);
	protocol->set_target(b->back_end, all - bytes);
	return sv_virtio_pci_refresh_config(b->virtio);
}

json_t *sv_balloon_json(const struct sv_balloon *b)
{
	struct sv_reclaim_stats s = sv_reclaim_stats(b->reclaim);

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "target_bytes",
		(json_int_t)sv_load_relaxed(&b->target), "actual_bytes",
		(json_int_t)protocol->actual(b->back_end), "balloon_bytes",
		(json_int_t)s.balloon_bytes, "hole_bytes", (json_int_t)s.hole_bytes,
		"reported_bytes", (json_int_t)s.reported_bytes, "again_bytes",
		(json_int_t)s.again_bytes, "ahead_bytes", (json_int_t)s.ahead_bytes, "splits",
		(json_int_t)s.splits, "merges", (json_int_t)s.merges, "ignored",
		(json_int_t)s.ignored, "failed", (json_int_t)s.failed);
}
