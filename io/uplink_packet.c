/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An Ethernet interface of the host, through a packet socket: guests are on its wire with addresses
 * of their own, while the host itself stays out of their sight (as with macvtap).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "switch_private.h"
#include "uplink.h"

#define HDR ((ssize_t)sizeof(struct virtio_net_hdr))
#define TAG 4u
#define ROOM (SV_FRAME_MAX + TAG)
#define SOCKET_BYTES (4 << 20)

static int explain(const struct sv_uplink_config *c, const char *what, struct sv_error *err)
{
	int e = errno;

	if (e == EPERM || e == EACCES)
		return sv_fail(err, e,
			"packet %s: not permitted; give sidevisor CAP_NET_RAW, or take `--uplink "
			"slirp:...`, which "
			"needs no privileges",
			c->dev);
	if (e == ENODEV)
		return sv_fail(err, e,
			"packet %s: there is no such interface; `ip link` lists them", c->dev);
	return sv_fail(err, e, "packet %s: %s: %s", c->dev, what, strerror(e));
}

/* What the interface is: Ethernet, and how long its frames may be. */
static int ask(struct sv_uplink *u, const struct sv_uplink_config *c, int fd, struct sv_error *err)
{
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, c->dev);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
		return explain(c, "SIOCGIFHWADDR", err);
	if (ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return sv_fail(
			err, EPFNOSUPPORT, "packet %s: it is not an Ethernet interface", c->dev);
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) == 0 && !(ifr.ifr_flags & IFF_UP))
		sv_warn("packet %s: it is down; nothing passes before `ip link set %s up`", c->dev,
			c->dev);
	if (ioctl(fd, SIOCGIFMTU, &ifr) == 0)
		u->port.max_frame = (uint32_t)ifr.ifr_mtu + SV_FRAME_MIN + TAG;
	return 0;
}

/* Frames in both directions with their offloads; all addresses; none of our own frames. */
static int set_options(const struct sv_uplink_config *c, int fd, int index, struct sv_error *err)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};
	struct packet_mreq all = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};
	int one = 1, bytes = SOCKET_BYTES;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0)
		return explain(c, "PACKET_VNET_HDR", err);
	if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) < 0)
		return explain(c, "PACKET_AUXDATA", err);
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0)
		return explain(c, "PACKET_IGNORE_OUTGOING", err);
	if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0)
		return explain(c, "promiscuous mode", err);
	return bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ? explain(c, "bind", err) : 0;
}

static void packet_close(struct sv_uplink *u)
{
	for (unsigned i = 0; i < u->fds; i++)
		close(u->fd[i]);
	u->fds = 0;
	free(u->kind);
}

static int packet_open(struct sv_uplink *u, const struct sv_uplink_config *c, struct sv_error *err)
{
	int index = (int)if_nametoindex(c->dev), fd, rc;

	if (!index)
		return explain(c, "if_nametoindex", err);
	/* Protocol 0: nothing is received before bind() says from where. */
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return explain(c, "packet socket", err);
	u->fd[u->fds++] = fd;
	rc = ask(u, c, fd, err);
	if (rc == 0)
		rc = set_options(c, fd, index, err);
	u->kind = rc == 0 ? malloc(ROOM) : NULL;
	if (rc == 0 && !u->kind)
		rc = sv_fail(err, ENOMEM, "out of memory");
	if (rc < 0)
		packet_close(u);
	/* UDP segments in these sockets came with Linux 6.2, and no call says whether they are
	 * there. */
	u->port.offloads = SV_OFFLOAD_ALL & ~SV_OFFLOAD_USO;
	return rc;
}

/* The kernel took the tag out of the frame: *tci. Return: its protocol, 0: there was none. */
static uint16_t stripped_tag(struct msghdr *m, uint16_t *tci)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct tpacket_auxdata aux;

		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
			return 0;
		*tci = aux.tp_vlan_tci;
		return aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETH_P_8021Q;
	}
	return 0;
}

static void put_tag(uint8_t *frame, uint16_t protocol, uint16_t tci, struct virtio_net_hdr_v1 *h)
{
	memmove(frame, frame + TAG, 12);
	frame[12] = (uint8_t)(protocol >> 8);
	frame[13] = (uint8_t)protocol;
	frame[14] = (uint8_t)(tci >> 8);
	frame[15] = (uint8_t)tci;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		h->csum_start = (uint16_t)(h->csum_start + TAG);
	if (h->hdr_len)
		h->hdr_len = (uint16_t)(h->hdr_len + TAG);
}

/* ENETDOWN: the interface went down. It may come again; what is gone for good stays silent. */
static unsigned failed(struct sv_uplink *u, unsigned i)
{
	/* Segments of a kind that no virtio-net header can say: they are gone, the others are not. */
	if (errno == EINVAL) {
		switch_drop(&u->port, SV_DROP_HEADER);
		return 1;
	}
	if (errno != EAGAIN && errno != EINTR && errno != ENETDOWN)
		uplink_lost(u, i);
	return 0;
}

/* Return: the work it was; 0: nothing is there. */
static unsigned receive_one(struct sv_uplink *u, unsigned i)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	} control;
	struct sv_frame f = {.niov = 1};
	uint8_t *frame = (uint8_t *)u->kind + TAG;
	struct iovec iov[2] = {{&f.hdr, (size_t)HDR}, {frame, ROOM - TAG}};
	struct msghdr m = {.msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(u->fd[i], &m, 0);
	uint16_t protocol, tci = 0;

	if (n < 0)
		return failed(u, i);
	if (n < HDR + (ssize_t)SV_FRAME_MIN || m.msg_flags & MSG_TRUNC)
		return 1;
	f.len = (uint32_t)(n - HDR);
	protocol = stripped_tag(&m, &tci);
	if (protocol) {
		frame -= TAG;
		f.len += TAG;
		put_tag(frame, protocol, tci, &f.hdr);
	}
	iov[1] = (struct iovec){frame, f.len};
	f.iov = &iov[1];
	return sv_switch_work(sv_switch_input(u->sw, &u->port, &f));
}

static unsigned packet_receive(struct sv_uplink *u, unsigned i, unsigned budget)
{
	unsigned done = 0, work;

	while (done < budget && (work = receive_one(u, i)))
		done += work;
	return done;
}

static bool packet_deliver(struct sv_port *to, const struct sv_frame *f)
{
	struct sv_uplink *u = (struct sv_uplink *)(void *)to;
	struct iovec iov[2 + SV_FRAME_PIECES];
	struct virtio_net_hdr_v1 hdr = f->hdr;

	if (u->dead)
		return false;
	iov[0] = (struct iovec){&hdr, (size_t)HDR};
	memcpy(iov + 1, f->iov, f->niov * sizeof(iov[0]));
	return writev(u->fd[0], iov, (int)f->niov + 1) >= 0;
}

static void no_flush(struct sv_port *to)
{
	(void)to;
}

const struct uplink_ops uplink_packet = {.type = SV_UPLINK_PACKET,
	.name = "packet",
	.open = packet_open,
	.close = packet_close,
	.receive = packet_receive,
	.port = {.deliver = packet_deliver, .flush = no_flush}};
