/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port of a switch for front ends that are not ours: QEMU, Cloud Hypervisor, User-mode Linux. A
 * listening Unix socket, one front end at a time; when it goes the next may come.
 */
#ifndef IO_NET_EXPORT_H
#define IO_NET_EXPORT_H

#include <stdbool.h>

#include <base/error.h>
#include <channels/device_class.h>

struct sv_net_export;

struct sv_net_export_config {
	const char *socket;	   /* created; a stale one is replaced, any other file is respected */
	uint32_t flags;		   /* SV_DEVICE_F_SPOOF, _TRUNK */
	unsigned pairs;		   /* of queues; 0: one */
	struct sv_control_qos qos; /* of what the front end sends */
	struct sv_control_net net; /* an address of zero: one that follows from the socket's name */
};

/*
 * Listen, serve on @host. Context: control thread. Strings are copied.
 * Return: 0, or -errno with a sentence and nothing left behind.
 */
int sv_net_export_open(struct sv_net_export **out, const struct sv_net_export_config *config,
	struct sv_poller_host *host, struct sv_error *err);
const char *sv_net_export_name(const struct sv_net_export *e);
/* Its stats and set ops, for the node; the handle is the export. */
extern const struct sv_device_class sv_net_export_class;
/* End the session there is, remove the socket. Context: control thread. */
void sv_net_export_close(struct sv_net_export *e);

/*
 * `path=SOCKET,switch=NAME[,mac=ADDRESS][,vlan=N][,mtu=N][,queues=N][,spoof][,trunk][,filter=FILTERS]`
 * and the keys of io/qos.h: the argument of `serve --net`. @text is cut into pieces that *config then points to.
 * Return: 0, or -EINVAL with a sentence.
 */
int sv_net_export_parse(char *text, struct sv_net_export_config *config, struct sv_error *err);

/*
 * One key of a network interface into *c: switch, mac, vlan, mtu, filter (io/net_filter.h), or queues into *pairs; @what
 * begins the sentence. Return: 0; -ENOENT: another key; -EINVAL with a sentence.
 */
int sv_net_key(const char *what, const char *key, const char *value, struct sv_control_net *c,
	unsigned *pairs, struct sv_error *err);

#endif
