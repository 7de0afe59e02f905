/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of a switch: who writes what is said here, see io/switch.h for the threads. */
#ifndef IO_SWITCH_PRIVATE_H
#define IO_SWITCH_PRIVATE_H

#include <io/switch.h>

#include <channels/atomics.h>

#include "offload.h"
#include "switch_learn.h"

#define OWN_BUCKETS 1024u
#define TAG 4u /* bytes of an 802.1Q tag */
#define SCRATCH (SV_FRAME_MAX + TAG)

/* Who is there: replaced as a whole by the control thread, read under RCU by the polling thread. */
struct port_table {
	unsigned n;
	struct sv_port *port[SV_SWITCH_PORTS]; /* the first n */
	struct sv_port *slot[SV_SWITCH_PORTS]; /* by number; NULL: nobody */
	struct sv_port *own[OWN_BUCKETS];      /* by address, the next free place on a collision */
};

/* A frame as some receivers get it, with or without tag. */
struct shape {
	bool built; /* of the one with tag: when the first receiver needs it */
	struct sv_frame frame;
	uint8_t head[SV_FRAME_HEAD + TAG];
	struct iovec iov[1 + SV_FRAME_PIECES];
};

struct sv_switch {
	/* The control thread's. */
	struct sv_switch_config config;
	char name[SV_SWITCH_NAME];
	uint64_t generation;
	uint32_t promised; /* addresses: the sum of all ports' learn_max */
	unsigned users;	   /* of sv_switch_get() */
	struct sv_switch *next;
	struct sv_poller poller; /* ages a switch of sv_switch_get() */

	struct port_table *table; /* RCU: one of these two, the other is nobody's */
	struct port_table tables[2];

	/* The polling thread's. */
	struct learn_table learned;
	uint64_t now_ns, swept_ns;
	struct sv_port *touched;
	bool busy;
	struct shape shape[2];	      /* of the frame in hand: untagged, tagged */
	struct shape filtered;	      /* as one receiver's filter left it */
	uint8_t scratch[SCRATCH];     /* a frame or segment that is finished in software */
};

struct sv_port *switch_own(const struct port_table *t, const uint8_t mac[6]);

static inline void switch_count(uint64_t *counter, uint64_t by)
{
	sv_store_relaxed(counter, *counter + by);
}

static inline void switch_drop(struct sv_port *p, enum sv_drop why)
{
	switch_count(&p->counters.drops[why], 1);
}

/* Is the slot's port still the one that an entry was learned from? */
static inline struct sv_port *switch_learned_port(const struct port_table *t,
	const struct learned *e)
{
	struct sv_port *p = t->slot[e->slot];

	return p && p->generation == e->generation ? p : NULL;
}

static inline uint32_t switch_age_s(const struct sv_switch *sw)
{
	return sw->config.age_s ? sw->config.age_s : SV_SWITCH_AGE_S;
}

#endif
