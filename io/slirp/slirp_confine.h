/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef IO_SLIRP_CONFINE_H
#define IO_SLIRP_CONFINE_H

/*
 * Give up what is not needed once forwards are bound: the user root, other descriptors were never there,
 * and every system call but those of sockets of the Internet. Return: 0 or -errno.
 */
int slirp_confine(void);

#endif
