/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How pager/ and sidecore/ meet without seeing each other. A VM whose memory arrives while it runs
 * has one pager, with a unit for each NUMA node of its memory; whoever composes the node (cli/)
 * registers the class.
 */
#ifndef CHANNELS_PAGER_CLASS_H
#define CHANNELS_PAGER_CLASS_H

#include <base/error.h>
#include <base/gmem.h>
#include <channels/control.h>
#include <channels/poller.h>

struct sv_poller_host;

struct sv_pager_request {
	const struct sv_control_pager *unit; /* the VM process's words, unchecked */
	const int *fds;			     /* add() owns them when it succeeds */
	unsigned nfds;
	const struct sv_gmem *gmem; /* the VM's memory; lives longer than the pager */
	struct sv_poller_host *host; /* of the sidecore that polls the unit */
	const char *vm;
};

/* Context of every call: the control thread. */
struct sv_pager_class {
	/* Make a pager without units. Return: NULL when out of memory. */
	void *(*create)(void);
	/* One unit more. On failure no descriptor has been closed. Return: 0, or -errno with a sentence. */
	int (*add)(void *pager, const struct sv_pager_request *req, struct sv_error *err);
	/* What is there, for every device of the VM. Lives as long as the pager. */
	struct sv_residency *(*residency)(void *pager);
	/* All units are known and the VM process has written what it writes: serve. */
	int (*start)(void *pager, struct sv_error *err);
	/* No device asks any more. */
	void (*destroy)(void *pager);
	/* Counters as a JSON object text the caller frees, or NULL. */
	char *(*stats)(void *pager);
};

#endif
