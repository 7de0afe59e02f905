/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio_pci.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <channels/vhost_user.h>

#include "devices.h"
#include "irq.h"

#define STATUS_KNOWN \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK | \
		VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	/* A full counter is signalled already. */
	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		return;
}

void sv_virtio_pci_leave(struct sv_virtio_pci *d)
{
	d->away = true;
	d->recorded = false;
}

/*
 * The back end failed. One that is gone may come back, and is then told all that it missed; of any other
 * nothing more is asked, and the VM cannot go on.
 */
static void back_end_failed(struct sv_virtio_pci *d, int rc, const struct sv_error *why)
{
	struct sv_error err;

	if (d->dead)
		return;
	if (d->returns && sv_vhost_front_gone(rc)) {
		sv_virtio_pci_leave(d);
		return;
	}
	d->dead = true;
	d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	sv_fail(&err, EIO, "%s: %.400s", d->name, why->text);
	sv_vm_end(d->vm, SV_END_ERROR, 0, &err);
}

/* The driver did what the specification forbids: it is told, and the device waits for a reset. */
static void needs_reset(struct sv_virtio_pci *d)
{
	d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (!(d->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	d->isr |= VIRTIO_PCI_ISR_CONFIG;
	signal_fd(sv_msix_fd(&d->msix, d->config_vector));
}

/* --- rings ----------------------------------------------------------------------------------------- */

static uint64_t desc_bytes(const struct sv_virtio_queue *q)
{
	return 16ull * q->size;
}

static uint64_t avail_bytes(const struct sv_virtio_queue *q)
{
	return 6 + 2ull * q->size;
}

static uint64_t used_bytes(const struct sv_virtio_queue *q)
{
	return 6 + 8ull * q->size;
}

static bool valid(const struct sv_virtio_pci *d, const struct sv_virtio_queue *q)
{
	if (!q->size || (q->size & (q->size - 1)) || q->size > VIRTIO_PCI_QUEUE_SIZE)
		return false;
	if (q->desc % 16 || q->driver % 2 || q->device % 4)
		return false;
	return sv_gmem_ptr(d->ram, sv_gpa(q->desc), desc_bytes(q)) &&
	       sv_gmem_ptr(d->ram, sv_gpa(q->driver), avail_bytes(q)) &&
	       sv_gmem_ptr(d->ram, sv_gpa(q->device), used_bytes(q));
}

void sv_virtio_pci_enable(struct sv_virtio_pci *d, struct sv_virtio_queue *q)
{
	if (q->enabled || (d->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	if (valid(d, q))
		q->enabled = true;
	else
		needs_reset(d);
}

/* Where a ring is that a back end left without a word. */
static uint16_t used_idx(const struct sv_virtio_pci *d, const struct sv_virtio_queue *q)
{
	const struct vring_used *used = sv_gmem_ptr(d->ram, sv_gpa(q->device), used_bytes(q));

	return used ? sv_load_acquire(&used->idx) : q->base;
}

/* Before the first ring. */
static int record(struct sv_virtio_pci *d, struct sv_error *err)
{
	int rc = 0;

	if (!d->recorded)
		rc = sv_vhost_front_inflight(&d->front, &d->inflight, (uint16_t)d->queues,
			VIRTIO_PCI_QUEUE_SIZE, err);
	d->recorded = rc == 0;
	return rc;
}

static void start(struct sv_virtio_pci *d, unsigned i)
{
	struct sv_virtio_queue *q = &d->queue[i];
	struct sv_vhost_ring ring = {.size = q->size,
		.base = q->base,
		.desc = sv_gmem_ptr(d->ram, sv_gpa(q->desc), desc_bytes(q)),
		.avail = sv_gmem_ptr(d->ram, sv_gpa(q->driver), avail_bytes(q)),
		.used = sv_gmem_ptr(d->ram, sv_gpa(q->device), used_bytes(q)),
		.kick_fd = q->kick_fd,
		.call_fd = sv_msix_fd(&d->msix, q->vector)};
	struct sv_error err;
	int rc;

	q->running = true;
	if (d->away)
		return;
	rc = record(d, &err);
	q->served |= rc == 0; /* from here on it may have begun, whatever the answer is */
	if (rc == 0)
		rc = sv_vhost_front_start(&d->front, i, &ring, &err);
	if (rc < 0)
		back_end_failed(d, rc, &err);
}

static void stop(struct sv_virtio_pci *d, unsigned i)
{
	struct sv_virtio_queue *q = &d->queue[i];
	struct sv_error err;
	int rc = 0;

	q->running = false;
	if (!d->away) {
		rc = sv_vhost_front_stop(&d->front, i, &q->base, &err);
		if (rc < 0)
			back_end_failed(d, rc, &err);
	}
	/* What it had begun is recorded, and nothing of it reaches the guest while it is away. */
	if (d->away && q->served)
		q->base = used_idx(d, q);
}

static bool may_run(const struct sv_virtio_pci *d)
{
	return (d->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       (d->status & VIRTIO_CONFIG_S_FEATURES_OK) && sv_pci_bus_master(&d->pci);
}

void sv_virtio_pci_update_running(struct sv_virtio_pci *d)
{
	bool want = may_run(d);

	for (unsigned i = 0; i < d->queues && !d->dead; i++) {
		struct sv_virtio_queue *q = &d->queue[i];

		if (want && q->enabled && !q->running)
			start(d, i);
		else if (!want && q->running)
			stop(d, i);
	}
	sv_virtio_pci_update_kicks(d);
}

void sv_virtio_pci_update_kicks(struct sv_virtio_pci *d)
{
	uint64_t bar = d->pci.bar[VIRTIO_BAR].gpa;

	for (unsigned i = 0; i < d->queues; i++) {
		struct sv_virtio_queue *q = &d->queue[i];
		uint64_t want = 0;

		if (bar && q->running)
			want = bar + VIRTIO_NOTIFY + i * VIRTIO_NOTIFY_MULTIPLIER;
		if (want == q->kick_gpa)
			continue;
		if (q->kick_gpa)
			sv_irq_ioeventfd(d->vm, q->kick_gpa, 0, q->kick_fd, false);
		/* Where KVM refuses, the guest's write reaches us, and we signal the eventfd. */
		q->kick_gpa = want;
		if (want && sv_irq_ioeventfd(d->vm, want, 0, q->kick_fd, true) < 0)
			q->kick_gpa = 0;
	}
}

void sv_virtio_pci_set_vector(struct sv_virtio_pci *d, struct sv_virtio_queue *q,
	uint16_t vector)
{
	struct sv_error err;
	int rc;

	q->vector = vector < d->msix.n ? vector : VIRTIO_MSI_NO_VECTOR;
	if (!q->running || d->dead || d->away)
		return;
	rc = sv_vhost_front_set_call(&d->front, (unsigned)(q - d->queue),
		sv_msix_fd(&d->msix, q->vector), &err);
	if (rc < 0)
		back_end_failed(d, rc, &err);
}

/* --- status ---------------------------------------------------------------------------------------- */

void sv_virtio_pci_clear(struct sv_virtio_pci *d)
{
	uint64_t n;

	/* Nothing that was in flight before is of interest any more. */
	sv_vhost_inflight_close(&d->inflight);
	d->recorded = d->wce_written = false;
	d->features = 0;
	d->offered_select = d->features_select = 0;
	d->config_vector = VIRTIO_MSI_NO_VECTOR;
	d->queue_select = 0;
	d->isr = 0;
	d->status = d->dead ? VIRTIO_CONFIG_S_NEEDS_RESET : 0;
	for (unsigned i = 0; i < d->queues; i++) {
		struct sv_virtio_queue *q = &d->queue[i];

		*q = (struct sv_virtio_queue){.size = VIRTIO_PCI_QUEUE_SIZE,
			.vector = VIRTIO_MSI_NO_VECTOR,
			.kick_fd = q->kick_fd,
			.kick_gpa = q->kick_gpa};
		if (read(q->kick_fd, &n, sizeof(n)) < 0)
			continue; /* no kick was left over */
	}
}

static uint64_t driven_features(const struct sv_virtio_pci *d)
{
	return d->features | (d->log_fd >= 0 ? VU_F_LOG_ALL : 0);
}

static bool confirm_features(struct sv_virtio_pci *d)
{
	struct sv_error err;
	int rc;

	if ((d->features & ~d->offered) || !(d->features & 1ull << VIRTIO_F_VERSION_1) || d->dead)
		return false;
	if (d->away)
		return true;
	rc = sv_vhost_front_set_features(&d->front, driven_features(d), &err);
	if (rc < 0)
		back_end_failed(d, rc, &err);
	return rc == 0 || d->away;
}

/* A driver adds bits; only a reset takes them away. */
void sv_virtio_pci_set_status(struct sv_virtio_pci *d, uint8_t status)
{
	uint8_t added = status & STATUS_KNOWN & (uint8_t)~d->status;

	if (status == 0) {
		d->status &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
		sv_virtio_pci_update_running(d);
		sv_virtio_pci_clear(d);
		return;
	}
	if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !confirm_features(d))
		added &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	if ((added & VIRTIO_CONFIG_S_DRIVER_OK) &&
		!((d->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	d->status |= added;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		sv_virtio_pci_update_running(d);
}

/* The fields that a driver may write: a disk's write cache, and what a balloon holds. */
static bool writable(const struct sv_virtio_pci *d, uint32_t offset, unsigned n)
{
	if (d->kind == VIRTIO_ID_BLOCK)
		return offset == offsetof(struct virtio_blk_config, wce) && n == 1 &&
		       d->features & 1ull << VIRTIO_BLK_F_CONFIG_WCE;
	return d->kind == VIRTIO_ID_BALLOON &&
	       offset == offsetof(struct virtio_balloon_config, actual) && n == 4;
}

void sv_virtio_pci_set_config(struct sv_virtio_pci *d, uint32_t offset, const void *bytes, unsigned n)
{
	struct sv_error err;
	uint8_t value[4];
	int rc = 0;

	if (!writable(d, offset, n) || d->dead)
		return;
	memcpy(value, bytes, n);
	if (d->kind == VIRTIO_ID_BLOCK)
		value[0] &= 1;
	if (!d->away)
		rc = sv_vhost_front_set_config(&d->front, offset, value, n, &err);
	if (rc == -ENOTSUP)
		return;
	if (rc < 0)
		back_end_failed(d, rc, &err);
	if (rc == 0 || d->away) {
		memcpy(d->config + offset, value, n);
		d->wce_written |= d->kind == VIRTIO_ID_BLOCK;
	}
}

int sv_virtio_pci_refresh_config(struct sv_virtio_pci *d)
{
	struct sv_error err;
	int rc = -ENODEV;

	pthread_mutex_lock(&d->pci.lock);
	if (!d->dead && !d->away && !d->config_given)
		rc = sv_vhost_front_get_config(&d->front, d->config, d->config_bytes, &err);
	if (rc == 0 && d->kind == VIRTIO_ID_BLOCK) /* as many as were agreed on */
		sv_put16(d->config + offsetof(struct virtio_blk_config, num_queues), (uint16_t)d->queues);
	if (rc == 0 && d->kind == VIRTIO_ID_NET)
		sv_put16(d->config + offsetof(struct virtio_net_config, max_virtqueue_pairs),
			(uint16_t)(d->queues / 2));
	if (rc == 0) {
		d->generation++;
		if (d->status & VIRTIO_CONFIG_S_DRIVER_OK) {
			d->isr |= VIRTIO_PCI_ISR_CONFIG;
			signal_fd(sv_msix_fd(&d->msix, d->config_vector));
		}
	}
	pthread_mutex_unlock(&d->pci.lock);
	return rc;
}

static int set_log(struct sv_virtio_pci *d, int fd, uint64_t bytes, struct sv_error *err)
{
	int rc = 0;

	if (!sv_vhost_front_can_log(&d->front))
		return fd < 0 ? 0 : -ENOTSUP;
	d->log_fd = fd;
	d->log_bytes = bytes;
	if (d->away || d->dead)
		return 0;
	if (fd >= 0)
		rc = sv_vhost_front_log(&d->front, fd, bytes, err);
	if (rc == 0 && d->status & VIRTIO_CONFIG_S_FEATURES_OK)
		rc = sv_vhost_front_set_features(&d->front, driven_features(d), err);
	if (rc < 0) {
		d->log_fd = -1;
		back_end_failed(d, rc, err);
	}
	return rc;
}

int sv_virtio_pci_log(struct sv_virtio_pci *d, int fd, uint64_t bytes, struct sv_error *err)
{
	int rc;

	pthread_mutex_lock(&d->pci.lock);
	rc = set_log(d, fd, bytes, err);
	pthread_mutex_unlock(&d->pci.lock);
	return rc;
}

/* --- a back end that comes back ------------------------------------------------------------------- */

static int tell_again(struct sv_virtio_pci *d, struct sv_error *err)
{
	uint32_t wce = offsetof(struct virtio_blk_config, wce);
	int rc = 0;

	if (d->log_fd >= 0)
		rc = sv_vhost_front_log(&d->front, d->log_fd, d->log_bytes, err);
	if (rc == 0 && d->status & VIRTIO_CONFIG_S_FEATURES_OK)
		rc = sv_vhost_front_set_features(&d->front, driven_features(d), err);
	if (rc == 0 && d->wce_written)
		rc = sv_vhost_front_set_config(&d->front, wce, &d->config[wce], 1, err);
	return rc == -ENOTSUP ? 0 : rc;
}

static void restart(struct sv_virtio_pci *d)
{
	for (unsigned i = 0; i < d->queues && !d->away && !d->dead; i++) {
		struct sv_virtio_queue *q = &d->queue[i];

		if (!q->running)
			continue;
		if (q->served)
			q->base = used_idx(d, q);
		start(d, i);
	}
}

/* The lock is held. Nothing changes when the new one cannot be told. */
static int come_back(struct sv_virtio_pci *d, int sock, struct sv_error *err)
{
	struct sv_vhost_front last = d->front;
	int rc = sv_vhost_front_open(&d->front, sock, d->ram, err);

	if (rc == 0 && (d->offered & ~d->front.features))
		rc = sv_fail(err, EPROTO, "the back end came back as another one: features 0x%llx are "
			"missing", (unsigned long long)(d->offered & ~d->front.features));
	if (rc == 0)
		rc = tell_again(d, err);
	if (rc < 0) {
		sv_vhost_front_deafen(&d->front);
		d->front = last;
		return rc;
	}
	sv_vhost_front_close(&last);
	d->away = false;
	restart(d);
	return 0;
}

int sv_virtio_pci_return(struct sv_virtio_pci *d, int sock, struct sv_error *err)
{
	struct sv_error why;
	int rc;

	pthread_mutex_lock(&d->pci.lock);
	rc = d->dead ? -EIO : come_back(d, sock, &why);
	pthread_mutex_unlock(&d->pci.lock);
	return rc < 0 ? sv_fail(err, -rc, "%s: %.400s", d->name, why.text) : 0;
}

bool sv_virtio_pci_away(struct sv_virtio_pci *d)
{
	bool away;

	pthread_mutex_lock(&d->pci.lock);
	away = d->away;
	pthread_mutex_unlock(&d->pci.lock);
	return away;
}
