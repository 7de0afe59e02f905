/* SPDX-License-Identifier: BSD-3-Clause */
/* What `run` and `serve` do to keep a placement: claims on CPUs, isolation, the record. */
#ifndef CLI_ENFORCE_H
#define CLI_ENFORCE_H

#include <host/claims.h>
#include <host/isolate.h>
#include <sidecore/node.h>

#include "cli.h"

struct run_options;

struct enforcement {
	char run_dir[256];
	struct sv_cpus original; /* where this process might run when it began */
	struct sv_cpus exclusive, shared; /* others' claims */
	struct sv_claims *claims;
	struct sv_isolation iso;
	char record[400], *record_text; /* the file beside the VM */
};

/* "auto", "require", "none"; @text NULL: $SIDEVISOR_ISOLATE, else auto. */
int enforce_parse(const char *text, enum sv_isolate *mode, struct sv_error *err);

/*
 * Begin: the run directory, what dead processes left on the host is undone, and this process leaves
 * CPUs that others claim. Return: 0, or -errno with a sentence.
 */
int enforce_open(struct enforcement *e, struct sv_error *err);
/*
 * Look again which CPUs others claim, and stay off them; those in @keep may be used as far as the
 * planner is concerned (a service's sidecores), and with @share those that are shared.
 */
void enforce_avoid(struct enforcement *e, bool share, const int *keep, unsigned nkeep);
/* Choose CPUs, claim them, isolate. @privately: the sidecores are ours. */
int enforce_guest(struct enforcement *e, struct run_options *o, bool privately, struct sv_error *err);
/* The same for a service's sidecores. */
int enforce_sidecores(struct enforcement *e, const struct sv_node_config *c, enum sv_isolate mode,
	bool share, bool explicit_mode, struct sv_error *err);
/*
 * A CPU for a service's control thread: the first that is no sidecore's, if that leaves one for a guest;
 * else the first sidecore's.
 */
int enforce_housekeeping(const struct enforcement *e, const int *sidecore, unsigned n);
/* A descriptor for base/pin.h if this CPU is in the isolated cpuset, else 0. */
int enforce_join_fd(const struct enforcement *e, int cpu);
/* Everything back. After the sidecores and vCPUs have gone. */
void enforce_close(struct enforcement *e);

#endif
