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

/* Return: how many CPUs @text has, or -EINVAL with a sentence. */
static int named_cpus(const char *text, const cpu_set_t *set, int *const to[3], struct sv_error *err)
{
	const char *at = text;
	int n = 0;

	for (;;) {
		char *end;
		unsigned long cpu = strtoul(at, &end, 10);

		if (*at < '0' || *at > '9' || (*end && *end != ',') || n == 3)
			break;
		if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, set))
			return sv_fail(err, EINVAL, "--cpus %s: this process may not run on CPU %lu", text, cpu);
		*to[n++] = (int)cpu;
		if (!*end && n >= 2)
			return n;
		if (!*end)
			break;
		at = end + 1;
	}
	return sv_fail(err, EINVAL, "--cpus %s: write GUEST,SIDECORE[,OTHER], such as 2,3", text);
}

int io_choose_cpus(const char *text, int *guest, int *sidecore, int *other, struct sv_error *err)
{
	int *const to[] = {guest, sidecore, other};
	cpu_set_t set;
	int n = 0;

	sched_getaffinity(0, sizeof(set), &set);
	if (text)
		n = named_cpus(text, &set, to, err);
	for (int cpu = 0; !text && cpu < CPU_SETSIZE && n < 3; cpu++)
		if (CPU_ISSET(cpu, &set))
			*to[n++] = cpu;
	if (n < 0)
		return n;
	if (n < 2)
		return sv_fail(err, ENOTSUP, "two CPUs are needed, for the guest and the back ends");
	*other = n < 3 ? *sidecore : *other;
	return 0;
}
