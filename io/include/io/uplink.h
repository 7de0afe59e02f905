/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of a switch to the outside: a TAP interface, a host interface, or a network stack without
 * privileges (libslirp, in a process of its own). An uplink is a port of the switch that is polled by
 * the switch's sidecore.
 */
#ifndef IO_UPLINK_H
#define IO_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <channels/device_class.h>

#define SV_UPLINK_QUEUES 4u   /* of a TAP interface */
#define SV_UPLINK_FORWARDS 16u /* of slirp */

struct sv_uplink;

enum sv_uplink_type { SV_UPLINK_NONE, SV_UPLINK_TAP, SV_UPLINK_PACKET, SV_UPLINK_SLIRP };

/* A port of the host that leads to one of a guest. */
struct sv_uplink_forward {
	bool udp;
	uint32_t host, guest; /* IPv4 addresses, host byte order; host 0: every one */
	uint16_t host_port, guest_port;
};

struct sv_uplink_config {
	enum sv_uplink_type type;
	const char *sw;	    /* the switch */
	const char *dev;    /* tap, packet: the host's interface */
	const char *filter; /* io/net_filter.h; NULL: none */
	unsigned queues;    /* tap; 0: one */
	uint16_t vlan;	    /* untagged outside, this VLAN inside; 0: a trunk */
	/* slirp */
	uint32_t net, mask; /* IPv4, host byte order; 0: 10.0.2.0/24 */
	bool restricted;    /* nothing goes out, but what is forwarded comes in */
	bool host_loopback; /* guests reach this host's 127.0.0.1 as address .2 */
	unsigned forwards;
	struct sv_uplink_forward forward[SV_UPLINK_FORWARDS];
};

/*
 * One key into *c: type (tap, packet, slirp), switch, dev, queues, vlan, filter, net (ADDRESS/BITS),
 * forward (tcp|udp:[HOST:]PORT:[GUEST:]PORT, several with blanks between), restrict, host-loopback
 * (value NULL). @what begins the sentence. Strings are pointed to. Return: 0; -ENOENT: another key; -EINVAL with a
 * sentence.
 */
int sv_uplink_key(const char *what, const char *key, const char *value, struct sv_uplink_config *c,
	struct sv_error *err);
/* Does all of it fit together? Return: 0, or -EINVAL with a sentence. */
int sv_uplink_check(const char *what, const struct sv_uplink_config *c, struct sv_error *err);

/*
 * `tap|packet|slirp:switch=NAME[,KEY=VALUE]...`: the argument of `--uplink`, checked. @text is cut into
 * pieces that *config then points to. Return: 0, or -EINVAL with a sentence.
 */
int sv_uplink_parse(char *text, struct sv_uplink_config *config, struct sv_error *err);

/*
 * Open it and attach it to its switch, which is made on @host when it is not there. Needs what a
 * confined node may not do any more: before sv_node_confine(). Context: control thread. Strings are
 * copied. Return: 0, or -errno with a sentence and nothing left behind.
 */
int sv_uplink_open(struct sv_uplink **out, const struct sv_uplink_config *config,
	struct sv_poller_host *host, struct sv_error *err);
/* Context: control thread. */
void sv_uplink_close(struct sv_uplink *u);
/* `tap:DEV`, `packet:DEV`, `slirp`. */
const char *sv_uplink_name(const struct sv_uplink *u);
/* Only stats: its handle is a struct sv_uplink. */
extern const struct sv_device_class sv_uplink_class;

#endif
