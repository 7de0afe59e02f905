/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef IO_SLIRP_CONFINE_H
#define IO_SLIRP_CONFINE_H

/*
 * Give up what is not needed once forwards are bound: the user root (other descriptors were never there),
 * files but for reading those beside /etc/resolv.conf and its target (where the kernel has Landlock, else
 * only writing is given up), and every system call but those of Internet sockets and of reading.
 * Return: 0 or -errno.
 */
int slirp_confine(void);

#endif
