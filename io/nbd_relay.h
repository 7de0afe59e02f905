/* SPDX-License-Identifier: BSD-3-Clause */
/* Between libnbd and a socket that a VM process shares: see nbd_link.h. */
#ifndef IO_NBD_RELAY_H
#define IO_NBD_RELAY_H

#include "nbd_link.h"

int nbd_relay_alloc(struct nbd_link *l);
void nbd_relay_free(struct nbd_link *l);
/* Takes @sock over. Return: what libnbd gets, @sock itself when nothing is relayed; or -errno. */
int nbd_relay_open(struct nbd_link *l, int sock);
void nbd_relay_close(struct nbd_link *l);
bool nbd_relay_carry(struct nbd_link *l);

#endif
