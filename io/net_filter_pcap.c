/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What libpcap's expression language says (man pcap-filter): compiled once to classic BPF, which has
 * no loops, and interpreted by libpcap over the head of each frame. A look behind the head fails, and
 * with it the match.
 */
#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

#include <io/switch.h>

#include "net_filters.h"

struct expression {
	struct sv_net_filter filter;
	struct bpf_program program;
};

static int create(struct sv_net_filter **out, const char *config, struct sv_error *err)
{
	struct expression *x = calloc(1, sizeof(*x));
	pcap_t *dead = pcap_open_dead(DLT_EN10MB, SV_FRAME_HEAD);
	int rc = 0;

	if (!x || !dead)
		rc = sv_fail(err, ENOMEM, "out of memory");
	else if (!*config)
		rc = sv_fail(err, EINVAL, "packet filter pcap: an expression is needed, such as `pcap:arp or ip`");
	else if (pcap_compile(dead, &x->program, config, 1, PCAP_NETMASK_UNKNOWN) < 0)
		rc = sv_fail(err, EINVAL, "packet filter pcap:%.200s: %.200s; see man pcap-filter; "
			"names of hosts and services are not looked up, write numbers", config,
			pcap_geterr(dead));
	if (dead)
		pcap_close(dead);
	if (rc < 0)
		free(x);
	else
		*out = &x->filter;
	return rc;
}

static void destroy(struct sv_net_filter *f)
{
	struct expression *x = (struct expression *)f;

	pcap_freecode(&x->program);
	free(x);
}

static enum sv_net_verdict match(struct sv_net_filter *f, struct sv_net_packet *p)
{
	struct expression *x = (struct expression *)f;
	struct pcap_pkthdr h = {.caplen = p->have, .len = p->len};

	return pcap_offline_filter(&x->program, &h, p->head) ? SV_NET_PASS : SV_NET_DROP;
}

static enum sv_net_verdict match_from(struct sv_net_filter *f, struct sv_net_packet *p)
{
	return p->direction == SV_NET_FROM_PORT ? match(f, p) : SV_NET_PASS;
}

static enum sv_net_verdict match_to(struct sv_net_filter *f, struct sv_net_packet *p)
{
	return p->direction == SV_NET_TO_PORT ? match(f, p) : SV_NET_PASS;
}

const struct sv_net_filter_class sv_net_pcap_class = {.name = "pcap",
	.usage = "pcap:EXPRESSION",
	.create = create,
	.destroy = destroy,
	.packet = match};

const struct sv_net_filter_class sv_net_pcap_from_class = {.name = "pcap-from",
	.usage = "pcap-from:EXPRESSION",
	.create = create,
	.destroy = destroy,
	.packet = match_from};

const struct sv_net_filter_class sv_net_pcap_to_class = {.name = "pcap-to",
	.usage = "pcap-to:EXPRESSION",
	.create = create,
	.destroy = destroy,
	.packet = match_to};
