/* SPDX-License-Identifier: BSD-3-Clause */
#include "dirty.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <channels/atomics.h>

#include "devices.h"
#include "layout.h"
#include "pager.h"
#include "stage2.h"
#include "vcpu.h"

#define PAGE 4096ull
#define RING_ENTRIES 4096u /* 64 KiB a vCPU */
#define SOON_US 200u	    /* until the next look at rings that had something */
#define CALM_US 5000u
#define HOST_PAGE 4096u
#define SETTLE_NS 50000000l
#define SETTLE_TURNS 40u

struct ring {
	struct kvm_dirty_gfn *gfn; /* NULL: not mapped */
	uint32_t next;
};

struct sv_dirty {
	pthread_mutex_t lock; /* rings, bitmap */
	struct ring *ring;    /* NULL: the log */
	unsigned rings;
	uint32_t entries;
	uint64_t *bits, *log, words;
	pthread_t thread;
	bool on, started;
	int stop;
	int log_fd; /* shared with device back ends: a bit per 4 KiB of guest-physical memory */
	uint64_t *device, device_bytes;
	int unlogged; /* devices whose back ends cannot */
	uint64_t *sum; /* of each page, for sv_dirty_verify() */
	/* Relaxed. */
	uint64_t pages, harvests, resets, full;
};

static uint64_t ram_bytes(const struct sv_vm *vm)
{
	return vm->ram_low_bytes + vm->ram_high_bytes;
}

static unsigned ram_slots(const struct sv_vm *vm)
{
	return vm->ram_high_bytes ? 2 : 1;
}

static uint64_t slot_pages(const struct sv_vm *vm, unsigned slot)
{
	return (slot ? vm->ram_high_bytes : vm->ram_low_bytes) / PAGE;
}

static uint64_t slot_first(const struct sv_vm *vm, unsigned slot)
{
	return slot ? vm->ram_low_bytes / PAGE : 0;
}

uint64_t sv_dirty_words(const struct sv_vm *vm)
{
	return (ram_bytes(vm) / PAGE + 63) / 64;
}

void sv_dirty_enable(struct sv_vm *vm)
{
	static const uint32_t caps[] = {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING};
	const char *without = getenv("SIDEVISOR_KVM_WITHOUT");

	/* Tests have rings that fill up. */
	const char *entries = getenv("SIDEVISOR_DIRTY_RING");

	vm->dirty_entries = 0;
	if (!vm->config->track_dirty || (without && !strcmp(without, "KVM_CAP_DIRTY_LOG_RING")))
		return;
	for (unsigned i = 0; i < 2 && !vm->dirty_entries; i++) {
		int most = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, (unsigned long)caps[i]);
		uint32_t n = entries ? (uint32_t)strtoul(entries, NULL, 10) : RING_ENTRIES;
		uint32_t bytes = n * (uint32_t)sizeof(struct kvm_dirty_gfn);
		struct kvm_enable_cap e = {.cap = caps[i]};

		if (most <= 0)
			continue;
		e.args[0] = bytes < (uint32_t)most ? bytes : (uint32_t)most;
		if (ioctl(vm->vm_fd, KVM_ENABLE_CAP, &e) == 0)
			vm->dirty_entries = (uint32_t)(e.args[0] / sizeof(struct kvm_dirty_gfn));
	}
}

/* --- rings and log --------------------------------------------------------------------------- */

static bool set_bit(struct sv_dirty *d, uint64_t page)
{
	uint64_t *word = &d->bits[page / 64], bit = 1ull << page % 64;
	bool fresh = !(*word & bit);

	*word |= bit;
	return fresh;
}

static uint64_t empty_ring(struct sv_vm *vm, struct sv_dirty *d, struct ring *r, unsigned *taken)
{
	uint64_t fresh = 0;

	for (uint32_t i = 0; i < d->entries; i++) {
		struct kvm_dirty_gfn *e = &r->gfn[r->next % d->entries];
		uint32_t slot;

		/* KVM's entry is whole once its flag is seen; ours is done with once the other one is. */
		if (!(sv_load_acquire(&e->flags) & KVM_DIRTY_GFN_F_DIRTY))
			break;
		slot = e->slot & 0xffffu;
		if (slot < ram_slots(vm) && e->offset < slot_pages(vm, slot))
			fresh += set_bit(d, slot_first(vm, slot) + e->offset);
		sv_store_release(&e->flags, KVM_DIRTY_GFN_F_RESET);
		r->next++;
		++*taken;
	}
	return fresh;
}

static int64_t empty_rings(struct sv_vm *vm, struct sv_dirty *d)
{
	unsigned taken = 0;
	uint64_t fresh = 0;

	for (unsigned i = 0; i < d->rings; i++)
		if (d->ring[i].gfn)
			fresh += empty_ring(vm, d, &d->ring[i], &taken);
	/* Protects the pages again; what is written from now on comes again. */
	if (taken && ioctl(vm->vm_fd, KVM_RESET_DIRTY_RINGS, 0) < 0)
		return -errno;
	sv_store_relaxed(&d->resets, d->resets + (taken != 0));
	return (int64_t)fresh;
}

static int64_t read_log(struct sv_vm *vm, struct sv_dirty *d)
{
	int64_t fresh = 0;

	for (unsigned slot = 0; slot < ram_slots(vm); slot++) {
		struct kvm_dirty_log get = {.slot = slot, .dirty_bitmap = d->log};
		uint64_t n = slot_pages(vm, slot), first = slot_first(vm, slot);

		memset(d->log, 0, d->words * sizeof(d->log[0]));
		if (ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, &get) < 0)
			return -errno;
		for (uint64_t p = 0; p < n; p++)
			if (d->log[p / 64] & 1ull << p % 64)
				fresh += set_bit(d, first + p);
	}
	return fresh;
}

int64_t sv_dirty_harvest(struct sv_vm *vm)
{
	struct sv_dirty *d = vm->dirty;
	int64_t n = 0;

	pthread_mutex_lock(&d->lock);
	/* Rings also when nobody asks any more: a full one keeps its vCPU out of the guest. */
	if (d->ring)
		n = empty_rings(vm, d);
	else if (d->on)
		n = read_log(vm, d);
	if (n > 0)
		sv_store_relaxed(&d->pages, d->pages + (uint64_t)n);
	sv_store_relaxed(&d->harvests, d->harvests + 1);
	pthread_mutex_unlock(&d->lock);
	return n;
}

/* --- what device back ends write --------------------------------------------------------------- */

static void take_range(struct sv_dirty *d, uint64_t page, uint64_t pages, uint64_t first)
{
	for (uint64_t i = page / 64; i <= (page + pages - 1) / 64; i++) {
		uint64_t bits = sv_load_relaxed(&d->device[i])
					? __atomic_exchange_n(&d->device[i], 0, __ATOMIC_ACQ_REL)
					: 0;

		for (; bits; bits &= bits - 1) {
			uint64_t at = i * 64 + (uint64_t)__builtin_ctzll(bits);

			if (at >= page && at < page + pages)
				set_bit(d, first + (at - page));
		}
	}
}

/* The lock is held. Back ends set bits meanwhile: those come the next time. */
static void take_device_log(struct sv_vm *vm, struct sv_dirty *d)
{
	if (!d->device)
		return;
	take_range(d, 0, slot_pages(vm, 0), 0);
	if (vm->ram_high_bytes)
		take_range(d, LAYOUT_HIGH / PAGE, slot_pages(vm, 1), slot_first(vm, 1));
}

static int open_device_log(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_dirty *d = vm->dirty;
	uint64_t end = vm->ram_high_bytes ? LAYOUT_HIGH + vm->ram_high_bytes : vm->ram_low_bytes;
	void *p;

	d->device_bytes = (end / PAGE / 8 + PAGE) / PAGE * PAGE;
	d->log_fd = memfd_create("sidevisor-dirty", MFD_CLOEXEC);
	if (d->log_fd < 0 || ftruncate(d->log_fd, (off_t)d->device_bytes) < 0)
		return sv_fail(err, errno, "dirty log of devices: %s", strerror(errno));
	p = mmap(NULL, d->device_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->log_fd, 0);
	if (p == MAP_FAILED)
		return sv_fail(err, errno, "dirty log of devices: %s", strerror(errno));
	d->device = p;
	d->unlogged = sv_devices_log(vm, d->log_fd, d->device_bytes, err);
	return d->unlogged < 0 ? d->unlogged : 0;
}

static void close_device_log(struct sv_vm *vm)
{
	struct sv_dirty *d = vm->dirty;
	struct sv_error err;

	if (d->log_fd < 0)
		return;
	if (sv_devices_log(vm, -1, 0, &err) < 0)
		sv_warn("%s", err.text);
	if (d->device)
		munmap(d->device, d->device_bytes);
	close(d->log_fd);
	d->device = NULL;
	d->log_fd = -1;
}

void sv_dirty_mark(struct sv_vm *vm, uint64_t offset, uint64_t bytes)
{
	struct sv_dirty *d = vm->dirty;

	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	for (uint64_t at = 0; d->on && at < bytes; at += PAGE)
		set_bit(d, (offset + at) / PAGE);
	pthread_mutex_unlock(&d->lock);
}

uint64_t sv_dirty_take(struct sv_vm *vm, uint64_t *bits)
{
	struct sv_dirty *d = vm->dirty;
	uint64_t n = 0;

	pthread_mutex_lock(&d->lock);
	take_device_log(vm, d);
	memcpy(bits, d->bits, d->words * sizeof(bits[0]));
	memset(d->bits, 0, d->words * sizeof(bits[0]));
	sv_store_relaxed(&d->pages, 0);
	pthread_mutex_unlock(&d->lock);
	for (uint64_t i = 0; i < d->words; i++)
		n += (uint64_t)__builtin_popcountll(bits[i]);
	return n;
}

/* A full ring keeps its vCPU out of the guest: it empties it itself, and goes on. */
enum sv_exit_action sv_dirty_ring_full(struct sv_vcpu *vcpu)
{
	struct sv_vm *vm = vcpu->vm;

	if (!vm->dirty)
		return SV_EXIT_RESUME;
	__atomic_fetch_add(&vm->dirty->full, 1, __ATOMIC_RELAXED);
	sv_dirty_harvest(vm);
	return SV_EXIT_RESUME;
}

/* --- the thread -------------------------------------------------------------------------------- */

static void *harvest(void *arg)
{
	struct sv_vm *vm = arg;
	struct sv_dirty *d = vm->dirty;

	while (!sv_load_acquire(&d->stop)) {
		int64_t n = sv_dirty_harvest(vm);
		/* Reading the log costs by the size of memory: not as often. */
		struct timespec t = {.tv_nsec = 1000 * (n > 0 && d->ring ? SOON_US : CALM_US)};

		if (n < 0) {
			sv_warn("pages that the guest writes cannot be tracked: %s",
				strerror((int)-n));
			break;
		}
		nanosleep(&t, NULL);
	}
	return NULL;
}

static int start_thread(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_dirty *d = vm->dirty;
	sigset_t all, old;
	int rc;

	sv_store_release(&d->stop, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&d->thread, NULL, harvest, vm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return sv_fail(err, rc, "cannot start the thread that tracks writes: %s",
			strerror(rc));
	d->started = true;
	sv_stage2_pin(vm, d->thread);
	pthread_setname_np(d->thread, "dirty");
	return 0;
}

/* KVM splits huge pages when it begins to log, and makes them whole when it ends. */
static int log_slots(struct sv_vm *vm, bool on)
{
	for (unsigned i = 0; i < ram_slots(vm); i++) {
		const struct sv_gmem_region *r = &vm->gmem.region[i];
		struct kvm_userspace_memory_region slot = {.slot = i,
			.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0,
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host};

		if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return -errno;
	}
	return 0;
}

int sv_dirty_start(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_dirty *d = vm->dirty;
	struct sv_pager_state source;
	int rc;

	if (!d)
		return sv_fail(err, ENODEV, "this VM's writes are not tracked; run it with --track-dirty");
	if (d->on)
		return sv_fail(err, EALREADY, "it is being tracked already");
	/* KVM's call waits for a vCPU that waits for a page; and who compares memory touches all of it. */
	if (sv_pager_state(vm, &source) && !source.done)
		return sv_fail(err, EAGAIN, "its memory is still arriving; try again when all of it is "
			"there");
	sv_stage2_hold(vm, true);
	pthread_mutex_lock(&d->lock);
	memset(d->bits, 0, d->words * sizeof(d->bits[0]));
	sv_store_relaxed(&d->pages, 0);
	rc = log_slots(vm, true);
	d->on = rc == 0;
	pthread_mutex_unlock(&d->lock);
	if (rc < 0) {
		log_slots(vm, false);
		sv_stage2_hold(vm, false);
		return sv_fail(err, -rc, "KVM does not log writes: %s", strerror(-rc));
	}
	rc = open_device_log(vm, err);
	if (rc == 0)
		rc = start_thread(vm, err);
	if (rc < 0)
		sv_dirty_stop(vm);
	return rc;
}

void sv_dirty_stop(struct sv_vm *vm)
{
	struct sv_dirty *d = vm->dirty;

	if (!d || !d->on)
		return;
	sv_store_release(&d->stop, 1);
	if (d->started)
		pthread_join(d->thread, NULL);
	d->started = false;
	sv_dirty_harvest(vm);
	close_device_log(vm);
	if (log_slots(vm, false) < 0)
		sv_warn("KVM goes on logging writes: %s", strerror(errno));
	pthread_mutex_lock(&d->lock);
	d->on = false;
	pthread_mutex_unlock(&d->lock);
	/* Nothing comes into the rings any more: what came meanwhile is the last. */
	sv_dirty_harvest(vm);
	sv_stage2_hold(vm, false);
	free(d->sum);
	d->sum = NULL;
	/* The tables were cut into small pages: whole again before the guest asks. */
	sv_stage2_refill(vm);
}

/* --- proof ------------------------------------------------------------------------------------- */

static uint64_t checksum(const uint64_t *p)
{
	uint64_t h = 0x9e3779b97f4a7c15ull;

	for (unsigned i = 0; i < PAGE / sizeof(*p); i++)
		h = (h ^ sv_load_relaxed(&p[i])) * 0xff51afd7ed558ccdull + (h >> 29);
	return h;
}

static bool bit_of(const uint64_t *bits, uint64_t page)
{
	return bits[page / 64] & 1ull << page % 64;
}

static uint64_t count_missed(const struct sv_vm *vm, const uint64_t *before, uint64_t *first)
{
	uint64_t missed = 0;

	for (uint64_t p = 0; p < ram_bytes(vm) / PAGE; p++)
		if (!bit_of(before, p) && !bit_of(vm->dirty->bits, p) && !missed++)
			*first = p;
	return missed;
}

/* A request under way has written its data before it is noted: a while for that. */
static uint64_t settle_devices(struct sv_vm *vm, const uint64_t *before, uint64_t *first)
{
	struct timespec t = {.tv_nsec = SETTLE_NS};
	uint64_t missed = 1;

	for (unsigned i = 0; i < SETTLE_TURNS && missed; i++) {
		pthread_mutex_unlock(&vm->dirty->lock);
		nanosleep(&t, NULL);
		pthread_mutex_lock(&vm->dirty->lock);
		take_device_log(vm, vm->dirty);
		missed = count_missed(vm, before, first);
	}
	return missed;
}

/* Pages of RAM that there are, from @page on: [*from, *to). */
static void next_extent(const struct sv_vm *vm, uint64_t page, uint64_t *from, uint64_t *to)
{
	const struct sv_gmem_region *r = &vm->gmem.region[0];
	uint64_t all = ram_bytes(vm) / PAGE;
	off_t data = lseek(r->fd, (off_t)(r->fd_offset + page * PAGE), SEEK_DATA);
	off_t hole = data < 0 ? -1 : lseek(r->fd, data, SEEK_HOLE);

	*from = *to = all;
	if (data < 0 && errno == ENXIO)
		return;
	*from = data < 0 ? page : ((uint64_t)data - r->fd_offset) / PAGE;
	if (hole >= 0)
		*to = ((uint64_t)hole - r->fd_offset + PAGE - 1) / PAGE;
}

/*
 * New checksums. A hole counts as zeroes and is not touched, which would make it again. In @before, what was
 * found until now, pages that did not change are set as well, so that what is not in it was missed.
 * Return: pages that changed.
 */
static uint64_t sum_all(struct sv_vm *vm, uint64_t *before, bool have, uint64_t *dirty)
{
	struct sv_dirty *d = vm->dirty;
	static const uint64_t zeroes[PAGE / sizeof(uint64_t)];
	const uint8_t *ram = vm->gmem.region[0].host;
	uint64_t changed = 0, from = 0, to = 0, nothing = checksum(zeroes);

	for (uint64_t p = 0; p < ram_bytes(vm) / PAGE; p++) {
		uint64_t sum = nothing;
		bool differs;

		if (p >= to)
			next_extent(vm, p, &from, &to);
		if (p >= from)
			sum = checksum((const uint64_t *)(const void *)(ram + p * PAGE));
		differs = have && sum != d->sum[p];
		d->sum[p] = sum;
		changed += differs;
		*dirty += bit_of(before, p);
		if (!differs)
			before[p / 64] |= 1ull << p % 64;
	}
	return changed;
}

/* The lock is held, but for waits. What devices note meanwhile counts now, and is left for the next time as well. */
static json_t *compare(struct sv_vm *vm)
{
	struct sv_dirty *d = vm->dirty;
	uint64_t n = ram_bytes(vm) / PAGE, changed, missed, dirty = 0, first = 0;
	uint64_t *before = calloc(d->words, sizeof(*before));
	bool have = d->sum != NULL;

	if (!have)
		d->sum = calloc(n, sizeof(d->sum[0]));
	if (!before || !d->sum) {
		free(before);
		return NULL;
	}
	take_device_log(vm, d);
	memcpy(before, d->bits, d->words * sizeof(*before));
	memset(d->bits, 0, d->words * sizeof(d->bits[0]));
	changed = sum_all(vm, before, have, &dirty);
	missed = settle_devices(vm, before, &first);
	free(before);
	sv_store_relaxed(&d->pages, 0);
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I}", "compared", have, "pages", (json_int_t)n,
		"changed", (json_int_t)changed, "dirty", (json_int_t)dirty, "missed",
		(json_int_t)missed, "first_missed_page", (json_int_t)first);
}

json_t *sv_dirty_verify(struct sv_vm *vm, struct sv_error *err)
{
	json_t *out = NULL;
	bool paused = vm->paused;

	if (!vm->dirty || !vm->dirty->on) {
		sv_fail(err, ENODEV, "its writes are not being tracked; start that first");
		return NULL;
	}
	sv_store_release(&vm->paused, 1);
	if (sv_vcpus_rest(vm)) {
		sv_dirty_harvest(vm);
		pthread_mutex_lock(&vm->dirty->lock);
		out = compare(vm);
		pthread_mutex_unlock(&vm->dirty->lock);
		if (!out)
			sv_fail(err, ENOMEM, "out of memory");
	} else {
		sv_fail(err, ETIMEDOUT, "a vCPU does not come out of the guest");
	}
	sv_store_release(&vm->paused, paused);
	return out;
}

json_t *sv_dirty_json(const struct sv_vm *vm)
{
	const struct sv_dirty *d = vm->dirty;

	return json_pack("{s:b, s:i, s:s, s:i, s:I, s:I, s:I, s:I}", "on", d->on,
		"unlogged_devices", d->unlogged, "by",
		d->ring ? "rings" : "log", "ring_entries", d->ring ? (int)d->entries : 0,
		"dirty_pages", (json_int_t)sv_load_relaxed(&d->pages), "harvests",
		(json_int_t)sv_load_relaxed(&d->harvests), "resets",
		(json_int_t)sv_load_relaxed(&d->resets), "full_exits",
		(json_int_t)sv_load_relaxed(&d->full));
}

/* --- life ------------------------------------------------------------------------------------ */

static void unmap_rings(struct sv_dirty *d)
{
	for (unsigned i = 0; d->ring && i < d->rings; i++)
		if (d->ring[i].gfn)
			munmap(d->ring[i].gfn, d->entries * sizeof(struct kvm_dirty_gfn));
	free(d->ring);
	d->ring = NULL;
}

/* One for each vCPU, and for the helper: what KVM writes on its behalf comes there. */
static int map_rings(struct sv_vm *vm, struct sv_dirty *d)
{
	d->rings = vm->nvcpus + 1;
	d->entries = vm->dirty_entries;
	d->ring = calloc(d->rings, sizeof(d->ring[0]));
	if (!d->ring)
		return -ENOMEM;
	for (unsigned i = 0; i < d->rings; i++) {
		int fd = i < vm->nvcpus ? vm->vcpu[i].fd : sv_stage2_fd(vm);
		void *p;

		if (fd < 0)
			continue;
		p = mmap(NULL, d->entries * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, KVM_DIRTY_LOG_PAGE_OFFSET * HOST_PAGE);
		if (p == MAP_FAILED) {
			unmap_rings(d);
			return -errno;
		}
		d->ring[i].gfn = p;
	}
	return 0;
}

int sv_dirty_create(struct sv_vm *vm, struct sv_error *err)
{
	struct sv_dirty *d;
	int rc = 0;

	if (!vm->config->track_dirty)
		return 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return sv_fail(err, ENOMEM, "out of memory");
	vm->dirty = d;
	d->log_fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	d->words = sv_dirty_words(vm);
	d->bits = calloc(d->words, sizeof(d->bits[0]));
	d->log = calloc(d->words, sizeof(d->log[0]));
	if (!d->bits || !d->log)
		rc = -ENOMEM;
	else if (vm->dirty_entries)
		rc = map_rings(vm, d);
	else
		sv_warn("--track-dirty: this KVM has no dirty rings; its dirty log is read instead, at a "
			"cost by the size of memory");
	if (rc < 0) {
		sv_dirty_destroy(vm);
		return sv_fail(err, -rc, "--track-dirty: %s", strerror(-rc));
	}
	return 0;
}

void sv_dirty_destroy(struct sv_vm *vm)
{
	struct sv_dirty *d = vm->dirty;

	if (!d)
		return;
	sv_store_release(&d->stop, 1);
	if (d->started)
		pthread_join(d->thread, NULL);
	if (d->device)
		munmap(d->device, d->device_bytes);
	if (d->log_fd >= 0)
		close(d->log_fd);
	unmap_rings(d);
	free(d->bits);
	free(d->log);
	free(d->sum);
	pthread_mutex_destroy(&d->lock);
	free(d);
	vm->dirty = NULL;
}
