/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for one 64-bit word to change, with a deadline. Freestanding.
 *
 * The deadline is an absolute value of the TSC; every wait ends at it. What a policy costs its core,
 * its sibling thread and the latency of the answer differs:
 *
 *   SPIN    nothing but loads: the fastest answer, the whole core
 *   PAUSE   a hint between the loads: gentle to an SMT sibling, tens of nanoseconds slower
 *   UMWAIT  the core rests until the line is written (WAITPKG: Intel, and AMD from Zen 5)
 *   TPAUSE  the core rests for a short time, then looks (WAITPKG): for more words than one
 *   MWAITX  the core rests until the line is written (AMD)
 *
 * UMWAIT and MWAITX watch the word's cache line, so any write to that line ends the rest, and the
 * word is looked at again. Sleeping in the host's kernel is channels/wait_sleep.h.
 */
#ifndef CHANNELS_WAIT_H
#define CHANNELS_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include <channels/atomics.h>

enum sv_wait {
	SV_WAIT_SPIN = 0,
	SV_WAIT_PAUSE = 1,
	SV_WAIT_UMWAIT = 2,
	SV_WAIT_TPAUSE = 3,
	SV_WAIT_MWAITX = 4,
};
#define SV_WAITS 5u

/* Looks between two readings of the TSC: the clock costs as much as ten loads from the L1 cache. */
#define SV_WAIT_LOOKS 16u
/* TPAUSE rests this long at a time, MWAITX at most: a wait is never later than this after its end. */
#define SV_WAIT_REST_TICKS 2000u

static inline const char *sv_wait_name(enum sv_wait policy)
{
	switch (policy) {
	case SV_WAIT_SPIN:
		return "spin";
	case SV_WAIT_PAUSE:
		return "pause";
	case SV_WAIT_UMWAIT:
		return "umwait";
	case SV_WAIT_TPAUSE:
		return "tpause";
	case SV_WAIT_MWAITX:
		return "mwaitx";
	}
	return "unknown";
}

#if defined(__x86_64__)
static inline void sv_wait_cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(sub));
}

/*
 * Does this CPU have the policy? Context: any; executes CPUID, which may be an exit in a guest: ask
 * once and keep the answer.
 */
static inline bool sv_wait_available(enum sv_wait policy)
{
	uint32_t r[4];

	switch (policy) {
	case SV_WAIT_SPIN:
	case SV_WAIT_PAUSE:
		return true;
	case SV_WAIT_UMWAIT:
	case SV_WAIT_TPAUSE:
		sv_wait_cpuid(0, 0, r);
		if (r[0] < 7)
			return false;
		sv_wait_cpuid(7, 0, r);
		return (r[2] >> 5) & 1; /* WAITPKG */
	case SV_WAIT_MWAITX:
		sv_wait_cpuid(0x80000000u, 0, r);
		if (r[0] < 0x80000001u)
			return false;
		sv_wait_cpuid(0x80000001u, 0, r);
		return (r[2] >> 29) & 1; /* MONITORX */
	}
	return false;
}

/* Rest until *word's line is written or the TSC reaches @until; state C0.1, the lighter one. */
static inline void sv_wait_umwait(const uint64_t *word, uint64_t old, uint64_t until)
{
	__asm__ volatile("umonitor %0" : : "r"(word) : "memory");
	if (sv_load_acquire(word) != old)
		return;
	__asm__ volatile("umwait %0"
			 :
			 : "r"(1u), "a"((uint32_t)until), "d"((uint32_t)(until >> 32))
			 : "cc", "memory");
}

static inline void sv_wait_tpause(uint64_t until)
{
	__asm__ volatile("tpause %0"
			 :
			 : "r"(1u), "a"((uint32_t)until), "d"((uint32_t)(until >> 32))
			 : "cc", "memory");
}

static inline void sv_wait_mwaitx(const uint64_t *word, uint64_t old, uint64_t until)
{
	uint64_t now = sv_tsc(), ticks = until > now ? until - now : 0;

	if (ticks > SV_WAIT_REST_TICKS)
		ticks = SV_WAIT_REST_TICKS;
	__asm__ volatile("monitorx" : : "a"(word), "c"(0), "d"(0) : "memory");
	if (ticks == 0 || sv_load_acquire(word) != old)
		return;
	/* ECX bit 1: EBX holds the longest rest; EAX: hint C1 */
	__asm__ volatile("mwaitx" : : "a"(0), "b"((uint32_t)ticks), "c"(2) : "memory");
}

/* One rest of a policy that has passed sv_wait_available(). */
static inline void sv_wait_rest(
	enum sv_wait policy, const uint64_t *word, uint64_t old, uint64_t deadline)
{
	uint64_t soon;

	switch (policy) {
	case SV_WAIT_SPIN:
		break;
	case SV_WAIT_PAUSE:
		sv_cpu_relax();
		break;
	case SV_WAIT_UMWAIT:
		sv_wait_umwait(word, old, deadline);
		break;
	case SV_WAIT_TPAUSE:
		soon = sv_tsc() + SV_WAIT_REST_TICKS;
		sv_wait_tpause(soon < deadline ? soon : deadline);
		break;
	case SV_WAIT_MWAITX:
		sv_wait_mwaitx(word, old, deadline);
		break;
	}
}
#else
static inline bool sv_wait_available(enum sv_wait policy)
{
	return policy == SV_WAIT_SPIN || policy == SV_WAIT_PAUSE;
}

static inline void sv_wait_rest(
	enum sv_wait policy, const uint64_t *word, uint64_t old, uint64_t deadline)
{
	(void)word, (void)old, (void)deadline;
	if (policy != SV_WAIT_SPIN)
		sv_cpu_relax();
}
#endif

/*
 * Wait until *word differs from @old or the TSC reaches @deadline.
 * Context: any thread or guest; uses the core, never the kernel. @policy must be available.
 * Order: acquire on the word returned. Return: the word; @old when the deadline came first.
 */
static inline uint64_t sv_wait_change(
	enum sv_wait policy, const uint64_t *word, uint64_t old, uint64_t deadline)
{
	for (;;) {
		for (unsigned i = 0; i < SV_WAIT_LOOKS; i++) {
			uint64_t v = sv_load_acquire(word);

			if (v != old)
				return v;
			if (policy <= SV_WAIT_PAUSE)
				sv_wait_rest(policy, word, old, deadline);
		}
		if (sv_tsc() >= deadline)
			return sv_load_acquire(word);
		if (policy > SV_WAIT_PAUSE)
			sv_wait_rest(policy, word, old, deadline);
	}
}

/* The gentlest policy of this CPU for one word. Context: as sv_wait_available(). */
static inline enum sv_wait sv_wait_best(void)
{
	if (sv_wait_available(SV_WAIT_UMWAIT))
		return SV_WAIT_UMWAIT;
	if (sv_wait_available(SV_WAIT_MWAITX))
		return SV_WAIT_MWAITX;
	return SV_WAIT_PAUSE;
}

#endif
