/* SPDX-License-Identifier: BSD-3-Clause */
/* Every device of the machine: an ordered table, and its mirror. */
#include "devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform.h"
#include "steps.h"

struct sv_devices {
	struct sv_vm *vm;
	const struct sv_device_link *link;
	struct sv_bus pio, mmio; /* as they were before */
	struct sv_output *out;
	struct sv_platform *platform;
	struct sv_fwcfg *fwcfg;
};

static int up_ranges(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	(void)err;
	d->pio = d->vm->pio;
	d->mmio = d->vm->mmio;
	return 0;
}

static void down_ranges(void *ctx)
{
	struct sv_devices *d = ctx;

	d->vm->pio = d->pio;
	d->vm->mmio = d->mmio;
}

static int up_output(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;
	bool none = d->vm->config->console == SV_CONSOLE_NONE;

	d->out = sv_output_create(none ? -1 : STDOUT_FILENO, err);
	return d->out ? 0 : -ENOMEM;
}

static void down_output(void *ctx)
{
	sv_output_destroy(((struct sv_devices *)ctx)->out);
}

static int up_platform(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	if (!d->vm->lwk)
		return 0;
	d->platform = sv_platform_create(d->vm, d->out, err);
	return d->platform ? 0 : -EIO;
}

static void down_platform(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->platform)
		sv_platform_destroy(d->platform);
}

static int up_power(void *ctx, struct sv_error *err)
{
	return sv_power_create(((struct sv_devices *)ctx)->vm, err);
}

static int up_fwcfg(void *ctx, struct sv_error *err)
{
	struct sv_devices *d = ctx;

	if (!d->vm->config->fw_cfg)
		return 0;
	d->fwcfg = sv_fwcfg_create(d->vm, err);
	return d->fwcfg ? 0 : -EIO;
}

static void down_fwcfg(void *ctx)
{
	struct sv_devices *d = ctx;

	if (d->fwcfg)
		sv_fwcfg_destroy(d->fwcfg);
}

static const struct sv_step steps[] = {
	{"ranges", up_ranges, down_ranges},
	{"output", up_output, down_output},
	{"platform", up_platform, down_platform},
	{"power", up_power, NULL},
	{"fw_cfg", up_fwcfg, down_fwcfg},
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

int sv_devices_create(struct sv_vm *vm, const struct sv_device_link *link, struct sv_error *err)
{
	struct sv_devices *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return sv_fail(err, ENOMEM, "out of memory");
	d->vm = vm;
	d->link = link;
	rc = sv_steps_up(steps, STEPS, d, err);
	if (rc < 0)
		free(d);
	else
		vm->devices = d;
	return rc;
}

void sv_devices_destroy(struct sv_vm *vm)
{
	if (!vm->devices)
		return;
	sv_steps_down(steps, STEPS, vm->devices);
	free(vm->devices);
	vm->devices = NULL;
}

unsigned sv_serial_input(struct sv_vm *vm, const void *bytes, unsigned n)
{
	(void)vm;
	(void)bytes;
	return n;
}

unsigned sv_devices_poll_fds(struct sv_vm *vm, int *fds, unsigned max)
{
	if (max < 1)
		return 0;
	fds[0] = sv_output_poll_fd(vm->devices->out);
	return 1;
}

int sv_devices_poll(struct sv_vm *vm, int fd, struct sv_error *err)
{
	(void)err;
	if (fd == sv_output_poll_fd(vm->devices->out))
		sv_output_flush(vm->devices->out);
	return 0;
}
