/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtio device whose back end goes away and comes back: what the new one is told. */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "back_end_by_hand.h"
#include "rig.h"
#include "virtio_driver.h"
#include "virtio_pci.h"

#define ONE 1ull
#define V1 (ONE << VIRTIO_F_VERSION_1)
#define WCE (ONE << VIRTIO_BLK_F_CONFIG_WCE)
#define RING 0x10000ull
#define SIZE 16u

static struct rig *r;
static struct sv_pci pci;
static struct back_end first, second;
static struct sv_virtio_pci *dev;
static struct driver drv;
static struct sv_error err;

static void up(void)
{
	struct sv_virtio_pci_options o = {
		.name = "disk0", .kind = VIRTIO_ID_BLOCK, .queues = 2, .returns = true};
	int rc;

	r = rig_new();
	o.ram = &r->vm.gmem;
	cr_assert_eq(sv_pci_create(&pci, &r->vm, &err), 0);
	back_end_init(&first);
	back_end_init(&second);
	first.protocol |= VU_PROTOCOL_F_INFLIGHT_SHMFD;
	second.protocol |= VU_PROTOCOL_F_INFLIGHT_SHMFD;
	o.sock = back_end_start(&first);
	dev = sv_virtio_pci_create(&pci, &o, &rc, &err);
	cr_assert(dev != NULL, "%s", err.text);
	drv = driver_probe(r, 1);
}

static void down(void)
{
	sv_virtio_pci_destroy(dev);
	back_end_stop(&first);
	back_end_stop(&second);
	sv_pci_destroy(&pci);
	rig_free(r);
}

TestSuite(virtio_return, .init = up, .fini = down);

static void run(uint64_t features)
{
	cr_assert(driver_negotiate(&drv, features));
	driver_ring(&drv, 0, RING, SIZE, 1);
	driver_ok(&drv);
}

static void go(void)
{
	shutdown(first.sock, SHUT_RDWR);
	while (!sv_virtio_pci_away(dev))
		cr_assert_eq(sv_virtio_pci_poll(dev, &err), 0);
	cr_assert_eq(r->vm.end, 0);
}

static int come_back(void)
{
	int sock = back_end_start(&second);
	int rc = sv_virtio_pci_return(dev, sock, &err);

	if (rc < 0)
		close(sock);
	return rc;
}

static uint8_t status(void)
{
	return (uint8_t)driver_get(&drv, VIRTIO_PCI_COMMON_STATUS, 1);
}

/* As a back end would have: @n chains are used up. */
static void used(uint16_t n)
{
	((struct vring_used *)rig_ptr(r, dev->queue[0].device))->idx = n;
}

static uint64_t inode(int fd)
{
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

Test(virtio_return, ring_goes_on_where_the_used_ring_stands_with_the_same_region)
{
	run(V1);
	cr_assert_neq(first.inflight_got, 0);
	used(7);
	go();
	cr_assert_eq(come_back(), 0, "%s", err.text);
	cr_assert(second.ring[0].enabled);
	cr_assert(second.ring[0].has_kick);
	cr_assert(second.ring[0].has_call);
	cr_assert_eq(second.ring[0].base, 7);
	cr_assert_eq(second.ring[0].size, SIZE);
	cr_assert_eq(second.driver_features, V1 | VU_F_PROTOCOL_FEATURES);
	cr_assert_eq(second.regions, 1);
	cr_assert_eq(second.requests[VU_GET_INFLIGHT_FD], 0);
	cr_assert_eq(second.inflight_got, inode(first.inflight));
	cr_assert_not(second.ring[1].enabled, "the guest never made that ring");
	cr_assert_eq(status() & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

Test(virtio_return, what_the_guest_did_meanwhile_is_done)
{
	go();
	cr_assert(driver_negotiate(&drv, V1));
	driver_ring(&drv, 0, RING, SIZE, 1);
	driver_ok(&drv);
	cr_assert_eq(r->vm.end, 0);
	cr_assert_eq(come_back(), 0, "%s", err.text);
	cr_assert(second.ring[0].enabled);
	cr_assert_eq(second.ring[0].base, 0);
	cr_assert_eq(second.requests[VU_GET_INFLIGHT_FD], 1, "there was no region yet");
}

Test(virtio_return, reset_meanwhile_forgets_ring_and_region)
{
	run(V1);
	used(7);
	go();
	driver_set(&drv, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	cr_assert_eq(status(), 0);
	cr_assert_eq(come_back(), 0, "%s", err.text);
	cr_assert_eq(second.requests[VU_SET_VRING_KICK], 0);
	run(V1);
	cr_assert(second.ring[0].enabled);
	cr_assert_eq(second.ring[0].base, 0);
	cr_assert_eq(second.requests[VU_GET_INFLIGHT_FD], 1);
	cr_assert_neq(second.inflight_got, inode(first.inflight));
}

Test(virtio_return, the_end_is_found_in_the_middle_of_a_request_too)
{
	shutdown(first.sock, SHUT_RDWR);
	run(V1); /* nobody polled: the vCPU's own request finds it */
	cr_assert(sv_virtio_pci_away(dev));
	cr_assert_eq(r->vm.end, 0);
	cr_assert_eq(come_back(), 0, "%s", err.text);
	cr_assert(second.ring[0].enabled);
	cr_assert_eq(second.ring[0].base, 0);
}

Test(virtio_return, write_cache_mode_that_the_driver_chose_is_told_again)
{
	uint32_t wce = offsetof(struct virtio_blk_config, wce);

	run(V1 | WCE);
	rig_write(r, drv.config + wce, 1, 1);
	go();
	cr_assert_eq(come_back(), 0, "%s", err.text);
	cr_assert_eq(second.config_written[wce], 1);
}

Test(virtio_return, a_device_with_fewer_features_is_another_device)
{
	run(V1);
	go();
	second.features &= ~(ONE << VIRTIO_BLK_F_MQ);
	cr_assert_eq(come_back(), -EPROTO);
	cr_assert(strstr(err.text, "disk0: the back end came back as another one"), "%s", err.text);
	cr_assert(sv_virtio_pci_away(dev), "it can be tried again");
}

Test(virtio_return, one_that_dies_while_it_is_told_is_tried_again)
{
	run(V1);
	used(3);
	go();
	second.how = BE_GONE;
	second.at_request = VU_SET_FEATURES;
	cr_assert(sv_vhost_front_gone(come_back()));
	cr_assert(sv_virtio_pci_away(dev));
	back_end_stop(&second);
	back_end_init(&second);
	cr_assert_eq(come_back(), 0, "%s", err.text);
	cr_assert_eq(second.ring[0].base, 3);
}

Test(virtio_return, one_that_dies_while_rings_start_is_away_again)
{
	run(V1);
	go();
	second.how = BE_GONE;
	second.at_request = VU_SET_VRING_ADDR;
	cr_assert_eq(come_back(), 0, "%s", err.text);
	cr_assert(sv_virtio_pci_away(dev));
	cr_assert_eq(r->vm.end, 0);
	back_end_stop(&second);
	back_end_init(&second);
	cr_assert_eq(come_back(), 0, "%s", err.text);
	cr_assert(second.ring[0].enabled);
}
