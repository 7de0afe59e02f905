/* SPDX-License-Identifier: BSD-3-Clause */
/* Remote disks: what a process that serves them loads beforehand, and the dialer (base/dial.h). */
#ifndef IO_DIAL_H
#define IO_DIAL_H

#include <base/dial.h>

/* Load libnbd: before the process is confined. Return: 0, or -ENOENT with a sentence. */
int sv_nbd_preload(struct sv_error *err);

/*
 * Be the dialer of @spec on @sock, which it closes, until the other end goes. Context: a process of
 * its own. Return: 0, or -errno (the other end has the sentence).
 */
int sv_dial_main(const struct sv_dial_spec *spec, int sock);

#endif
