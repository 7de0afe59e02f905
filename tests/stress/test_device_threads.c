/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several vCPU threads at the same devices at once, and the control thread beside them. What it
 * finds, it finds under ThreadSanitizer; without it, it shows that nothing locks up.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <channels/atomics.h>

#include "back_end_by_hand.h"
#include "rig.h"

#define VCPUS 3u
#define TURNS 1000u
#define DEVICES 2u

static struct back_end back[DEVICES];
static unsigned connected;
static struct rig *r;
static int finished;

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

/* A driver's steps without looking at what the others did to the device meanwhile. */
static void drive(unsigned slot, uint64_t ring)
{
	uint64_t bar = LAYOUT_PCI32 + (slot - 1) * 0x8000;

	rig_config_write(r, slot, 4, 6, 2);
	rig_config_write(r, slot, 0x10, (uint32_t)bar, 4);
	rig_write(r, bar + VIRTIO_PCI_COMMON_STATUS, 0, 1);
	rig_write(r, bar + VIRTIO_PCI_COMMON_STATUS, 3, 1);
	rig_write(r, bar + VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	rig_write(r, bar + VIRTIO_PCI_COMMON_GF, 1, 4);
	rig_write(r, bar + VIRTIO_PCI_COMMON_STATUS, 11, 1);
	rig_write(r, bar + VIRTIO_PCI_COMMON_Q_SELECT, slot % 2, 2);
	rig_write(r, bar + VIRTIO_PCI_COMMON_Q_SIZE, 16, 2);
	rig_write(r, bar + VIRTIO_PCI_COMMON_Q_MSIX, 1, 2);
	rig_write(r, bar + VIRTIO_PCI_COMMON_Q_DESCLO, ring, 8);
	rig_write(r, bar + VIRTIO_PCI_COMMON_Q_AVAILLO, ring + 0x1000, 8);
	rig_write(r, bar + VIRTIO_PCI_COMMON_Q_USEDLO, ring + 0x2000, 8);
	rig_write(r, bar + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	rig_write(r, bar + VIRTIO_PCI_COMMON_STATUS, 15, 1);
	rig_write(r, bar + 0x3000, 0, 2);
	rig_write(r, bar + 0x4000 + 16, 0xfee00000 | ring, 4);
	rig_write(r, bar + 0x4000 + 16 + 12, ring >> 16 & 1, 4);
	rig_read(r, bar + 0x5000, 8);
	rig_config_write(r, slot, 0x10, 0xffffffff, 4);
}

static void *vcpu(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;

	for (unsigned n = 0; n < TURNS; n++) {
		drive(1 + (n + i) % DEVICES, 0x100000ull * (i + 1));
		rig_out(r, PORT_SERIAL, 'x', 1);
		rig_in(r, PORT_SERIAL + 5, 1);
		rig_out(r, PORT_RTC, n % 16, 1);
		rig_out(r, PORT_RTC + 1, n, 1);
		rig_in(r, PORT_RTC + 1, 1);
		rig_out(r, PORT_PCI_ADDRESS, 0x80000000 | (n % 4) << 11, 4);
		rig_in(r, PORT_PCI_DATA, 4);
		rig_write(r, LAYOUT_IOAPIC, 0x10 + n % 48, 4);
		rig_write(r, LAYOUT_IOAPIC + 0x10, n * 0x1011, 4);
		sv_irq_eoi(&r->vm, (uint8_t)n);
	}
	return NULL;
}

static void *control(void *arg)
{
	struct pollfd p[8];
	struct sv_error err;
	int fds[8];
	unsigned n = sv_devices_poll_fds(&r->vm, fds, 8);

	(void)arg;
	while (!sv_load_acquire(&finished)) {
		for (unsigned i = 0; i < n; i++)
			p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
		poll(p, n, 1);
		for (unsigned i = 0; i < n; i++)
			if (p[i].revents)
				cr_assert_eq(sv_devices_poll(&r->vm, fds[i], &err), 0, "%s", err.text);
		sv_serial_input(&r->vm, "abc", 3);
	}
	return NULL;
}

Test(device_threads, vcpus_and_the_control_thread_share_devices)
{
	static const struct sv_device_link link = {.connect = connect_back_end};
	char image[] = "/tmp/sidevisor-threads-XXXXXX";
	int fd = mkstemp(image), null = open("/dev/null", O_WRONLY | O_CLOEXEC), out = dup(1);
	pthread_t thread[VCPUS], ctl;
	struct sv_error err;

	cr_assert(fd >= 0 && null >= 0 && ftruncate(fd, 1 << 20) == 0);
	close(fd);
	dup2(null, 1);
	r = rig_new();
	r->config.ndisks = DEVICES;
	for (unsigned i = 0; i < DEVICES; i++)
		r->config.disk[i] = (struct sv_disk_config){.path = image, .readonly = true};
	cr_assert_eq(sv_devices_create(&r->vm, &link, &err), 0, "%s", err.text);
	cr_assert_eq(pthread_create(&ctl, NULL, control, NULL), 0);
	for (uintptr_t i = 0; i < VCPUS; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, vcpu, (void *)i), 0);
	for (unsigned i = 0; i < VCPUS; i++)
		pthread_join(thread[i], NULL);
	sv_store_release(&finished, 1);
	pthread_join(ctl, NULL);
	cr_assert_eq(r->vm.end, SV_END_NONE, "%s", r->vm.end_error.text);
	sv_devices_destroy(&r->vm);
	while (connected) {
		back_end_stop(&back[--connected]);
		cr_assert(back[connected].requests[VU_SET_VRING_KICK] > 0, "rings did run");
	}
	cr_assert_eq(r->nirqfd + r->nkick, 0);
	rig_free(r);
	dup2(out, 1);
	close(out);
	close(null);
	unlink(image);
	return 0;
}
