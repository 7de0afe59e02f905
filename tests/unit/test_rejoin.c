/* SPDX-License-Identifier: BSD-3-Clause */
/* A VM without KVM, its disk at a real node, which is killed: what the control thread makes of it. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vmm/vmm.h>

#include "node.h"
#include "node_by_hand.h"
#include "rejoin.h"
#include "rig.h"
#include "settings.h"
#include "virtio_driver.h"

#define RING 0x10000ull
#define HEADER 0x40000ull
#define STATUS 0x41000ull
#define DATA 0x50000ull
#define SLICE_MS 5

static struct node_by_hand node;
static struct rig *r;
static struct driver drv;
static struct sv_rejoin rj;
static struct sv_device_link dev_link;
static int sock, refuse;
static char image[64];
static struct sv_error err;

static int connect_node(void *ctx, struct sv_error *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd;

	(void)ctx;
	if (refuse)
		return sv_fail(e, refuse, "refused on request");
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	strcpy(a.sun_path, node.path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		return sv_fail(e, EAGAIN, "nobody listens");
	}
	return fd;
}

static void up(void)
{
	int fd;

	node_start(&node, -1);
	r = rig_new();
	snprintf(image, sizeof(image), "/tmp/sidevisor-rejoin-%d", (int)getpid());
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	close(fd);
	r->config.name = "rejoins";
	r->config.ndisks = 1;
	r->config.disk[0].path = image;
	r->config.vcpu_sidecore_cpu[0] = -1;
	r->config.rejoin = connect_node;
	r->config.rejoin_s = 20;
	sock = connect_node(NULL, &err);
	cr_assert_geq(sock, 0, "%s", err.text);
	cr_assert_eq(sv_node_hello(sock, r->config.name, 1, -1, NULL, &err), 0, "%s", err.text);
	cr_assert_eq(sv_node_memory(sock, &r->vm, &err), 0, "%s", err.text);
	dev_link = (struct sv_device_link){.connect = sv_node_connect_device, .ctx = &sock, .returns = true};
	cr_assert_eq(sv_devices_create(&r->vm, &dev_link, &err), 0, "%s", err.text);
	cr_assert_eq(sv_node_start(sock, &err), 0, "%s", err.text);
	drv = driver_probe(r, 1);
	cr_assert(driver_negotiate(&drv, 1ull << VIRTIO_F_VERSION_1));
	driver_ring(&drv, 0, RING, 64, 1);
	driver_ok(&drv);
	rj = (struct sv_rejoin){.vm = &r->vm, .node_sock = &sock};
}

static void down(void)
{
	sv_devices_destroy(&r->vm);
	rig_free(r);
	unlink(image);
	if (node.pid) {
		node_stop(&node);
		return;
	}
	unlink(node.path);
	rmdir(node.dir);
}

TestSuite(rejoin, .init = up, .fini = down, .timeout = 60);

/* Request @n writes @n to sector @n; or reads it. */
static void put(unsigned n, bool write)
{
	struct virtio_blk_outhdr h = {.type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, .sector = n};
	const struct piece pieces[] = {{HEADER + 64 * n, sizeof(h), false}, {DATA + 512 * n, 512, !write},
		{STATUS + n, 1, true}};

	memcpy(rig_ptr(r, HEADER + 64 * n), &h, sizeof(h));
	memset(rig_ptr(r, DATA + 512 * n), write ? (int)n : 0xee, 512);
	*(uint8_t *)rig_ptr(r, STATUS + n) = 0xff;
	driver_put(&drv, pieces, 3);
	driver_kick(&drv, 0);
}

static void done(unsigned n)
{
	uint32_t written;

	driver_take(&drv, &written);
	cr_assert_eq(*(uint8_t *)rig_ptr(r, STATUS + n), VIRTIO_BLK_S_OK);
}

static void killed(void)
{
	kill(node.pid, SIGKILL);
	waitpid(node.pid, NULL, 0);
	node.pid = 0;
}

static void end_of_node(void)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};

	killed();
	cr_assert_eq(poll(&p, 1, 10000), 1);
	cr_assert(sv_rejoin_lost(&rj));
	close(p.fd);
	cr_assert_eq(sock, -1);
}

/* As the control loop does. Return: of the last attempt. */
static int try_for(int ms)
{
	int rc = -EAGAIN;

	for (int i = 0; rc == -EAGAIN && i < ms / SLICE_MS; i++) {
		int fds[8];
		unsigned n = sv_devices_poll_fds(&r->vm, fds, 8);

		for (unsigned k = 0; k < n; k++) {
			struct pollfd p = {.fd = fds[k], .events = POLLIN};

			if (poll(&p, 1, 0) == 1)
				cr_assert_eq(sv_devices_poll(&r->vm, fds[k], &err), 0, "%s", err.text);
		}
		rc = sv_rejoin_try(&rj, &err);
		poll(NULL, 0, SLICE_MS);
	}
	return rc;
}

Test(rejoin, requests_of_before_and_of_meanwhile_complete)
{
	for (unsigned life = 0; life < 4; life++) {
		unsigned n = 1 + 10 * life;

		put(n, true);
		done(n);
		put(n + 1, true); /* the end may come before, during or after it */
		end_of_node();
		put(n + 2, true);
		cr_assert_eq(try_for(50), -EAGAIN);
		node_start(&node, -1);
		cr_assert_eq(try_for(20000), 0, "%s", rj.why.text);
		done(n + 1);
		done(n + 2);
		for (unsigned i = 0; i < 3; i++) {
			put(n + i, false);
			done(n + i);
			cr_assert_eq(*(uint8_t *)rig_ptr(r, DATA + 512 * (n + i) + 511), n + i);
		}
	}
	cr_assert_eq(r->vm.rejoins, 4);
	cr_assert_eq(r->vm.end, 0);
	close(sock);
}

Test(rejoin, patience_ends_with_a_sentence)
{
	r->config.rejoin_s = 1;
	end_of_node();
	cr_assert_eq(try_for(20000), -ETIMEDOUT);
	cr_assert(strstr(err.text, "did not come back within 1 s (--rejoin); the last attempt: nobody "
				   "listens"), "%s", err.text);
}

Test(rejoin, one_that_refuses_at_first_is_asked_again)
{
	end_of_node();
	node_start(&node, -1);
	refuse = EEXIST;
	cr_assert_eq(try_for(300), -EAGAIN);
	refuse = 0;
	cr_assert_eq(try_for(20000), 0, "%s", rj.why.text);
	close(sock);
}

Test(rejoin, settings_are_said_again)
{
	static struct sv_settings s;
	char *text = NULL;

	sv_settings_note(&s, "disk0", "max-iops", "77");
	sv_settings_note(&s, "disk0", "weight", "3");
	sv_settings_note(&s, "disk0", "max-iops", "4321");
	sv_settings_note(&s, "nobody", "weight", "3"); /* a warning */
	cr_assert_eq(s.n, 3);
	r->vm.settings = &s;
	end_of_node();
	node_start(&node, -1);
	cr_assert_eq(try_for(20000), 0, "%s", rj.why.text);
	cr_assert_eq(sv_node_set_device(sock, r->config.name, "disk0", NULL, NULL, &text, &err), 0, "%s",
		err.text);
	cr_assert(strstr(text, "4321") && !strstr(text, "77,"), "%s", text);
	free(text);
	close(sock);
}

/* As after a request that was given up: its answer comes, and nobody waits for it. */
static void late_reply(void)
{
	struct sv_control_request r_late = {
		.magic = SV_CONTROL_MAGIC, .version = SV_CONTROL_VERSION, .op = SV_CONTROL_STATS};
	struct pollfd p = {.fd = sock, .events = POLLIN};

	cr_assert_eq(send(sock, &r_late, sizeof(r_late), 0), (ssize_t)sizeof(r_late));
	cr_assert_eq(poll(&p, 1, 10000), 1);
}

Test(rejoin, a_reply_that_comes_late_ends_nothing_and_is_nobody_elses)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	char *text = NULL;

	late_reply();
	cr_assert_eq(sv_node_drain(sock), 0);
	cr_assert_eq(poll(&p, 1, 0), 0);
	late_reply();
	cr_assert_eq(sv_node_set_device(sock, r->config.name, "disk0", NULL, NULL, &text, &err), 0, "%s",
		err.text);
	cr_assert(strstr(text, "disk0") && !strstr(text, "sidecores"), "%s", text);
	free(text);
	killed();
	cr_assert_eq(poll(&p, 1, 10000), 1);
	cr_assert_lt(sv_node_drain(sock), 0);
	close(sock);
}

Test(rejoin, one_that_dies_in_turn_is_waited_for_in_turn)
{
	end_of_node();
	for (unsigned i = 0; i < 5; i++) {
		node_start(&node, -1);
		try_for(5 * (int)i);
		killed();
		if (!rj.lost)
			cr_assert(sv_rejoin_lost(&rj));
		try_for(20);
	}
	put(3, true);
	node_start(&node, -1);
	cr_assert_eq(try_for(20000), 0, "%s", rj.why.text);
	done(3);
	close(sock);
}

static void see_away(void)
{
	int fds[8];
	unsigned n = sv_devices_poll_fds(&r->vm, fds, 8);

	while (!sv_devices_away(&r->vm))
		cr_assert_eq(sv_devices_poll(&r->vm, fds[n - 1], &err), 0, "%s", err.text);
}

/* Of a process that ends, a device's connection may be seen to close before the node's. */
Test(rejoin, a_device_that_went_with_its_process_is_not_held_against_the_next)
{
	for (unsigned life = 0; life < 3; life++) {
		killed();
		see_away();
		cr_assert_eq(sv_rejoin_watch(&rj, &err), 0, "%s", err.text);
		cr_assert(sv_rejoin_lost(&rj));
		rj.alone_ms -= rj.alone_ms ? 60000 : 0; /* long ago */
		node_start(&node, -1);
		cr_assert_eq(try_for(20000), 0, "%s", rj.why.text);
	}
	close(sock);
}

Test(rejoin, a_device_that_is_dropped_alone_ends_the_vm_with_a_sentence)
{
	int fds[8], rc = 0;
	unsigned n = sv_devices_poll_fds(&r->vm, fds, 8);

	cr_assert_eq(sv_rejoin_watch(&rj, &err), 0);
	shutdown(fds[n - 1], SHUT_RDWR);
	while (!sv_devices_away(&r->vm))
		cr_assert_eq(sv_devices_poll(&r->vm, fds[n - 1], &err), 0, "%s", err.text);
	for (unsigned ms = 0; rc == 0 && ms < 20000; ms += SLICE_MS) {
		rc = sv_rejoin_watch(&rj, &err);
		poll(NULL, 0, SLICE_MS);
	}
	cr_assert_eq(rc, -ECONNRESET);
	cr_assert(strstr(err.text, "disk0: the sidecore process goes on, but not with this device"), "%s",
		err.text);
	close(sock);
}
