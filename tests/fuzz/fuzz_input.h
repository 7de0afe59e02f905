/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fuzz targets of io/ share: bytes that decide, promises, and memory with walls. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stdout, "broken promise: %s (%s:%d)\n", #cond, __FILE__,           \
				__LINE__);                                                         \
			fflush(stdout);                                                            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct fuzz_input {
	const uint8_t *at, *end;
};

static inline bool fuzz_left(const struct fuzz_input *in)
{
	return in->at < in->end;
}

/* The next @n bytes as a number; zeroes behind the end. */
static inline uint64_t fuzz_take(struct fuzz_input *in, unsigned n)
{
	uint64_t v = 0;

	while (n-- && in->at < in->end)
		v = v << 8 | *in->at++;
	return v;
}

/*
 * Between pieces of memory that code under test may touch: poisoned where AddressSanitizer runs,
 * filled and compared elsewhere.
 */
#define WALL 128u
#define WALL_BYTE 0xa5

#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_ASAN 1
#endif
#endif

#ifdef FUZZ_ASAN
#include <sanitizer/asan_interface.h>
static inline void wall_up(uint8_t *wall)
{
	__asan_poison_memory_region(wall, WALL);
}
static inline void wall_check(const uint8_t *wall)
{
	(void)wall;
}
/* What is hidden must not be touched. */
static inline void mem_hide(const uint8_t *p, size_t n)
{
	__asan_poison_memory_region(p, n);
}
static inline void mem_show(const uint8_t *p, size_t n)
{
	__asan_unpoison_memory_region(p, n);
}
#else
static inline void wall_up(uint8_t *wall)
{
	memset(wall, WALL_BYTE, WALL);
}
static inline void wall_check(const uint8_t *wall)
{
	for (unsigned i = 0; i < WALL; i++)
		CHECK(wall[i] == WALL_BYTE);
}
static inline void mem_hide(const uint8_t *p, size_t n)
{
	(void)p;
	(void)n;
}
static inline void mem_show(const uint8_t *p, size_t n)
{
	(void)p;
	(void)n;
}
#endif

#endif
