/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Code on the data path of a port of the switch: it sees each frame that the port sends or receives
 * and counts it, drops it, or changes its head. Filters of a port form a chain: frames from the port
 * pass it first to last, frames to the port last to first.
 *
 * A filter runs on the sidecore, in the budget of the port's device: it must not block, allocate or
 * loop over anything a guest wrote without a bound. What it sees in @head is a copy that no sender
 * can change any more; what lies behind that is the sender's memory, see sv_frame_read().
 */
#ifndef IO_NET_FILTER_H
#define IO_NET_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>

struct sv_frame;
struct sv_net_filter;

enum sv_net_direction { SV_NET_FROM_PORT, SV_NET_TO_PORT };
enum sv_net_verdict { SV_NET_PASS, SV_NET_DROP };

struct sv_net_packet {
	/*
	 * The frame's first bytes, without VLAN tag. A filter may change them and says so in @changed;
	 * it cannot change the length. With an offload pending (frame->hdr.flags NEEDS_CSUM) the
	 * checksum field holds the sum of the pseudo-header only. After a change the virtio-net header
	 * is checked against the frame again, and a contradiction drops it.
	 */
	uint8_t *head;
	uint32_t have; /* bytes there: the whole frame or at least SV_FRAME_HEAD - 4 */
	uint32_t len;  /* of the whole frame, without VLAN tag */
	uint16_t vlan; /* 0: none */
	bool changed;
	enum sv_net_direction direction;
	const struct sv_frame *frame; /* all of it without VLAN tag: @head, then the sender's memory */
};

struct sv_net_filter_class {
	const char *name;
	const char *usage; /* what comes behind NAME: in the configuration */
	/* Context: control thread. Return: 0, or -errno with a sentence. */
	int (*create)(struct sv_net_filter **out, const char *config, struct sv_error *err);
	/* No packet is in it any more. Context: control thread. */
	void (*destroy)(struct sv_net_filter *f);
	/* Context: polling thread. */
	enum sv_net_verdict (*packet)(struct sv_net_filter *f, struct sv_net_packet *p);
	/* Counters as a JSON object text the caller frees, or NULL. Context: control thread. */
	char *(*stats)(struct sv_net_filter *f);
};

/* Embedded first in the filter's own struct. */
struct sv_net_filter {
	const struct sv_net_filter_class *class;
	struct sv_net_filter *next, *prev;
	/* Kept by the chain: written by the polling thread, read by anyone (relaxed). */
	uint64_t passed[2], dropped[2]; /* by direction */
};

#define SV_NET_FILTERS 8u /* in one chain */

/*
 * Make a chain of @text: `NAME:CONFIG[;NAME:CONFIG...]`, such as `pcap:arp or tcp;count:`. Nothing
 * in text: no filter, *out is NULL. Context: control thread. Return: 0; -ENOENT (unknown filter) or
 * another -errno, with a sentence.
 */
int sv_net_filter_open(struct sv_net_filter **out, const char *text, struct sv_error *err);
/* The port that had it is detached. NULL is nothing. Context: control thread. */
void sv_net_filter_close(struct sv_net_filter *first);
/* The chain's verdict. Context: polling thread. */
enum sv_net_verdict sv_net_filter_run(struct sv_net_filter *first, struct sv_net_packet *p);
/* The chain as a JSON array text the caller frees, or NULL. Context: control thread. */
char *sv_net_filter_json(struct sv_net_filter *first);

#endif
