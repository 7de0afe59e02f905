/* SPDX-License-Identifier: BSD-3-Clause */
/* Problems of a file, one sentence each. */
#ifndef PROFILES_REPORT_H
#define PROFILES_REPORT_H

#include <profiles/profile.h>

/* @line 0: of the file as a whole. Return: -@errnum. */
int report_at(struct sv_profile_report *r, int errnum, const char *file, unsigned line,
	unsigned column, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* A foreign text, shortened, with what a terminal should not see replaced. Return: @buf. */
struct shown {
	char text[96];
};
struct shown show_text(const char *text, size_t bytes);

/*
 * The character at @s, of UTF-8 that is well-formed. Return: its code point where a line of text
 * cannot have it (controls but the tab, line and paragraph separators, marks), else 0. *bytes: of
 * it.
 */
#define CONTROL_NUL 0x110000u /* the code point 0, as it is returned */
unsigned control_at(const char *s, size_t left, size_t *bytes);

/* The candidate nearest to @word, or NULL when none is near enough to be meant. */
const char *suggest(const char *word, const char *(*candidate)(const void *ctx, size_t i),
	const void *ctx);

#endif
