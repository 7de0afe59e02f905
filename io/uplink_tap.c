/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A TAP interface: what the switch sends there the host's network stack receives, with offloads in
 * the virtio-net header that the kernel speaks itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <channels/atomics.h>

#include "uplink.h"

#ifndef TUN_F_USO4 /* kernel headers before 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define HDR ((int)sizeof(struct virtio_net_hdr_v1))
#define ROOM (SV_FRAME_MAX + 4u)

static int explain(const struct sv_uplink_config *c, int rc, const char *what, struct sv_error *err)
{
	if (rc == -EPERM || rc == -EACCES)
		return sv_fail(err, -rc,
			"tap %s: not permitted; as root make one that this user may open: `ip "
			"tuntap add dev %s mode tap "
			"user $USER%s`, or give sidevisor CAP_NET_ADMIN",
			c->dev, c->dev, c->queues > 1 ? " multi_queue" : "");
	if (rc == -EBUSY)
		return sv_fail(err, EBUSY,
			"tap %s: another process has it open; close that, or take another name",
			c->dev);
	if (rc == -EINVAL && !strcmp(what, "TUNSETIFF"))
		return sv_fail(err, EEXIST,
			"tap %s: it is there but not as a TAP interface with %s queue; make it "
			"with `ip tuntap add dev "
			"%s mode tap%s`",
			c->dev, c->queues > 1 ? "more than one" : "one", c->dev,
			c->queues > 1 ? " multi_queue" : "");
	return sv_fail(err, -rc, "tap %s: %s: %s", c->dev, what, strerror(-rc));
}

/* Checksums and segments that the kernel leaves to us: the switch does them where needed. */
static uint32_t set_offloads(int fd)
{
	unsigned long f = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	if (ioctl(fd, TUNSETOFFLOAD, f | TUN_F_USO4 | TUN_F_USO6) == 0)
		return SV_OFFLOAD_ALL;
	return ioctl(fd, TUNSETOFFLOAD, f) == 0 ? SV_OFFLOAD_ALL & ~SV_OFFLOAD_USO
						: SV_OFFLOAD_CSUM;
}

static int open_queue(struct sv_uplink *u, const struct sv_uplink_config *c, struct sv_error *err)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), hdr = HDR, one = 1, rc = 0;
	const char *what = "TUNSETIFF";

	if (fd < 0 && errno == ENOENT)
		return sv_fail(err, ENOENT,
			"tap %s: there is no /dev/net/tun; load the module: `modprobe tun`",
			c->dev);
	if (fd < 0)
		return explain(c, -errno, "/dev/net/tun", err);
	if (c->queues > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	strcpy(ifr.ifr_name, c->dev);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		rc = -errno;
	if (rc == 0) {
		what = "virtio-net header";
		if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0 || ioctl(fd, TUNSETVNETLE, &one) < 0)
			rc = -errno;
	}
	if (rc < 0) {
		close(fd);
		return explain(c, rc, what, err);
	}
	u->port.offloads = set_offloads(fd);
	u->fd[u->fds++] = fd;
	return 0;
}

/* An interface that was made just now is down: who may make it may also set it up. */
static void set_up(const char *dev)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, dev);
	if (s >= 0 && ioctl(s, SIOCGIFFLAGS, &ifr) == 0 && !(ifr.ifr_flags & IFF_UP)) {
		ifr.ifr_flags |= IFF_UP;
		if (ioctl(s, SIOCSIFFLAGS, &ifr) < 0)
			sv_warn("tap %s: it is down and cannot be set up: %s", dev,
				strerror(errno));
	}
	if (s >= 0)
		close(s);
}

static void tap_close(struct sv_uplink *u)
{
	for (unsigned i = 0; i < u->fds; i++)
		close(u->fd[i]);
	u->fds = 0;
	free(u->kind);
}

static int tap_open(struct sv_uplink *u, const struct sv_uplink_config *c, struct sv_error *err)
{
	int rc = 0;

	u->kind = malloc(ROOM);
	if (!u->kind)
		return sv_fail(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < (c->queues ? c->queues : 1) && rc == 0; i++)
		rc = open_queue(u, c, err);
	if (rc < 0) {
		tap_close(u);
		return rc;
	}
	set_up(c->dev);
	return 0;
}

static unsigned tap_receive(struct sv_uplink *u, unsigned i, unsigned budget)
{
	struct sv_frame f = {.niov = 1};
	struct iovec iov[2] = {{&f.hdr, sizeof(f.hdr)}, {u->kind, ROOM}};
	unsigned done = 0;

	f.iov = &iov[1];
	while (done < budget) {
		ssize_t n = readv(u->fd[i], iov, 2);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				uplink_lost(u, i);
			break;
		}
		if (n < HDR)
			break;
		iov[1].iov_len = f.len = (uint32_t)n - (uint32_t)HDR;
		done += sv_switch_work(sv_switch_input(u->sw, &u->port, &f));
		iov[1].iov_len = ROOM;
	}
	return done;
}

static bool tap_deliver(struct sv_port *to, const struct sv_frame *f)
{
	struct sv_uplink *u = (struct sv_uplink *)(void *)to;
	struct iovec iov[2 + SV_FRAME_PIECES];
	struct virtio_net_hdr_v1 hdr = f->hdr;
	const uint8_t *head = f->iov[0].iov_base; /* the switch's copy: both addresses are in it */
	unsigned i =
		(head[5] ^ head[11]) % u->fds; /* frames between two interfaces stay in order */

	if (u->dead & 1u << i)
		return false;
	iov[0] = (struct iovec){&hdr, sizeof(hdr)};
	memcpy(iov + 1, f->iov, f->niov * sizeof(iov[0]));
	return writev(u->fd[i], iov, (int)f->niov + 1) >= 0;
}

static void no_flush(struct sv_port *to)
{
	(void)to;
}

const struct uplink_ops uplink_tap = {.type = SV_UPLINK_TAP,
	.name = "tap",
	.open = tap_open,
	.close = tap_close,
	.receive = tap_receive,
	.port = {.deliver = tap_deliver, .flush = no_flush}};
