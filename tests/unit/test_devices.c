/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of devices: start-up, its failure at every step, and teardown. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <channels/control.h>

#include "back_end_by_hand.h"
#include "rig.h"
#include "steps.h"

#define DISKS 2u

static struct back_end back[DISKS + 1];
static unsigned connected, refuse_from;
static struct sv_control_device asked[DISKS + 1];
static char path[DISKS][64];
static struct sv_error err;

static int connect_back_end(void *ctx, const void *device, const int *fds, unsigned nfds,
	struct sv_error *e)
{
	(void)ctx;
	cr_assert(connected <= DISKS);
	memcpy(&asked[connected], device, sizeof(asked[0]));
	cr_assert_eq(nfds, asked[connected].kind == SV_DEVICE_BLK ? 1 : 2);
	for (unsigned i = 0; i < nfds; i++)
		cr_assert_geq(fcntl(fds[i], F_GETFD), 0);
	if (connected >= refuse_from)
		return sv_fail(e, ECONNREFUSED, "nobody there");
	back_end_init(&back[connected]);
	if (asked[connected].kind == SV_DEVICE_CONSOLE)
		back[connected].config_bytes = 0;
	return back_end_start(&back[connected++]);
}

static const struct sv_device_link link_by_hand = {.connect = connect_back_end};

static void stop_back_ends(void)
{
	while (connected)
		back_end_stop(&back[--connected]);
}

static struct rig *machine(int console)
{
	struct rig *r = rig_new();

	refuse_from = 100;
	r->config.fw_cfg = r->config.exit_port = true;
	r->config.ndisks = DISKS;
	r->vm.console_fd = console;
	for (unsigned i = 0; i < DISKS; i++) {
		int fd;

		snprintf(path[i], sizeof(path[i]), "/tmp/sidevisor-devices-%d-%u", getpid(), i);
		fd = open(path[i], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		cr_assert(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
		close(fd);
		r->config.disk[i].path = path[i];
	}
	r->config.disk[0].serial = "twenty-bytes-exactly";
	r->config.disk[1].readonly = true;
	r->config.disk[1].queues = 7;
	return r;
}

static void unmake(struct rig *r)
{
	for (unsigned i = 0; i < DISKS; i++)
		unlink(path[i]);
	rig_free(r);
}

Test(devices, disks_and_console_are_asked_for_and_plugged)
{
	int pair[2];
	struct rig *r;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r = machine(pair[1]);
	cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), 0, "%s", err.text);
	cr_assert_eq(asked[0].kind, SV_DEVICE_BLK);
	cr_assert_eq(asked[0].queues, 2, "as many as there are vCPUs");
	cr_assert_eq(asked[0].flags, SV_DEVICE_F_DISCARD);
	cr_assert(!memcmp(asked[0].serial, "twenty-bytes-exactly", 20));
	cr_assert_str_eq(asked[0].name, "disk0");
	cr_assert_eq(asked[1].flags, SV_DEVICE_F_READONLY);
	cr_assert_eq(asked[1].queues, 7);
	cr_assert_eq(asked[2].kind, SV_DEVICE_CONSOLE);
	cr_assert_eq(rig_config(r, 1, 2, 2), 0x1042);
	cr_assert_eq(rig_config(r, 2, 2, 2), 0x1042);
	cr_assert_eq(rig_config(r, 3, 2, 2), 0x1043);
	sv_devices_destroy(&r->vm);
	stop_back_ends();
	unmake(r);
	close(pair[0]);
	close(pair[1]);
}

Test(devices, image_is_locked_while_the_vm_lives)
{
	struct rig *r = machine(-1);
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(path[0], O_RDWR | O_CLOEXEC);

	cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), 0);
	cr_assert_eq(fcntl(fd, F_OFD_SETLK, &l), -1);
	sv_devices_destroy(&r->vm);
	stop_back_ends();
	cr_assert_eq(fcntl(fd, F_OFD_SETLK, &l), 0);
	close(fd);
	unmake(r);
}

static void expect_nothing_left(struct rig *r, unsigned fds, unsigned maps, const char *what,
	int k)
{
	stop_back_ends();
	cr_assert_null(r->vm.devices);
	cr_assert_eq(rig_count_fds(), fds, "%s %d: descriptors", what, k);
	cr_assert_leq(rig_count_maps(), maps, "%s %d: mappings", what, k);
	cr_assert_eq(r->nirqfd + r->nkick, 0);
	cr_assert_eq(r->vm.pio.n, 0);
	cr_assert_eq(r->vm.mmio.n, 1, "the I/O APIC");
}

Test(devices, failure_of_any_step_leaves_nothing_behind)
{
	int pair[2], k, rc;
	unsigned fds, maps;
	struct rig *r;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r = machine(pair[1]);
	/* The first run makes what lives as long as the process: heap, stacks of threads. */
	cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), 0);
	sv_devices_destroy(&r->vm);
	stop_back_ends();
	fds = rig_count_fds();
	maps = rig_count_maps();
	for (k = 0;; k++) {
		sv_steps_fail_at = k;
		rc = sv_devices_create(&r->vm, &link_by_hand, &err);
		if (rc == 0)
			break;
		cr_assert_eq(rc, -ECANCELED);
		expect_nothing_left(r, fds, maps, "step", k);
	}
	sv_steps_fail_at = -1;
	cr_assert_geq(k, 10);
	sv_devices_destroy(&r->vm);
	expect_nothing_left(r, fds, maps, "step", k);
	for (refuse_from = 0; refuse_from <= DISKS; refuse_from++) {
		cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), -ECONNREFUSED);
		cr_assert_str_eq(err.text, "nobody there");
		expect_nothing_left(r, fds, maps, "connection", (int)refuse_from);
	}
	unmake(r);
	close(pair[0]);
	close(pair[1]);
}

Test(devices, lwk_with_a_disk_is_refused)
{
	struct rig *r = machine(-1);

	r->vm.lwk = true;
	cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), -EINVAL);
	cr_assert(strstr(err.text, path[0]));
	unmake(r);
}

Test(devices, a_disk_pins_no_memory_that_goes_or_comes)
{
	struct rig *r = machine(-1);

	r->config.disk[1].direct = r->config.disk[1].pinned = r->config.disk[1].iopoll = true;
	r->config.balloon = true;
	cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), -ENOTSUP);
	cr_assert(strstr(err.text, path[1]) && strstr(err.text, "pinned and --balloon"), "%s", err.text);
	stop_back_ends();
	r->config.balloon = false;
	r->config.source.path = "/x";
	cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), -ENOTSUP);
	cr_assert(strstr(err.text, "pinned and --memory-source"), "%s", err.text);
	stop_back_ends();
	r->config.source.path = NULL;
	cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), 0, "%s", err.text);
	/* Without poll queues here iopoll is dropped, with a sentence. */
	cr_assert_eq(asked[1].flags & ~SV_DEVICE_F_IOPOLL,
		SV_DEVICE_F_READONLY | SV_DEVICE_F_DIRECT | SV_DEVICE_F_PINNED);
	sv_devices_destroy(&r->vm);
	stop_back_ends();
	unmake(r);
}

Test(devices, channel_window_is_not_memory_of_devices)
{
	struct rig *r = machine(-1);

	r->vm.gmem.region[1] = r->vm.gmem.region[0];
	r->vm.gmem.region[1].gpa = r->vm.window_gpa = 4ull << 30;
	r->vm.window_bytes = RIG_RAM;
	r->vm.gmem.n = 2;
	cr_assert_eq(sv_devices_create(&r->vm, &link_by_hand, &err), 0);
	cr_assert_eq(back[0].regions, 1);
	sv_devices_destroy(&r->vm);
	stop_back_ends();
	unmake(r);
}
