/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtio devices whose other half is at the node: how each was asked for, so that it can be asked
 * for once more when the sidecore process went away and came back.
 */
#ifndef CORE_VMM_LINKS_H
#define CORE_VMM_LINKS_H

#include <channels/control.h>

#include "devices.h"
#include "virtio_pci.h"

#define SV_LINKS 64u
#define SV_LINK_FDS 8u

struct sv_links {
	const struct sv_device_link *link;
	unsigned n;
	struct {
		struct sv_virtio_pci *virtio;
		struct sv_control_device ask;
		int fds[SV_LINK_FDS]; /* the caller's; they stay open as long as the device */
		unsigned nfds;
	} at[SV_LINKS];
};

/* Ask for a device and plug it. @name outlives it. Return: it, or NULL with -errno in *rc. */
struct sv_virtio_pci *sv_links_connect(struct sv_links *l, struct sv_pci *pci,
	const struct sv_gmem *ram, const char *name, struct sv_control_device *ask, const int *fds,
	unsigned nfds, int *rc, struct sv_error *err);

/* As sv_devices_poll_fds() and sv_devices_poll(); no descriptor for a device that is away. */
unsigned sv_links_poll_fds(const struct sv_links *l, int *fds, unsigned max);
int sv_links_poll(struct sv_links *l, int fd, struct sv_error *err);

/* sv_virtio_pci_log() for each. Return: how many cannot, or -errno with a sentence. */
int sv_links_log(struct sv_links *l, int fd, uint64_t bytes, struct sv_error *err);

/* How many devices are away; the name of one; NULL: none is. Context: control thread. */
unsigned sv_links_away(const struct sv_links *l);
const char *sv_links_first_away(const struct sv_links *l);
/* Ask for every device that is away. Return: 0, or -errno with a sentence at the first that fails. */
int sv_links_return(struct sv_links *l, struct sv_error *err);

#endif
