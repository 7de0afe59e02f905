/* SPDX-License-Identifier: BSD-3-Clause */
/* Registers of a virtio device: capabilities, common configuration, notifications, MSI-X. */
#include "virtio_pci.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define VENDOR 0x1af4u
#define DEVICE_BASE 0x1040u
#define SUBSYSTEM 0x0040u
#define REVISION 1u
#define CLASS_STORAGE 0x010000u
#define CLASS_COMMUNICATION 0x078000u
#define COMMON_BYTES 56u
#define CONFIG_AREA 0x1000u

#define F(bit) (1ull << (bit))
#define TRANSPORT (F(VIRTIO_F_VERSION_1) | F(VIRTIO_RING_F_EVENT_IDX) | F(VIRTIO_RING_F_INDIRECT_DESC))

/* Features whose fields and effects this front end knows. */
static const struct kind {
	uint32_t id, class_code;
	uint64_t features;
	unsigned config_bytes;
	bool needs_config;
} kinds[] = {
	{VIRTIO_ID_BLOCK, CLASS_STORAGE,
		F(VIRTIO_BLK_F_SIZE_MAX) | F(VIRTIO_BLK_F_SEG_MAX) | F(VIRTIO_BLK_F_GEOMETRY) |
			F(VIRTIO_BLK_F_RO) | F(VIRTIO_BLK_F_BLK_SIZE) | F(VIRTIO_BLK_F_FLUSH) |
			F(VIRTIO_BLK_F_TOPOLOGY) | F(VIRTIO_BLK_F_CONFIG_WCE) | F(VIRTIO_BLK_F_MQ) |
			F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES),
		60, true},
	{VIRTIO_ID_CONSOLE, CLASS_COMMUNICATION, F(VIRTIO_CONSOLE_F_SIZE), 12, false},
};

static const struct kind *kind_of(uint32_t id)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].id == id)
			return &kinds[i];
	return NULL;
}

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
	else if (off >= VIRTIO_CONFIG && off < VIRTIO_NOTIFY && len == 1)
		sv_virtio_pci_set_config_byte(d, (uint32_t)(off - VIRTIO_CONFIG),
			*(const uint8_t *)data);
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

static const struct sv_pci_ops virtio_ops = {
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

static void add_capabilities(struct sv_virtio_pci *d)
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

/* --- life ------------------------------------------------------------------------------------------ */

static int open_back_end(struct sv_virtio_pci *d, const struct kind *kind, unsigned queues,
	int sock, struct sv_error *err)
{
	uint8_t *num = d->config + offsetof(struct virtio_blk_config, num_queues);
	int rc = sv_vhost_front_open(&d->front, sock, d->ram, err);

	if (rc < 0)
		return rc;
	d->offered = d->front.features & (kind->features | TRANSPORT);
	if (!(d->offered & F(VIRTIO_F_VERSION_1)))
		return sv_fail(err, EPROTO, "the back end does not offer virtio 1 (features 0x%llx)",
			(unsigned long long)d->front.features);
	d->config_bytes = kind->config_bytes;
	rc = sv_vhost_front_get_config(&d->front, d->config, d->config_bytes, err);
	if (rc == -ENOTSUP && kind->needs_config)
		return sv_fail(err, EPROTO, "the back end does not give the device's configuration");
	if (rc < 0 && rc != -ENOTSUP)
		return rc;
	if (d->front.queues && queues > d->front.queues)
		queues = d->front.queues;
	if (kind->id == VIRTIO_ID_BLOCK) {
		unsigned has = d->offered & F(VIRTIO_BLK_F_MQ) ? sv_get16(num) : 1;

		queues = queues < has ? queues : has;
		sv_put16(num, (uint16_t)queues);
	}
	d->queues = queues;
	return queues ? 0 : sv_fail(err, EPROTO, "the back end has no queue");
}

static void close_kicks(struct sv_virtio_pci *d)
{
	for (unsigned i = 0; i < d->queues; i++)
		if (d->queue[i].kick_fd >= 0)
			close(d->queue[i].kick_fd);
}

static int open_kicks(struct sv_virtio_pci *d, struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < d->queues; i++)
		d->queue[i].kick_fd = -1;
	for (unsigned i = 0; i < d->queues && rc == 0; i++) {
		d->queue[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (d->queue[i].kick_fd < 0)
			rc = sv_fail(err, errno, "eventfd: %s", strerror(errno));
	}
	if (rc < 0)
		close_kicks(d);
	return rc;
}

static int set_up(struct sv_virtio_pci *d, struct sv_pci *pci, const struct kind *kind,
	const struct sv_virtio_pci_options *o, struct sv_error *err)
{
	const struct sv_pci_id id = {.vendor = VENDOR,
		.device = (uint16_t)(DEVICE_BASE + kind->id),
		.subsystem_vendor = VENDOR,
		.subsystem = SUBSYSTEM,
		.revision = REVISION,
		.class_code = kind->class_code};
	int rc = open_back_end(d, kind, o->queues, o->sock, err);

	if (rc == 0)
		rc = open_kicks(d, err);
	if (rc < 0)
		return rc;
	sv_pci_function_init(&d->pci, &id, &virtio_ops);
	rc = sv_msix_create(&d->msix, d->vm, &d->pci, d->queues + 1, VIRTIO_BAR, VIRTIO_MSIX_TABLE,
		VIRTIO_MSIX_PBA, err);
	if (rc == 0) {
		sv_pci_add_bar(&d->pci, VIRTIO_BAR, VIRTIO_BAR_BYTES);
		add_capabilities(d);
		sv_virtio_pci_clear(d);
		rc = sv_pci_plug(pci, &d->pci);
		if (rc < 0) {
			sv_fail(err, -rc, "no room on the PCI bus");
			sv_msix_destroy(&d->msix);
		}
	}
	if (rc < 0) {
		pthread_mutex_destroy(&d->pci.lock);
		close_kicks(d);
	}
	return rc;
}

struct sv_virtio_pci *sv_virtio_pci_create(struct sv_pci *pci,
	const struct sv_virtio_pci_options *o, int *rc, struct sv_error *err)
{
	const struct kind *kind = kind_of(o->kind);
	struct sv_virtio_pci *d = calloc(1, sizeof(*d));
	struct sv_error why;

	SV_BUG_ON(!kind || !o->queues || o->queues > VIRTIO_PCI_QUEUES);
	if (!d) {
		*rc = sv_fail(err, ENOMEM, "out of memory");
		return NULL;
	}
	d->vm = pci->vm;
	d->ram = o->ram;
	d->name = o->name;
	d->kind = o->kind;
	*rc = set_up(d, pci, kind, o, &why);
	if (*rc < 0) {
		sv_fail(err, -*rc, "%s: %.400s", o->name, why.text);
		free(d);
		return NULL;
	}
	return d;
}

/* The rings are not stopped one by one: the back end sees the end of the connection. */
void sv_virtio_pci_destroy(struct sv_virtio_pci *d)
{
	d->dead = true;
	sv_pci_unplug(d->pci.host, &d->pci);
	sv_msix_destroy(&d->msix);
	sv_vhost_front_close(&d->front);
	close_kicks(d);
	free(d);
}

int sv_virtio_pci_poll(struct sv_virtio_pci *d, struct sv_error *err)
{
	struct sv_error why;
	char byte;
	int rc;

	/* Usually the answer that a vCPU thread is about to take: look again once it has. */
	if (recv(d->front.sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
		return 0;
	pthread_mutex_lock(&d->pci.lock);
	rc = d->dead ? 0 : sv_vhost_front_check(&d->front, &why);
	d->dead |= rc < 0;
	pthread_mutex_unlock(&d->pci.lock);
	return rc < 0 ? sv_fail(err, -rc, "%s: %.400s", d->name, why.text) : 0;
}
