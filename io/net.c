/* SPDX-License-Identifier: BSD-3-Clause */
/* The network interface as a device class: its poller, features, configuration space, life. */
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <io/devices.h>
#include <io/net_filter.h>

#define DEFAULT_MTU 1500u
#define F(bit) (1ull << (bit))

/* --- the poller ------------------------------------------------------------------------------ */

static struct net *net_of(struct sv_poller *p)
{
	return (struct net *)(void *)sv_session_of(p);
}

static void publish_sent(struct net *n)
{
	for (unsigned i = 0; i < n->pairs; i++) {
		struct sv_vhost_queue *q = net_tx(n, i);

		if (!q->running)
			continue;
		sv_virtq_publish(&q->vq);
		sv_virtq_suppress(&q->vq);
	}
}

/* A guest has a frame to send. */
static bool waiting(struct net *n)
{
	for (unsigned i = 0; i < n->pairs; i++)
		if (sv_vhost_serving(net_tx(n, i)) && sv_virtq_waiting(&net_tx(n, i)->vq))
			return true;
	return false;
}

/* One round over the pairs, each with an equal part of the budget, another one first each time. */
static unsigned send_all(struct net *n, unsigned budget)
{
	unsigned each = (budget + n->pairs - 1) / n->pairs, done = 0;

	if (!sv_qos_left(n->qos.flow) && !waiting(n))
		return 0;
	qos_device_visit(&n->qos);
	n->first_pair = n->first_pair + 1 < n->pairs ? n->first_pair + 1 : 0;
	for (unsigned i = 0; i < n->pairs; i++)
		done += net_transmit(n, (n->first_pair + i) % n->pairs, each);
	sv_qos_leave(n->qos.flow);
	return done;
}

static enum sv_poll net_poll(struct sv_poller *p, unsigned budget)
{
	struct net *n = net_of(p);
	unsigned done = send_all(n, budget);

	if (done) {
		sv_switch_flush(n->sw);
		publish_sent(n);
	}
	done += net_serve_control(n, budget);
	return done ? SV_POLL_BUSY : SV_POLL_IDLE;
}

static bool arm_one(struct sv_vhost_queue *q)
{
	return sv_vhost_serving(q) && (sv_virtq_arm(&q->vq) || q->kick_fd < 0);
}

/* Receive buffers are looked for when there is a frame: nobody need tell us of them. */
static bool net_arm(struct sv_poller *p)
{
	struct net *n = net_of(p);
	struct sv_vhost_queue *control = net_control(n);
	bool pending = control && arm_one(control), held;

	if (qos_device_arm(&n->qos, &held))
		return pending || held;
	for (unsigned i = 0; i < n->pairs; i++)
		pending |= arm_one(net_tx(n, i));
	return pending;
}

static void net_disarm(struct sv_poller *p)
{
	struct net *n = net_of(p);

	qos_device_disarm(&n->qos);
	sv_vhost_drain_kicks(&n->session.vhost);
	sv_vhost_suppress(&n->session.vhost);
}

static const struct sv_poller_ops net_ops = {
	.service = "net", .poll = net_poll, .arm = net_arm, .disarm = net_disarm};

/* --- what the vhost-user session asks -------------------------------------------------------- */

static uint64_t net_features(void *dev)
{
	const struct net *n = dev;
	uint64_t f = F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_HOST_TSO4) |
		     F(VIRTIO_NET_F_HOST_TSO6) | F(VIRTIO_NET_F_HOST_ECN) |
		     F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO6) |
		     F(VIRTIO_NET_F_GUEST_ECN) | F(NET_F_HOST_USO) | F(NET_F_GUEST_USO4) |
		     F(NET_F_GUEST_USO6) | F(VIRTIO_NET_F_MRG_RXBUF) | F(VIRTIO_NET_F_MAC) |
		     F(VIRTIO_NET_F_MTU) | F(VIRTIO_NET_F_STATUS) | F(VIRTIO_NET_F_CTRL_VQ) |
		     F(VIRTIO_NET_F_CTRL_RX) | F(VIRTIO_NET_F_CTRL_RX_EXTRA) |
		     F(VIRTIO_NET_F_CTRL_MAC_ADDR) | F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);

	f |= F(VIRTIO_F_IN_ORDER); /* frames are used in the order of the buffers anyway */
	if (n->pairs > 1)
		f |= F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS);
	return f;
}

void net_set_offloads(struct net *n, uint64_t accepted)
{
	uint32_t o = 0;

	accepted &= n->features;
	if (accepted & F(VIRTIO_NET_F_GUEST_CSUM)) {
		o = SV_OFFLOAD_CSUM;
		if (accepted & F(VIRTIO_NET_F_GUEST_TSO4))
			o |= SV_OFFLOAD_TSO4;
		if (accepted & F(VIRTIO_NET_F_GUEST_TSO6))
			o |= SV_OFFLOAD_TSO6;
		if (accepted & F(VIRTIO_NET_F_GUEST_ECN))
			o |= SV_OFFLOAD_ECN;
		if ((accepted & F(NET_F_GUEST_USO4)) && (accepted & F(NET_F_GUEST_USO6)))
			o |= SV_OFFLOAD_USO;
	}
	sv_store_relaxed(&n->port.offloads, o);
}

static void forget_commands(struct net *n)
{
	n->active = 1;
	net_steer_reset(&n->steer);
	net_set_offloads(n, NET_GUEST_OFFLOADS);
}

static void net_set_features(void *dev, uint64_t features)
{
	struct net *n = dev;
	bool modern = features & F(VIRTIO_F_VERSION_1);

	n->features = features;
	n->mergeable = features & F(VIRTIO_NET_F_MRG_RXBUF);
	n->hdr_bytes = modern || n->mergeable ? NET_HDR_V1 : NET_HDR_LEGACY;
	n->own_control = features & F(VIRTIO_NET_F_CTRL_VQ);
	n->control_ran = n->said = false;
	forget_commands(n);
}

static void net_get_config(void *dev, uint8_t *config)
{
	const struct net *n = dev;
	struct virtio_net_config c = {.status = n->link_down ? 0 : VIRTIO_NET_S_LINK_UP,
		.max_virtqueue_pairs = (uint16_t)n->pairs,
		.mtu = n->mtu,
		.speed = UINT32_MAX, /* not known */
		.duplex = UINT8_MAX,
		.rss_max_key_size = NET_RSS_KEY,
		.rss_max_indirection_table_length = NET_RSS_TABLE,
		.supported_hash_types = 0x3f};

	memcpy(c.mac, n->port.mac, sizeof(c.mac));
	memcpy(config, &c, sizeof(c));
}

static const struct sv_vhost_device net_type = {.name = "virtio-net",
	.queue_group = 2,
	.features = net_features,
	.set_features = net_set_features,
	.config_bytes = sizeof(struct virtio_net_config),
	.get_config = net_get_config,
	.get_state = net_get_state,
	.set_state = net_set_state};

/* --- frames may come, or not ----------------------------------------------------------------- */

/*
 * Other devices of the switch deliver to this one from their polls. Closed before the poller is
 * detached, whose grace period is theirs as well: the control thread then has the queues for itself.
 */
static void net_gate(struct sv_session *s, bool open)
{
	struct net *n = (struct net *)s;

	sv_store_release(&n->open, open);
	sv_store_relaxed(&n->port.link_down, !open || n->link_down);
}

/* What the driver said counts from the start of its control queue; else the queues that run do. */
static void net_prepare(struct sv_session *s)
{
	struct net *n = (struct net *)s;
	const struct sv_vhost_queue *control = net_control(n);
	unsigned started = 0;

	if (n->own_control) {
		if (control->running && !n->control_ran && !n->said) {
			forget_commands(n);
			sv_vhost_state_store(&n->session.vhost);
		}
		n->said &= !control->running;
		n->control_ran = control->running;
	} else {
		while (started < n->pairs && net_rx(n, started)->running)
			started++;
		n->active = started ? started : 1;
	}
}

/* --- life ------------------------------------------------------------------------------------ */

/* An address of the locally administered kind that is the same at every start. */
static void derive_mac(const char *vm, const char *device, uint8_t mac[6])
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (const char *s = vm; *s; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3ull;
	h = (h ^ '/') * 0x100000001b3ull;
	for (const char *s = device; *s; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3ull;
	mac[0] = 0x02;
	for (unsigned i = 1; i < 6; i++)
		mac[i] = (uint8_t)(h >> 8 * i);
}

bool net_switch_name_valid(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n && n < SV_SWITCH_NAME && !name[n];
}

static int check_request(const struct sv_device_request *req, struct sv_error *err)
{
	const struct sv_control_device *d = req->device;
	const struct sv_control_net *c = &d->net;

	if (req->nfds != 1 || !d->queues || d->queues > NET_PAIRS)
		return sv_fail(err, EINVAL, "network interface %s: %u descriptors, %u queues (1 to %u)",
			d->name, req->nfds, d->queues, NET_PAIRS);
	if (memchr(c->sw, 0, sizeof(c->sw)) == NULL || !net_switch_name_valid(c->sw))
		return sv_fail(err, EINVAL, "network interface %s: name the switch it is on, by 1 to 15 "
			"letters, digits, '-', '_' and '.'", d->name);
	if (memchr(c->filter, 0, sizeof(c->filter)) == NULL)
		return sv_fail(err, EINVAL, "network interface %s: its packet filters have no end", d->name);
	if (c->mtu && c->mtu < NET_MTU_MIN)
		return sv_fail(err, EINVAL, "network interface %s: an MTU of %u (%u to %u)", d->name,
			c->mtu, NET_MTU_MIN, NET_MTU_MAX);
	return 0;
}

static struct net *net_new(const struct sv_device_request *req)
{
	static const uint8_t none[6];
	static const struct sv_vlan_set untagged = {.bit = {1}};
	const struct sv_control_device *d = req->device;
	struct net *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->pairs = d->queues;
	n->active = 1;
	n->hdr_bytes = NET_HDR_V1;
	n->mtu = d->net.mtu ? d->net.mtu : DEFAULT_MTU;
	memcpy(n->port.mac, d->net.mac, sizeof(n->port.mac));
	if (!memcmp(n->port.mac, none, sizeof(none)))
		derive_mac(req->vm, d->name, n->port.mac);
	n->port.ops = &net_port_ops;
	n->port.vlan = d->net.vlan;
	n->port.allowed = d->flags & SV_DEVICE_F_TRUNK ? NULL : &untagged;
	n->port.flags = d->flags & SV_DEVICE_F_SPOOF ? SV_PORT_LEARN : 0;
	n->port.max_frame = n->mtu + SV_FRAME_MIN + 4u;
	n->port.link_down = 1;
	n->link_down = d->flags & SV_DEVICE_F_LINK_DOWN;
	snprintf(n->port.name, sizeof(n->port.name), "%.15s/%.15s", req->vm, d->name);
	n->session.prepare = net_prepare;
	n->session.gate = net_gate;
	return n;
}

int net_open(const struct sv_device_request *req, bool foreign, struct net **out,
	struct sv_error *err)
{
	struct sv_device_request here = *req;
	struct net *n;
	int rc = check_request(req, err);

	if (rc < 0)
		return rc;
	n = net_new(req);
	if (!n)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	rc = sv_net_filter_open(&n->port.filter, req->device->net.filter, err);
	if (rc == 0)
		rc = sv_switch_get(&n->sw, req->device->net.sw, req->host, err);
	if (rc == 0) {
		/* Whoever polls the switch polls its interfaces. */
		here.host = sv_switch_host(n->sw);
		rc = sv_switch_attach(n->sw, &n->port, err);
		if (rc < 0)
			sv_switch_put(n->sw);
	}
	if (rc < 0) {
		sv_net_filter_close(n->port.filter);
		free(n);
		return rc;
	}
	rc = qos_device_open(&n->qos, here.host, (uintptr_t)n->sw, SV_QOS_COST_FRAME,
		&req->device->qos, err);
	if (rc == 0)
		rc = sv_session_open(&n->session, &here, &net_type, n, &net_ops, 2 * n->pairs + 1, err);
	if (rc < 0) {
		qos_device_close(&n->qos);
		sv_switch_detach(n->sw, &n->port);
		sv_switch_put(n->sw);
		sv_net_filter_close(n->port.filter);
		free(n);
		return rc;
	}
	n->session.vhost.sealed_only = !foreign;
	n->session.poller.wake_fds[1] = n->qos.timer;
	*out = n;
	return 0;
}

void net_close(struct net *n)
{
	int rc = sv_session_close(&n->session);

	qos_device_close(&n->qos);
	sv_switch_detach(n->sw, &n->port);
	sv_switch_put(n->sw);
	sv_net_filter_close(n->port.filter);
	if (rc == 0)
		free(n);
}

static int net_attach(const struct sv_device_request *req, void **handle, struct sv_error *err)
{
	struct net *n;
	int rc = net_open(req, false, &n, err);

	if (rc == 0)
		*handle = n;
	return rc;
}

static void net_detach(void *handle)
{
	net_close(handle);
}

int net_link_parse(const char *value, bool *down, struct sv_error *err)
{
	*down = !strcmp(value, "down");
	return *down || !strcmp(value, "up") ? 0 : sv_fail(err, EINVAL, "link=%s: write up or down", value);
}

static int set_link(struct net *n, const char *value, struct sv_error *err)
{
	bool down;

	if (net_link_parse(value, &down, err) < 0)
		return -EINVAL;
	n->link_down = down;
	sv_store_relaxed(&n->port.link_down, down || !sv_load_relaxed(&n->open));
	sv_vhost_config_changed(&n->session.vhost);
	return 0;
}

int net_set(void *handle, const char *key, const char *value, struct sv_error *err)
{
	struct net *n = handle;

	if (!strcmp(key, "link"))
		return set_link(n, value, err);
	return qos_device_set(&n->qos, key, value, err);
}

const struct sv_device_class sv_net_class = {.kind = SV_DEVICE_NET,
	.name = "net",
	.attach = net_attach,
	.detach = net_detach,
	.stats = net_stats,
	.set = net_set};
