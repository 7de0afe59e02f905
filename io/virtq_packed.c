/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device side of a packed virtqueue (virtio 1.2, section 2.8), against a hostile driver.
 *
 * One ring of descriptors is written by both sides; a wrap counter on each side says which turn of
 * the ring its position belongs to. A descriptor is available when its AVAIL bit equals the counter
 * and its USED bit does not; it is used when both equal it.
 *
 *   word                       writer   reader   edge
 *   descriptor, used element   both     both     ordered by the flags of a batch's first one
 *   flags of a first available driver   device   AVAIL   release -> acquire
 *   flags of a first used      device   driver   USED    full: store them, then load driver event
 *   device event               device   driver   ARM     full: store it, then load the flags
 *   driver event               driver   device   CALL    full: see USED
 *
 * The driver cannot have more descriptors out than the ring holds, and a buffer id that is out is
 * not given again: either is a defect.
 */
#include "virtq_private.h"

#include <linux/virtio_ring.h>
#include <string.h>

#include "inflight_packed.h"

#define AVAIL_BIT (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED_BIT (1u << VRING_PACKED_DESC_F_USED)
#define WRAP_BIT (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

/* A descriptor in two words, as it is loaded: the second has length, id and flags. */
struct packed_desc {
	uint64_t addr, rest;
};

/* The event suppression structure as one word: off_wrap below, flags above. */
#define EVENT(off_wrap, flags) ((uint32_t)(off_wrap) | (uint32_t)(flags) << 16)

_Static_assert(sizeof(struct packed_desc) == sizeof(struct vring_packed_desc), "virtio 1.2, 2.8.13");
_Static_assert(sizeof(struct vring_packed_desc_event) == sizeof(uint32_t), "virtio 1.2, 2.8.14");

static struct packed_desc *ring(const struct sv_virtq *vq)
{
	return vq->desc;
}

static uint16_t *flags_at(const struct sv_virtq *vq, unsigned i)
{
	return &((struct vring_packed_desc *)vq->desc)[i].flags;
}

static bool is_available(uint16_t flags, bool wrap)
{
	return !!(flags & AVAIL_BIT) == wrap && !!(flags & USED_BIT) != wrap;
}

static void advance(const struct sv_virtq *vq, uint16_t *position, bool *wrap, unsigned by)
{
	unsigned next = *position + by;

	if (next >= vq->size) {
		next -= vq->size;
		*wrap = !*wrap;
	}
	*position = (uint16_t)next;
}

static uint16_t off_wrap(uint16_t position, bool wrap)
{
	return (uint16_t)(position | (wrap ? WRAP_BIT : 0));
}

/*
 * A front end that knows nothing of wrap counters begins at 0, which is also a position in a later
 * turn: then whatever was used last has its USED bit set, while in the first turn nothing has.
 */
static bool is_new(const struct sv_virtq *vq)
{
	for (unsigned i = 0; i < vq->size; i++)
		if (sv_load_relaxed(flags_at(vq, i)) & USED_BIT)
			return false;
	return true;
}

static uint16_t load_flags(void *ctx, unsigned i)
{
	return sv_load_relaxed(flags_at(ctx, i));
}

/*
 * A predecessor may have written used elements of a batch that it did not publish; the driver would
 * take them as soon as it gets there. What is out is not used.
 */
static void unuse(struct sv_virtq *vq)
{
	uint16_t at = vq->next_used;
	bool wrap = vq->used_wrap;

	for (unsigned i = 0; i < vq->positions; i++, advance(vq, &at, &wrap, 1)) {
		uint16_t flags = sv_load_relaxed(flags_at(vq, at));

		if (!!(flags & AVAIL_BIT) == wrap && !!(flags & USED_BIT) == wrap)
			sv_store_relaxed(flags_at(vq, at), wrap ? AVAIL_BIT : USED_BIT);
	}
}

/* After a predecessor's end the front end cannot know where the queue stands: the record does. */
static void record_start(struct sv_virtq *vq, uint32_t base)
{
	struct sv_inflight_packed *f = vq->packed_record;
	bool known = (base && base != sv_virtq_first_base(true)) || is_new(vq);
	struct inflight_position used = {vq->next_used, vq->used_wrap};

	if (!inflight_packed_start(f, vq->size, used, known, load_flags, vq, &used)) {
		virtq_break(vq, SV_VIRTQ_BAD_RECORD);
		return;
	}
	if (!f->agains && known)
		return;
	vq->next_used = vq->next_avail = used.idx;
	vq->used_wrap = vq->avail_wrap = used.wrap;
	vq->positions = f->out;
	unuse(vq);
	advance(vq, &vq->next_avail, &vq->avail_wrap, f->out);
}

void virtq_packed_start(struct sv_virtq *vq, uint32_t base)
{
	uint16_t avail = (uint16_t)base, used = (uint16_t)(base >> 16);

	vq->next_avail = (uint16_t)(avail & (WRAP_BIT - 1)) & (vq->size - 1);
	vq->next_used = (uint16_t)(used & (WRAP_BIT - 1)) & (vq->size - 1);
	vq->avail_wrap = avail & WRAP_BIT;
	vq->used_wrap = used & WRAP_BIT;
	/* DPDK's virtio-user says where available descriptors begin, and nothing of used ones. */
	if ((!base || base == WRAP_BIT) && is_new(vq))
		vq->avail_wrap = vq->used_wrap = true;
	vq->positions = 0;
	vq->batch = 0;
	memset(vq->length_of, 0, sizeof(vq->length_of));
	if (vq->packed_record)
		record_start(vq, base);
}

static struct virtq_desc desc_of(uint64_t addr, uint64_t rest)
{
	return (struct virtq_desc){
		.addr = addr, .len = (uint32_t)rest, .flags = (uint16_t)(rest >> 48)};
}

/* All entries of an indirect table belong to the buffer, in order; of their flags only WRITE counts. */
static enum sv_virtq_defect table_walk(const struct sv_virtq *vq, struct sv_virtq_chain *c,
	const struct virtq_desc *indirect)
{
	const void *table;
	unsigned entries = virtq_indirect_table(vq, c, indirect, &table);

	if (!entries || c->absent)
		return entries ? SV_VIRTQ_OK : SV_VIRTQ_BAD_INDIRECT;
	if (entries > SV_VIRTQ_CHAIN_MAX)
		return SV_VIRTQ_TOO_LONG;
	for (unsigned i = 0; i < entries; i++) {
		const struct packed_desc *p = (const struct packed_desc *)table + i;
		struct virtq_desc d = desc_of(sv_load_relaxed(&p->addr), sv_load_relaxed(&p->rest));
		enum sv_virtq_defect defect;

		if (d.flags & VRING_DESC_F_INDIRECT)
			return SV_VIRTQ_BAD_INDIRECT;
		defect = virtq_chain_add(vq, c, &d);
		if (defect)
			return defect;
	}
	return SV_VIRTQ_OK;
}

/* Add one descriptor of the ring, the @n-th of its chain. *last: no more follow. */
static enum sv_virtq_defect desc_add(const struct sv_virtq *vq, struct sv_virtq_chain *c,
	const struct virtq_desc *d, unsigned n, bool *last)
{
	*last = !(d->flags & VRING_DESC_F_NEXT);
	if (!(d->flags & VRING_DESC_F_INDIRECT))
		return virtq_chain_add(vq, c, d);
	*last = true;
	return n ? SV_VIRTQ_BAD_INDIRECT : table_walk(vq, c, d);
}

static void copy_keep(const struct sv_virtq *vq, unsigned n, uint64_t addr, uint64_t rest)
{
	if (vq->packed_record)
		vq->packed_record->copy[n] = (struct inflight_copy){.addr = addr,
			.len = (uint32_t)rest,
			.id = (uint16_t)(rest >> 32),
			.flags = (uint16_t)(rest >> 48)};
}

/*
 * Walk the chain that begins with @rest at next_avail. Its first descriptor was made available last,
 * so that the others are complete. *n: positions of the ring that it takes.
 */
static enum sv_virtq_defect ring_walk(const struct sv_virtq *vq, struct sv_virtq_chain *c,
	uint64_t rest, unsigned *n)
{
	unsigned room = vq->size - vq->positions;
	uint16_t i = vq->next_avail;
	bool wrap = false, last = false;

	for (*n = 0; *n < SV_VIRTQ_CHAIN_MAX && *n < room;) {
		uint64_t addr = sv_load_relaxed(&ring(vq)[i].addr);
		struct virtq_desc d = desc_of(addr, rest);
		enum sv_virtq_defect defect;

		c->head = (uint16_t)(rest >> 32);
		copy_keep(vq, *n, addr, rest);
		defect = desc_add(vq, c, &d, (*n)++, &last);
		if (defect || last)
			return defect;
		advance(vq, &i, &wrap, 1);
		rest = sv_load_relaxed(&ring(vq)[i].rest);
	}
	return SV_VIRTQ_TOO_LONG;
}

static bool id_free(const struct sv_virtq *vq, uint16_t id)
{
	return id < vq->size && !vq->length_of[id];
}

static enum sv_virtq_take taken(struct sv_virtq *vq, uint16_t id, unsigned n)
{
	vq->length_of[id] = (uint16_t)n;
	virtq_taken(vq);
	return SV_VIRTQ_ONE;
}

static enum sv_virtq_take broken(struct sv_virtq *vq, enum sv_virtq_defect defect)
{
	virtq_break(vq, defect);
	return SV_VIRTQ_BROKEN;
}

/* A chain of a predecessor's: its descriptors are in the record, and believed as little as the ring's. */
static enum sv_virtq_take take_again(struct sv_virtq *vq, struct sv_virtq_chain *chain)
{
	struct sv_inflight_packed *f = vq->packed_record;
	unsigned n = inflight_packed_again(f, f->copy, SV_VIRTQ_CHAIN_MAX);
	bool last = false;

	virtq_chain_begin(chain);
	for (unsigned i = 0; i < n && !last; i++) {
		const struct inflight_copy *copy = &f->copy[i];
		struct virtq_desc d = {.addr = copy->addr, .len = copy->len, .flags = copy->flags};
		enum sv_virtq_defect defect = desc_add(vq, chain, &d, i, &last);

		if (defect)
			return broken(vq, defect);
		chain->head = copy->id;
		if (last && i + 1 < n)
			return broken(vq, SV_VIRTQ_BAD_RECORD);
	}
	if (!last || !id_free(vq, chain->head))
		return broken(vq, SV_VIRTQ_BAD_RECORD);
	if (virtq_must_wait(vq, chain))
		return SV_VIRTQ_EMPTY;
	inflight_packed_again_taken(f, chain->head);
	return taken(vq, chain->head, n);
}

/* Flags and place of the descriptor @n positions after the next one. Return: it is available. */
static bool ahead_at(const struct sv_virtq *vq, unsigned n, unsigned *at)
{
	bool wrap = vq->avail_wrap;

	*at = vq->next_avail + n;
	if (*at >= vq->size) {
		*at -= vq->size;
		wrap = !wrap;
	}
	return is_available(sv_load_relaxed(flags_at(vq, (uint16_t)*at)), wrap);
}

/* As for split rings: a hint. Only when there is more than one, else its line is the driver's to write. */
static void look_ahead(const struct sv_virtq *vq)
{
	unsigned at;

	if (vq->size <= 2 * VIRTQ_AHEAD || !ahead_at(vq, 1, &at) || !ahead_at(vq, VIRTQ_AHEAD, &at))
		return;
	virtq_prefetch(vq, desc_of(sv_load_relaxed(&ring(vq)[at].addr), sv_load_relaxed(&ring(vq)[at].rest)));
	at += VIRTQ_AHEAD;
	__builtin_prefetch(&ring(vq)[at < vq->size ? at : at - vq->size]);
}

enum sv_virtq_take virtq_packed_take(struct sv_virtq *vq, struct sv_virtq_chain *chain)
{
	enum sv_virtq_defect defect;
	uint64_t rest;
	unsigned n;

	if (vq->packed_record && sv_unlikely(inflight_packed_agains(vq->packed_record)))
		return take_again(vq, chain);
	rest = sv_load_acquire(&ring(vq)[vq->next_avail].rest);
	if (!is_available((uint16_t)(rest >> 48), vq->avail_wrap))
		return SV_VIRTQ_EMPTY;
	look_ahead(vq);
	virtq_chain_begin(chain);
	defect = ring_walk(vq, chain, rest, &n);
	if (!defect && !id_free(vq, chain->head))
		defect = SV_VIRTQ_BAD_HEAD;
	if (!defect && virtq_must_wait(vq, chain))
		return SV_VIRTQ_EMPTY;
	if (!defect && vq->packed_record &&
		!inflight_packed_take(vq->packed_record, vq->packed_record->copy, n, chain->head))
		defect = SV_VIRTQ_TOO_LONG;
	if (sv_unlikely(defect))
		return broken(vq, defect);
	vq->positions = (uint16_t)(vq->positions + n);
	advance(vq, &vq->next_avail, &vq->avail_wrap, n);
	return taken(vq, chain->head, n);
}

bool virtq_packed_waiting(const struct sv_virtq *vq)
{
	return is_available(sv_load_acquire(flags_at(vq, vq->next_avail)), vq->avail_wrap);
}

void virtq_packed_untake(struct sv_virtq *vq, uint16_t id)
{
	unsigned n = vq->length_of[id];

	vq->length_of[id] = 0;
	if (vq->packed_record && !inflight_packed_untake(vq->packed_record, id))
		return;
	if (vq->next_avail < n)
		vq->avail_wrap = !vq->avail_wrap;
	vq->next_avail = (uint16_t)((vq->next_avail + vq->size - n) % vq->size);
	vq->positions = (uint16_t)(vq->positions - n);
}

void virtq_packed_put(struct sv_virtq *vq, uint16_t id, uint32_t bytes)
{
	struct packed_desc *e = &ring(vq)[vq->next_used];
	uint16_t flags = (uint16_t)((vq->used_wrap ? AVAIL_BIT | USED_BIT : 0) |
				    (bytes ? VRING_DESC_F_WRITE : 0));
	unsigned n = vq->length_of[id];
	uint64_t rest = bytes | (uint64_t)id << 32;

	if (!vq->batch++) {
		/* Its flags make the whole batch visible: they are kept for publish. */
		vq->batch_at = vq->next_used;
		vq->batch_wrap = vq->used_wrap;
		vq->batch_flags = flags;
		sv_store_relaxed((uint32_t *)(void *)&e->rest, bytes);
		sv_store_relaxed((uint16_t *)(void *)&e->rest + 2, id);
	} else {
		sv_store_relaxed(&e->rest, rest | (uint64_t)flags << 48);
	}
	vq->length_of[id] = 0;
	vq->positions = (uint16_t)(vq->positions - n);
	advance(vq, &vq->next_used, &vq->used_wrap, n);
	if (vq->packed_record)
		inflight_packed_put(vq->packed_record, id);
}

/* Does the driver's event lie in what was published, [from, next_used)? */
static bool event_passed(const struct sv_virtq *vq, uint16_t event)
{
	unsigned at = event & (WRAP_BIT - 1), from = vq->batch_at;
	bool wrap = event & WRAP_BIT;
	unsigned length = (vq->next_used + vq->size - from) % vq->size;

	/* A batch may fill the ring exactly. */
	if (!length)
		length = vq->size;
	if (at >= vq->size)
		return true;
	if (wrap == vq->batch_wrap)
		return at >= from && at - from < length;
	return at + vq->size - from < length;
}

void virtq_packed_publish(struct sv_virtq *vq)
{
	unsigned chains = vq->batch;
	uint32_t event;
	bool wanted;

	if (!chains)
		return;
	if (vq->packed_record)
		inflight_packed_publishing(vq->packed_record,
			(struct inflight_position){vq->next_used, vq->used_wrap});
	sv_exchange_full(flags_at(vq, vq->batch_at), vq->batch_flags);
	if (vq->packed_record)
		inflight_packed_published(vq->packed_record);
	event = sv_load_relaxed((const uint32_t *)vq->avail);
	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		wanted = false;
		break;
	case VRING_PACKED_EVENT_FLAG_DESC:
		wanted = !vq->event_idx || event_passed(vq, (uint16_t)event);
		break;
	default:
		wanted = true;
	}
	vq->batch = 0;
	virtq_published(vq, chains, wanted);
}

bool virtq_packed_arm(struct sv_virtq *vq)
{
	uint32_t event = EVENT(0, VRING_PACKED_EVENT_FLAG_ENABLE);

	if (vq->event_idx)
		event = EVENT(off_wrap(vq->next_avail, vq->avail_wrap), VRING_PACKED_EVENT_FLAG_DESC);
	vq->armed = true;
	sv_exchange_full((uint32_t *)vq->used, event);
	return is_available(sv_load_acquire(flags_at(vq, vq->next_avail)), vq->avail_wrap);
}

bool virtq_packed_suppress(struct sv_virtq *vq)
{
	if (vq->armed)
		sv_store_relaxed((uint32_t *)vq->used, EVENT(0, VRING_PACKED_EVENT_FLAG_DISABLE));
	return vq->armed;
}
