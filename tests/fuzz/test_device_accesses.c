/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest: random accesses to every port and page of the devices, from fixed seeds, so
 * that a failure can be had again. SEED=n runs one seed, ACCESSES=n that many accesses each.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <channels/control.h>

#include "back_end_by_hand.h"
#include "rig.h"
#include "virtio_driver.h"

#define DEVICES 2u
#define SEEDS 8u
#define ACCESSES 20000u

static struct back_end back[DEVICES];
static unsigned connected;
static uint64_t state;

/* xorshift: the same everywhere. */
static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t below(uint64_t n)
{
	return any() % n;
}

static int connect_back_end(void *ctx, const void *device, const int *fds, unsigned nfds,
	struct sv_error *err)
{
	(void)ctx;
	(void)device;
	(void)fds;
	(void)nfds;
	(void)err;
	back_end_init(&back[connected]);
	return back_end_start(&back[connected++]);
}

static uint64_t value(void)
{
	static const uint64_t edges[] = {0, 1, 2, 3, 4, 7, 8, 0xf, 0x10, 0x40, 0x7f, 0x80, 0xff, 0x100,
		0x3ff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfee00000, 0xc0000000, 0xffffffff,
		RIG_RAM, RIG_RAM - 16, UINT64_MAX};

	switch (below(4)) {
	case 0:
		return any();
	case 1:
		return below(256);
	default:
		return edges[below(sizeof(edges) / sizeof(edges[0]))];
	}
}

static uint16_t port(void)
{
	static const uint16_t bases[] = {PORT_SERIAL, PORT_RTC, PORT_PVPANIC, PORT_SLEEP, PORT_KBC,
		PORT_FWCFG, PORT_PCI_ADDRESS, 0xf4, 0x5e0};

	return below(8) ? (uint16_t)(bases[below(sizeof(bases) / sizeof(bases[0]))] + below(8))
			: (uint16_t)any();
}

/* Mostly where something is: the registers of a function, its BAR wherever that is now. */
static uint64_t address(struct rig *r)
{
	unsigned slot = (unsigned)below(DEVICES + 2);
	uint64_t bar = rig_config(r, slot, 0x10, 4) & ~15u;

	switch (below(8)) {
	case 0:
		return LAYOUT_ECAM + below(LAYOUT_ECAM_BYTES);
	case 1:
		return LAYOUT_PCI32 + below(LAYOUT_PCI32_BYTES);
	case 2:
		return LAYOUT_IOAPIC + below(0x48);
	case 3:
		return LAYOUT_ECAM + slot * 0x8000ull + below(256);
	case 4:
		return bar + below(0x8000);
	default: /* the common configuration, and the interrupt table */
		return below(2) ? bar + below(64) : bar + 0x4000 + below(64);
	}
}

static void access_once(struct rig *r)
{
	static const unsigned lens[] = {1, 2, 4, 4, 8};
	unsigned len = lens[below(5)];
	uint64_t where, mask = below(2) ? ~(uint64_t)(len - 1) : UINT64_MAX;

	switch (below(10)) {
	case 0:
		rig_in(r, port(), len > 4 ? 4 : len);
		break;
	case 1:
		rig_out(r, port(), value(), len > 4 ? 4 : len);
		break;
	case 2:
		sv_irq_line(&r->vm, (unsigned)below(26), below(2));
		break;
	case 3:
		sv_irq_eoi(&r->vm, (uint8_t)any());
		break;
	case 4:
		sv_serial_input(&r->vm, "hostile", (unsigned)below(8));
		break;
	case 5:
		where = address(r) & mask;
		rig_read(r, where, len);
		break;
	default:
		where = address(r) & mask;
		rig_write(r, where, value(), len);
		break;
	}
}

/* Now and then a driver that knows its trade, so that rings run while nonsense is written. */
static void proper_driver(struct rig *r)
{
	unsigned slot = 1 + (unsigned)below(DEVICES);
	struct driver d;

	rig_config_write(r, slot, 4, 0, 2);
	rig_config_write(r, slot, 0x10, (uint32_t)(LAYOUT_PCI32 + slot * 0x8000), 4);
	d = driver_probe(r, slot);
	if (!driver_negotiate(&d, 1ull << VIRTIO_F_VERSION_1))
		return;
	driver_ring(&d, (unsigned)below(2), 0x10000, 16, (uint16_t)below(3));
	driver_unmask(&d, (unsigned)below(3));
	driver_ok(&d);
}

static void one_seed(uint64_t seed, unsigned long accesses, const char *image)
{
	static const struct sv_device_link link = {.connect = connect_back_end};
	unsigned fds = rig_count_fds();
	struct rig *r = rig_new();
	struct sv_error err;

	state = seed * 0x9e3779b97f4a7c15ull + 1;
	connected = 0;
	r->config.console = SV_CONSOLE_NONE;
	r->config.fw_cfg = r->config.exit_port = true;
	r->config.ndisks = DEVICES;
	for (unsigned i = 0; i < DEVICES; i++)
		r->config.disk[i] = (struct sv_disk_config){.path = image, .readonly = true};
	cr_assert_eq(sv_devices_create(&r->vm, &link, &err), 0, "%s", err.text);
	for (unsigned long i = 0; i < accesses; i++) {
		if (below(500) == 0)
			proper_driver(r);
		else
			access_once(r);
		if (r->vm.end != SV_END_ERROR) /* it may power off as often as it likes */
			r->vm.end = r->vm.end_claimed = 0;
	}
	sv_devices_destroy(&r->vm);
	while (connected)
		back_end_stop(&back[--connected]);
	cr_assert_eq(r->nirqfd + r->nkick, 0, "seed %llu", (unsigned long long)seed);
	cr_assert_neq(r->vm.end, SV_END_ERROR, "seed %llu: %s", (unsigned long long)seed,
		r->vm.end_error.text);
	rig_free(r);
	cr_assert_eq(rig_count_fds(), fds, "seed %llu", (unsigned long long)seed);
}

Test(device_accesses, random_accesses_do_no_harm)
{
	const char *seed = getenv("SEED"), *accesses = getenv("ACCESSES");
	unsigned long n = accesses ? strtoul(accesses, NULL, 0) : ACCESSES;
	char image[] = "/tmp/sidevisor-fuzz-XXXXXX";
	int fd = mkstemp(image);

	cr_assert(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	close(fd);
	if (seed)
		one_seed(strtoul(seed, NULL, 0), n, image);
	for (uint64_t s = 0; !seed && s < SEEDS; s++)
		one_seed(s, n, image);
	unlink(image);
}
