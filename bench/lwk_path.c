/* SPDX-License-Identifier: BSD-3-Clause */
#include <bench/bench.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *sv_bench_lwk_path(void)
{
	static const char *const places[] = {"../guest/lwk/lwk.elf", "../lib/sidevisor/lwk.elf",
		"lwk.elf"};
	static char path[PATH_MAX + 64];
	char dir[PATH_MAX];
	const char *given = getenv("SIDEVISOR_LWK");
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	char *slash;

	if (given && *given)
		return given;
	if (n < 0)
		return "lwk.elf";
	dir[n] = 0;
	slash = strrchr(dir, '/');
	if (slash)
		*slash = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, places[i]);
		if (access(path, R_OK) == 0)
			return path;
	}
	return places[2];
}
