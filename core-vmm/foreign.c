/* SPDX-License-Identifier: BSD-3-Clause */
#include "foreign.h"

#include <errno.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define WHAT "--vhost-user"
#define FS_PRIORITY 1u /* queues of a shared folder before those of requests */
#define DEFAULT_QUEUES 4u

struct one {
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct virtio_fs_config fs;
	struct sv_virtio_pci *virtio;
};

struct sv_foreign {
	unsigned n;
	struct one at[SV_MAX_FOREIGN];
};

static const uint32_t virtio_kind[] = {[SV_FOREIGN_BLK] = VIRTIO_ID_BLOCK,
	[SV_FOREIGN_NET] = VIRTIO_ID_NET,
	[SV_FOREIGN_FS] = VIRTIO_ID_FS};

static int dial(const char *path, struct sv_error *err)
{
	struct timeval most = {.tv_sec = VHOST_FRONT_DEADLINE_MS / 1000};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, e;

	if (strlen(path) >= sizeof(a.sun_path))
		return sv_fail(err, ENAMETOOLONG, WHAT " %s: a socket's path has at most %zu characters",
			path, sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* One that listens and accepts nobody lets us wait. */
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	e = errno;
	if (fd >= 0)
		close(fd);
	if (e == ENOENT || e == ECONNREFUSED)
		return sv_fail(err, e, WHAT " %s: nobody listens there; start the back end first", path);
	if (e == EAGAIN)
		return sv_fail(err, ETIMEDOUT, WHAT " %s: it listens, and takes no connection; see its "
			"messages", path);
	return sv_fail(err, e, WHAT " %s: %s", path, strerror(e));
}

static unsigned queues_of(const struct sv_vm *vm, const struct sv_foreign_config *c)
{
	unsigned most = VIRTIO_PCI_QUEUES, n = c->queues;

	if (c->kind == SV_FOREIGN_FS) /* the usual back end has one for requests */
		return (n ? n : 1) + FS_PRIORITY;
	if (c->kind == SV_FOREIGN_NET) /* it says how many pairs */
		return most;
	if (!n)
		n = vm->nvcpus < DEFAULT_QUEUES ? vm->nvcpus : DEFAULT_QUEUES;
	return n < most ? n : most;
}

static int open_one(struct sv_foreign *f, struct sv_vm *vm, struct sv_pci *pci,
	const struct sv_gmem *ram, const struct sv_foreign_config *c, struct sv_error *err)
{
	struct one *o = &f->at[f->n];
	struct sv_virtio_pci_options options = {.name = o->name,
		.kind = virtio_kind[c->kind],
		.queues = queues_of(vm, c),
		.ram = ram,
		.sock = dial(c->path, err)};
	int rc;

	if (options.sock < 0)
		return options.sock;
	snprintf(o->name, sizeof(o->name), "%s", c->path);
	if (c->kind == SV_FOREIGN_FS) {
		memcpy(o->fs.tag, c->tag, strnlen(c->tag, sizeof(o->fs.tag)));
		sv_put32((uint8_t *)&o->fs.num_request_queues, options.queues - FS_PRIORITY);
		options.config = (const uint8_t *)&o->fs;
	}
	o->virtio = sv_virtio_pci_create(pci, &options, &rc, err);
	if (!o->virtio) {
		close(options.sock);
		return rc;
	}
	f->n++;
	return 0;
}

static int check(const struct sv_vm *vm, struct sv_error *err)
{
	const struct sv_vm_config *c = vm->config;

	if (vm->lwk)
		return sv_fail(err, EINVAL, WHAT " %s: this kernel has channels and no PCI; leave it out",
			c->foreign[0].path);
	if (c->source.path)
		return sv_fail(err, ENOTSUP, WHAT " and --memory-source: another program does not know "
			"which memory has not arrived; leave one of them out");
	return 0;
}

int sv_foreign_create(struct sv_vm *vm, struct sv_pci *pci, const struct sv_gmem *ram,
	struct sv_foreign **out, struct sv_error *err)
{
	const struct sv_vm_config *c = vm->config;
	struct sv_foreign *f;
	int rc;

	*out = NULL;
	if (!c->nforeign)
		return 0;
	rc = check(vm, err);
	if (rc < 0)
		return rc;
	f = calloc(1, sizeof(*f));
	if (!f)
		return sv_fail(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < c->nforeign && rc == 0; i++)
		rc = open_one(f, vm, pci, ram, &c->foreign[i], err);
	if (rc < 0)
		sv_foreign_destroy(f);
	else
		*out = f;
	return rc;
}

void sv_foreign_destroy(struct sv_foreign *f)
{
	if (!f)
		return;
	while (f->n)
		sv_virtio_pci_destroy(f->at[--f->n].virtio);
	free(f);
}

unsigned sv_foreign_poll_fds(const struct sv_foreign *f, int *fds, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; f && i < f->n; i++)
		n += sv_virtio_pci_poll_fds(f->at[i].virtio, fds + n, max - n);
	return n;
}

int sv_foreign_poll(struct sv_foreign *f, int fd, struct sv_error *err)
{
	int rc = 0;

	for (unsigned i = 0; f && i < f->n && rc == 0; i++)
		rc = sv_virtio_pci_polled(f->at[i].virtio, fd, err);
	return rc;
}

int sv_foreign_log(struct sv_foreign *f, int fd, uint64_t bytes, struct sv_error *err)
{
	int cannot = 0;

	for (unsigned i = 0; f && i < f->n; i++) {
		int rc = sv_virtio_pci_log(f->at[i].virtio, fd, bytes, err);

		if (rc < 0 && rc != -ENOTSUP)
			return rc;
		cannot += rc == -ENOTSUP;
	}
	return cannot;
}
