/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The polling thread's part of a switch: one frame from a port to its receivers. First everything
 * that decides is copied and checked, which has no effect; then nothing can fail any more but single
 * deliveries, and each failure is counted at its receiver.
 */
#include "switch_private.h"

#include <endian.h>
#include <string.h>

#include <io/net_filter.h>

enum { PLAIN, TAGGED };

/* What is known of the frame in hand. */
struct pass {
	struct sv_switch *sw;
	const struct port_table *table;
	struct sv_port *from;
	const struct sv_frame *sent;
	uint32_t skip; /* bytes of it that are in the plain head, tag included */
	uint16_t vlan, tci;
	bool flood;
	struct offload offload;
	unsigned taken; /* frames that ports took */
	unsigned receivers;
	struct sv_port *receiver[SV_SWITCH_PORTS];
};

static uint16_t type_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static bool in_set(const struct sv_vlan_set *set, uint16_t vlan)
{
	return set->bit[vlan / 64] >> vlan % 64 & 1;
}

/* Is @vlan one of the port's, in either direction? */
static bool port_in_vlan(const struct sv_port *p, uint16_t vlan)
{
	if (p->vlan)
		return p->vlan == vlan;
	return !p->allowed || in_set(p->allowed, vlan);
}

/* --- shapes ---------------------------------------------------------------------------------- */

/* Everything of @sent from @skip on becomes the pieces behind the head. Return: false: it is short. */
static bool add_rest(struct shape *s, const struct sv_frame *sent, uint32_t skip, uint32_t head)
{
	uint32_t left = sent->len - skip;
	unsigned n = 1;

	s->iov[0] = (struct iovec){s->head, head};
	for (unsigned i = 0; i < sent->niov && left; i++) {
		size_t have = sent->iov[i].iov_len;

		if (skip >= have) {
			skip -= (uint32_t)have;
			continue;
		}
		have -= skip;
		if (have > left)
			have = left;
		s->iov[n++] = (struct iovec){(uint8_t *)sent->iov[i].iov_base + skip, have};
		left -= (uint32_t)have;
		skip = 0;
	}
	s->frame.iov = s->iov;
	s->frame.niov = n;
	return !left;
}

/* Take the head, and the tag out of it. */
static enum sv_drop take_head(struct pass *p)
{
	struct shape *s = &p->sw->shape[PLAIN];
	const struct sv_frame *sent = p->sent;
	uint32_t have = sent->len < SV_FRAME_HEAD ? sent->len : SV_FRAME_HEAD, tag = 0;

	if (sent->niov > SV_FRAME_PIECES)
		return SV_DROP_PIECES;
	if (sent->len < SV_FRAME_MIN)
		return SV_DROP_RUNT;
	if (sent->len > SV_FRAME_MAX)
		return SV_DROP_OVERSIZE;
	if (!sv_frame_read(sent, 0, s->head, have))
		return SV_DROP_RUNT;
	p->vlan = p->tci = 0;
	if (type_at(s->head + 12) == 0x88a8)
		return SV_DROP_VLAN;
	if (type_at(s->head + 12) == 0x8100) {
		if (have < SV_FRAME_MIN + TAG)
			return SV_DROP_RUNT;
		p->tci = type_at(s->head + 14);
		p->vlan = p->tci & 0xfff;
		if (p->from->vlan || !p->vlan || p->vlan == 0xfff)
			return SV_DROP_VLAN;
		memmove(s->head + 12, s->head + 16, have - 16);
		tag = TAG;
	}
	if (p->from->vlan)
		p->vlan = p->tci = p->from->vlan;
	if (!port_in_vlan(p->from, p->vlan))
		return SV_DROP_VLAN;
	p->skip = have;
	s->frame.len = sent->len - tag;
	return add_rest(s, sent, have, have - tag) ? SV_DROPS : SV_DROP_RUNT;
}

/* Offsets in the header count from the start of the frame, so a tag moves them. */
static void move_header(struct virtio_net_hdr_v1 *to, const struct virtio_net_hdr_v1 *from, int by)
{
	*to = *from;
	if (from->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		to->csum_start = htole16((uint16_t)(le16toh(from->csum_start) + by));
	if (from->hdr_len)
		to->hdr_len = htole16((uint16_t)(le16toh(from->hdr_len) + by));
}

static void add_tag(uint8_t *head, uint16_t tci)
{
	head[0] = 0x81;
	head[1] = 0;
	head[2] = (uint8_t)(tci >> 8);
	head[3] = (uint8_t)tci;
}

static const struct sv_frame *tagged_frame(struct pass *p, const struct shape *plain)
{
	struct shape *s = &p->sw->shape[TAGGED];
	uint32_t have = (uint32_t)plain->iov[0].iov_len;

	if (!s->built) {
		memcpy(s->head, plain->head, 12);
		add_tag(s->head + 12, p->tci);
		memcpy(s->head + 16, plain->head + 12, have - 12);
		s->frame.len = plain->frame.len + TAG;
		add_rest(s, p->sent, p->skip, have + TAG);
		move_header(&s->frame.hdr, &plain->frame.hdr, TAG);
		s->built = true;
	}
	return &s->frame;
}

/* --- from whom ------------------------------------------------------------------------------- */

static enum sv_drop learn(struct pass *p, const uint8_t *mac)
{
	struct sv_switch *sw = p->sw;
	struct sv_port *from = p->from, *was;
	struct learned *e = learn_find(&sw->learned, mac, p->vlan);

	if (e) {
		was = switch_learned_port(p->table, e);
		if (was != from) {
			if (from->addresses >= from->learn_max)
				return SV_DROPS;
			if (was)
				was->addresses--;
			from->addresses++;
			switch_count(&from->counters.moved, was != NULL);
		}
	} else {
		if (from->addresses >= from->learn_max)
			return SV_DROPS;
		e = learn_add(&sw->learned, mac, p->vlan);
		if (!e)
			return SV_DROPS;
		from->addresses++;
		switch_count(&from->counters.learned, 1);
	}
	e->slot = (uint16_t)from->slot;
	e->generation = from->generation;
	e->seen_s = (uint32_t)(sw->now_ns / 1000000000u);
	return SV_DROPS;
}

static enum sv_drop check_source(struct pass *p)
{
	static const uint8_t none[6];
	const uint8_t *mac = p->sw->shape[PLAIN].head + 6;
	const struct sv_port *own;

	if (mac[0] & 1 || !memcmp(mac, none, 6))
		return SV_DROP_SPOOFED;
	if (!memcmp(mac, p->from->mac, 6))
		return SV_DROPS;
	own = switch_own(p->table, mac);
	if (own)
		return p->from->flags & SV_PORT_LEARN ? SV_DROP_REFLECTED : SV_DROP_SPOOFED;
	if (!(p->from->flags & SV_PORT_LEARN))
		return SV_DROP_SPOOFED;
	return learn(p, mac);
}

/* --- to whom --------------------------------------------------------------------------------- */

static bool may_reach(const struct pass *p, const struct sv_port *to)
{
	if (to == p->from || !port_in_vlan(to, p->vlan))
		return false;
	return !(to->flags & p->from->flags & SV_PORT_UPLINK);
}

static struct sv_port *find_receiver(struct pass *p, const uint8_t *mac)
{
	struct sv_port *to = switch_own(p->table, mac);
	struct learned *e;

	if (to)
		return to;
	e = learn_find(&p->sw->learned, mac, p->vlan);
	if (!e || p->sw->now_ns / 1000000000u - e->seen_s > switch_age_s(p->sw))
		return NULL;
	return switch_learned_port(p->table, e);
}

static enum sv_drop find_receivers(struct pass *p)
{
	const uint8_t *mac = p->sw->shape[PLAIN].head;
	struct sv_port *one = NULL;
	bool group = mac[0] & 1;

	p->flood = false;
	if (mac[0] == 1 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] && !mac[4] && mac[5] < 16)
		return SV_DROP_RESERVED;
	if (!group)
		one = find_receiver(p, mac);
	if (one) {
		if (may_reach(p, one))
			p->receiver[p->receivers++] = one;
		return p->receivers ? SV_DROPS : SV_DROP_NOBODY;
	}
	for (unsigned i = 0; i < p->table->n; i++) {
		struct sv_port *to = p->table->port[i];

		if ((group || to->flags & SV_PORT_LEARN) && may_reach(p, to))
			p->receiver[p->receivers++] = to;
	}
	p->flood = group || p->receivers > 1;
	return p->receivers ? SV_DROPS : SV_DROP_NOBODY;
}

static void fill_bucket(struct sv_port *p, uint64_t now)
{
	uint64_t full = (uint64_t)p->flood_burst * 1000000000u, passed = now - p->flood_at;

	p->flood_at = now;
	if (passed >= full / p->flood_per_s)
		p->flood_tokens = full;
	else
		p->flood_tokens += passed * p->flood_per_s;
	if (p->flood_tokens > full)
		p->flood_tokens = full;
}

static bool may_flood(struct pass *p)
{
	uint64_t cost = (uint64_t)p->offload.segments * 1000000000u;

	fill_bucket(p->from, p->sw->now_ns);
	if (cost > p->from->flood_tokens)
		return false;
	p->from->flood_tokens -= cost;
	return true;
}

/* --- delivery -------------------------------------------------------------------------------- */

static void touch(struct sv_switch *sw, struct sv_port *to)
{
	if (to->touched)
		return;
	to->touched = true;
	to->touched_next = sw->touched;
	sw->touched = to;
}

/* One finished frame to one port. */
static bool hand_over(struct pass *p, struct sv_port *to, const struct sv_frame *f)
{
	if (f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE && f->len > to->max_frame) {
		switch_drop(to, SV_DROP_OVERSIZE);
		return false;
	}
	if (!to->ops->deliver(to, f)) {
		switch_drop(to, SV_DROP_FULL);
		return false;
	}
	touch(p->sw, to);
	switch_count(&to->counters.out_frames, 1);
	switch_count(&to->counters.out_bytes, f->len);
	p->taken++;
	return true;
}

/* The segments of @plain one by one; with a tag, it comes in when a segment is complete. */
static void deliver_finished(struct pass *p, struct sv_port *to, const struct sv_frame *plain,
	const struct offload *o, bool tagged)
{
	struct iovec iov = {.iov_base = p->sw->scratch};
	struct sv_frame f = {.iov = &iov, .niov = 1};
	uint8_t *at = p->sw->scratch + TAG;

	switch_count(&to->counters.software, 1);
	for (uint32_t i = 0; i < o->segments; i++) {
		uint32_t from, n;

		if (o->segment) {
			n = offload_payload(o, i, &from);
			if (!sv_frame_read(plain, from, at + o->headers, n))
				return;
			f.len = offload_segment(at, plain->iov[0].iov_base, o, i);
		} else {
			f.len = plain->len;
			if (!sv_frame_read(plain, 0, at, f.len))
				return;
			offload_checksum(at, o);
		}
		iov.iov_base = at;
		if (tagged) {
			memmove(p->sw->scratch, at, 12);
			add_tag(p->sw->scratch + 12, p->tci);
			iov.iov_base = p->sw->scratch;
			f.len += TAG;
		}
		iov.iov_len = f.len;
		if (!hand_over(p, to, &f))
			return;
	}
}

static void deliver(struct pass *p, struct sv_port *to, const struct shape *plain,
	const struct offload *o)
{
	uint32_t accepts = sv_load_relaxed(&to->offloads);
	bool tagged = p->vlan && !to->vlan;
	const struct sv_frame *f;
	struct sv_frame plainer;

	if (o->need & ~accepts) {
		deliver_finished(p, to, &plain->frame, o, tagged);
		return;
	}
	f = tagged ? tagged_frame(p, plain) : &plain->frame;
	if (f->hdr.flags && !(accepts & SV_OFFLOAD_CSUM)) {
		plainer = *f;
		plainer.hdr.flags = 0;
		f = &plainer;
	}
	hand_over(p, to, f);
}

/* The receiver's filter gets a copy of its own: what it changes is for this receiver. */
static void deliver_filtered(struct pass *p, struct sv_port *to)
{
	struct shape *plain = &p->sw->shape[PLAIN], *s = &p->sw->filtered;
	uint32_t have = (uint32_t)plain->iov[0].iov_len;
	struct sv_net_packet packet = {.head = s->head,
		.have = have,
		.len = plain->frame.len,
		.vlan = p->vlan,
		.direction = SV_NET_TO_PORT,
		.frame = &s->frame};
	struct offload o = p->offload;

	memcpy(s->head, plain->head, have);
	s->frame = plain->frame;
	s->frame.iov = s->iov;
	memcpy(s->iov, plain->iov, plain->frame.niov * sizeof(s->iov[0]));
	s->iov[0].iov_base = s->head;
	if (sv_net_filter_run(to->filter, &packet) != SV_NET_PASS ||
		(packet.changed && !offload_check(s->head, have, s->frame.len, true, &s->frame.hdr, &o))) {
		switch_drop(to, SV_DROP_FILTER_OUT);
		return;
	}
	if (!packet.changed) {
		deliver(p, to, plain, &p->offload);
		return;
	}
	p->sw->shape[TAGGED].built = false;
	deliver(p, to, s, &o);
	p->sw->shape[TAGGED].built = false;
}

static void deliver_all(struct pass *p)
{
	for (unsigned i = 0; i < p->receivers; i++) {
		struct sv_port *to = p->receiver[i];

		if (sv_load_relaxed(&to->link_down))
			switch_drop(to, SV_DROP_FULL);
		else if (to->filter)
			deliver_filtered(p, to);
		else
			deliver(p, to, &p->sw->shape[PLAIN], &p->offload);
	}
}

/* --- the way of a frame ---------------------------------------------------------------------- */

static enum sv_drop check_offload(struct pass *p)
{
	struct shape *s = &p->sw->shape[PLAIN];

	return offload_check(s->head, (uint32_t)s->iov[0].iov_len, s->frame.len,
		       p->from->flags & SV_PORT_UPLINK, &s->frame.hdr, &p->offload)
		       ? SV_DROPS
		       : SV_DROP_HEADER;
}

static enum sv_drop filter_in(struct pass *p)
{
	struct shape *s = &p->sw->shape[PLAIN];
	struct sv_net_packet packet = {.head = s->head,
		.have = (uint32_t)s->iov[0].iov_len,
		.len = s->frame.len,
		.vlan = p->vlan,
		.direction = SV_NET_FROM_PORT,
		.frame = &s->frame};

	if (sv_net_filter_run(p->from->filter, &packet) != SV_NET_PASS)
		return SV_DROP_FILTER_IN;
	if (packet.changed && check_offload(p) != SV_DROPS)
		return SV_DROP_FILTER_IN;
	return SV_DROPS;
}

static enum sv_drop decide(struct pass *p)
{
	struct shape *s = &p->sw->shape[PLAIN];
	enum sv_drop why = take_head(p);

	if (why != SV_DROPS)
		return why;
	move_header(&s->frame.hdr, &p->sent->hdr, p->sent->len == s->frame.len ? 0 : -(int)TAG);
	why = check_offload(p);
	if (why == SV_DROPS)
		why = check_source(p);
	if (why == SV_DROPS && p->from->filter)
		why = filter_in(p);
	if (why == SV_DROPS)
		why = find_receivers(p);
	if (why == SV_DROPS && p->flood && !may_flood(p))
		why = SV_DROP_FLOOD;
	return why;
}

unsigned sv_switch_input(struct sv_switch *sw, struct sv_port *from, const struct sv_frame *f)
{
	struct pass p;
	enum sv_drop why;

	if (sw->busy) {
		switch_drop(from, SV_DROP_LOOP);
		return 0;
	}
	p.sw = sw;
	p.table = sv_load_acquire(&sw->table);
	p.from = from;
	p.sent = f;
	p.taken = p.receivers = 0;
	sw->shape[TAGGED].built = false;
	switch_count(&from->counters.in_frames, 1);
	switch_count(&from->counters.in_bytes, f->len);
	why = sv_load_relaxed(&from->link_down) ? SV_DROP_NOBODY : decide(&p);
	if (why != SV_DROPS) {
		switch_drop(from, why);
		return 0;
	}
	if (p.flood)
		switch_count(&from->counters.flooded, 1);
	sw->busy = true;
	deliver_all(&p);
	sw->busy = false;
	return p.taken;
}

void sv_switch_flush(struct sv_switch *sw)
{
	while (sw->touched) {
		struct sv_port *p = sw->touched;

		sw->touched = p->touched_next;
		p->touched = false;
		p->ops->flush(p);
	}
}
