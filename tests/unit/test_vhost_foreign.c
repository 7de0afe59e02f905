/* SPDX-License-Identifier: BSD-3-Clause */
/* Our front end and our virtio registers with a back end of another project. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"
#include "virtio_driver.h"

#define DAEMON "qemu-storage-daemon"
#define SECTORS 2048u
#define RING 0x10000ull
#define HEADER 0x20000ull
#define STATUS 0x21000ull
#define DATA 0x30000ull

static char dir[] = "/tmp/sidevisor-foreign-XXXXXX";
static char image[64], path[64];
static pid_t daemon_pid;

static int connect_to(const char *to)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", to);
	if (connect(s, (struct sockaddr *)&a, sizeof(a)) == 0)
		return s;
	close(s);
	return -1;
}

static int connect_daemon(void *ctx, const void *device, const int *fds, unsigned nfds,
	struct sv_error *err)
{
	(void)ctx;
	(void)device;
	(void)fds;
	(void)nfds;
	for (unsigned i = 0; i < 500; i++) {
		struct timespec slice = {.tv_nsec = 10000000};
		int s = connect_to(path);

		if (s >= 0)
			return s;
		nanosleep(&slice, NULL);
	}
	return sv_fail(err, ECONNREFUSED, "no daemon");
}

static void make_image(void)
{
	uint32_t sector[128];
	int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	cr_assert(fd >= 0);
	for (uint32_t s = 0; s < SECTORS; s++) {
		for (uint32_t i = 0; i < 128; i++)
			sector[i] = s * 1000 + i;
		cr_assert_eq(write(fd, sector, sizeof(sector)), (ssize_t)sizeof(sector));
	}
	close(fd);
}

static void start_daemon(void)
{
	char blockdev[160], export[200];

	snprintf(blockdev, sizeof(blockdev), "driver=file,node-name=disk,filename=%s,locking=off",
		image);
	snprintf(export, sizeof(export),
		"type=vhost-user-blk,id=e,node-name=disk,addr.type=unix,addr.path=%s,writable=on,"
		"num-queues=2", path);
	daemon_pid = fork();
	if (daemon_pid == 0) {
		execlp(DAEMON, DAEMON, "--blockdev", blockdev, "--export", export, (char *)NULL);
		_exit(127);
	}
	cr_assert(daemon_pid > 0);
}

static bool have_daemon(void)
{
	return system("command -v " DAEMON " >/dev/null 2>&1") == 0;
}

static void end_daemon(void)
{
	if (daemon_pid > 0) {
		kill(daemon_pid, SIGKILL);
		waitpid(daemon_pid, NULL, 0);
	}
	unlink(image);
	unlink(path);
	rmdir(dir);
}

static struct rig *machine(void)
{
	static const struct sv_device_link link = {.connect = connect_daemon};
	struct rig *r;
	struct sv_error err;

	cr_assert(mkdtemp(dir) != NULL);
	snprintf(image, sizeof(image), "%s/image", dir);
	snprintf(path, sizeof(path), "%s/socket", dir);
	make_image();
	start_daemon();
	r = rig_new();
	r->config.ndisks = 1;
	r->config.disk[0] = (struct sv_disk_config){.path = image, .queues = 2};
	cr_assert_eq(sv_devices_create(&r->vm, &link, &err), 0, "%s", err.text);
	return r;
}

static unsigned request(struct driver *d, uint32_t type, uint64_t sector, uint32_t bytes)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	const struct piece pieces[] = {{HEADER, sizeof(h), false},
		{DATA, bytes, type == VIRTIO_BLK_T_IN}, {STATUS, 1, true}};
	uint8_t *status = rig_ptr(d->r, STATUS);
	uint32_t written;

	memcpy(rig_ptr(d->r, HEADER), &h, sizeof(h));
	*status = 0xff;
	driver_put(d, pieces, 3);
	driver_kick(d, 0);
	driver_take(d, &written);
	return *status;
}

static bool interrupted(const struct rig *r, unsigned gsi)
{
	struct pollfd p = {.fd = rig_irqfd(r, gsi), .events = POLLIN};
	uint64_t n;

	if (p.fd < 0 || poll(&p, 1, 5000) != 1)
		return false;
	return read(p.fd, &n, sizeof(n)) == sizeof(n);
}

static void check_read(struct driver *d, uint32_t sector)
{
	const uint32_t *data = rig_ptr(d->r, DATA);

	memset(rig_ptr(d->r, DATA), 0xee, 4096);
	cr_assert_eq(request(d, VIRTIO_BLK_T_IN, sector, 4096), VIRTIO_BLK_S_OK);
	for (uint32_t i = 0; i < 1024; i++)
		cr_assert_eq(data[i], (sector + i / 128) * 1000 + i % 128);
}

static struct driver set_up(struct rig *r, uint64_t features)
{
	struct driver d = driver_probe(r, 1);

	cr_assert(driver_negotiate(&d, features));
	driver_ring(&d, 0, RING, 64, 1);
	driver_unmask(&d, 1);
	driver_ok(&d);
	return d;
}

Test(vhost_foreign, block_device_of_another_project_serves_our_driver)
{
	uint64_t version = 1ull << VIRTIO_F_VERSION_1, one = 1, offered;
	struct rig *r;
	struct driver d;

	if (!have_daemon()) {
		puts("SKIPPED BECAUSE " DAEMON " is not installed (Debian: qemu-utils)");
		cr_skip_test();
	}
	r = machine();
	d = driver_probe(r, 1);
	offered = driver_offered(&d);
	cr_expect(offered & version);
	cr_expect(offered & one << VIRTIO_BLK_F_MQ);
	cr_expect(offered & one << VIRTIO_RING_F_EVENT_IDX);
	cr_expect_not(offered & one << 30, "vhost-user's own bit is not the guest's business");
	cr_expect_eq(rig_read(r, d.config, 8), SECTORS);
	cr_expect_eq(rig_read(r, d.config + 34, 2), 2);

	d = set_up(r, version);
	check_read(&d, 0);
	cr_expect(interrupted(r, GSI_MSI_FIRST + 1));
	check_read(&d, 7);
	check_read(&d, SECTORS - 8);
	cr_expect_eq(request(&d, VIRTIO_BLK_T_IN, SECTORS, 4096), VIRTIO_BLK_S_IOERR);

	/* Write, and read back through a second life of the device. */
	for (uint32_t i = 0; i < 1024; i++)
		((uint32_t *)rig_ptr(r, DATA))[i] = (100 + i / 128) * 1000 + i % 128;
	cr_expect_eq(request(&d, VIRTIO_BLK_T_OUT, 16, 4096), VIRTIO_BLK_S_OK);
	d = set_up(r, version | (offered & one << VIRTIO_BLK_F_FLUSH));
	memset(rig_ptr(r, DATA), 0, 4096);
	cr_expect_eq(request(&d, VIRTIO_BLK_T_IN, 16, 4096), VIRTIO_BLK_S_OK);
	cr_expect_eq(*(uint32_t *)rig_ptr(r, DATA), 100000);
	check_read(&d, 24);

	/* The bus master bit stops the rings where they are. */
	rig_config_write(r, 1, 4, 2, 2);
	rig_config_write(r, 1, 4, 6, 2);
	check_read(&d, 32);
	cr_expect_eq(r->vm.end, SV_END_NONE);
	sv_devices_destroy(&r->vm);
	rig_free(r);
	end_daemon();
}

Test(vhost_foreign, back_end_that_dies_ends_the_vm_with_a_sentence)
{
	struct sv_error err;
	struct driver d;
	struct rig *r;
	int fds[8];
	unsigned n;

	if (!have_daemon()) {
		puts("SKIPPED BECAUSE " DAEMON " is not installed (Debian: qemu-utils)");
		cr_skip_test();
	}
	r = machine();
	d = set_up(r, 1ull << VIRTIO_F_VERSION_1);
	check_read(&d, 0);
	n = sv_devices_poll_fds(&r->vm, fds, 8);
	cr_assert_eq(sv_devices_poll(&r->vm, fds[n - 1], &err), 0);
	kill(daemon_pid, SIGKILL);
	waitpid(daemon_pid, NULL, 0);
	daemon_pid = 0;
	cr_assert_lt(sv_devices_poll(&r->vm, fds[n - 1], &err), 0);
	cr_assert(strstr(err.text, "disk0: vhost-user: the back end went away"));
	driver_set(&d, 20, 0, 1);
	sv_devices_destroy(&r->vm);
	rig_free(r);
	end_daemon();
}
