/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Uplinks between network namespaces: two switches joined by a cable of two ports, everything
 * polled by the test's thread, and real sockets at both ends.
 */
#ifndef TESTS_UPLINK_RIG_H
#define TESTS_UPLINK_RIG_H

#include <io/switch.h>
#include <io/uplink.h>

#define RIG_POLLERS 16u
#define RIG_ENDS 2u

struct rig_host {
	struct sv_poller_host host; /* first */
	struct sv_poller *poller[RIG_POLLERS];
	unsigned n;
	int fd; /* of add_fd() */
	void (*ready)(void *ctx);
	void *ctx;
};

struct rig {
	struct rig_host host;
	int home, ns[RIG_ENDS];             /* network namespaces */
	struct sv_uplink *uplink[RIG_ENDS]; /* of switches "left" and "right" */
	uint32_t longest;                   /* frame on the cable */
};

/* Fails or skips the test by itself. Every namespace has its loopback up. */
void rig_open(struct rig *r, uint32_t cable_offloads);
void rig_close(struct rig *r);
/* Go into a namespace: 0, 1, or -1 for the test's own. */
void rig_enter(struct rig *r, int end);
/* `ip ARGUMENTS` in a namespace. */
void rig_ip(struct rig *r, int end, const char *arguments);
/* Open an uplink of switch "left" or "right" in a namespace; @text as of --uplink, without
 * `switch=`. */
void rig_uplink(struct rig *r, unsigned which, int end, const char *text);
/* Everybody once. */
void rig_turn(struct rig *r);
struct sv_port *rig_port(struct rig *r, unsigned which);

/*
 * Send @bytes by TCP to @address:@port of namespace @to from namespace @from, there and back, while
 * everything turns. Return: did all of it come back as it was sent? @to -2: somebody else serves.
 */
bool rig_tcp(struct rig *r, int from, int to, const char *address, unsigned port,
	const char *listen_on, unsigned listen_port, unsigned bytes);
/* One UDP datagram there and back, tried for a second. */
bool rig_udp(struct rig *r, int from, int to, const char *address, unsigned port);

#endif
