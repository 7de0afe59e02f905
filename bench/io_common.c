/* SPDX-License-Identifier: BSD-3-Clause */
/* What `bench io` and `bench net` share: CPUs, medians, a directory of their own. */
#include "io.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct io_spread io_spread_of(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return (struct io_spread){.median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2,
		.least = v[0],
		.most = v[n - 1]};
}

json_t *io_spread_json(struct io_spread s)
{
	if (s.least < 0)
		return json_null();
	return json_pack("{s:f, s:f, s:f}", "median", s.median, "least", s.least, "most", s.most);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void io_remove(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int io_choose_cpus(const char *text, int *guest, int *sidecore, int *other, struct sv_error *err)
{
	int *const to[] = {guest, sidecore, other};
	unsigned n = 0;
	cpu_set_t set;

	if (text) {
		int got = sscanf(text, "%d,%d,%d", guest, sidecore, other);

		if (got < 2)
			return sv_fail(err, EINVAL, "--cpus %s: GUEST,SIDECORE[,OTHER]", text);
		*other = got < 3 ? *sidecore : *other;
		return 0;
	}
	sched_getaffinity(0, sizeof(set), &set);
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 3; cpu++)
		if (CPU_ISSET(cpu, &set))
			*to[n++] = cpu;
	if (n < 2)
		return sv_fail(err, EINVAL, "two CPUs are needed, for the guest and the back ends");
	*other = n < 3 ? *sidecore : *other;
	return 0;
}
