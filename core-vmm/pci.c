/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include <channels/atomics.h>

#include "layout.h"
#include "platform.h"

#define BRIDGE_VENDOR 0x1b36u /* a generic host bridge, class 06 00 00 */
#define BRIDGE_DEVICE 0x0008u
#define BRIDGE_CLASS 0x060000u
#define FIRST_CAPABILITY 0x40u
#define COMMAND_WRITABLE (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE)
#define ADDRESS_ENABLE 0x80000000u
#define SLOTS 32u
#define ECAM_FUNCTION_BYTES 4096u
#define PORTS 8u /* from 0xcf8 */

/* --- a function -------------------------------------------------------------------------------- */

void sv_pci_function_init(struct sv_pci_function *f, const struct sv_pci_id *id,
	const struct sv_pci_ops *ops)
{
	memset(f, 0, sizeof(*f));
	f->ops = ops;
	f->capability_end = FIRST_CAPABILITY;
	pthread_mutex_init(&f->lock, NULL);
	sv_put16(f->config + PCI_VENDOR_ID, id->vendor);
	sv_put16(f->config + PCI_DEVICE_ID, id->device);
	sv_put16(f->config + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	sv_put16(f->config + PCI_SUBSYSTEM_ID, id->subsystem);
	sv_put32(f->config + PCI_CLASS_REVISION, id->class_code << 8 | id->revision);
	sv_put16(f->writable + PCI_COMMAND, COMMAND_WRITABLE);
	f->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	f->writable[PCI_LATENCY_TIMER] = 0xff;
	f->writable[PCI_INTERRUPT_LINE] = 0xff;
}

unsigned sv_pci_add_capability(struct sv_pci_function *f, uint8_t id, unsigned bytes)
{
	unsigned at = f->capability_end;

	SV_BUG_ON(at + bytes > PCI_CONFIG_BYTES);
	f->config[at + PCI_CAP_LIST_ID] = id;
	f->config[at + PCI_CAP_LIST_NEXT] = f->config[PCI_CAPABILITY_LIST];
	f->config[PCI_CAPABILITY_LIST] = (uint8_t)at;
	f->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	f->capability_end = (at + bytes + 3) & ~3u;
	return at;
}

void sv_pci_add_bar(struct sv_pci_function *f, unsigned bar, uint64_t bytes)
{
	SV_BUG_ON(bytes < 4096 || (bytes & (bytes - 1)));
	f->bar[bar].bytes = bytes;
	sv_put32(f->writable + PCI_BASE_ADDRESS_0 + 4 * bar, (uint32_t) ~(bytes - 1));
}

static uint16_t command(const struct sv_pci_function *f)
{
	return sv_get16(f->config + PCI_COMMAND);
}

bool sv_pci_bus_master(const struct sv_pci_function *f)
{
	return command(f) & PCI_COMMAND_MASTER;
}

/* Where a BAR answers: only wholly inside the window, so that it shadows nothing of the machine. */
static uint64_t bar_place(const struct sv_pci_function *f, unsigned bar)
{
	uint64_t gpa = sv_get32(f->config + PCI_BASE_ADDRESS_0 + 4 * bar) & PCI_BASE_ADDRESS_MEM_MASK;
	uint64_t bytes = f->bar[bar].bytes;

	if (!bytes || !(command(f) & PCI_COMMAND_MEMORY))
		return 0;
	if (gpa < LAYOUT_PCI32 || gpa - LAYOUT_PCI32 > LAYOUT_PCI32_BYTES - bytes)
		return 0;
	return gpa;
}

static void update_bars(struct sv_pci_function *f)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint64_t old = f->bar[i].gpa, now = bar_place(f, i);

		if (now == old)
			continue;
		sv_store_relaxed(&f->bar[i].gpa, now);
		if (f->ops->bar_moved)
			f->ops->bar_moved(f, i, old, now);
	}
}

static void config_read(struct sv_pci_function *f, unsigned off, void *data, unsigned len)
{
	memset(data, 0, len); /* beyond the configuration space of old: no extended capabilities */
	if (off + len > PCI_CONFIG_BYTES)
		return;
	pthread_mutex_lock(&f->lock);
	if (f->ops->config_read)
		f->ops->config_read(f, off, len);
	memcpy(data, f->config + off, len);
	pthread_mutex_unlock(&f->lock);
}

static void config_write(struct sv_pci_function *f, unsigned off, const void *data, unsigned len)
{
	const uint8_t *in = data;

	if (off + len > PCI_CONFIG_BYTES)
		return;
	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < len; i++) {
		uint8_t mask = f->writable[off + i], *to = &f->config[off + i];

		*to = (uint8_t)((*to & ~mask) | (in[i] & mask));
	}
	update_bars(f);
	if (f->ops->config_written)
		f->ops->config_written(f, off, len);
	pthread_mutex_unlock(&f->lock);
}

/* --- configuration accesses ---------------------------------------------------------------------- */

/* Naturally aligned accesses of 1, 2 or 4 bytes, as the bus knows them. */
static struct sv_pci_function *target(struct sv_pci *pci, unsigned bus, unsigned devfn,
	unsigned off, unsigned len)
{
	if (bus != 0 || len > 4 || (off & (len - 1)))
		return NULL;
	return pci->function[devfn];
}

static void function_read(struct sv_pci *pci, unsigned bus, unsigned devfn, unsigned off,
	void *data, unsigned len)
{
	struct sv_pci_function *f = target(pci, bus, devfn, off, len);

	if (f)
		config_read(f, off, data, len);
	else
		memset(data, 0xff, len);
}

static void function_write(struct sv_pci *pci, unsigned bus, unsigned devfn, unsigned off,
	const void *data, unsigned len)
{
	struct sv_pci_function *f = target(pci, bus, devfn, off, len);

	if (f)
		config_write(f, off, data, len);
}

static void ecam_read(void *dev, uint64_t off, void *data, unsigned len)
{
	function_read(dev, (unsigned)(off >> 20), off >> 12 & 0xff, off % ECAM_FUNCTION_BYTES, data,
		len);
}

static void ecam_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	function_write(dev, (unsigned)(off >> 20), off >> 12 & 0xff, off % ECAM_FUNCTION_BYTES, data,
		len);
}

static void port_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct sv_pci *pci = dev;
	uint32_t a = sv_load_relaxed(&pci->address);

	memset(data, 0xff, len);
	if (off == 0 && len == sizeof(a))
		memcpy(data, &a, sizeof(a));
	else if (off >= 4 && (a & ADDRESS_ENABLE))
		function_read(pci, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + ((unsigned)off & 3),
			data, len);
}

static void port_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_pci *pci = dev;
	uint32_t a = sv_load_relaxed(&pci->address);

	if (off == 0 && len == sizeof(a)) {
		memcpy(&a, data, sizeof(a));
		sv_store_relaxed(&pci->address, a & 0x80fffffcu);
	} else if (off == PORT_RESET_PCI - PORT_PCI_ADDRESS && len == 1) {
		sv_power_reset_control(pci->vm, *(const uint8_t *)data);
	} else if (off >= 4 && (a & ADDRESS_ENABLE)) {
		function_write(pci, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + ((unsigned)off & 3),
			data, len);
	}
}

/* --- the window of the BARs ---------------------------------------------------------------------- */

/* Which BAR answers at @gpa. Of BARs laid over each other, the first in slot order. */
static struct sv_pci_function *find_bar(struct sv_pci *pci, uint64_t gpa, unsigned len,
	unsigned *bar, uint64_t *off)
{
	for (unsigned devfn = 0; devfn < pci->slots * 8; devfn++) {
		struct sv_pci_function *f = pci->function[devfn];

		for (unsigned i = 0; f && i < PCI_BARS; i++) {
			uint64_t at = sv_load_relaxed(&f->bar[i].gpa);

			if (!at || gpa < at || gpa - at > f->bar[i].bytes - len)
				continue;
			*bar = i;
			*off = gpa - at;
			return f;
		}
	}
	return NULL;
}

static void window_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct sv_pci_function *f;
	unsigned bar;

	f = find_bar(dev, LAYOUT_PCI32 + off, len, &bar, &off);
	memset(data, 0xff, len);
	if (!f || !f->ops->bar_read)
		return;
	pthread_mutex_lock(&f->lock);
	f->ops->bar_read(f, bar, off, data, len);
	pthread_mutex_unlock(&f->lock);
}

static void window_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct sv_pci_function *f;
	unsigned bar;

	f = find_bar(dev, LAYOUT_PCI32 + off, len, &bar, &off);
	if (!f || !f->ops->bar_write)
		return;
	pthread_mutex_lock(&f->lock);
	f->ops->bar_write(f, bar, off, data, len);
	pthread_mutex_unlock(&f->lock);
}

/* --- life ---------------------------------------------------------------------------------------- */

static const struct sv_bus_ops ecam_ops = {ecam_read, ecam_write};
static const struct sv_bus_ops port_ops = {port_read, port_write};
static const struct sv_bus_ops window_ops = {window_read, window_write};
static const struct sv_pci_ops bridge_ops = {.bar_read = NULL};

int sv_pci_create(struct sv_pci *pci, struct sv_vm *vm, struct sv_error *err)
{
	const struct sv_pci_id id = {
		.vendor = BRIDGE_VENDOR, .device = BRIDGE_DEVICE, .class_code = BRIDGE_CLASS};
	int rc;

	memset(pci, 0, sizeof(*pci));
	pci->vm = vm;
	pci->next_32 = LAYOUT_PCI32;
	rc = sv_bus_add(&vm->mmio, LAYOUT_ECAM, LAYOUT_ECAM_BYTES, &ecam_ops, pci);
	if (rc == 0)
		rc = sv_bus_add(&vm->mmio, LAYOUT_PCI32, LAYOUT_PCI32_BYTES, &window_ops, pci);
	if (rc == 0)
		rc = sv_bus_add(&vm->pio, PORT_PCI_ADDRESS, PORTS, &port_ops, pci);
	if (rc < 0)
		return sv_fail(err, -rc, "the ranges of the PCI bus: %s", strerror(-rc));
	sv_pci_function_init(&pci->bridge, &id, &bridge_ops);
	return sv_pci_plug(pci, &pci->bridge);
}

void sv_pci_destroy(struct sv_pci *pci)
{
	sv_pci_unplug(pci, &pci->bridge);
}

/* As firmware would: BARs have addresses and answer before any driver looks. */
int sv_pci_plug(struct sv_pci *pci, struct sv_pci_function *f)
{
	uint64_t next = pci->next_32;

	if (pci->slots == SLOTS)
		return -ENOSPC;
	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint64_t bytes = f->bar[i].bytes;

		if (!bytes)
			continue;
		next = (next + bytes - 1) & ~(bytes - 1);
		if (next + bytes > LAYOUT_PCI32 + LAYOUT_PCI32_BYTES)
			return -ENOSPC;
		sv_put32(f->config + PCI_BASE_ADDRESS_0 + 4 * i, (uint32_t)next);
		next += bytes;
	}
	pci->next_32 = next;
	f->host = pci;
	pci->function[pci->slots++ * 8] = f;
	sv_put16(f->config + PCI_COMMAND, PCI_COMMAND_MEMORY);
	update_bars(f);
	return 0;
}

void sv_pci_unplug(struct sv_pci *pci, struct sv_pci_function *f)
{
	sv_put16(f->config + PCI_COMMAND, 0);
	update_bars(f);
	for (unsigned devfn = 0; devfn < PCI_FUNCTIONS; devfn++)
		if (pci->function[devfn] == f)
			pci->function[devfn] = NULL;
	pthread_mutex_destroy(&f->lock);
}
