/* SPDX-License-Identifier: BSD-3-Clause */
/* What `bench channel` compares: bounded queues from one producer to one consumer. */
#ifndef BENCH_CHANNEL_RINGS_H
#define BENCH_CHANNEL_RINGS_H

#include <stdint.h>

#define BENCH_PAYLOAD_WORDS 7u /* 56 bytes */
#define BENCH_BATCH_MAX 32u

/*
 * A queue under test. A message has BENCH_PAYLOAD_WORDS words, word k of message v is v + k; the
 * producer writes them all, the consumer adds them all up.
 */
struct bench_ring {
	const char *name; /* JSON key */
	const char *what;
	/* Room for @entries messages. Return: NULL when out of memory. */
	void *(*create)(unsigned entries);
	void (*destroy)(void *q);
	/* Messages first .. first + n - 1, n <= BENCH_BATCH_MAX. Return: how many went in. */
	unsigned (*put)(void *q, uint64_t first, unsigned n);
	/* Up to @n messages, added to *sum. Return: how many. */
	unsigned (*take)(void *q, unsigned n, uint64_t *sum);
};

static inline void bench_write(uint64_t *word, uint64_t v)
{
	for (unsigned k = 0; k < BENCH_PAYLOAD_WORDS; k++)
		word[k] = v + k;
}

static inline uint64_t bench_read(const uint64_t *word)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < BENCH_PAYLOAD_WORDS; k++)
		sum += word[k];
	return sum;
}

/* Ends with a name of NULL. bench_peers is empty when no peer was found at build time. */
extern const struct bench_ring bench_ours[];
extern const struct bench_ring bench_peers_dpdk[];
extern const struct bench_ring bench_peers_ck[];
extern const struct bench_ring bench_peers_urcu[];

#endif
