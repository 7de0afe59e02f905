/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net (virtio 1.2, section 5.1) as a port of a switch: what the device's files share.
 *
 * A frame is copied once, from the sender's transmit buffers straight into the receiver's receive
 * buffers: transmitting calls the switch with a view of the sender's memory, and the switch calls the
 * receiver's deliver op with that view. All interfaces of a switch are polled by one thread, so none
 * of this takes a lock.
 *
 * Queues: receive 2i and transmit 2i + 1 of pair i, then one for control, which a front end may keep
 * to itself (QEMU does): then all pairs that it started are used. The back end never wants a kick for
 * receive buffers: it looks when it has a frame.
 */
#ifndef IO_NET_H
#define IO_NET_H

#include <io/switch.h>
#include <linux/virtio_net.h>

#include "qos_device.h"
#include "session.h"

#define NET_PAIRS 7u /* with the control queue within SV_VHOST_QUEUES */
#define NET_RX_CHAINS 256u /* buffers that one frame may be spread over */
#define NET_MTU_MIN 68u
#define NET_MTU_MAX 65535u
#define NET_FLOWS 1024u /* power of two */
#define NET_RSS_KEY 40u
#define NET_RSS_TABLE 128u /* power of two */
#define NET_HDR_V1 12u
#define NET_HDR_LEGACY 10u

/* Which receive queue a frame goes to. The polling thread's, but for net_steer_reset(). */
struct net_steer {
	uint8_t flow[NET_FLOWS]; /* pair + 1 that the guest last sent such a flow from; 0: none */
	bool rss;		 /* the guest asked for its own rule */
	uint32_t hash_types;
	uint8_t key[NET_RSS_KEY]; /* as it was said */
	uint16_t unclassified, table_mask;
	uint16_t table[NET_RSS_TABLE];
	/* The Toeplitz hash of every nibble at every place: what a bit of input adds. */
	uint32_t toeplitz[2 * (NET_RSS_KEY - 4)][16];
};

/* Written by the polling thread, read by anyone (relaxed). */
struct net_counters {
	uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
	uint64_t rx_full;    /* frames that found no receive buffers */
	uint64_t rx_buffers; /* receive buffers used; more than rx_frames: merged */
	uint64_t control, control_refused;
};

struct net {
	struct sv_session session; /* first */
	struct sv_port port;
	struct qos_device qos; /* of what the guest sends */
	struct sv_switch *sw;

	/* Constant after open. */
	unsigned pairs;
	uint16_t mtu;

	/* Changed by the control thread while nobody polls the device. */
	unsigned hdr_bytes;
	bool mergeable, own_control; /* the control queue is ours to serve */
	bool control_ran;
	bool said; /* a predecessor's guest had said what it wants: the control queue begins with that */
	uint64_t features;
	bool link_down; /* by the operator */

	uint32_t open; /* frames may come: the queues are as the polling thread may see them */

	/* The polling thread's. */
	unsigned active; /* pairs that the guest uses */
	unsigned first_pair;
	uint32_t touched; /* receive queues with unpublished buffers, a bit each */
	struct net_steer steer;
	struct net_counters counts;
	struct sv_virtq_chain tx_chain, rx_chain;
	struct {
		uint16_t head;
		uint32_t bytes;
	} rx_taken[NET_RX_CHAINS];
};

static inline void net_count(uint64_t *counter, uint64_t by)
{
	__atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

static inline struct net *net_of_port(struct sv_port *p)
{
	return (struct net *)(void *)((char *)p - offsetof(struct net, port));
}

static inline struct sv_vhost_queue *net_rx(struct net *n, unsigned pair)
{
	return &n->session.vhost.queue[2 * pair];
}

static inline struct sv_vhost_queue *net_tx(struct net *n, unsigned pair)
{
	return &n->session.vhost.queue[2 * pair + 1];
}

/* The control queue's place depends on what the driver knows. NULL: the front end keeps it. */
static inline struct sv_vhost_queue *net_control(struct net *n)
{
	bool mq = n->features & (1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_RSS);

	return n->own_control ? &n->session.vhost.queue[mq ? 2 * n->pairs : 2] : NULL;
}

/* net.c: as the class's attach and detach; a @foreign front end's memory may lack seals. */
int net_open(const struct sv_device_request *req, bool foreign, struct net **out,
	struct sv_error *err);
void net_close(struct net *n);
char *net_stats(void *handle);
int net_set(void *handle, const char *key, const char *value, struct sv_error *err);
/* 1 to 15 letters, digits, '-', '_' and '.'. */
bool net_switch_name_valid(const char *name);
/* The value of the setting `link`. Return: 0, or -EINVAL with a sentence. */
int net_link_parse(const char *value, bool *down, struct sv_error *err);
/* What the guest accepts to receive: of its features, those in @accepted (VIRTIO_NET_F_ bits). */
void net_set_offloads(struct net *n, uint64_t accepted);
#define NET_GUEST_OFFLOADS                                                                     \
	(1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |                   \
		1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN |             \
		1ull << NET_F_GUEST_USO4 | 1ull << NET_F_GUEST_USO6)

#define NET_HASH_TYPES 0x3fu

/* net_state.c: struct sv_vhost_device's. */
void net_get_state(void *dev, uint8_t *state);
void net_set_state(void *dev, const uint8_t *state);

/* Newer than the headers of some systems. */
#define NET_F_GUEST_USO4 54
#define NET_F_GUEST_USO6 55
#define NET_F_HOST_USO 56

/*
 * net_tx.c: send frames of pair @pair until @budget is used up. Context: polling thread. Return: the work
 * it was, in units of a budget; 0: there was nothing to do.
 */
unsigned net_transmit(struct net *n, unsigned pair, unsigned budget);

/* net_rx.c: the port's ops. */
extern const struct sv_port_ops net_port_ops;

/* net_control.c: serve the control queue. Context: polling thread. Return: how many commands. */
unsigned net_serve_control(struct net *n, unsigned budget);

/* net_steer.c */
/* As after a reset. Context: control thread, device not polled. */
void net_steer_reset(struct net_steer *s);
/* The guest sent a frame of this flow from @pair. Context: polling thread. */
void net_steer_learn(struct net_steer *s, const struct sv_frame *f, unsigned pair);
/* Return: the pair, below @active, for a frame to the guest. */
unsigned net_steer_pick(const struct net_steer *s, const struct sv_frame *f, unsigned active);
void net_steer_key(struct net_steer *s, const uint8_t *key, unsigned bytes);

#endif
