/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guest said by its control queue, for a successor of this process: which pairs it uses, what
 * it accepts, its receive-side scaling. Stored before a command is answered, so that one whose answer
 * is missing is only done again. Bytes stand for themselves: half a command may be in them.
 */
#include "net.h"

#include <string.h>

#include <channels/atomics.h>

enum {
	SAID, /* 0: nothing yet */
	ACTIVE,
	OFFLOADS,
	RSS,
	HASH_TYPES,
	TABLE_MASK,
	UNCLASSIFIED,
	KEY,
	TABLE = KEY + NET_RSS_KEY,
	BYTES = TABLE + NET_RSS_TABLE
};

_Static_assert(BYTES <= SV_VHOST_STATE, "a device keeps no more");
_Static_assert(SV_OFFLOAD_ALL < 256 && NET_PAIRS < 256 && NET_RSS_TABLE <= 256, "bytes");

void net_get_state(void *dev, uint8_t *state)
{
	const struct net *n = dev;
	const struct net_steer *s = &n->steer;

	state[SAID] = 1;
	state[ACTIVE] = (uint8_t)n->active;
	state[OFFLOADS] = (uint8_t)sv_load_relaxed(&n->port.offloads);
	state[RSS] = s->rss;
	state[HASH_TYPES] = (uint8_t)s->hash_types;
	state[TABLE_MASK] = (uint8_t)s->table_mask;
	state[UNCLASSIFIED] = (uint8_t)s->unclassified;
	memcpy(state + KEY, s->key, NET_RSS_KEY);
	for (unsigned i = 0; i < NET_RSS_TABLE; i++)
		state[TABLE + i] = (uint8_t)s->table[i];
}

static uint16_t pair_of(const struct net *n, uint8_t byte)
{
	return byte < n->pairs ? byte : 0;
}

void net_set_state(void *dev, const uint8_t *state)
{
	struct net *n = dev;
	struct net_steer *s = &n->steer;
	uint8_t mask = state[TABLE_MASK];

	if (!state[SAID])
		return;
	n->said = true;
	n->active = state[ACTIVE] && state[ACTIVE] <= n->pairs ? state[ACTIVE] : 1;
	/* Never more than the driver's features allow: net_set_features() was there before. */
	sv_store_relaxed(&n->port.offloads, sv_load_relaxed(&n->port.offloads) & state[OFFLOADS]);
	s->hash_types = state[HASH_TYPES] & NET_HASH_TYPES;
	s->table_mask = mask < NET_RSS_TABLE && !(mask & (mask + 1)) ? mask : 0;
	s->unclassified = pair_of(n, state[UNCLASSIFIED]);
	for (unsigned i = 0; i < NET_RSS_TABLE; i++)
		s->table[i] = pair_of(n, state[TABLE + i]);
	net_steer_key(s, state + KEY, NET_RSS_KEY);
	s->rss = state[RSS] && (n->features & 1ull << VIRTIO_NET_F_RSS);
}
