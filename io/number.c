/* SPDX-License-Identifier: BSD-3-Clause */
#include "number.h"

#include <errno.h>
#include <stdlib.h>

int number_parse(const char *what, const char *key, const char *text, unsigned long least,
	unsigned long most, unsigned long *n, struct sv_error *err)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v < least || v > most)
		return sv_fail(err, EINVAL, "%s: %s=%s: a number from %lu to %lu", what, key, text, least,
			most);
	*n = v;
	return 0;
}
