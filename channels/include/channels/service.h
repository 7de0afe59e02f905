/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A service: what a sidecore does for a request that came through a channel.
 *
 * The channel endpoint copies a request once, checks the reserved fields and looks the service up
 * in the channel's table; the handler sees only the copy.
 */
#ifndef CHANNELS_SERVICE_H
#define CHANNELS_SERVICE_H

#include <stdint.h>

#include <base/gmem.h>
#include <sidevisor/channel.h>

/* What a service may know of the channel a request came from. */
struct sv_service_call {
	const struct sv_gmem *gmem; /* the VM's memory, channel window included */
	uint32_t vcpu;
	void *ctx; /* the service instance of this VM */
};

struct sv_service_ops {
	uint16_t id; /* SV_SERVICE_* */
	const char *name;
	/*
	 * Serve one request. @req is a private copy. The handler fills cpl->status and cpl->value;
	 * tag and seq are the caller's. Context: sidecore thread; never blocks.
	 */
	void (*handle)(const struct sv_service_call *call, const struct sv_req *req,
		struct sv_cpl *cpl);
	/*
	 * Work of this service that is not an answer (a measurement under way), called each turn
	 * after the requests. Return: nonzero when something was done. NULL: none.
	 */
	int (*turn)(void *ctx);
};

#endif
