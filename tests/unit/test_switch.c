/* SPDX-License-Identifier: BSD-3-Clause */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "switch_by_hand.h"

static struct sv_switch *sw;
static uint8_t bytes[SV_FRAME_MAX + 100];

static void set_up(void)
{
	struct sv_switch_config config = {.name = "test"};
	struct sv_error err;

	cr_assert_eq(sv_switch_create(&sw, &config, &err), 0);
	sv_switch_age(sw, 1000000000u);
}

static void tear_down(void)
{
	sv_switch_destroy(sw);
}

TestSuite(switch, .init = set_up, .fini = tear_down);

static uint64_t dropped(const struct hand_port *p, enum sv_drop why)
{
	return p->port.counters.drops[why];
}

Test(switch, unicast_goes_to_its_port_alone)
{
	struct hand_port *a = port_new(sw, 1, 0, 0), *b = port_new(sw, 2, 0, 0),
			 *c = port_new(sw, 3, 0, 0);

	cr_assert_eq(send_plain(a, 2, 1), 1);
	cr_assert_eq(b->n, 1);
	cr_assert_eq(b->flushes, 1);
	cr_assert_eq(b->got[0].len, 60);
	cr_assert_eq(c->n, 0);
	cr_assert_eq(a->n, 0);
	cr_assert_eq(a->port.counters.in_frames, 1);
	cr_assert_eq(b->port.counters.out_bytes, 60);
	cr_assert_eq(a->port.counters.flooded, 0);
	port_free(a);
	port_free(b);
	port_free(c);
}

Test(switch, broadcast_goes_to_all_but_the_sender)
{
	struct hand_port *p[4];

	for (unsigned i = 0; i < 4; i++)
		p[i] = port_new(sw, i + 1, 0, 0);
	cr_assert_eq(send_plain(p[0], 0xff, 1), 3);
	cr_assert_eq(p[0]->n, 0);
	for (unsigned i = 1; i < 4; i++)
		cr_assert_eq(p[i]->n, 1);
	cr_assert_eq(p[0]->port.counters.flooded, 1);
	for (unsigned i = 0; i < 4; i++)
		port_free(p[i]);
}

Test(switch, a_foreign_source_address_is_refused)
{
	struct hand_port *a = port_new(sw, 1, 0, 0), *b = port_new(sw, 2, 0, 0),
			 *up = port_new(sw, 0, 0, SV_PORT_LEARN | SV_PORT_UPLINK);

	cr_assert_eq(send_plain(a, 2, 7), 0); /* nobody's */
	cr_assert_eq(send_plain(a, 0xff, 2), 0); /* another port's */
	cr_assert_eq(send_plain(a, 2, 0xff), 0); /* a group */
	cr_assert_eq(dropped(a, SV_DROP_SPOOFED), 3);
	cr_assert_eq(b->n + up->n, 0);
	/* What an uplink reflects is no stranger's frame. */
	cr_assert_eq(send_plain(up, 0xff, 1), 0);
	cr_assert_eq(dropped(up, SV_DROP_REFLECTED), 1);
	cr_assert_eq(sv_switch_learned(sw), 0);
	port_free(a);
	port_free(b);
	port_free(up);
}

Test(switch, an_address_of_the_guest_needs_to_be_unique)
{
	struct hand_port *a = port_new(sw, 1, 0, 0), *b = port_make(1, 5, 0);
	struct sv_error err = {""};

	cr_assert_eq(sv_switch_attach(sw, &b->port, &err), -EADDRINUSE);
	cr_assert(strstr(err.text, "port1's already on switch 'test'"), "%s", err.text);
	b->port.mac[0] = 3;
	cr_assert_eq(sv_switch_attach(sw, &b->port, &err), -EINVAL);
	cr_assert(strstr(err.text, "group address"), "%s", err.text);
	memset(b->port.mac, 0, 6);
	cr_assert_eq(sv_switch_attach(sw, &b->port, &err), -EINVAL);
	mac_of(2, b->port.mac);
	b->port.vlan = 4095;
	cr_assert_eq(sv_switch_attach(sw, &b->port, &err), -EINVAL);
	b->port.vlan = 0;
	cr_assert_eq(sv_switch_attach(sw, &b->port, &err), 0);
	port_free(a);
	/* Its address is free again. */
	a = port_new(sw, 1, 0, 0);
	port_free(a);
	port_free(b);
}

Test(switch, what_is_outside_is_learned_moves_and_ages)
{
	struct hand_port *a = port_new(sw, 1, 0, 0),
			 *l = port_new(sw, 8, 0, SV_PORT_LEARN),
			 *up = port_new(sw, 0, 0, SV_PORT_LEARN | SV_PORT_UPLINK);

	cr_assert_eq(send_plain(a, 50, 1), 2); /* unknown: to all who learn */
	cr_assert_eq(a->port.counters.flooded, 1);
	cr_assert_eq(send_plain(up, 1, 50), 1);
	cr_assert_eq(sv_switch_learned(sw), 1);
	cr_assert_eq(send_plain(a, 50, 1), 1);
	cr_assert_eq(up->n, 2);
	cr_assert_eq(send_plain(l, 1, 50), 1); /* it moved */
	cr_assert_eq(l->port.counters.moved, 1);
	cr_assert_eq(send_plain(a, 50, 1), 1);
	cr_assert_eq(up->n, 2);
	cr_assert_eq(l->n, 2);
	sv_switch_age(sw, (SV_SWITCH_AGE_S + 2) * 1000000000ull);
	cr_assert_eq(send_plain(a, 50, 1), 2); /* forgotten, even before it is swept away */
	for (unsigned i = 0; i < SV_SWITCH_ADDRESSES / 64; i++)
		sv_switch_age(sw, (SV_SWITCH_AGE_S + 2) * 1000000000ull + i * 1000000ull);
	cr_assert_eq(sv_switch_learned(sw), 0);
	cr_assert_eq(l->port.addresses, 0);
	port_free(a);
	port_free(l);
	port_free(up);
}

Test(switch, a_port_learns_no_more_than_its_share)
{
	struct hand_port *l = port_new(sw, 8, 0, SV_PORT_LEARN), *a = port_new(sw, 1, 0, 0);

	for (unsigned i = 300; i < 600; i++)
		cr_assert_eq(send_plain(l, 1, i), 1);
	cr_assert_eq(sv_switch_learned(sw), 64);
	cr_assert_eq(l->port.counters.learned, 64);
	/* The port goes: its addresses are nobody's, and are swept away. */
	port_free(l);
	cr_assert_eq(send_plain(a, 300, 1), 0);
	cr_assert_eq(dropped(a, SV_DROP_NOBODY), 1);
	for (unsigned i = 0; i < SV_SWITCH_ADDRESSES / 64 + 2; i++)
		sv_switch_age(sw, (2000 + i) * 1000000ull);
	cr_assert_eq(sv_switch_learned(sw), 0);
	port_free(a);
}

Test(switch, the_shares_are_bounded_together)
{
	struct hand_port *p[9] = {NULL}, *more = port_make(0, 0, SV_PORT_LEARN | SV_PORT_UPLINK);
	struct sv_error err = {""};

	for (unsigned i = 0; i < 8; i++)
		p[i] = port_new(sw, 0, 0, SV_PORT_LEARN | SV_PORT_UPLINK);
	cr_assert_eq(sv_switch_attach(sw, &more->port, &err), -ENOSPC);
	cr_assert(strstr(err.text, "16384 addresses"), "%s", err.text);
	port_free(p[0]);
	cr_assert_eq(sv_switch_attach(sw, &more->port, &err), 0);
	for (unsigned i = 1; i < 8; i++)
		port_free(p[i]);
	port_free(more);
}

Test(switch, nothing_goes_from_uplink_to_uplink)
{
	struct hand_port *u = port_new(sw, 0, 0, SV_PORT_LEARN | SV_PORT_UPLINK),
			 *v = port_new(sw, 0, 0, SV_PORT_LEARN | SV_PORT_UPLINK),
			 *a = port_new(sw, 1, 0, 0);

	cr_assert_eq(send_plain(v, 1, 51), 1);
	cr_assert_eq(send_plain(u, 51, 50), 0);
	cr_assert_eq(send_plain(u, 0xff, 50), 1);
	cr_assert_eq(v->n, 0);
	cr_assert_eq(a->n, 2);
	port_free(u);
	port_free(v);
	port_free(a);
}

Test(switch, link_local_groups_stay_here)
{
	struct hand_port *a = port_new(sw, 1, 0, 0), *b = port_new(sw, 2, 0, 0);

	make_ether(bytes, 60, 2, 1, 0x0027);
	memcpy(bytes, "\x01\x80\xc2\0\0\0", 6);
	cr_assert_eq(send_bytes(a, bytes, 60, 0, NULL), 0);
	cr_assert_eq(dropped(a, SV_DROP_RESERVED), 1);
	bytes[5] = 0x10;
	cr_assert_eq(send_bytes(a, bytes, 60, 0, NULL), 1);
	port_free(a);
	port_free(b);
}

Test(switch, floods_are_bounded_and_unicast_is_not)
{
	struct hand_port *a = port_make(1, 0, 0), *b = port_new(sw, 2, 0, 0);
	struct sv_error err;
	unsigned taken = 0;

	a->port.flood_per_s = 100;
	a->port.flood_burst = 10;
	cr_assert_eq(sv_switch_attach(sw, &a->port, &err), 0);
	for (unsigned i = 0; i < 50; i++)
		taken += send_plain(a, 0xff, 1);
	cr_assert_eq(taken, 10);
	cr_assert_eq(dropped(a, SV_DROP_FLOOD), 40);
	cr_assert_eq(send_plain(a, 2, 1), 1);
	sv_switch_age(sw, 1000000000u + 50000000u); /* 50 ms: five more */
	for (unsigned i = 0; i < 50; i++)
		taken += send_plain(a, 0xff, 1);
	cr_assert_eq(taken, 15);
	sv_switch_age(sw, UINT64_MAX / 2); /* never more than the burst */
	for (unsigned i = 0; i < 50; i++)
		taken += send_plain(a, 0xff, 1);
	cr_assert_eq(taken, 25);
	port_free(a);
	port_free(b);
}

Test(switch, a_flooded_gso_frame_costs_its_segments)
{
	struct hand_port *a = port_make(1, 0, 0), *b = port_new(sw, 2, 0, 0);
	struct virtio_net_hdr_v1 hdr;
	struct sv_error err;
	uint32_t len = make_udp(bytes, 0xff, 1, false, 6000, &hdr);

	hdr.gso_type = 5;
	hdr.gso_size = htole16(1000);
	a->port.flood_burst = 7;
	cr_assert_eq(sv_switch_attach(sw, &a->port, &err), 0);
	cr_assert_eq(send_bytes(a, bytes, len, 0, &hdr), 1);
	cr_assert_eq(send_bytes(a, bytes, len, 0, &hdr), 0);
	cr_assert_eq(send_plain(a, 0xff, 1), 1);
	cr_assert_eq(send_plain(a, 0xff, 1), 0);
	port_free(a);
	port_free(b);
}

Test(switch, access_ports_of_other_vlans_hear_nothing)
{
	struct hand_port *a = port_new(sw, 1, 10, 0), *b = port_new(sw, 2, 10, 0),
			 *c = port_new(sw, 3, 20, 0), *t = port_new(sw, 4, 0, 0);

	cr_assert_eq(send_plain(a, 0xff, 1), 2);
	cr_assert_eq(b->n, 1);
	cr_assert_eq(b->got[0].len, 60);
	cr_assert_eq(c->n, 0);
	cr_assert_eq(t->n, 1);
	cr_assert_eq(t->got[0].len, 64);
	cr_assert_arr_eq(t->got[0].bytes + 12, "\x81\0\0\x0a\x88\xb5", 6);
	cr_assert_arr_eq(t->got[0].bytes + 18, b->got[0].bytes + 14, 46);
	cr_assert_eq(send_plain(a, 3, 1), 0); /* not even to its address */
	cr_assert_eq(dropped(a, SV_DROP_NOBODY), 1);
	port_free(a);
	port_free(b);
	port_free(c);
	port_free(t);
}

static void make_tagged(unsigned vlan, unsigned dst, unsigned src)
{
	make_ether(bytes, 64, dst, src, 0x8100);
	bytes[14] = (uint8_t)(vlan >> 8);
	bytes[15] = (uint8_t)vlan;
	bytes[16] = 0x88;
	bytes[17] = 0xb5;
}

Test(switch, a_trunk_speaks_in_tags_of_its_set)
{
	struct sv_vlan_set set = {{1 | 1 << 10}};
	struct hand_port *t = port_make(1, 0, 0), *b = port_new(sw, 2, 10, 0),
			 *c = port_new(sw, 3, 20, 0), *d = port_new(sw, 4, 0, 0);
	struct sv_error err;

	t->port.allowed = &set;
	cr_assert_eq(sv_switch_attach(sw, &t->port, &err), 0);
	make_tagged(0xa00a, 0xff, 1);
	cr_assert_eq(send_bytes(t, bytes, 64, 5, NULL), 2);
	cr_assert_eq(b->got[0].len, 60);
	cr_assert_arr_eq(b->got[0].bytes + 12, "\x88\xb5", 2);
	cr_assert_arr_eq(b->got[0].bytes + 14, bytes + 18, 46);
	cr_assert_eq(d->got[0].len, 64); /* priority and all */
	cr_assert_arr_eq(d->got[0].bytes, bytes, 64);
	make_tagged(20, 0xff, 1);
	cr_assert_eq(send_bytes(t, bytes, 64, 0, NULL), 0);
	make_tagged(0, 0xff, 1);
	cr_assert_eq(send_bytes(t, bytes, 64, 0, NULL), 0);
	make_tagged(4095, 0xff, 1);
	cr_assert_eq(send_bytes(d, bytes, 64, 0, NULL), 0);
	cr_assert_eq(dropped(t, SV_DROP_VLAN), 2);
	make_tagged(10, 0xff, 2); /* an access port has no business with tags */
	cr_assert_eq(send_bytes(b, bytes, 64, 0, NULL), 0);
	make_ether(bytes, 64, 0xff, 2, 0x88a8);
	cr_assert_eq(send_bytes(b, bytes, 64, 0, NULL), 0);
	cr_assert_eq(dropped(b, SV_DROP_VLAN), 2);
	make_tagged(10, 0xff, 1); /* cut off in the tag */
	cr_assert_eq(send_bytes(t, bytes, 16, 0, NULL), 0);
	cr_assert_eq(dropped(t, SV_DROP_RUNT), 1);
	port_forget(d);
	cr_assert_eq(send_plain(t, 0xff, 1), 1); /* untagged: bit 0 */
	cr_assert_eq(d->n, 1);
	port_free(t);
	port_free(b);
	port_free(c);
	port_free(d);
}

Test(switch, a_tag_moves_what_the_header_points_to)
{
	struct hand_port *a = port_new(sw, 1, 10, 0), *t = port_new(sw, 2, 0, 0);
	struct virtio_net_hdr_v1 hdr;
	uint32_t len = make_tcp(bytes, 2, 1, false, 5000, &hdr);

	hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	hdr.gso_size = htole16(1448);
	cr_assert_eq(send_bytes(a, bytes, len, 1000, &hdr), 1);
	cr_assert_eq(t->got[0].len, len + 4);
	cr_assert_eq(le16toh(t->got[0].hdr.csum_start), 38);
	cr_assert_eq(le16toh(t->got[0].hdr.hdr_len), 14 + 4 + 20 + 32);
	/* And back. */
	memcpy(bytes, t->got[0].bytes, len + 4);
	mac_of(1, bytes);
	mac_of(2, bytes + 6);
	cr_assert_eq(send_bytes(t, bytes, len + 4, 100, &t->got[0].hdr), 1);
	cr_assert_eq(a->got[0].len, len);
	cr_assert_eq(le16toh(a->got[0].hdr.csum_start), 34);
	cr_assert_arr_eq(a->got[0].bytes + 12, t->got[0].bytes + 16, len - 12);
	/* Without offloads the same frame comes in segments, each with its tag. */
	t->port.offloads = 0;
	len = make_tcp(bytes, 2, 1, false, 5000, &hdr);
	hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	hdr.gso_size = htole16(1448);
	port_forget(t);
	cr_assert_eq(send_bytes(a, bytes, len, 0, &hdr), 4);
	for (unsigned i = 0; i < 4; i++) {
		struct got *g = &t->got[i];

		cr_assert_arr_eq(g->bytes + 12, "\x81\0\0\x0a", 4);
		memmove(g->bytes + 4, g->bytes, 12);
		cr_assert(checksums_hold(g->bytes + 4, g->len - 4), "segment %u", i);
	}
	port_free(a);
	port_free(t);
}

Test(switch, nonsense_has_its_counter)
{
	struct hand_port *a = port_new(sw, 1, 0, 0), *b = port_new(sw, 2, 0, 0);

	make_ether(bytes, sizeof(bytes), 2, 1, 0x88b5);
	cr_assert_eq(send_bytes(a, bytes, 13, 0, NULL), 0);
	cr_assert_eq(dropped(a, SV_DROP_RUNT), 1);
	cr_assert_eq(send_bytes(a, bytes, SV_FRAME_MAX + 1, 0, NULL), 0);
	cr_assert_eq(dropped(a, SV_DROP_OVERSIZE), 1);
	cr_assert_eq(send_bytes(a, bytes, SV_FRAME_PIECES + 1, 1, NULL), 0);
	cr_assert_eq(dropped(a, SV_DROP_PIECES), 1);
	cr_assert_eq(send_bytes(a, bytes, SV_FRAME_PIECES, 1, NULL), 1);
	b->full = true;
	cr_assert_eq(send_plain(a, 2, 1), 0);
	b->full = false;
	b->port.link_down = 1;
	cr_assert_eq(send_plain(a, 2, 1), 0);
	cr_assert_eq(dropped(b, SV_DROP_FULL), 2);
	b->port.link_down = 0;
	b->port.max_frame = 59;
	cr_assert_eq(send_plain(a, 2, 1), 0);
	cr_assert_eq(dropped(b, SV_DROP_OVERSIZE), 1);
	for (unsigned i = 0; i < SV_DROPS; i++)
		cr_assert_str_neq(sv_drop_name((enum sv_drop)i), "unknown");
	port_free(a);
	port_free(b);
}

static unsigned looped;

static bool loop_back(struct sv_port *to, const struct sv_frame *f)
{
	looped += sv_switch_input(to->sw, to, f);
	return true;
}

static void no_flush(struct sv_port *to)
{
	(void)to;
}

Test(switch, a_port_that_sends_while_it_gets_is_no_loop)
{
	static const struct sv_port_ops echo = {.deliver = loop_back, .flush = no_flush};
	struct hand_port *a = port_new(sw, 1, 0, 0), *b = port_make(2, 0, SV_PORT_LEARN);
	struct sv_error err;

	b->port.ops = &echo;
	cr_assert_eq(sv_switch_attach(sw, &b->port, &err), 0);
	cr_assert_eq(send_plain(a, 0xff, 1), 1);
	cr_assert_eq(looped, 0);
	cr_assert_eq(dropped(b, SV_DROP_LOOP), 1);
	port_free(a);
	port_free(b);
}

Test(switch, it_is_full_with_256_ports_and_all_are_found)
{
	struct hand_port *p[SV_SWITCH_PORTS], *more = port_make(1000, 0, 0);
	struct sv_error err = {""};

	for (unsigned i = 0; i < SV_SWITCH_PORTS; i++)
		p[i] = port_new(sw, i + 256, 0, 0);
	cr_assert_eq(sv_switch_attach(sw, &more->port, &err), -ENOSPC);
	for (unsigned i = 0; i + 1 < SV_SWITCH_PORTS; i++)
		cr_assert_eq(send_plain(p[i], i + 257, i + 256), 1);
	cr_assert_eq(send_plain(p[0], 0xff, 256), 255);
	for (unsigned i = 0; i < SV_SWITCH_PORTS; i++)
		port_free(p[i]);
	port_free(more);
}

Test(switch, the_same_name_is_the_same_switch)
{
	struct sv_switch *a, *b, *c;
	struct sv_error err;
	char *json;
	struct hand_port *p;

	cr_assert_eq(sv_switch_get(&a, "lan", NULL, &err), 0);
	cr_assert_eq(sv_switch_get(&b, "lan", NULL, &err), 0);
	cr_assert_eq(sv_switch_get(&c, "dmz", NULL, &err), 0);
	cr_assert_eq(a, b);
	cr_assert_neq(a, c);
	cr_assert_eq(sv_switch_get(&c, "a name that is too long", NULL, &err), -EINVAL);
	p = port_new(a, 1, 7, 0);
	json = sv_switch_json(a);
	cr_assert(strstr(json, "\"switch\":\"lan\"") && strstr(json, "\"vlan\":7"), "%s", json);
	free(json);
	port_free(p);
	sv_switch_put(a);
	sv_switch_put(b);
	sv_switch_put(c);
}

Test(switch, addresses_are_read_exactly)
{
	uint8_t mac[6] = {9};
	static const char *const wrong[] = {"", "02:00:00:00:00", "02:00:00:00:00:0g", "02-00-00-00-00-01",
		"02:00:00:00:00:011", "2:0:0:0:0:1"};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_assert_eq(sv_mac_parse(wrong[i], mac), -EINVAL);
	cr_assert_eq(mac[0], 9);
	cr_assert_eq(sv_mac_parse("02:aB:0c:00:fF:01", mac), 0);
	cr_assert_arr_eq(mac, "\x02\xab\x0c\0\xff\x01", 6);
}
