/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's end of one channel, as a poller.
 *
 * Private positions; every request is copied once and the copy is checked and used. What the guest
 * cannot legally have written marks the channel broken: it is not polled for requests any more, the
 * defect is counted, the node goes on.
 */
#ifndef SIDECORE_ENDPOINT_H
#define SIDECORE_ENDPOINT_H

#include <base/gmem.h>
#include <channels/poller.h>
#include <channels/ring.h>
#include <channels/service.h>

#define ENDPOINT_SERVICES 64u

/* The services of one VM by id: filled before its channels are polled, constant afterwards. */
struct sv_service_table {
	const struct sv_service_ops *ops[ENDPOINT_SERVICES];
	void *ctx[ENDPOINT_SERVICES];
};

struct sv_endpoint_counts {
	uint64_t requests, rejected, bad_seq, bad_consumed, stalls;
};

struct sv_endpoint {
	struct sv_poller poller;
	struct sv_channel *shared;
	struct sv_ring_rx req;
	struct sv_ring_tx cpl;
	struct sv_service_call call;
	const struct sv_service_table *services;
	int doorbell; /* eventfd, the endpoint's own */
	bool broken;
	struct sv_endpoint_counts counts; /* written by the sidecore, read relaxed */
};

/*
 * @shared: checked memory of sv_channel_bytes(req_entries, cpl_entries). Positions start at 0.
 * Context: control thread, before the poller is attached.
 */
void sv_endpoint_init(struct sv_endpoint *e, struct sv_channel *shared, uint32_t req_entries,
	uint32_t cpl_entries, uint32_t vcpu, int doorbell, const struct sv_gmem *gmem,
	const struct sv_service_table *services, const char *vm);

#endif
