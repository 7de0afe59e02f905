/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that arrives while we run: touches n= pages at random, writes to some of them, and then looks
 * at every word of all that is left. The word at offset X of RAM is to be arrive_word(X).
 */
#include "apps.h"

#include <lwk/lwk.h>

#define PAGE 4096ul
#define WORDS (PAGE / 8)
#define HIGH 0x100000000ul
#define MARK_EVERY 4u

struct span {
	uint64_t from, to; /* guest-physical */
};

static struct span low, high;
static uint64_t wrong;

/* splitmix64 of the number of the word. */
static uint64_t arrive_word(uint64_t offset)
{
	uint64_t z = (offset / 8 + 1) * 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t offset_of(uint64_t gpa)
{
	return gpa < HIGH ? gpa : lwk_boot.memory_low_bytes + (gpa - HIGH);
}

static void take_all(void)
{
	uint64_t at;

	while ((at = (uint64_t)lwk_alloc(PAGE, PAGE))) {
		struct span *s = at < HIGH ? &low : &high;

		if (!s->to)
			s->from = at;
		s->to = at + PAGE;
	}
}

/* Sum of the words of the page at @gpa; the last word may carry our mark. */
static uint64_t look(uint64_t gpa)
{
	const uint64_t *p = (const uint64_t *)gpa;
	uint64_t at = offset_of(gpa), sum = 0, bad = 0;

	for (uint64_t i = 0; i < WORDS; i++) {
		uint64_t want = arrive_word(at + 8 * i), have = p[i];

		if (i == WORDS - 1 && have == ~want)
			have = want;
		bad += have != want;
		sum += have * (2 * i + 1);
	}
	wrong += bad;
	return sum;
}

static uint64_t pick(uint64_t *seed)
{
	uint64_t n = (low.to - low.from + high.to - high.from) / PAGE, i;

	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	i = (*seed >> 20) % n * PAGE;
	return i < low.to - low.from ? low.from + i : high.from + (i - (low.to - low.from));
}

static uint64_t marks(uint64_t touches, bool check)
{
	uint64_t seed = 1, lost = 0;

	for (uint64_t i = 0; i < touches; i++) {
		uint64_t gpa = pick(&seed), *word = (uint64_t *)(gpa + PAGE - 8);

		if (i % MARK_EVERY)
			continue;
		if (check)
			lost += *word != ~arrive_word(offset_of(gpa) + PAGE - 8);
		else
			*word = ~arrive_word(offset_of(gpa) + PAGE - 8);
	}
	return lost;
}

int app_arrive(void)
{
	uint64_t touches = lwk_arg_u64("n", 2000), seed = 1, sum = 0, pages = 0, lost;
	uint64_t begin = lwk_tsc(), worst = 0;

	take_all();
	for (uint64_t i = 0; i < touches; i++) {
		uint64_t gpa = pick(&seed), before = lwk_tsc(), took;

		look(gpa);
		took = lwk_tsc() - before;
		worst = took > worst ? took : worst;
		if (i == 0)
			lwk_printf("first page after %lu us\n", lwk_ticks_to_ns(took) / 1000);
	}
	marks(touches, false);
	lwk_printf("%lu pages touched in %lu ms, the slowest in %lu us, %lu words wrong\n", touches,
		lwk_ticks_to_ns(lwk_tsc() - begin) / 1000000, lwk_ticks_to_ns(worst) / 1000, wrong);
	for (uint64_t at = low.from; at < low.to; at += PAGE, pages++)
		sum += look(at) * (offset_of(at) / PAGE + 1);
	for (uint64_t at = high.from; at < high.to; at += PAGE, pages++)
		sum += look(at) * (offset_of(at) / PAGE + 1);
	lost = marks(touches, true);
	lwk_printf("%lu pages from page %lu on, sum %lx, %lu words wrong, %lu marks lost, %lu ms\n", pages,
		offset_of(low.from) / PAGE, sum, wrong, lost,
		lwk_ticks_to_ns(lwk_tsc() - begin) / 1000000);
	return wrong || lost;
}
