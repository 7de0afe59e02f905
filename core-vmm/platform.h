/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The small devices of the machine: what devices.c creates. Each adds its bus ranges, which
 * devices.c takes away again. create(): NULL with a sentence when it fails.
 */
#ifndef CORE_VMM_PLATFORM_H
#define CORE_VMM_PLATFORM_H

#include "vm.h"

struct sv_fwcfg;
struct sv_output;
struct sv_platform;
struct sv_rtc;
struct sv_serial;

/*
 * output.c: bytes of the guest on their way to a descriptor, bounded. vCPU threads append, the
 * control thread writes and never blocks for long. Nothing is lost while the reader reads at least
 * something each second; what is lost is said at the end.
 */
struct sv_output *sv_output_create(int fd, struct sv_error *err); /* @fd -1: everything is dropped */
void sv_output_destroy(struct sv_output *o); /* writes what is left to a reader that reads */
/* Append what fits. Context: any. Return: bytes taken. */
unsigned sv_output_put(struct sv_output *o, const void *bytes, unsigned n);
/*
 * Wait until a byte fits, at most a second; after a wait in vain not at all, until something was
 * read. Context: vCPU thread, no lock held that the control thread takes.
 */
void sv_output_wait(struct sv_output *o);
/* Room for all that a driver writes before it looks again. */
bool sv_output_has_room(struct sv_output *o);
/* Readable while there is something to write: then call flush. Context: control thread. */
int sv_output_poll_fd(const struct sv_output *o);
void sv_output_flush(struct sv_output *o);

/* platform.c: the ports and pages of platform.h in the ABI, for the LWK. */
struct sv_platform *sv_platform_create(struct sv_vm *vm, struct sv_output *out,
	struct sv_error *err);
void sv_platform_destroy(struct sv_platform *p);

/* power.c: sleep control, reset registers, pvpanic, exit port. */
int sv_power_create(struct sv_vm *vm, struct sv_error *err);
/* A write to the reset control register at 0xcf9, which lies between the PCI ports. */
void sv_power_reset_control(struct sv_vm *vm, uint8_t value);

/* fwcfg.c */
struct sv_fwcfg *sv_fwcfg_create(struct sv_vm *vm, struct sv_error *err);
void sv_fwcfg_destroy(struct sv_fwcfg *f);

/* serial.c: a 16550A at PORT_SERIAL. */
struct sv_serial *sv_serial_create(struct sv_vm *vm, struct sv_output *out, struct sv_error *err);
void sv_serial_destroy(struct sv_serial *s);
unsigned sv_serial_receive(struct sv_serial *s, const void *bytes, unsigned n);
/* The output has room again. Context: control thread. */
void sv_serial_output_ready(struct sv_serial *s);

/* rtc.c: an MC146818 at PORT_RTC, in UTC. */
struct sv_rtc *sv_rtc_create(struct sv_vm *vm, struct sv_error *err);
void sv_rtc_destroy(struct sv_rtc *r);
int sv_rtc_poll_fd(const struct sv_rtc *r);
/* A second has begun. Context: control thread. */
void sv_rtc_tick(struct sv_rtc *r);

#endif
