/* SPDX-License-Identifier: BSD-3-Clause */
#include "blk_notice.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <channels/atomics.h>

static void say_it(struct blk_notice *n)
{
	uint64_t dropped;

	if (!sv_load_acquire(&n->full))
		return;
	dropped = sv_load_relaxed(&n->dropped) - n->told;
	n->told += dropped;
	if (dropped)
		sv_warn("%s: %s (%llu other lines were not said)", n->who, n->text,
			(unsigned long long)dropped);
	else
		sv_warn("%s: %s", n->who, n->text);
	sv_store_release(&n->full, 0);
}

static void on_notice(void *ctx)
{
	struct blk_notice *n = ctx;
	uint64_t drain;

	if (read(n->fd, &drain, sizeof(drain)) == sizeof(drain))
		say_it(n);
}

int blk_notice_open(struct blk_notice *n, struct sv_poller_host *host, const char *device,
	const char *vm)
{
	int rc;

	*n = (struct blk_notice){.host = host};
	snprintf(n->who, sizeof(n->who), "disk %s of %s", device, vm);
	n->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->fd < 0)
		return -errno;
	rc = host->add_fd(host, n->fd, on_notice, n);
	if (rc < 0) {
		close(n->fd);
		n->fd = -1;
	}
	return rc;
}

void blk_notice_close(struct blk_notice *n)
{
	if (!n->host || n->fd < 0)
		return;
	say_it(n);
	n->host->del_fd(n->host, n->fd);
	close(n->fd);
	n->fd = -1;
}

void blk_notice_say(struct blk_notice *n, const char *fmt, ...)
{
	const uint64_t one = 1;
	va_list ap;

	if (!n)
		return;
	if (sv_load_acquire(&n->full)) {
		sv_store_relaxed(&n->dropped, n->dropped + 1);
		return;
	}
	va_start(ap, fmt);
	vsnprintf(n->text, sizeof(n->text), fmt, ap);
	va_end(ap);
	sv_store_release(&n->full, 1);
	if (write(n->fd, &one, sizeof(one)) < 0)
		return; /* closing says it */
}
