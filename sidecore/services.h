/* SPDX-License-Identifier: BSD-3-Clause */
/* The services that every node has: core, console, and (where allowed) bench. */
#ifndef SIDECORE_SERVICES_H
#define SIDECORE_SERVICES_H

#include <channels/service.h>

/* Stream sockets: they alone can be told per call not to block, whatever the VM sets on them. */
struct sv_console_service {
	int in, out; /* -1: nothing to read; discarded */
};

/* A raw ping-pong under way, see SV_BENCH_PINGPONG. */
struct sv_bench_service {
	uint64_t *line; /* the guest's line; ours is 64 bytes after it */
	uint64_t next, last;
	uint64_t ticks_per_us;
	uint64_t quiet_since, end; /* TSC of the last bounce; when even a lively guest has to stop */
};

extern const struct sv_service_ops sv_core_service; /* ctx: const uint64_t *, the service mask */
extern const struct sv_service_ops sv_console_service_ops;
extern const struct sv_service_ops sv_bench_service_ops;

#endif
