/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One sentence for the user beside a -errno for the program.
 *
 * Set-up code returns 0 or -errno and, on failure, leaves in *err a sentence that names the thing
 * (file, line, value) and the remedy. Data paths never use this.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

struct sv_error {
	char text[512];
};

/*
 * Record a sentence. @errnum: positive errno. The text of errnum is not appended by itself.
 * Context: any thread; does not block. Return: -errnum. @err may be NULL.
 */
int sv_fail(struct sv_error *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * A broken invariant of ours: dump and abort. Compiled in every build. Never for guest misbehaviour.
 */
#define SV_BUG_ON(cond) \
	do { \
		if (__builtin_expect(!!(cond), 0)) \
			sv_bug(#cond, __FILE__, __LINE__); \
	} while (0)
__attribute__((noreturn)) void sv_bug(const char *what, const char *file, int line);

/* One line on stderr, prefixed "sidevisor: ". Context: control threads only. */
void sv_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
