/* SPDX-License-Identifier: BSD-3-Clause */
/* How a virtio device comes into being, what it is, and how it goes. */
#include "virtio_pci.h"

#include "vhost_kernel.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define VENDOR 0x1af4u
#define DEVICE_BASE 0x1040u
#define SUBSYSTEM 0x0040u
#define REVISION 1u
#define CLASS_NETWORK 0x020000u
#define CLASS_STORAGE 0x010000u
#define CLASS_STORAGE_OTHER 0x018000u
#define CLASS_OTHER 0x00ff00u
#define CLASS_COMMUNICATION 0x078000u

#define F(bit) (1ull << (bit))
#define TRANSPORT (F(VIRTIO_F_VERSION_1) | F(VIRTIO_RING_F_EVENT_IDX) | F(VIRTIO_RING_F_INDIRECT_DESC))

#define NET_CONFIG_BYTES 24u
/* Newer than the headers of some systems. */
#define NET_F_GUEST_USO4 54
#define NET_F_GUEST_USO6 55
#define NET_F_HOST_USO 56

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
	{VIRTIO_ID_NET, CLASS_NETWORK,
		F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_GUEST_CSUM) |
			F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | F(VIRTIO_NET_F_MTU) |
			F(VIRTIO_NET_F_MAC) | F(VIRTIO_NET_F_GUEST_TSO4) |
			F(VIRTIO_NET_F_GUEST_TSO6) | F(VIRTIO_NET_F_GUEST_ECN) |
			F(VIRTIO_NET_F_GUEST_UFO) | F(VIRTIO_NET_F_HOST_TSO4) |
			F(VIRTIO_NET_F_HOST_TSO6) | F(VIRTIO_NET_F_HOST_ECN) |
			F(VIRTIO_NET_F_HOST_UFO) | F(VIRTIO_NET_F_MRG_RXBUF) |
			F(VIRTIO_NET_F_STATUS) | F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_CTRL_RX) |
			F(VIRTIO_NET_F_CTRL_VLAN) | F(VIRTIO_NET_F_CTRL_RX_EXTRA) |
			F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_CTRL_MAC_ADDR) | F(NET_F_GUEST_USO4) |
			F(NET_F_GUEST_USO6) | F(NET_F_HOST_USO) | F(VIRTIO_NET_F_RSS),
		NET_CONFIG_BYTES, true},
	{VIRTIO_ID_BALLOON, CLASS_OTHER,
		F(VIRTIO_BALLOON_F_MUST_TELL_HOST) | F(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
			F(VIRTIO_BALLOON_F_REPORTING),
		sizeof(struct virtio_balloon_config), true},
	{VIRTIO_ID_RNG, CLASS_OTHER, 0, 0, false},
	{VIRTIO_ID_VSOCK, CLASS_COMMUNICATION, F(VIRTIO_VSOCK_F_SEQPACKET),
		sizeof(struct virtio_vsock_config), true},
	{VIRTIO_ID_FS, CLASS_STORAGE_OTHER, 0, sizeof(struct virtio_fs_config), true},
	{VIRTIO_ID_CONSOLE, CLASS_COMMUNICATION, F(VIRTIO_CONSOLE_F_SIZE), 12, false},
};

static const struct kind *kind_of(uint32_t id)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].id == id)
			return &kinds[i];
	return NULL;
}

/*
 * Queues of a network device come in pairs, with one for control behind the last that the device has:
 * the driver counts them by what the configuration says.
 */
static int net_queues(struct sv_virtio_pci *d, unsigned *queues, struct sv_error *err)
{
	uint8_t *max = d->config + offsetof(struct virtio_net_config, max_virtqueue_pairs);
	unsigned pairs = d->offered & F(VIRTIO_NET_F_MQ) ? sv_get16(max) : 1;
	bool control = d->offered & F(VIRTIO_NET_F_CTRL_VQ);

	if (!pairs || 2 * pairs + control > VIRTIO_PCI_QUEUES)
		return sv_fail(err, EPROTO, "the back end has %u pairs of queues; at most %u are possible",
			pairs, (VIRTIO_PCI_QUEUES - 1) / 2);
	if (d->front.queues && pairs > d->front.queues)
		return sv_fail(err, EPROTO, "the back end speaks of %u pairs of queues and has %u", pairs,
			d->front.queues);
	*queues = 2 * pairs + control;
	return 0;
}

/* From the back end, or from whoever made the device where that kind of back end has none. */
static int fill_config(struct sv_virtio_pci *d, const struct kind *kind, const uint8_t *given,
	struct sv_error *err)
{
	int rc;

	d->config_bytes = kind->config_bytes;
	d->config_given = given;
	if (given)
		memcpy(d->config, given, d->config_bytes);
	if (given || !d->config_bytes)
		return 0;
	rc = sv_vhost_front_get_config(&d->front, d->config, d->config_bytes, err);
	if (rc == -ENOTSUP && kind->needs_config)
		return sv_fail(err, EPROTO, "the back end does not give the device's configuration");
	return rc == -ENOTSUP ? 0 : rc;
}

static int open_back_end(struct sv_virtio_pci *d, const struct kind *kind,
	const struct sv_virtio_pci_options *o, struct sv_error *err)
{
	unsigned queues = o->queues;
	uint8_t *num = d->config + offsetof(struct virtio_blk_config, num_queues);
	int rc = o->vsock_cid ? sv_vhost_vsock_open(&d->front, o->sock, o->vsock_cid, d->ram, err)
			      : sv_vhost_front_open(&d->front, o->sock, d->ram, err);

	if (rc < 0)
		return rc;
	d->offered = d->front.features & (kind->features | TRANSPORT);
	if (!(d->offered & F(VIRTIO_F_VERSION_1)))
		return sv_fail(err, EPROTO, "the back end does not offer virtio 1 (features 0x%llx)",
			(unsigned long long)d->front.features);
	rc = fill_config(d, kind, o->config, err);
	if (rc < 0)
		return rc;
	if (kind->id == VIRTIO_ID_NET) {
		rc = net_queues(d, &queues, err);
		if (rc < 0)
			return rc;
	} else if (d->front.queues && queues > d->front.queues) {
		if (kind->id == VIRTIO_ID_FS)
			return sv_fail(err, EPROTO, "the back end has %u queues, %u are asked for",
				d->front.queues, queues);
		queues = d->front.queues;
	}
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
	int rc = open_back_end(d, kind, o, err);

	if (rc == 0)
		rc = open_kicks(d, err);
	if (rc < 0)
		return rc;
	sv_pci_function_init(&d->pci, &id, &sv_virtio_pci_ops);
	rc = sv_msix_create(&d->msix, d->vm, &d->pci, d->queues + 1, VIRTIO_BAR, VIRTIO_MSIX_TABLE,
		VIRTIO_MSIX_PBA, err);
	if (rc == 0) {
		sv_pci_add_bar(&d->pci, VIRTIO_BAR, VIRTIO_BAR_BYTES);
		sv_virtio_pci_add_capabilities(d);
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
	d->returns = o->returns;
	d->inflight.fd = d->front.events = d->log_fd = -1;
	*rc = set_up(d, pci, kind, o, &why);
	if (*rc < 0) {
		sv_fail(err, -*rc, "%s: %.400s", o->name, why.text);
		sv_vhost_front_deafen(&d->front);
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
	sv_vhost_inflight_close(&d->inflight);
	close_kicks(d);
	free(d);
}

void sv_virtio_pci_event(struct sv_virtio_pci *d)
{
	int rc;

	pthread_mutex_lock(&d->pci.lock);
	rc = d->front.events < 0 ? -1 : sv_vhost_front_event(&d->front);
	pthread_mutex_unlock(&d->pci.lock);
	if (rc > 0)
		sv_virtio_pci_refresh_config(d);
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
	rc = d->dead || d->away ? 0 : sv_vhost_front_check(&d->front, &why);
	if (d->returns && sv_vhost_front_gone(rc)) {
		sv_virtio_pci_leave(d);
		rc = 0;
	}
	d->dead |= rc < 0;
	pthread_mutex_unlock(&d->pci.lock);
	return rc < 0 ? sv_fail(err, -rc, "%s: %.400s", d->name, why.text) : 0;
}

unsigned sv_virtio_pci_poll_fds(struct sv_virtio_pci *d, int *fds, unsigned max)
{
	unsigned n = 0;

	/* The lock of others may be held for as long as a back end does not answer. */
	if (max < 2 || (d->returns && sv_virtio_pci_away(d)))
		return 0;
	if (d->front.events >= 0)
		fds[n++] = d->front.events;
	fds[n++] = d->front.sock;
	return n;
}

int sv_virtio_pci_polled(struct sv_virtio_pci *d, int fd, struct sv_error *err)
{
	if (fd == d->front.sock)
		return sv_virtio_pci_poll(d, err);
	if (fd == d->front.events)
		sv_virtio_pci_event(d);
	return 0;
}
