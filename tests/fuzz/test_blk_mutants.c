/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hostile drivers and front ends of a disk from fixed seeds, so that a failure can be had again:
 * SEED=n runs one seed, ROUNDS=n that many from it, each named before it runs.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "blk_once.h"

#define ROUNDS 1500u
#define BYTES 3000u

static uint64_t state;

/* xorshift: the same everywhere. */
static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned long setting(const char *name, unsigned long usual)
{
	const char *s = getenv(name);

	return s ? strtoul(s, NULL, 0) : usual;
}

static void rounds(void (*once)(const uint8_t *bytes, size_t n))
{
	static uint8_t bytes[BYTES];
	unsigned long seed = setting("SEED", 1);
	unsigned long n = setting("ROUNDS", getenv("SEED") ? 1 : ROUNDS);
	unsigned before;

	stderr = fopen("/dev/null", "w"); /* what the node says about its front ends */
	once(bytes, 10);
	before = open_descriptors();
	for (unsigned long s = seed; s < seed + n; s++) {
		size_t len;

		state = s * 0x9e3779b97f4a7c15u | 1;
		any();
		len = 10 + any() % (BYTES - 10);
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(any() >> 32);
		if (getenv("SEED"))
			printf("seed %lu\n", s); /* also for what ends without a word */
		once(bytes, len);
		cr_assert_eq(open_descriptors(), before, "seed %lu leaves descriptors open", s);
	}
}

Test(blk_mutants, a_hostile_driver_breaks_its_queue_and_nothing_else)
{
	rounds(blk_driver_once);
}

Test(blk_mutants, a_hostile_front_end_loses_its_session_and_nothing_else)
{
	rounds(vhost_messages_once);
}
