/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kinds of uplinks share: a port, a poller, and how often to look at a descriptor. */
#ifndef IO_UPLINK_PRIVATE_H
#define IO_UPLINK_PRIVATE_H

#include <channels/poller.h>
#include <io/switch.h>
#include <io/uplink.h>

/*
 * Without work a look at a descriptor is a system call in vain: after a frame, look at each turn
 * for HOT_NS, then every LOOK_NS. Longer than that no frame waits while the sidecore polls.
 */
#define UPLINK_HOT_NS 100000u
#define UPLINK_LOOK_NS 10000u

struct uplink_ops {
	enum sv_uplink_type type;
	const char *name;
	/* Open what is outside, fill u->fd[], u->fds, u->port.offloads and u->kind. 0 or -errno. */
	int (*open)(
		struct sv_uplink *u, const struct sv_uplink_config *config, struct sv_error *err);
	void (*close)(struct sv_uplink *u);
	/*
	 * Frames from descriptor @i into the switch until @budget is used up. Return: the work they were,
	 * in units of a budget.
	 */
	unsigned (*receive)(struct sv_uplink *u, unsigned i, unsigned budget);
	/* After it was attached, before it is detached: what the control thread has to watch. May
	 * be NULL. */
	void (*watch)(struct sv_uplink *u);
	void (*unwatch)(struct sv_uplink *u);
	/* NULL: a look is a system call and is rationed. Is there something to receive? */
	bool (*pending)(struct sv_uplink *u);
	struct sv_port_ops port;
};

struct sv_uplink {
	struct sv_port port; /* first */
	struct sv_poller poller;
	const struct uplink_ops *ops;
	struct sv_switch *sw;
	struct sv_poller_host *host; /* the switch's */
	int fd[SV_UPLINK_QUEUES];
	unsigned fds;
	void *kind; /* what the kind keeps */

	/* The polling thread's. */
	uint64_t looked_ns, found_ns;
	uint32_t dead; /* bit i: descriptor i is at its end */
};

/*
 * Descriptor @i is at its end for good. Something that never becomes readable takes its place, so
 * that it does not keep the sidecore awake. Context: polling thread.
 */
void uplink_lost(struct sv_uplink *u, unsigned i);

const struct uplink_ops *uplink_ops_of(enum sv_uplink_type type);

extern const struct uplink_ops uplink_tap, uplink_packet, uplink_slirp;

#endif
