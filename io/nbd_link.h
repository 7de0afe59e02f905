/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection to an NBD server that comes back: asked of a dialer (base/dial.h), shaken hands on, and
 * checked against the export that the disk was made for. Nothing here blocks.
 *
 * The dialer may be a VM process's: the socket that it passes is hostile, and who shares a socket can
 * make its other users block. libnbd then has one end of a pair of our own, and what goes through it
 * is carried over to that socket here.
 *
 * Context: polling thread, but for open and close.
 */
#ifndef IO_NBD_LINK_H
#define IO_NBD_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include <base/dial.h>

#include "blk_notice.h"
#include "nbd_library.h"

#define NBD_RELAY_BYTES (256u << 10)

enum nbd_link_state {
	NBD_DOWN,
	NBD_DIALING, /* the dialer was asked */
	NBD_SHAKING,
	NBD_UP,
	NBD_DEAD, /* for ever; why says why */
};

/* One direction of what is carried over. */
struct nbd_pipe {
	uint32_t at, end;
	bool eof;
	uint8_t *bytes; /* NBD_RELAY_BYTES */
};

struct nbd_link {
	const struct nbd_calls *nbd;
	struct blk_notice *notice;
	enum nbd_link_state state;
	int dialer, epoll_fd; /* epoll_fd is readable when drive() may have something to do */
	struct sv_export export;
	uint32_t serial;
	char why[SV_DIAL_TEXT];
	unsigned failures; /* since it was last up */
	uint64_t down_since_ms, asked_ms;

	struct nbd_handle *h;
	bool relayed;
	int outer, inner; /* relayed: the passed socket, and our other end; else -1 */
	struct nbd_pipe out, in;

	/* While it is up. */
	bool can_fua, can_flush, multi_conn;
	uint32_t most; /* bytes of one transfer */
	uint64_t connections; /* that were up, ever */
};

/*
 * @dialer is the link's on success. @trusted: it is our own child. Return: 0, or -errno with a
 * sentence.
 */
int nbd_link_open(struct nbd_link *l, int dialer, const struct sv_export *export, bool trusted,
	struct blk_notice *notice, struct sv_error *err);
void nbd_link_close(struct nbd_link *l);

/* Move bytes, dial, shake hands. Return: its state, which may have changed. */
enum nbd_link_state nbd_link_drive(struct nbd_link *l, uint64_t now_ms);
/* Give the connection up: no operation of libnbd is alive afterwards. */
void nbd_link_drop(struct nbd_link *l, uint64_t now_ms, const char *why);
/* Before a sleep. Return: there is something to do at once. */
bool nbd_link_arm(struct nbd_link *l, uint64_t now_ms);

uint64_t nbd_now_ms(void);

#endif
