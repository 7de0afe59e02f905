/* SPDX-License-Identifier: BSD-3-Clause */
#include <base/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int sv_fail(struct sv_error *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return -errnum;
}

void sv_bug(const char *what, const char *file, int line)
{
	fprintf(stderr, "sidevisor: BUG: %s at %s:%d; please report this with the command line\n",
		what, file, line);
	abort();
}

void sv_warn(const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "sidevisor: %s\n", text);
}
