/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_usage_error(const char *verb, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "sidevisor %s: %s (see `sidevisor %s --help`)\n", verb, text, verb);
	return EXIT_USAGE;
}

int cli_fail(const struct sv_error *err, int rc)
{
	fprintf(stderr, "sidevisor: %s\n", err->text);
	return rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

int cli_parse_number(const char *option, const char *text, uint64_t min, uint64_t max,
	uint64_t *value, struct sv_error *err)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (!*text || *end || *text == '-' || errno || *value < min || *value > max)
		return sv_fail(err, EINVAL, "%s %s: give a whole number from %llu to %llu", option,
			text, (unsigned long long)min, (unsigned long long)max);
	return 0;
}

int cli_parse_size(const char *option, const char *text, uint64_t *bytes, struct sv_error *err)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	const char *unit;
	unsigned shift = 0;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*end && (unit = strchr(units, *end & ~0x20)) && (!end[1] || !strcmp(end + 1, "iB"))) {
		shift = 10u * (unsigned)(unit - units + 1);
		end += strlen(end);
	}
	if (!*text || *text == '-' || *end || errno || n > (UINT64_MAX >> shift))
		return sv_fail(err, EINVAL, "%s %s: give a size such as 512M or 4G", option, text);
	*bytes = (uint64_t)n << shift;
	return 0;
}

int cli_parse_flag(const char *text, bool *value, struct sv_error *err)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true"};

	*value = true;
	for (unsigned i = 0; text && i < 6; i++)
		if (!strcmp(text, words[i])) {
			*value = i & 1;
			return 0;
		}
	return text ? sv_fail(err, EINVAL, "'%s' is neither on nor off", text) : 0;
}
