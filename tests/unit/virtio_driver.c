/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio_driver.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

static void take_capability(struct driver *d, unsigned at)
{
	uint64_t place = d->bar + rig_config(d->r, d->slot, at + 8, 4);

	switch (rig_config(d->r, d->slot, at + 3, 1)) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		d->common = place;
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		d->notify = place;
		d->notify_multiplier = rig_config(d->r, d->slot, at + 16, 4);
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		d->isr = place;
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		d->config = place;
		break;
	case VIRTIO_PCI_CAP_PCI_CFG:
		d->cfg_access = at;
		break;
	default:
		cr_assert_fail("unknown capability");
	}
}

struct driver driver_probe(struct rig *r, unsigned slot)
{
	struct driver d = {.r = r, .slot = slot};
	unsigned at = rig_config(r, slot, PCI_CAPABILITY_LIST, 1);

	cr_assert_eq(rig_config(r, slot, PCI_VENDOR_ID, 2), 0x1af4);
	d.bar = rig_config(r, slot, PCI_BASE_ADDRESS_0, 4) & ~15u;
	for (unsigned i = 0; at && i < 16; i++) {
		if (rig_config(r, slot, at, 1) == PCI_CAP_ID_VNDR) {
			take_capability(&d, at);
		} else if (rig_config(r, slot, at, 1) == PCI_CAP_ID_MSIX) {
			d.msix_table = d.bar + (rig_config(r, slot, at + 4, 4) & ~7u);
			d.msix_pba = d.bar + (rig_config(r, slot, at + 8, 4) & ~7u);
			rig_config_write(r, slot, at + 2, PCI_MSIX_FLAGS_ENABLE, 2);
		}
		at = rig_config(r, slot, at + 1, 1);
	}
	rig_config_write(r, slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cr_assert(d.common && d.notify && d.msix_table);
	return d;
}

uint64_t driver_get(struct driver *d, unsigned off, unsigned len)
{
	return rig_read(d->r, d->common + off, len);
}

void driver_set(struct driver *d, unsigned off, uint64_t value, unsigned len)
{
	rig_write(d->r, d->common + off, value, len);
}

uint64_t driver_offered(struct driver *d)
{
	uint64_t v;

	driver_set(d, VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	v = driver_get(d, VIRTIO_PCI_COMMON_DF, 4);
	driver_set(d, VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	return v | driver_get(d, VIRTIO_PCI_COMMON_DF, 4) << 32;
}

bool driver_negotiate(struct driver *d, uint64_t features)
{
	uint8_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	driver_set(d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	cr_assert_eq(driver_get(d, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	driver_set(d, VIRTIO_PCI_COMMON_STATUS, s, 1);
	for (unsigned i = 0; i < 2; i++) {
		driver_set(d, VIRTIO_PCI_COMMON_GFSELECT, i, 4);
		driver_set(d, VIRTIO_PCI_COMMON_GF, features >> 32 * i & 0xffffffff, 4);
	}
	driver_set(d, VIRTIO_PCI_COMMON_STATUS, s | VIRTIO_CONFIG_S_FEATURES_OK, 1);
	return driver_get(d, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_FEATURES_OK;
}

/* Descriptors at the start, the available ring 8 KiB, the used ring 12 KiB further on. */
void driver_ring(struct driver *d, unsigned queue, uint64_t gpa, uint16_t size, uint16_t vector)
{
	memset(rig_ptr(d->r, gpa), 0, 0x4000);
	d->ring_gpa = gpa;
	d->ring_size = size;
	d->next_desc = d->next_avail = d->next_used = 0;
	driver_set(d, VIRTIO_PCI_COMMON_Q_SELECT, queue, 2);
	driver_set(d, VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
	driver_set(d, VIRTIO_PCI_COMMON_Q_MSIX, vector, 2);
	driver_set(d, VIRTIO_PCI_COMMON_Q_DESCLO, gpa & 0xffffffff, 4);
	driver_set(d, VIRTIO_PCI_COMMON_Q_DESCHI, gpa >> 32, 4);
	driver_set(d, VIRTIO_PCI_COMMON_Q_AVAILLO, gpa + 0x2000, 8);
	driver_set(d, VIRTIO_PCI_COMMON_Q_USEDLO, gpa + 0x3000, 8);
	driver_set(d, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

void driver_unmask(struct driver *d, unsigned vector)
{
	uint64_t e = d->msix_table + vector * 16;

	rig_write(d->r, e, 0xfee00000, 4);
	rig_write(d->r, e + 4, 0, 4);
	rig_write(d->r, e + 8, 0x40 + vector, 4);
	rig_write(d->r, e + 12, 0, 4);
}

void driver_ok(struct driver *d)
{
	uint64_t s = driver_get(d, VIRTIO_PCI_COMMON_STATUS, 1);

	driver_set(d, VIRTIO_PCI_COMMON_STATUS, s | VIRTIO_CONFIG_S_DRIVER_OK, 1);
}

static uint16_t *avail(struct driver *d)
{
	return rig_ptr(d->r, d->ring_gpa + 0x2000);
}

unsigned driver_put(struct driver *d, const struct piece *pieces, unsigned n)
{
	struct {
		uint64_t gpa;
		uint32_t len;
		uint16_t flags, next;
	} *desc = rig_ptr(d->r, d->ring_gpa);
	unsigned head = d->next_desc;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = d->next_desc, next = (at + 1) % d->ring_size;

		desc[at].gpa = pieces[i].gpa;
		desc[at].len = pieces[i].len;
		desc[at].flags = (uint16_t)((i + 1 < n ? 1 : 0) | (pieces[i].device_writes ? 2 : 0));
		desc[at].next = (uint16_t)next;
		d->next_desc = next;
	}
	avail(d)[2 + d->next_avail % d->ring_size] = (uint16_t)head;
	__atomic_store_n(&avail(d)[1], (uint16_t)++d->next_avail, __ATOMIC_RELEASE);
	return head;
}

unsigned driver_take(struct driver *d, uint32_t *written)
{
	uint16_t *idx = rig_ptr(d->r, d->ring_gpa + 0x3002);
	struct {
		uint32_t id, len;
	} *used = rig_ptr(d->r, d->ring_gpa + 0x3004);
	struct timespec slice = {.tv_nsec = 1000000};
	unsigned at = d->next_used % d->ring_size;

	for (unsigned i = 0; i < 5000; i++) {
		if (__atomic_load_n(idx, __ATOMIC_ACQUIRE) != (uint16_t)d->next_used)
			break;
		nanosleep(&slice, NULL);
	}
	cr_assert_neq(__atomic_load_n(idx, __ATOMIC_ACQUIRE), (uint16_t)d->next_used,
		"no buffer came back");
	d->next_used++;
	*written = used[at].len;
	return used[at].id;
}

void driver_kick(struct driver *d, unsigned queue)
{
	uint64_t one = 1;
	int fd = rig_kick(d->r, d->notify + queue * d->notify_multiplier);

	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, &one, sizeof(one)), sizeof(one));
}
