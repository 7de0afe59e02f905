/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between a slirp uplink and its process, sidevisor-slirp: a SOCK_SEQPACKET socket, descriptor 3
 * there. One Ethernet frame is one message. The process's first message says how it came up: one
 * byte, an errno or 0, then a sentence.
 */
#ifndef IO_UPLINK_SLIRP_H
#define IO_UPLINK_SLIRP_H

#define SLIRP_FD 3
#define SLIRP_MTU 1500u
#define SLIRP_FRAME (SLIRP_MTU + 14u)
#define SLIRP_PROGRAM "sidevisor-slirp"

/*
 * Its arguments: network and mask in hexadecimal, flags, then for each forward
 * `tcp|udp:HOST:PORT:GUEST:PORT`, addresses in hexadecimal, ports in decimal.
 */
#define SLIRP_RESTRICT 1u
#define SLIRP_LOOPBACK 2u

#endif
