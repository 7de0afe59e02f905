/* SPDX-License-Identifier: BSD-3-Clause */
#include "uplink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <channels/atomics.h>
#include <io/net_filter.h>

#include "switch_private.h"

static const struct uplink_ops *const kinds[] = {&uplink_tap, &uplink_packet, &uplink_slirp};

/* --- polling --------------------------------------------------------------------------------- */

static struct sv_uplink *uplink_of(struct sv_poller *p)
{
	return (struct sv_uplink *)(void *)((char *)p - offsetof(struct sv_uplink, poller));
}

static bool is_time(struct sv_uplink *u)
{
	uint64_t now = u->sw->now_ns;

	if (u->ops->pending)
		return u->ops->pending(u);
	if (now - u->found_ns > UPLINK_HOT_NS && now - u->looked_ns < UPLINK_LOOK_NS)
		return false;
	u->looked_ns = now;
	return true;
}

static enum sv_poll uplink_poll(struct sv_poller *p, unsigned budget)
{
	struct sv_uplink *u = uplink_of(p);
	unsigned got = 0, each = (budget + u->fds - 1) / u->fds;

	if (!is_time(u))
		return SV_POLL_IDLE;
	for (unsigned i = 0; i < u->fds; i++)
		if (!(u->dead & 1u << i))
			got += u->ops->receive(u, i, each);
	if (!got)
		return SV_POLL_IDLE;
	u->found_ns = u->sw->now_ns;
	sv_switch_flush(u->sw);
	return SV_POLL_BUSY;
}

/* Frames make the descriptors readable, which are watched by level: only a ring needs a look. */
static bool uplink_arm(struct sv_poller *p)
{
	struct sv_uplink *u = uplink_of(p);

	return u->ops->pending && u->ops->pending(u);
}

/* Awake: the next poll looks. */
static void uplink_disarm(struct sv_poller *p)
{
	uplink_of(p)->looked_ns = 0;
}

static const struct sv_poller_ops poller_ops = {
	.service = "uplink", .poll = uplink_poll, .arm = uplink_arm, .disarm = uplink_disarm};

void uplink_lost(struct sv_uplink *u, unsigned i)
{
	int silent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (silent >= 0) {
		dup2(silent, u->fd[i]);
		close(silent);
	}
	u->dead |= 1u << i;
	if (u->dead == (1u << u->fds) - 1)
		sv_store_relaxed(&u->port.link_down, 1);
}

/* --- life ------------------------------------------------------------------------------------ */

const struct uplink_ops *uplink_ops_of(enum sv_uplink_type type)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i]->type == type)
			return kinds[i];
	return NULL;
}

static int join_switch(struct sv_uplink *u, const struct sv_uplink_config *config,
	struct sv_poller_host *host, struct sv_error *err)
{
	int rc = sv_switch_get(&u->sw, config->sw, host, err);

	if (rc < 0)
		return rc;
	u->host = sv_switch_host(u->sw);
	rc = sv_switch_attach(u->sw, &u->port, err);
	if (rc == 0 && u->host) {
		rc = u->host->attach(u->host, &u->poller);
		if (rc < 0) {
			sv_switch_detach(u->sw, &u->port);
			sv_fail(err, -rc, "%s: the sidecore takes no more pollers: %s",
				u->port.name, strerror(-rc));
		}
	}
	if (rc < 0)
		sv_switch_put(u->sw);
	return rc;
}

static void describe(struct sv_uplink *u, const struct sv_uplink_config *config)
{
	const char *dev = config->dev ? config->dev : "";

	u->port.ops = &u->ops->port;
	u->port.flags = SV_PORT_LEARN | SV_PORT_UPLINK;
	u->port.vlan = config->vlan;
	snprintf(u->port.name, sizeof(u->port.name), "%s%s%s", u->ops->name, *dev ? ":" : "", dev);
	u->port.max_frame = SV_FRAME_MAX;
	u->poller.ops = &poller_ops;
	snprintf(u->poller.vm, sizeof(u->poller.vm), "(%.20s)", config->sw);
	for (unsigned i = 0; i < SV_POLLER_WAKE_FDS; i++)
		u->poller.wake_fds[i] = -1;
}

int sv_uplink_open(struct sv_uplink **out, const struct sv_uplink_config *config,
	struct sv_poller_host *host, struct sv_error *err)
{
	_Static_assert(
		SV_UPLINK_QUEUES <= SV_POLLER_WAKE_FDS, "each descriptor wakes the sidecore");
	struct sv_uplink *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return sv_fail(err, ENOMEM, "out of memory");
	u->ops = uplink_ops_of(config->type);
	describe(u, config);
	rc = sv_net_filter_open(&u->port.filter, config->filter ? config->filter : "", err);
	if (rc < 0)
		goto fail;
	rc = u->ops->open(u, config, err);
	if (rc < 0)
		goto fail;
	for (unsigned i = 0; i < u->fds; i++)
		u->poller.wake_fds[i] = u->fd[i];
	rc = join_switch(u, config, host, err);
	if (rc < 0) {
		u->ops->close(u);
		goto fail;
	}
	if (u->ops->watch)
		u->ops->watch(u);
	*out = u;
	return 0;
fail:
	sv_net_filter_close(u->port.filter);
	free(u);
	return rc;
}

void sv_uplink_close(struct sv_uplink *u)
{
	if (u->ops->unwatch)
		u->ops->unwatch(u);
	if (u->host)
		u->host->detach(u->host, &u->poller);
	sv_switch_detach(u->sw, &u->port);
	sv_switch_put(u->sw);
	u->ops->close(u);
	sv_net_filter_close(u->port.filter);
	free(u);
}

const char *sv_uplink_name(const struct sv_uplink *u)
{
	return u->port.name;
}

static char *uplink_stats(void *handle)
{
	return sv_port_json(&((const struct sv_uplink *)handle)->port);
}

const struct sv_device_class sv_uplink_class = {
	.kind = SV_DEVICE_NET, .name = "uplink", .stats = uplink_stats};
