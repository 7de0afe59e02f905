/* SPDX-License-Identifier: BSD-3-Clause */
/* How a guest ends: sleep control, the reset registers of several epochs, pvpanic, the exit port. */
#include "platform.h"

#include <errno.h>
#include <string.h>

#include "layout.h"

#define SLEEP_BYTES 8u /* PORT_SLEEP to PORT_RESET and a little */
#define SLEEP_ENABLE 0x20u
#define SLEEP_TYPE(v) ((v) >> 2 & 7)
#define SLEEP_S5 5u
#define RESET_VALUE 1u
#define KBC_PULSE_RESET 0xfeu
#define RESET_CONTROL_CPU 0x04u
#define PANICKED 1u
#define CRASH_LOADED 2u
#define PORT_EXIT 0xf4u
#define EXIT_BYTES 4u

static void read_zero(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)off;
	memset(data, 0, len);
}

/* There is no keyboard controller: its status reads as an empty bus. */
static void read_ones(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)off;
	memset(data, 0xff, len);
}

static void sleep_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	uint8_t v = *(const uint8_t *)data;

	(void)len;
	if (off == 0 && (v & SLEEP_ENABLE) && SLEEP_TYPE(v) == SLEEP_S5)
		sv_vm_end(dev, SV_END_POWEROFF, 0, NULL);
	else if (off == PORT_RESET - PORT_SLEEP && v == RESET_VALUE)
		sv_vm_end(dev, SV_END_REBOOT, 0, NULL);
}

static void kbc_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	(void)off;
	(void)len;
	if (*(const uint8_t *)data == KBC_PULSE_RESET)
		sv_vm_end(dev, SV_END_REBOOT, 0, NULL);
}

void sv_power_reset_control(struct sv_vm *vm, uint8_t value)
{
	if (value & RESET_CONTROL_CPU)
		sv_vm_end(vm, SV_END_REBOOT, 0, NULL);
}

static void panic_read(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)off;
	memset(data, 0, len);
	*(uint8_t *)data = PANICKED | CRASH_LOADED;
}

/* A guest with a crash kernel of its own says so and goes on. */
static void panic_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	(void)off;
	(void)len;
	if (*(const uint8_t *)data & PANICKED)
		sv_vm_end(dev, SV_END_PANIC, 0, NULL);
}

static void exit_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	uint32_t v = 0;

	memcpy(&v, data, len < sizeof(v) ? len : sizeof(v));
	if (off == 0)
		sv_vm_end(dev, SV_END_EXIT, (int)v, NULL);
}

/*
 * What firmware has at its reset vector. Linux jumps there to reboot when ACPI is of the
 * hardware-reduced kind, as it then expects EFI to do it, and there is none.
 */
static void write_reset_vector(struct sv_vm *vm)
{
	static const uint8_t code[] = {
		0xb0, RESET_CONTROL_CPU | 2, /* mov al, 6 */
		0xba, PORT_RESET_PCI & 0xff, PORT_RESET_PCI >> 8, /* mov dx, 0xcf9 */
		0xee,			     /* out dx, al */
		0xf4,			     /* hlt */
		0xeb, 0xfd,		     /* jmp to the hlt */
	};
	void *at = sv_vm_ptr(vm, LAYOUT_RESET_VECTOR, sizeof(code));

	if (at && !vm->lwk)
		memcpy(at, code, sizeof(code));
}

static const struct sv_bus_ops sleep_ops = {read_zero, sleep_write};
static const struct sv_bus_ops kbc_ops = {read_ones, kbc_write};
static const struct sv_bus_ops panic_ops = {panic_read, panic_write};
static const struct sv_bus_ops exit_ops = {read_zero, exit_write};

int sv_power_create(struct sv_vm *vm, struct sv_error *err)
{
	int rc = sv_bus_add(&vm->pio, PORT_SLEEP, SLEEP_BYTES, &sleep_ops, vm);

	if (rc == 0)
		rc = sv_bus_add(&vm->pio, PORT_KBC, 1, &kbc_ops, vm);
	if (rc == 0)
		rc = sv_bus_add(&vm->pio, PORT_PVPANIC, 1, &panic_ops, vm);
	if (rc == 0 && vm->config->exit_port)
		rc = sv_bus_add(&vm->pio, PORT_EXIT, EXIT_BYTES, &exit_ops, vm);
	if (rc < 0)
		return sv_fail(err, -rc, "the power registers: %s", strerror(-rc));
	write_reset_vector(vm);
	return 0;
}
