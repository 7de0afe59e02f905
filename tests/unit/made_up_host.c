/* SPDX-License-Identifier: BSD-3-Clause */
#include "made_up_host.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

char host_root[256], host_run[280];

static int operations, fail_at = -1, fail_errnum, refuse_errnum;
static const char *refuse_part;

static void make_parents(char *path)
{
	for (char *s = strchr(path + strlen(host_root) + 1, '/'); s; s = strchr(s + 1, '/')) {
		*s = 0;
		mkdir(path, 0755);
		*s = '/';
	}
}

void host_put(const char *path, const char *text)
{
	char full[1200];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", host_root, path);
	make_parents(full);
	f = fopen(full, "w");
	cr_assert(f, "%s", full);
	fputs(text, f);
	fclose(f);
}

const char *host_get(const char *path)
{
	static char text[4096];

	if (sv_file_read(host_root, path, text, sizeof(text)) < 0)
		return "(none)";
	text[strcspn(text, "\n")] = 0;
	return text;
}

/* The kernel fills a new cgroup with files, and takes them away with it. */
static const char *const files[] = {"cgroup.type", "cgroup.threads", "tasks", "cpuset.cpus",
	"cpuset.mems", "cpuset.cpu_exclusive", "cpuset.sched_load_balance", "cpuset.cpus.partition",
	"cpuset.cpus.exclusive"};

static void fill_cgroup(const char *path)
{
	char file[1200];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(file, sizeof(file), "%s/%s", path, files[i]);
		host_put(file, "");
	}
}

static void empty_cgroup(const char *path)
{
	char file[1500];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(file, sizeof(file), "%s%s/%s", host_root, path, files[i]);
		unlink(file);
	}
}

static int seam(const char *what, const char *path, bool done)
{
	if (done) {
		if (!strcmp(what, "mkdir") && strstr(path, "cgroup"))
			fill_cgroup(path);
		if (!strcmp(what, "write") && strstr(path, "cgroup.subtree_control"))
			host_put(path, host_get(path)[0] == '+' ? "cpuset memory\n" : "memory\n");
		if (operations - 1 == fail_at && fail_errnum == -1)
			_exit(0);
		return 0;
	}
	if (operations++ == fail_at) {
		if (fail_errnum == 0)
			_exit(0);
		if (fail_errnum > 0)
			return -fail_errnum;
	}
	if (refuse_part && strstr(path, refuse_part))
		return -refuse_errnum;
	if (!strcmp(what, "rmdir"))
		empty_cgroup(path);
	return 0;
}

void host_fail_at(int at, int errnum)
{
	fail_at = at;
	fail_errnum = errnum;
}

void host_refuse(const char *part, int errnum)
{
	refuse_part = part;
	refuse_errnum = errnum;
}

int host_operations(void)
{
	return operations;
}

void host_reset_operations(void)
{
	operations = 0;
}

void host_process(int pid, unsigned long long start)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	snprintf(text, sizeof(text), "%d (a) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %llu 0 0\n", pid,
		start);
	host_put(path, text);
}

void host_end_process(int pid)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/proc/%d/stat", host_root, pid);
	unlink(path);
}

static void put_process_files(int version, const char *cgroup, int pid)
{
	char path[64], text[600];

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	host_put(path, version == 1 ? "30 1 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
		: version == 2 ? "25 1 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
			       : "25 1 0:25 / / rw - ext4 /dev/vda rw\n");
	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	snprintf(text, sizeof(text), version == 1 ? "4:memory:/x\n3:cpuset:%s\n" : "0::%s\n", cgroup);
	host_put(path, text);
}

static void put_v2_dir(const char *dir)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
	host_put(path, "cpuset cpu memory\n");
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	host_put(path, "memory\n");
	snprintf(path, sizeof(path), "%s/cpuset.cpus.exclusive", dir);
	host_put(path, "\n");
}

void host_make(int version, const char *cgroup)
{
	char path[512];

	snprintf(host_root, sizeof(host_root), "%s/sidevisor-host.XXXXXX",
		getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	cr_assert(mkdtemp(host_root));
	snprintf(host_run, sizeof(host_run), "%s/run", host_root);
	mkdir(host_run, 0755);
	host_put("/proc/irq/default_smp_affinity", "ff\n");
	host_put("/proc/irq/24/smp_affinity_list", "0-7\n");
	host_put("/proc/irq/25/smp_affinity_list", "0-1\n");
	host_put("/proc/irq/26/smp_affinity_list", "2-3\n");
	host_put("/proc/irq/27/smp_affinity_list", "2\n");
	host_put("/proc/sys/kernel/random/boot_id", "this-boot\n");
	host_put("/sys/devices/system/cpu/online", "0-7\n");
	host_put("/sys/devices/virtual/workqueue/cpumask", "000000ff\n");
	host_put("/dev/cpu_dma_latency", "");
	host_process(OWNER_A, 500);
	host_process(OWNER_B, 600);
	put_process_files(version, cgroup, OWNER_A);
	put_process_files(version, cgroup, OWNER_B);
	if (version == 1) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset%s/cpuset.mems",
			strcmp(cgroup, "/") ? cgroup : "");
		host_put(path, "0\n");
	}
	for (const char *s = cgroup; version == 2; s = strchr(s + 1, '/')) {
		size_t len = s ? (size_t)(s - cgroup) : strlen(cgroup);

		if (s && !s[1])
			len = 0;
		snprintf(path, sizeof(path), "/sys/fs/cgroup%.*s", (int)len, cgroup);
		put_v2_dir(path);
		if (!s || !s[1])
			break;
	}
	fail_at = -1;
	refuse_part = NULL;
	operations = 0;
	sv_file_seam = seam;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

void host_remove(void)
{
	sv_file_seam = NULL;
	nftw(host_root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static FILE *snapshot_to;

static int print_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	const char *below = path + strlen(host_root);

	(void)st;
	(void)at;
	if (!strncmp(below, "/run", 4) || strstr(below, "/stat") || strstr(below, "/dev/"))
		return 0;
	fprintf(snapshot_to, "%s %s\n", below, flag == FTW_F ? host_get(below) : "/");
	return 0;
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In the order of names, with values in one form. */
char *host_snapshot(void)
{
	char *text = NULL, *out, *save = NULL, *line[256];
	size_t len, n = 0;

	snapshot_to = open_memstream(&text, &len);
	nftw(host_root, print_one, 16, FTW_PHYS);
	fclose(snapshot_to);
	out = calloc(1, len + 512);
	for (char *s = strtok_r(text, "\n", &save); s && n < 256; s = strtok_r(NULL, "\n", &save))
		line[n++] = s;
	qsort(line, n, sizeof(line[0]), compare_lines);
	for (size_t i = 0; i < n; i++) {
		char *value = strchr(line[i], ' ') + 1;

		while (*value == '0' && value[1] && strchr("0f", value[1])) /* a mask's zeros */
			memmove(value, value + 1, strlen(value));
		sprintf(out + strlen(out), "%s\n", line[i]);
	}
	free(text);
	return out;
}

void host_expect_unchanged(char *before, const char *when)
{
	char *after = host_snapshot(), path[300];

	cr_expect_str_eq(after, before, "%s: the host has changed:\n%s\nwas:\n%s", when, after, before);
	snprintf(path, sizeof(path), "%s/host.journal", host_run);
	cr_expect(access(path, F_OK) < 0, "%s: a journal is left", when);
	free(after);
	free(before);
}

struct sv_isolation_request host_request(int pid, const char *guest, const char *sidecore)
{
	struct sv_isolation_request r = {.root = host_root, .run_dir = host_run, .name = "guest", .pid = pid};

	cr_assert(sv_cpus_parse_list(guest, &r.guest) == 0 &&
		  sv_cpus_parse_list(sidecore, &r.sidecore) == 0);
	return r;
}
