/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reactor: one pinned thread that polls.
 *
 * It polls a snapshot of struct sv_poller under RCU (liburcu-qsbr, a quiescent state each turn), so
 * that pollers come and go while others keep being served. Idle, it climbs a ladder: spin, rest
 * between the looks (TPAUSE or MWAITX where the CPU has it, else PAUSE), then arm every poller, look
 * once more, and sleep in epoll_wait with a deadline. With nothing to poll it sleeps at once.
 *
 * Every TSC tick of the thread is in exactly one account: of a poller, busy or idle, or sleep.
 */
#ifndef SIDECORE_REACTOR_H
#define SIDECORE_REACTOR_H

#include <stdbool.h>
#include <stdint.h>

#include <base/error.h>
#include <channels/poller.h>

struct sv_reactor;

#define SV_REACTOR_POLLERS 1024u
#define SV_IDLE_NEVER UINT64_MAX

struct sv_reactor_config {
	int cpu;		/* pinned to it; -1: not pinned, and no thread: stepped by hand */
	int join_fd;		/* a cpuset that the thread enters first (base/pin.h); 0: none */
	uint64_t idle_spin_us;	/* without work for so long: sleep. SV_IDLE_NEVER: poll for ever */
	uint64_t idle_rest_us;	/* without work for so long: rest between looks; 0: 50 */
	unsigned budget;	/* units of work a poller gets per turn; 0: 64 */
};

/* Written by the reactor's thread, read by anyone. idle_ticks include turns over no poller. */
struct sv_reactor_stats {
	uint64_t turns, busy_ticks, idle_ticks, sleep_ticks, sleeps, wakes;
};

/* Create, and start the thread unless cpu is -1. Return: 0, or -errno with a sentence. */
int sv_reactor_create(struct sv_reactor **out, const struct sv_reactor_config *config,
	struct sv_error *err);
/* Every poller must have been detached. Context: control thread; waits for the thread. */
void sv_reactor_destroy(struct sv_reactor *r);

/*
 * Add a poller: from now on its ops run on the reactor's thread. Wakes a sleeping reactor.
 * Context: control thread; does not wait. Return: 0, -ENOSPC, -ENOMEM, or -errno: one of its
 * wake_fds cannot be watched; then nothing has changed.
 */
int sv_reactor_attach(struct sv_reactor *r, struct sv_poller *p);
/*
 * Take it away. Context: control thread; returns when no op of it runs any more, which is after at
 * most one turn, and at once when the sidecore sleeps (the poller then stays armed).
 */
void sv_reactor_detach(struct sv_reactor *r, struct sv_poller *p);

/* One turn over all pollers, for tests and the thread. Return: something was done. */
bool sv_reactor_turn(struct sv_reactor *r);
/* Arm, look again, sleep for at most @deadline_ms, disarm. Return: it really slept. */
bool sv_reactor_sleep(struct sv_reactor *r, int deadline_ms);

struct sv_reactor_stats sv_reactor_stats(const struct sv_reactor *r);
/* Returns when every turn that is under way has ended. Context: control thread. */
void sv_reactor_sync(struct sv_reactor *r);

/* Call @each with every poller, none of which goes away meanwhile. Context: control thread. */
void sv_reactor_each(struct sv_reactor *r, void (*each)(const struct sv_poller *p, void *ctx),
	void *ctx);
int sv_reactor_cpu(const struct sv_reactor *r);
/* TSC ticks in a microsecond: measured once, 200 us. Context: any thread. */
uint64_t sv_reactor_ticks_per_us(void);

#endif
