/* SPDX-License-Identifier: BSD-3-Clause */
#include "report_file.h"

#include <errno.h>
#include <string.h>

FILE *bench_report_create(const char *dir, const char *name, struct sv_error *err)
{
	char path[4096];
	FILE *f = NULL;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
		errno = ENAMETOOLONG;
	else
		f = fopen(path, "we");
	if (!f)
		sv_fail(err, errno, "--report %s: %s: %s", dir, name, strerror(errno));
	return f;
}

int bench_report_finish(FILE *f, const char *dir, struct sv_error *err)
{
	int bad = ferror(f);

	if (fclose(f) != 0 || bad)
		return sv_fail(err, EIO, "--report %s: cannot be written", dir);
	return 0;
}
