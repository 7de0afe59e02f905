/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's end of one channel, as a poller.
 *
 * channels/server.h takes requests and counts defects; here they meet their services. A broken
 * channel is not polled for requests any more, and the node goes on.
 */
#ifndef SIDECORE_ENDPOINT_H
#define SIDECORE_ENDPOINT_H

#include <base/gmem.h>
#include <channels/poller.h>
#include <channels/server.h>
#include <channels/service.h>

#define ENDPOINT_SERVICES 8u

/*
 * The services of one VM by id: constant once published, replaced as a whole (RCU: the old one is
 * freed after a grace period).
 */
struct sv_service_table {
	const struct sv_service_ops *ops[ENDPOINT_SERVICES];
	void *ctx[ENDPOINT_SERVICES];
	uint32_t turning; /* bit per service that has a turn */
};

struct sv_endpoint {
	struct sv_poller poller;
	struct sv_server server;
	struct sv_service_call call;
	const struct sv_service_table *services; /* RCU */
	int doorbell;				 /* eventfd, the endpoint's own */
	/* Written by the sidecore, read relaxed. */
	uint64_t served[ENDPOINT_SERVICES]; /* requests answered by each service */
	uint64_t unknown;		    /* requests for a service that is not there */
};

/*
 * @shared: checked memory of sv_channel_bytes(req_entries, cpl_entries). Positions start at 0.
 * Context: control thread, before the poller is attached.
 */
void sv_endpoint_init(struct sv_endpoint *e, struct sv_channel *shared, uint32_t req_entries,
	uint32_t cpl_entries, uint32_t vcpu, int doorbell, const struct sv_gmem *gmem,
	const struct sv_service_table *services, const char *vm);

/* Put a service into a table that is not published yet. */
void sv_service_table_add(struct sv_service_table *t, const struct sv_service_ops *ops, void *ctx);

/* Serve by @services from now on. Context: control thread. */
void sv_endpoint_set_services(struct sv_endpoint *e, const struct sv_service_table *services);

#endif
