/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set of CPUs, and the two forms in which the kernel writes one: lists ("0-3,8") and masks
 * ("ff,00000000"). What is parsed may be foreign: every number and length is checked.
 * Context of everything here: any thread; nothing blocks.
 */
#ifndef HOST_CPUS_H
#define HOST_CPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SV_CPUS_MAX 8192u
#define SV_CPUS_TEXT 8192u /* bytes that are enough for either form of any sane set */

struct sv_cpus {
	uint64_t word[SV_CPUS_MAX / 64];
};

static inline void sv_cpus_set(struct sv_cpus *s, int cpu)
{
	if (cpu >= 0 && (unsigned)cpu < SV_CPUS_MAX)
		s->word[cpu / 64] |= 1ull << (cpu % 64);
}

static inline void sv_cpus_unset(struct sv_cpus *s, int cpu)
{
	if (cpu >= 0 && (unsigned)cpu < SV_CPUS_MAX)
		s->word[cpu / 64] &= ~(1ull << (cpu % 64));
}

static inline bool sv_cpus_has(const struct sv_cpus *s, int cpu)
{
	return cpu >= 0 && (unsigned)cpu < SV_CPUS_MAX && (s->word[cpu / 64] >> (cpu % 64) & 1);
}

bool sv_cpus_empty(const struct sv_cpus *s);
bool sv_cpus_equal(const struct sv_cpus *a, const struct sv_cpus *b);
bool sv_cpus_overlap(const struct sv_cpus *a, const struct sv_cpus *b);
void sv_cpus_add(struct sv_cpus *to, const struct sv_cpus *more);
void sv_cpus_remove(struct sv_cpus *from, const struct sv_cpus *less);
/* The first CPU of the set that is > @after; -1: none. Start with -1. */
int sv_cpus_next(const struct sv_cpus *s, int after);
unsigned sv_cpus_count(const struct sv_cpus *s);

/* Where the calling thread may run, and its change; more CPUs than a cpu_set_t has. Return: 0 or -errno. */
int sv_cpus_allowed(struct sv_cpus *out);
int sv_cpus_run_on(const struct sv_cpus *s);

/* An empty text is the empty set. Return: 0, or -EINVAL and *out is untouched. */
int sv_cpus_parse_list(const char *text, struct sv_cpus *out);
int sv_cpus_parse_mask(const char *text, struct sv_cpus *out);
/* Return: 0, or -ENOSPC when @bytes do not hold it. */
int sv_cpus_print_list(const struct sv_cpus *s, char *text, size_t bytes);
int sv_cpus_print_mask(const struct sv_cpus *s, char *text, size_t bytes);

#endif
