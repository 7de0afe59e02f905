/* SPDX-License-Identifier: BSD-3-Clause */
#include "report.h"

#include <stdarg.h>
#include <string.h>
#include <strings.h>

#define WORD 32u

int report_at(struct sv_profile_report *r, int errnum, const char *file, unsigned line,
	unsigned column, const char *fmt, ...)
{
	char where[320], what[400], sentence[sizeof(r->first.text)];
	va_list ap;

	if (line)
		snprintf(where, sizeof(where), "%.280s:%u:%u", file, line, column);
	else
		snprintf(where, sizeof(where), "%.280s", file);
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(sentence, sizeof(sentence), "%.250s: %.255s", where, what);
	if (!r->problems++)
		memcpy(r->first.text, sentence, sizeof(sentence));
	if (r->problem)
		r->problem(r->ctx, sentence);
	return -errnum;
}

unsigned control_at(const char *s, size_t left, size_t *bytes)
{
	const unsigned char *u = (const unsigned char *)s;
	unsigned c = 0;

	*bytes = 1;
	if (u[0] < 0x20 || u[0] == 0x7f)
		return u[0] == '\t' ? 0 : u[0] ? u[0] : CONTROL_NUL;
	if (u[0] == 0xc2 && left > 1 && u[1] < 0xa0) {
		*bytes = 2;
		return u[1];
	}
	if ((u[0] == 0xe2 || u[0] == 0xef) && left > 2) {
		c = (u[0] & 0xfu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
		if (c == 0x2028 || c == 0x2029 || c == 0xfeff || c >= 0xfffe) {
			*bytes = 3;
			return c;
		}
	}
	return 0;
}

struct shown show_text(const char *text, size_t bytes)
{
	struct shown s;
	size_t n = 0, i, step;

	for (i = 0; i < bytes && n < sizeof(s.text) - 4; i += step)
		s.text[n++] =
			control_at(text + i, bytes - i, &step) || text[i] == '\t' ? '?' : text[i];
	/* Not in the middle of a character. */
	if (i < bytes) {
		while (n > 0 && ((unsigned char)s.text[n - 1] & 0xc0) == 0x80)
			n--;
		if (n > 0 && ((unsigned char)s.text[n - 1] & 0x80))
			n--;
		memcpy(s.text + n, "...", 3);
		n += 3;
	}
	s.text[n] = '\0';
	return s;
}

/* Optimal string alignment: a swap of two neighbours is one step, as people type. */
static unsigned distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	unsigned row[3][WORD + 1];

	if (la > WORD || lb > WORD)
		return WORD;
	for (size_t j = 0; j <= lb; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *now = row[i % 3], *before = row[(i + 2) % 3], *swap = row[(i + 1) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned same = a[i - 1] == b[j - 1] ? 0 : 1, best = before[j - 1] + same;

			if (before[j] + 1 < best)
				best = before[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				swap[j - 2] + 1 < best)
				best = swap[j - 2] + 1;
			now[j] = best;
		}
	}
	return row[la % 3][lb];
}

const char *suggest(const char *word, const char *(*candidate)(const void *ctx, size_t i),
	const void *ctx)
{
	char plain[WORD + 1];
	const char *nearest = NULL, *c;
	unsigned best = WORD;
	size_t n = strlen(word);

	if (!n || n > WORD)
		return NULL;
	for (size_t i = 0; i <= n; i++) {
		char ch = word[i];

		plain[i] = ch == '-' ? '_' : ch >= 'A' && ch <= 'Z' ? (char)(ch | 0x20) : ch;
	}
	for (size_t i = 0; (c = candidate(ctx, i)); i++) {
		unsigned d = distance(plain, c);

		if (d < best) {
			best = d;
			nearest = c;
		}
	}
	return best <= (n < 4 ? 1u : n < 8 ? 2u : 3u) ? nearest : NULL;
}
