/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An Ethernet switch between the interfaces of guests and the uplinks of a node. It knows ports and
 * frames, nothing of virtqueues, files or VMs.
 *
 * Threads. All ports of one switch are polled by ONE sidecore, the switch's host, so that forwarding
 * takes no lock: sv_switch_input(), _flush(), _age() and every op of a port run on that thread ("the
 * polling thread"). sv_switch_attach() and _detach() belong to the control thread and may be called
 * while the switch is polled: the port list is an RCU snapshot, and detach waits for host->sync().
 * A device that joins a switch is therefore polled through sv_switch_host(), not by its VM's sidecore.
 *
 * What a switch does with a frame from a port, in this order; each refusal has a counter:
 *   length and virtio-net header checked (io/offload.h); the Ethernet header is copied out ONCE and
 *   every receiver gets that copy, so that a sender who changes its buffers gains nothing;
 *   VLAN: an access port (vlan 1..4094) sends and receives untagged frames of its VLAN; a trunk
 *   (vlan 0) sends and receives 802.1Q tagged frames of its allowed set, and untagged ones as VLAN 0;
 *   source: the port's own address, any other only with SV_PORT_LEARN; never a group address, never
 *   the address of another port of this switch (that ends loops through uplinks, too);
 *   the sender's packet filter (io/net_filter.h), before the destination is looked at;
 *   destination: 01:80:c2:00:00:0x stays here; a port's address goes to that port; a learned one
 *   where it was seen; all other unicast to the ports with SV_PORT_LEARN; broadcast and multicast to
 *   every port of the VLAN. Never back to the sender, never from uplink to uplink. Group frames, and
 *   unknown unicast that goes to more than one port, are floods: only as many as the sender's token
 *   bucket holds, a GSO frame counted as its segments;
 *   the receiver's packet filter;
 *   what a receiver does not accept (port->offloads) is done in software before it gets the frame.
 */
#ifndef IO_SWITCH_H
#define IO_SWITCH_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <base/error.h>
#include <channels/device_class.h>

#define SV_SWITCH_PORTS 256u	    /* of one switch */
#define SV_SWITCH_NAME 16u	    /* bytes with the terminator */
#define SV_SWITCH_ADDRESSES 16384u  /* learned addresses: the sum of all ports' learn_max */
#define SV_SWITCH_AGE_S 300u	    /* an address that was not heard for so long is forgotten */
#define SV_FRAME_MIN 14u	    /* an Ethernet header */
#define SV_FRAME_MAX (65535u + 18u) /* with the largest GSO payload */
#define SV_FRAME_PIECES 160u	    /* of what a sender may pass */
#define SV_FRAME_HEAD 256u	    /* bytes of it that are copied out once and that decide everything */
#define SV_FLOOD_PER_S 10000u	    /* frames a port may flood, if it says nothing else */
#define SV_FLOOD_BURST 2000u

struct sv_switch;
struct sv_port;
struct sv_net_filter;

/*
 * A frame: a view of memory that is its sender's, valid only during the call. The pieces hold the
 * Ethernet frame without virtio-net header and without FCS; @len is the sum of their lengths. @hdr is
 * a copy of the sender's header, in the byte order of a v1 device (little endian); num_buffers has no
 * meaning. The pieces may change while they are read: whatever decides something is copied first.
 */
struct sv_frame {
	const struct iovec *iov;
	unsigned niov;
	uint32_t len;
	struct virtio_net_hdr_v1 hdr;
};

/* Why a frame went no further. Counted at the sender, but FULL, FILTER_OUT and OVERSIZE at the receiver. */
enum sv_drop {
	SV_DROP_RUNT,	    /* shorter than an Ethernet header, or its tag is cut off */
	SV_DROP_OVERSIZE,   /* longer than SV_FRAME_MAX, or than the receiver takes */
	SV_DROP_PIECES,	    /* in more than SV_FRAME_PIECES pieces */
	SV_DROP_HEADER,	    /* its virtio-net header contradicts the frame */
	SV_DROP_VLAN,	    /* a VLAN that the port is not in */
	SV_DROP_SPOOFED,    /* not the port's own source address */
	SV_DROP_REFLECTED,  /* the source is another port of this switch */
	SV_DROP_RESERVED,   /* link-local group address (802.1D) */
	SV_DROP_FLOOD,	    /* the sender's flood bucket is empty */
	SV_DROP_LOOP,	    /* sent by a port while the switch was delivering to it */
	SV_DROP_FILTER_IN,  /* the sender's packet filter */
	SV_DROP_FILTER_OUT, /* the receiver's */
	SV_DROP_NOBODY,	    /* no port to go to */
	SV_DROP_FULL,	    /* the receiver had no room, or its link is down */
	SV_DROPS,
};
const char *sv_drop_name(enum sv_drop why);

struct sv_port_ops {
	/*
	 * Take the frame: copy it once, or say no. It is one that port->offloads accepts. Nothing need be
	 * visible to the receiver before flush. Must not send into the switch. Context: polling thread;
	 * does not block. Return: false when there was no room (the switch counts it).
	 */
	bool (*deliver)(struct sv_port *to, const struct sv_frame *f);
	/* After a batch with at least one deliver: publish, interrupt. Context: polling thread. */
	void (*flush)(struct sv_port *to);
};

/* What a port has to say about frames that are not finished: offloads it can receive. */
#define SV_OFFLOAD_CSUM (1u << 0) /* NEEDS_CSUM: the checksum is not yet there */
#define SV_OFFLOAD_TSO4 (1u << 1)
#define SV_OFFLOAD_TSO6 (1u << 2)
#define SV_OFFLOAD_ECN (1u << 3) /* TSO of segments with CWR */
#define SV_OFFLOAD_USO (1u << 4) /* UDP segmentation, both families */
#define SV_OFFLOAD_ALL 31u

/* port->flags, constant while attached */
#define SV_PORT_LEARN (1u << 0)	  /* may use any source address; gets unknown unicast */
#define SV_PORT_UPLINK (1u << 1)  /* to the outside: nothing goes from one uplink to another */

/* A set of VLANs, for trunks. */
struct sv_vlan_set {
	uint64_t bit[64];
};

/* Written by the polling thread, read by anyone (relaxed). in: from the port; out: to the port. */
struct sv_port_counters {
	uint64_t in_frames, in_bytes, out_frames, out_bytes;
	uint64_t flooded;  /* of in_frames */
	uint64_t software; /* frames whose checksum or segments were made for this receiver */
	uint64_t learned, moved;
	uint64_t drops[SV_DROPS];
};

/* A port: embedded in whatever is behind it. */
struct sv_port {
	/* The owner's: filled before attach, constant while attached. */
	const struct sv_port_ops *ops;
	char name[32];		 /* for messages and counters */
	uint8_t mac[6];		 /* its address; all zero: none (an uplink) */
	uint16_t vlan;		 /* 1..4094: access port; 0: trunk */
	/* Of a trunk; bit 0: untagged frames. NULL: every VLAN. Lives as long as the port. */
	const struct sv_vlan_set *allowed;
	uint32_t flags;		 /* SV_PORT_* */
	uint32_t max_frame;	 /* bytes it can receive, GSO frames excepted; 0: SV_FRAME_MAX */
	uint32_t learn_max;	 /* addresses; 0: 64, of an uplink 2048. Only with SV_PORT_LEARN */
	uint32_t flood_per_s;	 /* 0: SV_FLOOD_PER_S */
	uint32_t flood_burst;	 /* 0: SV_FLOOD_BURST */
	struct sv_net_filter *filter; /* io/net_filter.h, or NULL */

	/* May change at any time; relaxed. */
	uint32_t offloads;  /* SV_OFFLOAD_* that deliver accepts */
	uint32_t link_down; /* nothing is delivered to it, nothing taken from it */

	/* The switch's. */
	struct sv_switch *sw;
	unsigned slot;
	uint64_t generation; /* of the slot */
	uint32_t addresses;  /* learned, held now: polling thread */
	uint64_t flood_tokens; /* scaled by 1e9: polling thread */
	uint64_t flood_at;   /* ns */
	struct sv_port *touched_next;
	bool touched;
	struct sv_port_counters counters;
};

struct sv_switch_config {
	const char *name;	     /* at most SV_SWITCH_NAME - 1 bytes */
	struct sv_poller_host *host; /* who polls; NULL: one thread does everything (tests) */
	uint32_t age_s;		     /* 0: SV_SWITCH_AGE_S */
};

/* Context: control thread. Return: 0, or -errno with a sentence. */
int sv_switch_create(struct sv_switch **out, const struct sv_switch_config *config,
	struct sv_error *err);
/* Every port must have been detached. Context: control thread. */
void sv_switch_destroy(struct sv_switch *sw);
struct sv_poller_host *sv_switch_host(const struct sv_switch *sw);
const char *sv_switch_name(const struct sv_switch *sw);

/*
 * The switches of this process by name: the first user makes it on @host, later ones get the same
 * switch whatever their host is, the last sv_switch_put() ends it. A switch from here ages by itself (a
 * poller of its own). Context: control thread. Return: 0, or -errno with a sentence.
 */
int sv_switch_get(struct sv_switch **out, const char *name, struct sv_poller_host *host,
	struct sv_error *err);
void sv_switch_put(struct sv_switch *sw);
/* Call @each with every switch of sv_switch_get(). Context: control thread. */
void sv_switch_each(void (*each)(struct sv_switch *sw, void *ctx), void *ctx);

/*
 * Add a port; it may send and receive when this returns. Context: control thread.
 * Return: 0; -EADDRINUSE (its address is another port's), -EINVAL (group address, vlan over 4094, an
 * address of zero without SV_PORT_LEARN), -ENOSPC (ports or addresses), -ENOMEM, with a sentence.
 */
int sv_switch_attach(struct sv_switch *sw, struct sv_port *port, struct sv_error *err);
/*
 * Take it away: no op of it runs any more when this returns, and it must not send any more (detach its
 * poller first). Context: control thread; waits for at most one turn of the sidecore.
 */
void sv_switch_detach(struct sv_switch *sw, struct sv_port *port);

/*
 * A frame from @from. Context: polling thread; does not block. The receivers see it after
 * sv_switch_flush(), which whoever called this calls before its poll op returns.
 * Return: how many frames ports took, segments made in software counted one by one: work that a
 * caller sets against its budget.
 */
unsigned sv_switch_input(struct sv_switch *sw, struct sv_port *from, const struct sv_frame *f);
/* The same in units of a budget: a frame that nobody took was one, too. */
static inline unsigned sv_switch_work(unsigned taken)
{
	return taken ? taken : 1;
}
void sv_switch_flush(struct sv_switch *sw);

/*
 * Time passes: flood buckets fill, addresses age (a bounded number is looked at per call).
 * @now_ns: monotonic. Context: polling thread. Switches of sv_switch_get() do this by themselves.
 */
void sv_switch_age(struct sv_switch *sw, uint64_t now_ns);

/* Learned addresses that are held now. Context: any (relaxed). */
unsigned sv_switch_learned(const struct sv_switch *sw);
/* The ports and their counters as a JSON object text the caller frees, or NULL. Control thread. */
char *sv_switch_json(struct sv_switch *sw);

/* One port of them; of one port only its drops that are not 0, by their names. */
char *sv_port_json(const struct sv_port *p);
char *sv_port_drops_json(const struct sv_port *p);

/* "aa:bb:cc:dd:ee:ff" to bytes. Return: 0, or -EINVAL (*mac untouched). */
int sv_mac_parse(const char *text, uint8_t mac[6]);

/*
 * Copy @n bytes of the frame from @offset on. Context: any.
 * Return: false, and nothing is copied, when the frame ends before.
 */
bool sv_frame_read(const struct sv_frame *f, uint32_t offset, void *to, uint32_t n);

#endif
