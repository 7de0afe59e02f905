/* SPDX-License-Identifier: BSD-3-Clause */
/* The registers of a virtio device, and a front end that meets back ends of all kinds. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "back_end_by_hand.h"
#include "rig.h"
#include "vhost_kernel.h"
#include "virtio_driver.h"
#include "virtio_pci.h"

#define ONE 1ull
#define V1 (ONE << VIRTIO_F_VERSION_1)
#define RING 0x10000ull
#define NO_VECTOR 0xffffu
#define SILENCE_HURRY 5 /* a second: not to be missed by a back end that answers on a busy machine */

static struct rig *r;
static struct sv_pci pci;
static struct back_end back;
static struct sv_virtio_pci *dev;
static struct driver drv;
static struct sv_error err;

/* Everybody's: a descriptor that is closed twice may have become another one's meanwhile. */
static unsigned closed_twice;

int close(int fd)
{
	long rc = syscall(SYS_close, fd);

	if (rc < 0 && errno == EBADF)
		__atomic_fetch_add(&closed_twice, 1, __ATOMIC_RELAXED);
	return (int)rc;
}

static struct sv_virtio_pci *make(unsigned queues, int *rc)
{
	struct sv_virtio_pci_options o = {
		.name = "disk0", .kind = VIRTIO_ID_BLOCK, .queues = queues, .ram = &r->vm.gmem};
	struct sv_virtio_pci *d;

	o.sock = back_end_start(&back);
	d = sv_virtio_pci_create(&pci, &o, rc, &err);
	if (!d)
		close(o.sock);
	return d;
}

static void bus(void)
{
	r = rig_new();
	cr_assert_eq(sv_pci_create(&pci, &r->vm, &err), 0);
	back_end_init(&back);
}

static void bus_down(void)
{
	sv_pci_destroy(&pci);
	rig_free(r);
	sv_vhost_front_hurry = 1;
}

static void up(void)
{
	int rc;

	bus();
	dev = make(2, &rc);
	cr_assert(dev != NULL, "%s", err.text);
	drv = driver_probe(r, 1);
}

static void down(void)
{
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
	bus_down();
}

TestSuite(virtio_pci, .init = up, .fini = down);
TestSuite(vhost_front, .init = bus, .fini = bus_down);

static uint8_t status(void)
{
	return (uint8_t)driver_get(&drv, VIRTIO_PCI_COMMON_STATUS, 1);
}

static void run(void)
{
	cr_assert(driver_negotiate(&drv, V1));
	driver_ring(&drv, 0, RING, 16, 1);
	driver_ok(&drv);
}

Test(virtio_pci, identity_is_a_modern_block_device)
{
	cr_assert_eq(rig_config(r, 1, PCI_DEVICE_ID, 2), 0x1042);
	cr_assert_eq(rig_config(r, 1, PCI_REVISION_ID, 1), 1);
	cr_assert_eq(rig_config(r, 1, PCI_INTERRUPT_PIN, 1), 0);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_NUMQ, 2), 2);
	cr_assert_eq(rig_read(r, drv.config, 8), 1 << 21);
	cr_assert_eq(rig_read(r, drv.config + 34, 2), 2);
	cr_assert_eq(rig_read(r, drv.config + 60, 4), 0, "beyond the configuration");
	cr_assert_eq(back.regions, 1);
	cr_assert_eq(back.region_bytes, RIG_RAM);
}

Test(virtio_pci, only_features_that_both_ends_know_are_offered)
{
	uint64_t f = driver_offered(&drv);

	cr_assert(f & V1);
	cr_assert(f & ONE << VIRTIO_BLK_F_MQ);
	cr_assert_not(f & VU_F_PROTOCOL_FEATURES);
	cr_assert_not(f & ONE << 34, "packed rings");
	cr_assert_not(f & ONE << 26, "dirty log");
	driver_set(&drv, VIRTIO_PCI_COMMON_DFSELECT, 2, 4);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_DF, 4), 0);
}

Test(virtio_pci, features_that_were_not_offered_are_not_confirmed)
{
	cr_assert_not(driver_negotiate(&drv, V1 | ONE << 34));
	cr_assert_not(driver_negotiate(&drv, V1 | ONE << 63));
	cr_assert_not(driver_negotiate(&drv, ONE << VIRTIO_BLK_F_MQ), "without version 1");
	cr_assert_eq(back.requests[VU_SET_FEATURES], 0);
	cr_assert(driver_negotiate(&drv, V1 | ONE << VIRTIO_BLK_F_MQ));
	cr_assert_eq(back.driver_features, V1 | ONE << VIRTIO_BLK_F_MQ | VU_F_PROTOCOL_FEATURES);
	driver_set(&drv, VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	driver_set(&drv, VIRTIO_PCI_COMMON_GF, 0, 4);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_GF, 4), ONE << VIRTIO_BLK_F_MQ, "settled");
}

Test(virtio_pci, driver_ok_without_features_ok_starts_nothing)
{
	driver_set(&drv, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	driver_ring(&drv, 0, RING, 16, 1);
	driver_set(&drv, VIRTIO_PCI_COMMON_STATUS, VIRTIO_CONFIG_S_DRIVER_OK, 1);
	cr_assert_eq(status(), 0);
	cr_assert_eq(back.requests[VU_SET_VRING_KICK], 0);
}

Test(virtio_pci, driver_ok_starts_the_enabled_rings_where_the_guest_put_them)
{
	run();
	cr_assert(back.ring[0].enabled && back.ring[0].has_kick && back.ring[0].has_call);
	cr_assert_eq(back.ring[0].size, 16);
	cr_assert_eq(back.ring[0].desc, (uintptr_t)rig_ptr(r, RING));
	cr_assert_eq(back.ring[0].avail, (uintptr_t)rig_ptr(r, RING + 0x2000));
	cr_assert_eq(back.ring[0].used, (uintptr_t)rig_ptr(r, RING + 0x3000));
	cr_assert_not(back.ring[1].has_kick, "was not enabled");
	cr_assert_geq(rig_kick(r, drv.notify), 0);
	cr_assert_eq(rig_kick(r, drv.notify + 4), -1);
}

Test(virtio_pci, interrupt_of_a_ring_is_its_vector)
{
	uint64_t one = 1, n;
	int bound;

	run();
	driver_unmask(&drv, 1);
	bound = rig_irqfd(r, GSI_MSI_FIRST + 1);
	cr_assert_geq(bound, 0);
	cr_assert_eq(write(back.ring[0].call, &one, 8), 8);
	cr_assert_eq(read(bound, &n, 8), 8);
	driver_set(&drv, VIRTIO_PCI_COMMON_Q_MSIX, NO_VECTOR, 2);
	cr_assert_not(back.ring[0].has_call, "the driver polls");
	driver_set(&drv, VIRTIO_PCI_COMMON_Q_MSIX, 7, 2);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR, "no such vector");
}

Test(virtio_pci, rings_that_are_not_in_ram_are_refused)
{
	static const struct {
		uint64_t desc, avail, used;
		uint16_t size;
	} bad[] = {
		{RIG_RAM, RING, RING, 16},
		{RIG_RAM - 16, RING, RING, 16},
		{UINT64_MAX - 15, RING, RING, 16},
		{RING, UINT64_MAX - 1, RING, 16},
		{RING, RING, RIG_RAM - 64, 16},
		{RING + 8, RING, RING, 16},
		{RING, RING + 1, RING, 16},
		{RING, RING, RING + 2, 16},
		{RING, RING, RING, 0},
		{RING, RING, RING, 15},
		{RING, RING, RING, 512},
		{RING, RING, RING, 0x8000},
		{LAYOUT_PCI32, RING, RING, 16},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert(driver_negotiate(&drv, V1));
		driver_set(&drv, VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
		driver_set(&drv, VIRTIO_PCI_COMMON_Q_SIZE, bad[i].size, 2);
		driver_set(&drv, VIRTIO_PCI_COMMON_Q_DESCLO, bad[i].desc, 8);
		driver_set(&drv, VIRTIO_PCI_COMMON_Q_AVAILLO, bad[i].avail, 8);
		driver_set(&drv, VIRTIO_PCI_COMMON_Q_USEDLO, bad[i].used, 8);
		driver_set(&drv, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
		cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0, "%u", i);
		cr_assert(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
		driver_ok(&drv);
	}
	cr_assert_eq(back.requests[VU_SET_VRING_ADDR], 0);
}

Test(virtio_pci, enabled_ring_cannot_be_moved_or_resized)
{
	cr_assert(driver_negotiate(&drv, V1));
	driver_ring(&drv, 1, RING, 16, 1);
	driver_set(&drv, VIRTIO_PCI_COMMON_Q_DESCLO, UINT64_MAX, 8);
	driver_set(&drv, VIRTIO_PCI_COMMON_Q_USEDHI, 0xffffffff, 4);
	driver_set(&drv, VIRTIO_PCI_COMMON_Q_SIZE, 256, 2);
	driver_set(&drv, VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	driver_ok(&drv);
	cr_assert_eq(back.ring[1].size, 16);
	cr_assert_eq(back.ring[1].desc, (uintptr_t)rig_ptr(r, RING));
}

Test(virtio_pci, queues_that_do_not_exist_read_zero)
{
	driver_set(&drv, VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	driver_ring(&drv, 0xffff, RING, 16, 1);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
}

Test(virtio_pci, reset_stops_the_rings_and_clears_the_registers)
{
	run();
	driver_set(&drv, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	cr_assert_eq(status(), 0);
	cr_assert_not(back.ring[0].enabled);
	cr_assert_eq(back.requests[VU_GET_VRING_BASE], 1);
	cr_assert_eq(rig_kick(r, drv.notify), -1);
	driver_set(&drv, VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_SIZE, 2), 256);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
	run();
	cr_assert_eq(back.ring[0].base, 0);
}

Test(virtio_pci, bus_master_bit_stops_rings_and_starts_them_where_they_were)
{
	run();
	rig_config_write(r, 1, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	cr_assert_not(back.ring[0].enabled);
	rig_config_write(r, 1, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cr_assert(back.ring[0].enabled);
	cr_assert_eq(back.ring[0].base, 5, "what the back end reported");
}

Test(virtio_pci, kicks_follow_the_bar)
{
	uint64_t old = drv.notify, moved;

	run();
	rig_config_write(r, 1, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	cr_assert_eq(r->nkick, 0);
	rig_config_write(r, 1, PCI_BASE_ADDRESS_0, (uint32_t)drv.bar + 0x100000, 4);
	moved = old + 0x100000;
	cr_assert_geq(rig_kick(r, moved), 0);
	cr_assert_eq(rig_kick(r, old), -1);
}

Test(virtio_pci, kick_that_kvm_did_not_take_still_arrives)
{
	uint64_t n;

	r->refuse = -EEXIST;
	run();
	r->refuse = 0;
	cr_assert_eq(r->nkick, 0);
	rig_write(r, drv.notify, 0, 2);
	cr_assert_eq(read(back.ring[0].kick, &n, 8), 8);
	rig_write(r, drv.notify + 4, 1, 2); /* a ring that does not run, and none */
	rig_write(r, drv.notify + 400, 1, 4);
}

Test(virtio_pci, configuration_access_capability_reaches_the_bar)
{
	unsigned at = drv.cfg_access;

	rig_config_write(r, 1, at + 8, (uint32_t)(drv.common - drv.bar) + 18, 4);
	rig_config_write(r, 1, at + 12, 2, 4);
	cr_assert_eq(rig_config(r, 1, at + 16, 2), 2, "number of queues");
	rig_config_write(r, 1, at + 8, (uint32_t)(drv.common - drv.bar) + 22, 4);
	rig_config_write(r, 1, at + 16, 1, 2);
	cr_assert_eq(driver_get(&drv, VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
	/* Nonsense: beyond the BAR, odd, another BAR. */
	rig_config_write(r, 1, at + 8, 0xfffffffe, 4);
	rig_config_write(r, 1, at + 16, 1, 2);
	rig_config_write(r, 1, at + 12, 3, 4);
	rig_config_write(r, 1, at + 16, 1, 2);
	rig_config_write(r, 1, at + 12, 0xffffffff, 4);
	rig_config(r, 1, at + 16, 4);
	rig_config_write(r, 1, at + 4, 5, 1);
	rig_config_write(r, 1, at + 16, 1, 4);
}

Test(virtio_pci, write_cache_is_the_only_field_a_driver_may_write)
{
	unsigned wce = offsetof(struct virtio_blk_config, wce);

	cr_assert(driver_negotiate(&drv, V1));
	rig_write(r, drv.config + wce, 1, 1);
	cr_assert_eq(back.requests[VU_SET_CONFIG], 0, "not negotiated");
	cr_assert(driver_negotiate(&drv, V1 | ONE << VIRTIO_BLK_F_CONFIG_WCE));
	rig_write(r, drv.config + wce, 1, 1);
	cr_assert_eq(back.config_written[wce], 1);
	cr_assert_eq(rig_read(r, drv.config + wce, 1), 1);
	rig_write(r, drv.config, 0xff, 1);
	cr_assert_eq(back.requests[VU_SET_CONFIG], 1);
	cr_assert_eq(rig_read(r, drv.config, 8), 1 << 21);
}

Test(virtio_pci, kicks_and_interrupts_are_gone_after_destroy)
{
	unsigned fds = rig_count_fds();
	struct back_end second;
	struct sv_virtio_pci_options o = {
		.name = "disk1", .kind = VIRTIO_ID_BLOCK, .queues = 2, .ram = &r->vm.gmem};
	struct sv_virtio_pci *d;
	int rc;

	back_end_init(&second);
	o.sock = back_end_start(&second);
	d = sv_virtio_pci_create(&pci, &o, &rc, &err);
	cr_assert(d != NULL);
	drv = driver_probe(r, 2);
	run();
	driver_unmask(&drv, 1);
	cr_assert(r->nirqfd && r->nkick);
	sv_virtio_pci_destroy(d);
	back_end_stop(&second);
	cr_assert_eq(r->nirqfd + r->nkick, 0);
	cr_assert_eq(rig_count_fds(), fds);
	cr_assert_eq(rig_config(r, 2, 0, 4), 0xffffffff);
}

/* --- back ends of all kinds ------------------------------------------------------------------------ */

Test(vhost_front, back_end_without_protocol_features_is_served_too)
{
	int rc;

	back.features &= ~VU_F_PROTOCOL_FEATURES;
	cr_assert_null(make(2, &rc), "a block device must have its configuration");
	cr_assert_eq(rc, -EPROTO);
	cr_assert(strstr(err.text, "configuration"));
	back_end_stop(&back);
}

Test(vhost_front, back_end_without_acknowledgements_runs_a_ring)
{
	int rc;

	back.protocol &= ~VU_PROTOCOL_F_REPLY_ACK;
	dev = make(2, &rc);
	cr_assert(dev != NULL, "%s", err.text);
	drv = driver_probe(r, 1);
	run();
	driver_set(&drv, VIRTIO_PCI_COMMON_STATUS, 0, 1); /* the reply orders what came before */
	cr_assert_eq(back.ring[0].size, 16);
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
}

Test(vhost_front, queues_are_the_fewest_that_anybody_has)
{
	int rc;

	back.queues = 200;
	back.config[34] = 60;
	dev = make(3, &rc);
	cr_assert_eq(dev->queues, 3);
	cr_assert_eq(dev->config[34], 3);
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
}

Test(vhost_front, old_device_is_refused)
{
	int rc;

	back.features &= ~V1;
	cr_assert_null(make(2, &rc));
	cr_assert_eq(rc, -EPROTO);
	cr_assert(strstr(err.text, "disk0") && strstr(err.text, "virtio 1"));
	back_end_stop(&back);
}

static const uint32_t at_start[] = {VU_GET_FEATURES, VU_GET_PROTOCOL_FEATURES,
	VU_GET_QUEUE_NUM, VU_SET_OWNER, VU_SET_MEM_TABLE, VU_GET_CONFIG};
static const enum misbehaviour ways[] = {BE_SILENT, BE_GONE, BE_WRONG, BE_SHORT, BE_LONG};

Test(vhost_front, misbehaviour_at_any_request_of_the_greeting_is_one_sentence)
{
	unsigned fds = rig_count_fds();
	int rc;

	for (unsigned i = 0; i < sizeof(at_start) / sizeof(at_start[0]); i++)
		for (unsigned k = 0; k < sizeof(ways) / sizeof(ways[0]); k++) {
			back_end_init(&back);
			back.at_request = at_start[i];
			back.how = ways[k];
			sv_vhost_front_hurry = ways[k] == BE_SILENT ? SILENCE_HURRY : 1;
			cr_assert_null(make(2, &rc), "request %u, way %u", at_start[i], ways[k]);
			cr_assert_lt(rc, 0);
			cr_assert(!strncmp(err.text, "disk0: ", 7), "%s", err.text);
			back_end_stop(&back);
			cr_assert_eq(rig_count_fds(), fds);
			cr_assert_eq(pci.slots, 1);
		}
}

static const uint32_t at_run[] = {VU_SET_FEATURES, VU_SET_VRING_NUM, VU_SET_VRING_BASE,
	VU_SET_VRING_ADDR, VU_SET_VRING_CALL, VU_SET_VRING_KICK, VU_SET_VRING_ENABLE,
	VU_GET_VRING_BASE};
static const enum misbehaviour run_ways[] = {BE_SILENT, BE_GONE, BE_WRONG, BE_SHORT, BE_LONG, BE_NO};

Test(vhost_front, misbehaviour_at_run_time_ends_the_vm_with_a_sentence)
{
	int rc;

	for (unsigned i = 0; i < sizeof(at_run) / sizeof(at_run[0]); i++)
		for (unsigned k = 0; k < sizeof(run_ways) / sizeof(run_ways[0]); k++) {
			if (at_run[i] == VU_GET_VRING_BASE && run_ways[k] == BE_NO)
				continue; /* its reply cannot say no */
			back_end_init(&back);
			back.at_request = at_run[i];
			back.how = run_ways[k];
			sv_vhost_front_hurry = run_ways[k] == BE_SILENT ? SILENCE_HURRY : 1;
			dev = make(2, &rc);
			cr_assert(dev != NULL, "%s", err.text);
			drv = driver_probe(r, pci.slots - 1);
			r->vm.end = r->vm.end_claimed = 0;
			driver_negotiate(&drv, V1);
			driver_ring(&drv, 0, RING, 16, 1);
			driver_ok(&drv);
			driver_set(&drv, VIRTIO_PCI_COMMON_STATUS, 0, 1);
			cr_assert_eq(r->vm.end, SV_END_ERROR, "request %u, way %u", at_run[i],
				run_ways[k]);
			cr_assert(!strncmp(r->vm.end_error.text, "disk0: vhost-user: ", 19), "%s",
				r->vm.end_error.text);
			cr_assert(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
			sv_virtio_pci_destroy(dev);
			back_end_stop(&back);
			pci.slots = 1; /* reuse the slot */
		}
}

static void speak(const void *what, size_t bytes)
{
	cr_assert_eq(write(back.events, what, bytes), (ssize_t)bytes);
	sv_virtio_pci_event(dev);
}

Test(vhost_front, a_back_end_says_that_the_disk_grew_and_nothing_else)
{
	static const uint32_t changed[3] = {VU_BACKEND_CONFIG_CHANGE, 1, 0}, other[3] = {7, 1, 0},
			      please[3] = {VU_BACKEND_CONFIG_CHANGE, VU_VERSION | VU_FLAG_NEED_REPLY, 0};
	struct vu_message answer;
	uint64_t sectors = 1 << 22;
	uint8_t generation;
	int rc;

	back.keep_events = true;
	dev = make(2, &rc);
	drv = driver_probe(r, 1);
	run();
	driver_set(&drv, VIRTIO_PCI_COMMON_STATUS, 0, 1); /* a reset: the reply orders what came before */
	generation = dev->generation;
	sv_virtio_pci_event(dev); /* nothing was said */
	cr_assert_eq(dev->generation, generation);
	memcpy(back.config, &sectors, sizeof(sectors));
	speak(changed, sizeof(changed));
	cr_assert_eq(memcmp(dev->config, &sectors, sizeof(sectors)), 0);
	cr_assert_eq(dev->generation, (uint8_t)(generation + 1));
	cr_assert_eq(dev->isr & VIRTIO_PCI_ISR_CONFIG, 0, "no driver is there");
	speak(please, sizeof(please));
	cr_assert_eq(recv(back.events, &answer, VU_HEADER + 8, MSG_DONTWAIT), VU_HEADER + 8);
	cr_assert_eq(answer.flags, VU_VERSION | VU_FLAG_REPLY);
	cr_assert_eq(answer.u.u64, 0);
	speak(other, sizeof(other));
	cr_assert_lt(dev->front.events, 0, "what else it says is not listened to");
	sv_virtio_pci_event(dev);
	cr_assert_eq(sv_virtio_pci_poll(dev, &err), 0);
	close(back.events);
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
}

Test(vhost_front, unasked_message_ends_the_vm)
{
	int rc;

	back.how = BE_CHATTY;
	back.at_request = VU_SET_VRING_ENABLE;
	dev = make(2, &rc);
	drv = driver_probe(r, 1);
	cr_assert_eq(sv_virtio_pci_poll(dev, &err), 0);
	run();
	while ((rc = sv_virtio_pci_poll(dev, &err)) == 0) /* until it has arrived */
		;
	cr_assert_eq(rc, -EPROTO);
	cr_assert(strstr(err.text, "nobody asked for"));
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
}

Test(vhost_front, end_of_the_connection_is_found_by_poll)
{
	int rc;

	dev = make(2, &rc);
	shutdown(back.sock, SHUT_RDWR);
	while ((rc = sv_virtio_pci_poll(dev, &err)) == 0)
		;
	cr_assert_eq(rc, -ECONNRESET);
	cr_assert(strstr(err.text, "disk0: vhost-user: the back end went away"));
	cr_assert_eq(sv_virtio_pci_poll(dev, &err), 0, "said once");
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
}

Test(vhost_front, both_descriptors_of_a_device_are_watched_and_none_of_one_that_is_away)
{
	int rc, fds[4];

	back.keep_events = true;
	dev = make(2, &rc);
	cr_assert_eq(sv_virtio_pci_poll_fds(dev, fds, 4), 2);
	cr_assert(fds[0] == dev->front.events && fds[1] == dev->front.sock);
	cr_assert_eq(sv_virtio_pci_poll_fds(dev, fds, 1), 0, "no room");
	cr_assert_eq(sv_virtio_pci_polled(dev, -7, &err), 0, "another one's");
	drv = driver_probe(r, 1);
	run();
	driver_set(&drv, VIRTIO_PCI_COMMON_STATUS, 0, 1); /* orders the notes */
	close(back.events);
	cr_assert_eq(sv_virtio_pci_polled(dev, dev->front.events, &err), 0);
	cr_assert_eq(sv_virtio_pci_poll_fds(dev, fds, 4), 1);
	dev->returns = true;
	sv_virtio_pci_leave(dev);
	cr_assert_eq(sv_virtio_pci_poll_fds(dev, fds, 4), 0);
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
}

Test(vhost_front, a_configuration_that_we_gave_is_not_the_back_ends_to_change)
{
	struct sv_virtio_pci_options o = {
		.name = "folder", .kind = VIRTIO_ID_FS, .queues = 2, .ram = &r->vm.gmem};
	uint8_t ours[64] = "tag";
	int rc;

	memset(back.config, 'x', sizeof(back.config));
	o.config = ours;
	o.sock = back_end_start(&back);
	dev = sv_virtio_pci_create(&pci, &o, &rc, &err);
	cr_assert(dev != NULL, "%s", err.text);
	cr_assert_lt(sv_virtio_pci_refresh_config(dev), 0);
	cr_assert_str_eq((const char *)dev->config, "tag");
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
}

Test(vhost_front, an_answer_with_two_descriptors_is_refused_and_each_is_closed_once)
{
	unsigned before, fds;
	int rc;

	back.protocol |= VU_PROTOCOL_F_INFLIGHT_SHMFD;
	back.how = BE_TWO;
	back.at_request = VU_GET_INFLIGHT_FD;
	dev = make(2, &rc);
	cr_assert(dev != NULL, "%s", err.text);
	drv = driver_probe(r, 1);
	before = closed_twice;
	fds = rig_count_fds();
	run();
	cr_assert_eq(r->vm.end, SV_END_ERROR);
	cr_assert_eq(closed_twice, before);
	cr_assert_leq(rig_count_fds(), fds + 1, "but for the back end's own");
	sv_virtio_pci_destroy(dev);
	back_end_stop(&back);
}

Test(vhost_front, a_kernels_device_has_no_descriptor_but_its_own)
{
	struct sv_vhost_front v;
	int fd = eventfd(0, EFD_CLOEXEC); /* takes none of its requests */

	cr_assert_lt(sv_vhost_vsock_open(&v, fd, 3, &r->vm.gmem, &err), 0);
	cr_assert_eq(v.events, -1);
	cr_assert_not(sv_vhost_front_can_log(&v));
	sv_vhost_front_close(&v);
	cr_assert_neq(fcntl(0, F_GETFD), -1, "the standard input is still there");
}
