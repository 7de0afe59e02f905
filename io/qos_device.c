/* SPDX-License-Identifier: BSD-3-Clause */
#include "qos_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <base/clock.h>
#include <channels/atomics.h>

/* The scheduler of a sidecore, as long as it has devices. Control thread. */
struct domain {
	struct domain *next;
	struct sv_poller_host *host;
	struct sv_qos *qos;
	unsigned devices;
};

static struct domain *domains;

static struct domain *domain_get(struct sv_poller_host *host)
{
	struct domain *d = domains;

	while (d && d->host != host)
		d = d->next;
	if (!d) {
		d = calloc(1, sizeof(*d));
		if (!d)
			return NULL;
		d->qos = sv_qos_create();
		if (!d->qos) {
			free(d);
			return NULL;
		}
		d->host = host;
		d->next = domains;
		domains = d;
	}
	d->devices++;
	return d;
}

static void domain_put(const struct sv_poller_host *host)
{
	for (struct domain **at = &domains; *at; at = &(*at)->next) {
		struct domain *d = *at;

		if (d->host != host)
			continue;
		if (!--d->devices) {
			*at = d->next;
			sv_qos_destroy(d->qos);
			free(d);
		}
		return;
	}
}

int qos_device_open(struct qos_device *d, struct sv_poller_host *host, uint64_t store,
	uint32_t least, const struct sv_control_qos *wish, struct sv_error *err)
{
	struct sv_qos_params p;
	struct domain *domain;
	int rc = sv_qos_from_wish(&p, wish, err);

	*d = (struct qos_device){.host = host, .timer = -1};
	if (rc < 0)
		return rc;
	domain = domain_get(host);
	if (!domain)
		return sv_fail(err, ENOMEM, "the node is out of memory");
	rc = sv_qos_open(&d->flow, domain->qos, store, least, &p, err);
	if (rc == 0) {
		d->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (d->timer >= 0)
			return 0;
		rc = sv_fail(err, errno, "timerfd: %s", strerror(errno));
		sv_qos_close(d->flow);
		d->flow = NULL;
	}
	domain_put(host);
	return rc;
}

void qos_device_close(struct qos_device *d)
{
	if (!d->flow)
		return;
	sv_qos_close(d->flow);
	d->flow = NULL;
	close(d->timer);
	d->timer = -1;
	domain_put(d->host);
}

int qos_device_set(struct qos_device *d, const char *key, const char *value, struct sv_error *err)
{
	struct sv_qos_params p;
	int rc;

	sv_qos_get_params(d->flow, &p);
	rc = sv_qos_param(&p, key, value, err);
	if (rc == 0)
		rc = sv_qos_check(&p, err);
	if (rc == 0)
		sv_qos_set_params(d->flow, &p);
	return rc;
}

/* --- the polling thread's -------------------------------------------------------------------- */

void qos_device_visit(struct qos_device *d)
{
	sv_qos_visit(d->flow, sv_clock_ns());
}

void qos_device_tick(struct qos_device *d)
{
	sv_qos_tick(d->flow, sv_clock_ns());
}

static void set_timer(struct qos_device *d, uint64_t at_ns)
{
	struct itimerspec t = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000u),
				       .tv_nsec = (long)(at_ns % 1000000000u)}};

	d->timed = timerfd_settime(d->timer, TFD_TIMER_ABSTIME, &t, NULL) == 0;
}

bool qos_device_arm(struct qos_device *d, bool *pending)
{
	uint64_t until;

	switch (sv_qos_waits(d->flow, &until)) {
	case SV_QOS_TIME:
		*pending = until <= sv_clock_ns();
		if (!*pending)
			set_timer(d, until);
		*pending |= !d->timed;
		return true;
	case SV_QOS_COMPLETION: /* which wakes the sidecore for whoever it belongs to */
		*pending = false;
		return true;
	case SV_QOS_TURN:
		*pending = true;
		return true;
	default:
		return false;
	}
}

void qos_device_disarm(struct qos_device *d)
{
	uint64_t expirations;

	if (d->timed && read(d->timer, &expirations, sizeof(expirations)) < 0) {
		static const struct itimerspec never;

		timerfd_settime(d->timer, 0, &never, NULL);
	}
	d->timed = false;
}
