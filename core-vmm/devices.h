/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine around the vCPUs: PCI with virtio devices, serial, RTC, power, and interrupts.
 */
#ifndef CORE_VMM_DEVICES_H
#define CORE_VMM_DEVICES_H

#include "vm.h"

/* --- irq.c: GSI routing --------------------------------------------------------------------- */

/*
 * Split irqchip: the local APICs are in the kernel, the I/O APIC is ours (ioapic.c), every GSI
 * from GSI_MSI_FIRST is an MSI route. Full: PIC, IOAPIC (and PIT if asked for) in the kernel.
 * Called before the first vCPU is created. Return: 0, or -errno with a sentence.
 */
int sv_irq_create(struct sv_vm *vm, struct sv_error *err);
void sv_irq_destroy(struct sv_vm *vm);

/* A GSI for an MSI. Return: the GSI, or -ENOSPC. */
int sv_irq_msi_alloc(struct sv_vm *vm);
void sv_irq_msi_free(struct sv_vm *vm, int gsi);
/* Change the route. Context: vCPU threads (slow path), control thread. Return: 0 or -errno. */
int sv_irq_msi_route(struct sv_vm *vm, int gsi, uint64_t address, uint32_t data);
/* Bind an eventfd to a GSI, or take it away. Return: 0 or -errno. */
int sv_irq_bind(struct sv_vm *vm, int gsi, int eventfd, bool bind);
/* Edge or level on a legacy line (serial, RTC, SCI). Context: any. */
void sv_irq_line(struct sv_vm *vm, unsigned gsi, bool level);
/* KVM_EXIT_IOAPIC_EOI. */
void sv_irq_eoi(struct sv_vm *vm, uint8_t vector);

/* --- devices.c: the ordered table of everything ---------------------------------------------- */

/*
 * What the VM process needs from the node: a connection for one virtio device to the sidecore. The
 * cli gives it; core-vmm does not know the control protocol's other end.
 */
struct sv_balloon;
struct sv_device_link {
	/*
	 * Ask the node for a device (channels/control.h DEVICE) and get our end of the vhost-user
	 * connection. @fds are sent along and stay the caller's. Return: the socket, or -errno.
	 */
	int (*connect)(void *ctx, const void *control_device, const int *fds, unsigned nfds,
		struct sv_error *err);
	void *ctx;
	bool returns; /* a connection that ended may be asked for again: sv_devices_return() */
};

/*
 * Create all devices of vm->config: PCI host, virtio-blk per disk, virtio-console, serial, RTC,
 * power and reset registers, pvpanic, exit port, fw_cfg, the no-op port and pages. Adds bus ranges.
 * Return: 0, or -errno with a sentence and nothing left behind.
 */
int sv_devices_create(struct sv_vm *vm, const struct sv_device_link *link, struct sv_error *err);
void sv_devices_destroy(struct sv_vm *vm);

/* Input for the serial port (control thread). Return: bytes taken; the rest is offered again. */
unsigned sv_serial_input(struct sv_vm *vm, const void *bytes, unsigned n);

/*
 * Descriptors the control thread polls for the devices (vhost-user sockets: end of file means the
 * sidecore process died). Fills at most @max; returns how many.
 */
unsigned sv_devices_poll_fds(struct sv_vm *vm, int *fds, unsigned max);
/* The first virtio device that is without its back end; NULL: none. Context: control thread. */
const char *sv_devices_away(struct sv_vm *vm);
/* Are all of them? Then ask for all of them again. Context: control thread. */
bool sv_devices_all_away(struct sv_vm *vm);
int sv_devices_return(struct sv_vm *vm, struct sv_error *err);
/*
 * From now on all devices' back ends set a bit in @fd for each 4 KiB that they write, from 0 up; -1: no
 * more. Context: control thread. Return: how many cannot, or -errno with a sentence.
 */
int sv_devices_log(struct sv_vm *vm, int fd, uint64_t bytes, struct sv_error *err);
/* NULL: there is none. */
struct sv_balloon *sv_devices_balloon(struct sv_vm *vm);
/* One of them became readable. Return: 0, or -errno with a sentence when the VM cannot go on. */
int sv_devices_poll(struct sv_vm *vm, int fd, struct sv_error *err);

#endif
