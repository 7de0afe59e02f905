/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The atomics of shared memory, spelled once. Freestanding (gcc and clang built-ins).
 *
 * All orderings sit on the variable itself: ThreadSanitizer verifies that form and does not follow
 * stand-alone fences. A full barrier is therefore an exchange on the word that is being published.
 */
#ifndef CHANNELS_ATOMICS_H
#define CHANNELS_ATOMICS_H

#include <stdint.h>

#define sv_likely(x) __builtin_expect(!!(x), 1)
#define sv_unlikely(x) __builtin_expect(!!(x), 0)

#define sv_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define sv_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define sv_load_full(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define sv_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define sv_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
/* Store, then a full barrier: no later access passes it. x86: xchg. */
#define sv_exchange_full(p, v) ((void)__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))

/* A hint to the core that this is a waiting loop. */
static inline void sv_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* This line will be read soon. */
static inline void sv_prefetch_read(const void *p)
{
	__builtin_prefetch(p);
}

static inline uint64_t sv_tsc(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

#endif
