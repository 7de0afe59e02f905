/* SPDX-License-Identifier: BSD-3-Clause */
#include "rejoin.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include <channels/atomics.h>
#include <vmm/vmm.h>

#include "devices.h"
#include "node.h"
#include "pager.h"
#include "settings.h"

#define LONG_MS 1000
/*
 * It may refuse what it still has: our last attempt, which was too slow for us, is on its way out, and so
 * are other VMs' connections.
 */
#define REFUSED_MS 10000
/* A process that ends closes all of its connections at once, but not in any order. */
#define ALONE_MS 3000

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

int sv_rejoin_watch(struct sv_rejoin *r, struct sv_error *err)
{
	const char *away = r->lost ? NULL : sv_devices_away(r->vm);

	if (!away)
		r->alone_ms = 0;
	else if (!r->alone_ms)
		r->alone_ms = now_ms();
	if (!r->alone_ms || now_ms() - r->alone_ms < ALONE_MS)
		return 0;
	return sv_fail(err, ECONNRESET,
		"%s: the sidecore process goes on, but not with this device; see its messages", away);
}

bool sv_rejoin_lost(struct sv_rejoin *r)
{
	const struct sv_vm_config *c = r->vm->config;

	if (!c->rejoin || !c->rejoin_s)
		return false;
	if (!r->lost) {
		r->lost_ms = now_ms();
		sv_warn("%s: the sidecore process went away; waiting up to %u s for it to come back",
			c->name, c->rejoin_s);
	}
	r->lost = true;
	r->refused_ms = r->alone_ms = 0; /* it was the first of its process's connections to close */
	r->why.text[0] = 0;
	*r->node_sock = -1; /* the one that gave it closes it */
	return true;
}

/* What is worth another attempt: the new one went away too, or is not ready yet. */
static bool passing(int rc)
{
	return rc == -EAGAIN || rc == -ECONNRESET || rc == -EPIPE || rc == -ETIMEDOUT ||
	       rc == -ECONNREFUSED || rc == -ENOENT;
}

static int attach(struct sv_rejoin *r, struct sv_error *err)
{
	const struct sv_vm_config *c = r->vm->config;
	int rc = sv_node_hello(*r->node_sock, c->name, r->vm->nvcpus, c->vcpu_sidecore_cpu[0], NULL,
		err);

	if (rc == 0)
		rc = sv_node_memory(*r->node_sock, r->vm, err);
	if (rc == 0)
		rc = sv_pager_return(r->vm, *r->node_sock, err);
	if (rc == 0)
		rc = sv_devices_return(r->vm, err);
	if (rc == 0 && r->vm->settings)
		sv_settings_say(r->vm->settings, *r->node_sock, c->name);
	return rc == 0 ? sv_node_start(*r->node_sock, err) : rc;
}

static int once(struct sv_rejoin *r, struct sv_error *err)
{
	const struct sv_vm_config *c = r->vm->config;
	int sock, rc;

	/* A connection that is still open has transfers behind it that may still arrive. */
	if (!sv_devices_all_away(r->vm))
		return sv_fail(err, EAGAIN, "the last transfers of the old one are not over");
	sock = c->rejoin(c->rejoin_ctx, err);
	if (sock < 0)
		return sock;
	*r->node_sock = sock;
	rc = attach(r, err);
	if (rc < 0) {
		/* Devices that are back already see the end of this one too. */
		shutdown(sock, SHUT_RDWR);
		*r->node_sock = -1;
	}
	return rc;
}

int sv_rejoin_try(struct sv_rejoin *r, struct sv_error *err)
{
	const struct sv_vm_config *c = r->vm->config;
	int rc = once(r, &r->why);
	int64_t gone = now_ms() - r->lost_ms;

	if (rc == 0) {
		r->lost = false;
		sv_store_relaxed(&r->vm->rejoins, r->vm->rejoins + 1);
		sv_store_relaxed(&r->vm->outage_ms, (uint64_t)gone);
		sv_warn("%s: the sidecore process is back after %lld ms", c->name, (long long)gone);
		if (gone >= LONG_MS)
			sv_warn("%s: what took so long: %.400s", c->name, r->why.text);
		return 0;
	}
	if (passing(rc))
		r->refused_ms = 0;
	else if (!r->refused_ms)
		r->refused_ms = now_ms();
	if (r->refused_ms && now_ms() - r->refused_ms > REFUSED_MS)
		return sv_fail(err, -rc, "the sidecore process went away, and the VM cannot go on with "
			"the new one: %.400s", r->why.text);
	if (gone > c->rejoin_s * 1000ll)
		return sv_fail(err, ETIMEDOUT,
			"the sidecore process went away and did not come back within %u s (--rejoin); "
			"the last attempt: %.300s", c->rejoin_s, r->why.text);
	return -EAGAIN;
}
