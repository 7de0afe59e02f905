/* SPDX-License-Identifier: BSD-3-Clause */
#include <host/cpus.h>

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (SV_CPUS_MAX / 64)

bool sv_cpus_empty(const struct sv_cpus *s)
{
	return sv_cpus_next(s, -1) < 0;
}

bool sv_cpus_equal(const struct sv_cpus *a, const struct sv_cpus *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool sv_cpus_overlap(const struct sv_cpus *a, const struct sv_cpus *b)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (a->word[i] & b->word[i])
			return true;
	return false;
}

void sv_cpus_add(struct sv_cpus *to, const struct sv_cpus *more)
{
	for (unsigned i = 0; i < WORDS; i++)
		to->word[i] |= more->word[i];
}

void sv_cpus_remove(struct sv_cpus *from, const struct sv_cpus *less)
{
	for (unsigned i = 0; i < WORDS; i++)
		from->word[i] &= ~less->word[i];
}

int sv_cpus_next(const struct sv_cpus *s, int after)
{
	unsigned cpu = (unsigned)(after + 1);

	while (cpu < SV_CPUS_MAX) {
		uint64_t rest = s->word[cpu / 64] >> (cpu % 64);

		if (rest)
			return (int)(cpu + (unsigned)__builtin_ctzll(rest));
		cpu = (cpu / 64 + 1) * 64;
	}
	return -1;
}

unsigned sv_cpus_count(const struct sv_cpus *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WORDS; i++)
		n += (unsigned)__builtin_popcountll(s->word[i]);
	return n;
}

/* The words of the set are those of the kernel. */
int sv_cpus_allowed(struct sv_cpus *out)
{
	memset(out, 0, sizeof(*out));
	return sched_getaffinity(0, sizeof(*out), (cpu_set_t *)(void *)out) < 0 ? -errno : 0;
}

int sv_cpus_run_on(const struct sv_cpus *s)
{
	struct sv_cpus copy = *s;

	return sched_setaffinity(0, sizeof(copy), (cpu_set_t *)(void *)&copy) < 0 ? -errno : 0;
}

/* A decimal CPU number at *at, which moves behind it. Return: it, or -1. */
static int take_cpu(const char **at)
{
	unsigned long cpu;
	char *end;

	if (!isdigit((unsigned char)**at))
		return -1;
	cpu = strtoul(*at, &end, 10);
	*at = end;
	return cpu < SV_CPUS_MAX ? (int)cpu : -1;
}

int sv_cpus_parse_list(const char *text, struct sv_cpus *out)
{
	struct sv_cpus set = {{0}};
	const char *at = text;

	while (*at && *at != '\n') {
		int first = take_cpu(&at), last = first;

		if (first >= 0 && *at == '-') {
			at++;
			last = take_cpu(&at);
		}
		if (first < 0 || last < first)
			return -EINVAL;
		for (int cpu = first; cpu <= last; cpu++)
			sv_cpus_set(&set, cpu);
		if (*at == ',' && at[1] && at[1] != '\n')
			at++;
		else if (*at && *at != '\n')
			return -EINVAL;
	}
	if (*at && at[1])
		return -EINVAL;
	*out = set;
	return 0;
}

/* From the right: words of 32 bits, in hexadecimal, with commas between them. */
int sv_cpus_parse_mask(const char *text, struct sv_cpus *out)
{
	size_t len = strcspn(text, "\n");
	struct sv_cpus set = {{0}};
	unsigned bit = 0;

	if (!len || (text[len] && text[len + 1]) || len > SV_CPUS_TEXT)
		return -EINVAL;
	while (len--) {
		char c = text[len];
		unsigned digit;

		if (c == ',') {
			bit = (bit + 31) / 32 * 32;
			continue;
		}
		if (!isxdigit((unsigned char)c))
			return -EINVAL;
		digit = isdigit((unsigned char)c) ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
		for (unsigned i = 0; i < 4; i++, bit++) {
			if (!(digit >> i & 1))
				continue;
			if (bit >= SV_CPUS_MAX)
				return -EINVAL;
			sv_cpus_set(&set, (int)bit);
		}
	}
	*out = set;
	return 0;
}

int sv_cpus_print_list(const struct sv_cpus *s, char *text, size_t bytes)
{
	size_t at = 0;

	if (!bytes)
		return -ENOSPC;
	*text = 0;
	for (int first = sv_cpus_next(s, -1), last; first >= 0; first = sv_cpus_next(s, last)) {
		int n;

		for (last = first; sv_cpus_has(s, last + 1);)
			last++;
		n = last == first ? snprintf(text + at, bytes - at, "%s%d", at ? "," : "", first)
				  : snprintf(text + at, bytes - at, "%s%d-%d", at ? "," : "", first, last);
		if (n < 0 || (size_t)n >= bytes - at)
			return -ENOSPC;
		at += (size_t)n;
	}
	return 0;
}

int sv_cpus_print_mask(const struct sv_cpus *s, char *text, size_t bytes)
{
	unsigned top = WORDS * 2 - 1;
	size_t at = 0;

	while (top && !(uint32_t)(s->word[top / 2] >> (top % 2 * 32)))
		top--;
	for (unsigned i = top + 1; i--;) {
		uint32_t w = (uint32_t)(s->word[i / 2] >> (i % 2 * 32));
		int n = at ? snprintf(text + at, bytes - at, ",%08x", w)
			   : snprintf(text, bytes, "%x", w);

		if (n < 0 || (size_t)n >= bytes - at)
			return -ENOSPC;
		at += (size_t)n;
	}
	return 0;
}
