/* SPDX-License-Identifier: BSD-3-Clause */
#include "links.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct sv_virtio_pci *sv_links_connect(struct sv_links *l, struct sv_pci *pci,
	const struct sv_gmem *ram, const char *name, struct sv_control_device *ask, const int *fds,
	unsigned nfds, int *rc, struct sv_error *err)
{
	struct sv_virtio_pci_options options = {.name = name,
		.kind = ask->kind,
		.queues = ask->queues,
		.ram = ram,
		.returns = l->link->returns};
	struct sv_virtio_pci *v;

	SV_BUG_ON(nfds > SV_LINK_FDS);
	if (l->n == SV_LINKS) {
		*rc = sv_fail(err, ENOSPC, "%s: at most %u virtio devices", name, SV_LINKS);
		return NULL;
	}
	snprintf(ask->name, sizeof(ask->name), "%s", name);
	options.sock = l->link->connect(l->link->ctx, ask, fds, nfds, err);
	if (options.sock < 0) {
		*rc = options.sock;
		return NULL;
	}
	v = sv_virtio_pci_create(pci, &options, rc, err);
	if (!v) {
		close(options.sock);
		return NULL;
	}
	l->at[l->n].virtio = v;
	l->at[l->n].ask = *ask;
	memcpy(l->at[l->n].fds, fds, nfds * sizeof(fds[0]));
	l->at[l->n++].nfds = nfds;
	return v;
}

unsigned sv_links_poll_fds(const struct sv_links *l, int *fds, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->n; i++)
		n += sv_virtio_pci_poll_fds(l->at[i].virtio, fds + n, max - n);
	return n;
}

int sv_links_poll(struct sv_links *l, int fd, struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < l->n && rc == 0; i++)
		rc = sv_virtio_pci_polled(l->at[i].virtio, fd, err);
	return rc;
}

unsigned sv_links_away(const struct sv_links *l)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->n; i++)
		n += sv_virtio_pci_away(l->at[i].virtio);
	return n;
}

const char *sv_links_first_away(const struct sv_links *l)
{
	for (unsigned i = 0; i < l->n; i++)
		if (sv_virtio_pci_away(l->at[i].virtio))
			return l->at[i].ask.name;
	return NULL;
}

int sv_links_return(struct sv_links *l, struct sv_error *err)
{
	for (unsigned i = 0; i < l->n; i++) {
		int sock, rc;

		if (!sv_virtio_pci_away(l->at[i].virtio))
			continue;
		sock = l->link->connect(l->link->ctx, &l->at[i].ask, l->at[i].fds, l->at[i].nfds, err);
		if (sock < 0)
			return sock;
		rc = sv_virtio_pci_return(l->at[i].virtio, sock, err);
		if (rc < 0) {
			close(sock);
			return rc;
		}
	}
	return 0;
}

int sv_links_log(struct sv_links *l, int fd, uint64_t bytes, struct sv_error *err)
{
	int cannot = 0;

	for (unsigned i = 0; i < l->n; i++) {
		int rc = sv_virtio_pci_log(l->at[i].virtio, fd, bytes, err);

		if (rc < 0 && rc != -ENOTSUP)
			return rc;
		cannot += rc == -ENOTSUP;
	}
	return cannot;
}
