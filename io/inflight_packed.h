/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which chains of a packed virtqueue are out, written down like those of a split one (inflight.h). A
 * used element may overwrite descriptors of a chain that is still out, so the record holds a copy of
 * each descriptor; entries that are free form a list.
 *
 *   take      entries and inflight = 1, then both free heads in one store     RECORD
 *   publish   links of the batch, free head, used position;                   BATCH
 *             flags of its first used element;                                (virtq_packed.c)
 *             inflight = 0 of the batch, then the old ones = the new ones     CLEAR
 *
 * While the queue runs, the region is read for one thing: the descriptors of a predecessor's chain, when
 * it is to be taken again. They are copied and checked like those of the ring.
 *
 * An entry that was filled and not recorded is still in the list of free ones. Whether a batch with a
 * new used position was published, the flags at the old one tell. Argued in docs/restart.md.
 */
#ifndef IO_INFLIGHT_PACKED_H
#define IO_INFLIGHT_PACKED_H

#include <stdbool.h>
#include <stdint.h>

#include <io/virtq.h>

/* vhost-user, "Inflight I/O tracking", packed virtqueue; host byte order. */
struct inflight_packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};

/* Fields that change together are stored together: they share a word. */
union inflight_free {
	struct {
		uint16_t head, old_head;
	};
	uint32_t word;
};
union inflight_used {
	struct {
		uint16_t idx, old_idx;
		uint8_t wrap, old_wrap;
		uint8_t padding[2];
	};
	uint64_t word;
};

struct inflight_packed {
	uint64_t features;
	uint16_t version; /* 0: never used */
	uint16_t desc_num;
	union inflight_free free;
	union inflight_used used;
	uint64_t padding;
	struct inflight_packed_desc desc[];
};

_Static_assert(sizeof(struct inflight_packed_desc) == 32, "vhost-user");
_Static_assert(sizeof(struct inflight_packed) == 32, "vhost-user");

/* A descriptor as the ring has it. */
struct inflight_copy {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

/* One queue's record. Private to the polling thread but for the calls that say otherwise. */
struct sv_inflight_packed {
	struct inflight_packed *region; /* foreign memory */
	uint16_t room, size;
	uint64_t counter;	/* of the next chain taken */
	union inflight_free free;
	union inflight_used used;
	uint16_t nfree;		/* entries in the list */
	uint16_t batch;		/* chains put since the last publish */
	uint16_t again, agains;	/* the next of those to be taken once more; how many there were */
	uint16_t next[SV_VIRTQ_MAX_SIZE]; /* the links as written; nothing is read back */
	bool old[SV_VIRTQ_MAX_SIZE]; /* by buffer id: it is one of the predecessor's */
	uint16_t entry_of[SV_VIRTQ_MAX_SIZE]; /* by buffer id: first entry of the chain that is out */
	uint16_t last_of[SV_VIRTQ_MAX_SIZE], num_of[SV_VIRTQ_MAX_SIZE]; /* by first entry */
	uint16_t batch_entry[SV_VIRTQ_MAX_SIZE];
	uint16_t again_entry[SV_VIRTQ_MAX_SIZE];
	struct inflight_copy copy[SV_VIRTQ_CHAIN_MAX]; /* the chain being taken */
	uint16_t out; /* positions of the ring that they take */
};

static inline uint64_t inflight_packed_bytes(uint16_t size)
{
	return (sizeof(struct inflight_packed) + (uint64_t)size * sizeof(struct inflight_packed_desc) +
		       63) &
	       ~63ull;
}

/* A position of the ring and the turn it belongs to. */
struct inflight_position {
	uint16_t idx;
	bool wrap;
};

/*
 * Begin or go on with what the region says. @base: where the used side stands for a front end that
 * knows; @base_known: it does, even when nothing is out. @flags_at(@ctx, i): flags of the ring's
 * descriptor i, loaded once. *used: where the used side stands; f->out positions on from there is
 * the available side. Context: as inflight_start().
 * Return: false: the region contradicts itself or the ring.
 */
bool inflight_packed_start(struct sv_inflight_packed *f, uint16_t size,
	struct inflight_position base, bool base_known, uint16_t (*flags_at)(void *ctx, unsigned i),
	void *ctx, struct inflight_position *used);
static inline unsigned inflight_packed_agains(const struct sv_inflight_packed *f)
{
	return (unsigned)(f->agains - f->again);
}
/*
 * One of the predecessor's chains: its descriptors, copied, at most @max. Return: how many; 0: none is
 * left.
 */
unsigned inflight_packed_again(struct sv_inflight_packed *f, struct inflight_copy *copy, unsigned max);
/* It was usable and has this buffer id. */
void inflight_packed_again_taken(struct sv_inflight_packed *f, uint16_t id);
/*
 * Order: RECORD. @copy: the chain's @n descriptors. Return: false: there are no entries left, which
 * no driver that keeps the rules can bring about.
 */
bool inflight_packed_take(struct sv_inflight_packed *f, const struct inflight_copy *copy, unsigned n,
	uint16_t id);
/* As inflight_untake(). */
bool inflight_packed_untake(struct sv_inflight_packed *f, uint16_t id);
void inflight_packed_put(struct sv_inflight_packed *f, uint16_t id);
/* Order: BATCH; the used side will stand at @used. Then the caller publishes. Then, order: CLEAR. */
void inflight_packed_publishing(struct sv_inflight_packed *f, struct inflight_position used);
void inflight_packed_published(struct sv_inflight_packed *f);

#endif
