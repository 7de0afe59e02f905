/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages: huge ones, those that move, those that are merged, those that may be locked. */
#include "doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "files.h"

static void numa_balancing(struct sv_doctor *d)
{
	static const char path[] = "/proc/sys/kernel/numa_balancing";
	struct sv_finding *f;
	long long on;

	if (!sv_read_number(d, path, &on)) {
		sv_found(d, "numa-balancing", SV_SEVERITY_OK, "this kernel has no NUMA balancing");
		return;
	}
	f = sv_found(d, "numa-balancing", on ? SV_SEVERITY_WARNING : SV_SEVERITY_OK,
		"automatic NUMA balancing is %s", on ? "on" : "off");
	if (on) {
		sv_costs(f, "it unmaps pages to see who touches them: stage-2 faults in a running "
			    "guest; memory "
			    "that run binds to nodes is spared");
		sv_remedy(f, "sysctl kernel.numa_balancing=0");
	}
}

static void transparent(struct sv_doctor *d)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	struct sv_finding *f;
	char mode[32];
	bool good;

	if (!sv_read_choice(d, path, mode, sizeof(mode))) {
		sv_unknown(d, "transparent-huge-pages", path);
		return;
	}
	good = strcmp(mode, "never") != 0 && strcmp(mode, "deny") != 0;
	f = sv_found(d, "transparent-huge-pages", good ? SV_SEVERITY_OK : SV_SEVERITY_WARNING,
		"transparent huge pages of shared memory (guest memory is a memfd): %s", mode);
	if (!good) {
		sv_costs(f, "guest memory in 4 KiB pages unless huge pages are reserved: "
			    "two-dimensional page "
			    "walks of up to 24 loads, 512 times as many first-touch faults");
		sv_remedy(f, "echo advise > %s", path);
	}
}

/* Reserved huge pages of all nodes and sizes, in MiB. */
static unsigned long long reserved_mib(const struct sv_doctor *d, char *list, size_t bytes)
{
	static const unsigned size_kib[] = {2048, 1048576};
	unsigned long long total = 0;

	*list = 0;
	for (unsigned node = 0; node < 1024; node++) {
		char path[128];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", node);
		if (!sv_file_is_there(d->e->root, path)) {
			if (node > 64)
				break;
			continue;
		}
		for (unsigned i = 0; i < 2; i++) {
			long long n = 0;

			snprintf(path, sizeof(path),
				"/sys/devices/system/node/node%u/hugepages/hugepages-%ukB/"
				"free_hugepages",
				node, size_kib[i]);
			if (!sv_read_number(d, path, &n) || n <= 0)
				continue;
			total += (unsigned long long)n * size_kib[i] / 1024;
			if (strlen(list) + 48 < bytes)
				snprintf(list + strlen(list), bytes - strlen(list),
					"%snode %u: %lld of %u MiB", *list ? ", " : "", node, n,
					size_kib[i] / 1024);
		}
	}
	return total;
}

static void reserved(struct sv_doctor *d)
{
	unsigned long long want = d->e->memory_bytes >> 20, have;
	struct sv_finding *f;
	char list[160];

	have = reserved_mib(d, list, sizeof(list));
	f = sv_found(d, "reserved-huge-pages",
		have && have >= want ? SV_SEVERITY_OK : SV_SEVERITY_NOTE, "reserved huge pages: %s",
		*list ? list : "none");
	if (have && have >= want)
		return;
	sv_costs(f,
		"without them huge pages depend on how fragmented memory is when the guest starts");
	sv_remedy(f,
		"echo %llu > "
		"/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
		want ? (want + 1) / 2 : 1024);
	f->matters = want > have && want > 0;
}

static void merging(struct sv_doctor *d)
{
	struct sv_finding *f;
	long long run;

	if (!sv_read_number(d, "/sys/kernel/mm/ksm/run", &run)) {
		sv_found(d, "ksm", SV_SEVERITY_OK, "this kernel merges no pages");
		return;
	}
	f = sv_found(d, "ksm", run == 1 ? SV_SEVERITY_WARNING : SV_SEVERITY_OK,
		"page merging (KSM) is %s", run == 1 ? "running" : "not running");
	if (run == 1) {
		sv_costs(f, "ksmd reads all memory that asks for it, breaks huge pages up, and "
			    "lets neighbours see by "
			    "timing what a guest holds");
		sv_remedy(f, "echo 2 > /sys/kernel/mm/ksm/run");
	}
}

static void memlock(struct sv_doctor *d)
{
	struct rlimit l;
	struct sv_finding *f;

	if (*d->e->root || getrlimit(RLIMIT_MEMLOCK, &l) < 0)
		return;
	if (l.rlim_cur == RLIM_INFINITY) {
		sv_found(d, "memlock", SV_SEVERITY_OK, "locked memory is not limited");
		return;
	}
	f = sv_found(d, "memlock", SV_SEVERITY_NOTE, "locked memory is limited to %llu MiB",
		(unsigned long long)l.rlim_cur >> 20);
	sv_costs(f, "io_uring's registered buffers count against it; block back ends then use "
		    "plain ones");
	sv_remedy(f, "ulimit -l unlimited, or LimitMEMLOCK=infinity in the service");
}

static void swap(struct sv_doctor *d)
{
	char text[4096];
	ssize_t n = sv_file_read(d->e->root, "/proc/swaps", text, sizeof(text));
	struct sv_finding *f;
	const char *second = n > 0 ? strchr(text, '\n') : NULL;

	if (n <= 0) {
		sv_unknown(d, "swap", "/proc/swaps");
		return;
	}
	if (!second || !second[1]) {
		sv_found(d, "swap", SV_SEVERITY_OK, "no swap space");
		return;
	}
	f = sv_found(d, "swap", SV_SEVERITY_NOTE, "there is swap space");
	sv_costs(f, "a guest's page that was swapped out costs its vCPU milliseconds");
	sv_remedy(f, "swapoff -a, or leave memory to spare");
}

static void compressed_swap(struct sv_doctor *d)
{
	struct sv_finding *f;
	char text[8];
	bool on;

	if (!sv_read_line(d, "/sys/module/zswap/parameters/enabled", text, sizeof(text)))
		return;
	on = text[0] == 'Y' || text[0] == '1';
	f = sv_found(d, "zswap", on ? SV_SEVERITY_NOTE : SV_SEVERITY_OK,
		"compressed swap (zswap) is %s", on ? "on" : "off");
	if (on) {
		sv_costs(f, "where there is swap space, pages are compressed by whichever core is "
			    "there");
		sv_remedy(f, "echo N > /sys/module/zswap/parameters/enabled");
	}
}

void sv_doctor_memory(struct sv_doctor *d)
{
	numa_balancing(d);
	transparent(d);
	reserved(d);
	merging(d);
	memlock(d);
	swap(d);
	compressed_swap(d);
}
