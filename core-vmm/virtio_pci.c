/* SPDX-License-Identifier: BSD-3-Clause */
/* Registers of a virtio device: capabilities, common configuration, notifications, MSI-X. */
#include "virtio_pci.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define COMMON_BYTES 56u

static struct sv_virtio_pci *device(struct sv_pci_function *f)
{
	return (struct sv_virtio_pci *)f;
}

static struct sv_virtio_queue *selected(struct sv_virtio_pci *d)
{
	return d->queue_select < d->queues ? &d->queue[d->queue_select] : NULL;
}

static uint32_t half(uint64_t v, uint32_t select)
{
	return select == 0 ? (uint32_t)v : select == 1 ? (uint32_t)(v >> 32) : 0;
}

/* --- common configuration -------------------------------------------------------------------------- */

static void common_image(struct sv_virtio_pci *d, uint8_t image[COMMON_BYTES])
{
	const struct sv_virtio_queue *q = selected(d);
	const struct sv_virtio_queue none = {.size = 0};

	if (!q)
		q = &none;
	memset(image, 0, COMMON_BYTES);
	sv_put32(image + VIRTIO_PCI_COMMON_DFSELECT, d->offered_select);
	sv_put32(image + VIRTIO_PCI_COMMON_DF, half(d->offered, d->offered_select));
	sv_put32(image + VIRTIO_PCI_COMMON_GFSELECT, d->features_select);
	sv_put32(image + VIRTIO_PCI_COMMON_GF, half(d->features, d->features_select));
	sv_put16(image + VIRTIO_PCI_COMMON_MSIX, d->config_vector);
	sv_put16(image + VIRTIO_PCI_COMMON_NUMQ, (uint16_t)d->queues);
	image[VIRTIO_PCI_COMMON_STATUS] = d->status;
	image[VIRTIO_PCI_COMMON_CFGGENERATION] = d->generation;
	sv_put16(image + VIRTIO_PCI_COMMON_Q_SELECT, d->queue_select);
	sv_put16(image + VIRTIO_PCI_COMMON_Q_SIZE, q->size);
	sv_put16(image + VIRTIO_PCI_COMMON_Q_MSIX, q->vector);
	sv_put16(image + VIRTIO_PCI_COMMON_Q_ENABLE, q->enabled);
	sv_put16(image + VIRTIO_PCI_COMMON_Q_NOFF, q == &none ? 0 : d->queue_select);
	memcpy(image + VIRTIO_PCI_COMMON_Q_DESCLO, &q->desc, 8);
	memcpy(image + VIRTIO_PCI_COMMON_Q_AVAILLO, &q->driver, 8);
	memcpy(image + VIRTIO_PCI_COMMON_Q_USEDLO, &q->device, 8);
}

static void set_features(struct sv_virtio_pci *d, uint32_t value)
{
	unsigned shift = d->features_select * 32;

	if (d->features_select > 1 || (d->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	d->features = (d->features & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

/* Where an 8-byte field of a queue is written, in one piece or in two. */
static bool queue_address(struct sv_virtio_queue *q, uint64_t off, const void *data, unsigned len)
{
	uint64_t *fields[] = {&q->desc, &q->driver, &q->device}, v = 0;
	uint64_t at = off - VIRTIO_PCI_COMMON_Q_DESCLO, i = at / 8;

	if (off < VIRTIO_PCI_COMMON_Q_DESCLO || i > 2)
		return false;
	if (q->enabled || at % len || (len != 4 && len != 8))
		return true;
	memcpy(&v, data, len);
	if (len == 8)
		*fields[i] = v;
	else if (at % 8)
		*fields[i] = (*fields[i] & 0xffffffffull) | v << 32;
	else
		*fields[i] = (*fields[i] & ~0xffffffffull) | v;
	return true;
}

static void queue_write(struct sv_virtio_pci *d, uint64_t off, const void *data, unsigned len)
{
	struct sv_virtio_queue *q = selected(d);
	uint16_t v = 0;

	if (!q || queue_address(q, off, data, len) || len != 2)
		return;
	memcpy(&v, data, sizeof(v));
	if (off == VIRTIO_PCI_COMMON_Q_SIZE && !q->enabled)
		q->size = v;
	else if (off == VIRTIO_PCI_COMMON_Q_MSIX)
		sv_virtio_pci_set_vector(d, q, v);
	else if (off == VIRTIO_PCI_COMMON_Q_ENABLE && v == 1)
		sv_virtio_pci_enable(d, q);
}

static void common_write(struct sv_virtio_pci *d, uint64_t off, const void *data, unsigned len)
{
	uint32_t v = 0;

	memcpy(&v, data, len < sizeof(v) ? len : sizeof(v));
	if (off == VIRTIO_PCI_COMMON_DFSELECT && len == 4)
		d->offered_select = v;
	else if (off == VIRTIO_PCI_COMMON_GFSELECT && len == 4)
		d->features_select = v;
	else if (off == VIRTIO_PCI_COMMON_GF && len == 4)
		set_features(d, v);
	else if (off == VIRTIO_PCI_COMMON_MSIX && len == 2)
		d->config_vector = v < d->msix.n ? (uint16_t)v : VIRTIO_MSI_NO_VECTOR;
	else if (off == VIRTIO_PCI_COMMON_STATUS && len == 1)
		sv_virtio_pci_set_status(d, (uint8_t)v);
	else if (off == VIRTIO_PCI_COMMON_Q_SELECT && len == 2)
		d->queue_select = (uint16_t)v;
	else
		queue_write(d, off, data, len);
}

/* --- the BAR --------------------------------------------------------------------------------------- */

static void read_part(const uint8_t *from, uint64_t bytes, uint64_t off, void *data, unsigned len)
{
	if (off < bytes && len <= bytes - off)
		memcpy(data, from + off, len);
}

static void bar_read(struct sv_pci_function *f, unsigned bar, uint64_t off, void *data,
	unsigned len)
{
	struct sv_virtio_pci *d = device(f);
	uint8_t image[COMMON_BYTES];

	(void)bar;
	memset(data, 0, len);
	if (off < VIRTIO_ISR) {
		common_image(d, image);
		read_part(image, sizeof(image), off, data, len);
	} else if (off == VIRTIO_ISR) {
		*(uint8_t *)data = d->isr;
		d->isr = 0;
	} else if (off >= VIRTIO_CONFIG && off < VIRTIO_NOTIFY) {
		read_part(d->config, d->config_bytes, off - VIRTIO_CONFIG, data, len);
	} else if (off >= VIRTIO_MSIX_TABLE && off < VIRTIO_MSIX_PBA) {
		sv_msix_table_read(&d->msix, off - VIRTIO_MSIX_TABLE, data, len);
	} else if (off >= VIRTIO_MSIX_PBA) {
		sv_msix_pba_read(&d->msix, off - VIRTIO_MSIX_PBA, data, len);
	}
}

/* A kick that KVM did not take: the ring is not where the ioeventfd is, or there is none. */
static void notify(struct sv_virtio_pci *d, uint64_t off)
{
	uint64_t i = off / VIRTIO_NOTIFY_MULTIPLIER, one = 1;

	if (i >= d->queues || !d->queue[i].running)
		return;
	if (write(d->queue[i].kick_fd, &one, sizeof(one)) < 0)
		return; /* a full counter is signalled already */
}

static void bar_write(struct sv_pci_function *f, unsigned bar, uint64_t off, const void *data,
	unsigned len)
{
	struct sv_virtio_pci *d = device(f);

	(void)bar;
	if (off < VIRTIO_ISR)
		common_write(d, off, data, len);
	else if (off >= VIRTIO_CONFIG && off < VIRTIO_NOTIFY)
		sv_virtio_pci_set_config(d, (uint32_t)(off - VIRTIO_CONFIG), data, len);
	else if (off >= VIRTIO_NOTIFY && off < VIRTIO_MSIX_TABLE)
		notify(d, off - VIRTIO_NOTIFY);
	else if (off >= VIRTIO_MSIX_TABLE && off < VIRTIO_MSIX_PBA)
		sv_msix_table_write(&d->msix, off - VIRTIO_MSIX_TABLE, data, len);
}

static void bar_moved(struct sv_pci_function *f, unsigned bar, uint64_t old, uint64_t gpa)
{
	(void)bar;
	(void)old;
	(void)gpa;
	sv_virtio_pci_update_kicks(device(f));
}

/* --- configuration space --------------------------------------------------------------------------- */

#define CFG_BAR offsetof(struct virtio_pci_cap, bar)
#define CFG_OFFSET offsetof(struct virtio_pci_cap, offset)
#define CFG_LENGTH offsetof(struct virtio_pci_cap, length)
#define CFG_DATA sizeof(struct virtio_pci_cap)

static bool overlaps(unsigned off, unsigned len, unsigned at, unsigned bytes)
{
	return off < at + bytes && at < off + len;
}

/* What the configuration access capability points at. Return: false: at nothing. */
static bool window(const struct sv_virtio_pci *d, uint32_t *off, uint32_t *len)
{
	const uint8_t *cap = d->pci.config + d->cfg_capability;

	*off = sv_get32(cap + CFG_OFFSET);
	*len = sv_get32(cap + CFG_LENGTH);
	if (cap[CFG_BAR] != VIRTIO_BAR || (*len != 1 && *len != 2 && *len != 4))
		return false;
	return *off % *len == 0 && *off <= VIRTIO_BAR_BYTES - *len;
}

static void config_read(struct sv_pci_function *f, unsigned off, unsigned len)
{
	struct sv_virtio_pci *d = device(f);
	uint32_t at, n;

	if (overlaps(off, len, d->cfg_capability + (unsigned)CFG_DATA, 4) && window(d, &at, &n))
		bar_read(f, VIRTIO_BAR, at, f->config + d->cfg_capability + CFG_DATA, n);
}

static void config_written(struct sv_pci_function *f, unsigned off, unsigned len)
{
	struct sv_virtio_pci *d = device(f);
	uint32_t at, n;

	if (overlaps(off, len, PCI_COMMAND, 2)) {
		sv_msix_update(&d->msix);
		sv_virtio_pci_update_running(d);
	}
	if (overlaps(off, len, d->msix.capability + PCI_MSIX_FLAGS, 2))
		sv_msix_update(&d->msix);
	if (overlaps(off, len, d->cfg_capability + (unsigned)CFG_DATA, 4) && window(d, &at, &n))
		bar_write(f, VIRTIO_BAR, at, f->config + d->cfg_capability + CFG_DATA, n);
}

const struct sv_pci_ops sv_virtio_pci_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_moved = bar_moved,
	.config_read = config_read,
	.config_written = config_written,
};

static unsigned add_capability(struct sv_virtio_pci *d, uint8_t type, uint32_t offset,
	uint32_t length, unsigned extra)
{
	unsigned bytes = sizeof(struct virtio_pci_cap) + extra;
	unsigned at = sv_pci_add_capability(&d->pci, PCI_CAP_ID_VNDR, bytes);
	uint8_t *cap = d->pci.config + at;

	cap[offsetof(struct virtio_pci_cap, cap_len)] = (uint8_t)bytes;
	cap[offsetof(struct virtio_pci_cap, cfg_type)] = type;
	cap[CFG_BAR] = VIRTIO_BAR;
	sv_put32(cap + CFG_OFFSET, offset);
	sv_put32(cap + CFG_LENGTH, length);
	return at;
}

void sv_virtio_pci_add_capabilities(struct sv_virtio_pci *d)
{
	unsigned at;

	add_capability(d, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_COMMON, COMMON_BYTES, 0);
	add_capability(d, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_ISR, 1, 0);
	if (d->config_bytes)
		add_capability(d, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_CONFIG, d->config_bytes, 0);
	at = add_capability(d, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_NOTIFY,
		d->queues * VIRTIO_NOTIFY_MULTIPLIER, 4);
	sv_put32(d->pci.config + at + sizeof(struct virtio_pci_cap), VIRTIO_NOTIFY_MULTIPLIER);
	at = add_capability(d, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4);
	d->cfg_capability = at;
	d->pci.writable[at + CFG_BAR] = 0xff;
	memset(d->pci.writable + at + CFG_OFFSET, 0xff, 12); /* offset, length, data */
}
