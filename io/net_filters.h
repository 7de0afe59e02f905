/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet filters there are. A new one is a class here and a line in net_filter.c. */
#ifndef IO_NET_FILTERS_H
#define IO_NET_FILTERS_H

#include <io/net_filter.h>

/* Frames and bytes by protocol. */
extern const struct sv_net_filter_class sv_net_count_class;
/* Set the DSCP of IP packets. */
extern const struct sv_net_filter_class sv_net_dscp_class;
/* Pass what a libpcap expression matches: both ways, from the port only, to the port only. */
extern const struct sv_net_filter_class sv_net_pcap_class, sv_net_pcap_from_class,
	sv_net_pcap_to_class;

#endif
