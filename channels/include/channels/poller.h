/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a sidecore's reactor polls. The reactor knows nothing of rings, virtqueues or disks: it
 * receives pollers through this ops struct and calls them from its one pinned thread.
 *
 * Life: the creator fills `ops`, `vm`, `wake_fds`; attaches it (sidecore/reactor.h); from then on
 * every op runs on the sidecore thread, one at a time; after sv_reactor_detach() returned no op
 * runs any more and the creator may change or free it.
 */
#ifndef CHANNELS_POLLER_H
#define CHANNELS_POLLER_H

#include <stdbool.h>
#include <stdint.h>

enum sv_poll {
	SV_POLL_IDLE = 0, /* found nothing */
	SV_POLL_BUSY = 1, /* did something: poll again soon */
};

struct sv_poller;

struct sv_poller_ops {
	const char *service; /* the key for accounting: "channel", "blk", "console" */
	/*
	 * Do at most @budget units of work. Context: sidecore thread; never blocks, makes no
	 * unbounded loop over anything a guest wrote.
	 */
	enum sv_poll (*poll)(struct sv_poller *p, unsigned budget);
	/*
	 * The sidecore is about to sleep: ask the peer for notifications, full fence, re-check.
	 * Return: true when work is pending after all (the sidecore then does not sleep).
	 * NULL: nothing to ask for.
	 */
	bool (*arm)(struct sv_poller *p);
	/*
	 * The sidecore is awake again: no notifications, please. May be called without arm(). Drains
	 * its own wake_fds, unless they are watched by edge. May be NULL.
	 */
	void (*disarm)(struct sv_poller *p);
};

#define SV_POLLER_WAKE_FDS 4
#define SV_POLLER_VM_NAME 32

struct sv_poller_ticks {
	uint64_t busy_ticks; /* TSC ticks of polls that returned BUSY */
	uint64_t idle_ticks; /* TSC ticks of polls that returned IDLE */
	uint64_t busy_polls;
	uint64_t idle_polls;
};

struct sv_poller {
	const struct sv_poller_ops *ops;
	char vm[SV_POLLER_VM_NAME]; /* the key for accounting: which VM this is for */
	int wake_fds[SV_POLLER_WAKE_FDS]; /* readable when there is work while armed; -1: unused */
	/* Every write wakes, read or not: for descriptors of a VM, where a read might block. */
	bool wake_by_edge;
	struct sv_poller_ticks ticks;	  /* written by the sidecore thread, read by anyone (relaxed) */
	uint32_t crowd; /* how many pollers share the sidecore: written by the reactor, relaxed */
	/* Of the poll that just returned BUSY: ticks it only waited in vain; accounted as idle. */
	uint64_t waited_ticks;
};

#endif
