/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where do our threads run? Samples field 39 (processor) of /proc/PID/task/TID/stat.
 *
 * usage: watch_threads SECONDS RULE...
 *   own:PID:GUEST:SIDECORE:OTHER   of this process and its descendants, threads called vcpu-* run on
 *                                  GUEST, sidecore-* on SIDECORE, KVM's on any, all others on OTHER
 *   foreign:LIST:PID[,PID...]      no thread of another program file of our name runs on LIST, but
 *                                  those of these processes and their descendants
 * Lists of CPUs are such as 0,2-3. Exit status: 0 nothing amiss, 1 something, 2 nothing was seen.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <host/cpus.h>

#define RULES 16
#define ROOTS 8
#define SAMPLE_US 2000

struct rule {
	bool own;
	int root[ROOTS], roots;
	struct sv_cpus guest, sidecore, other;
	unsigned long seen, wrong;
};

static struct rule rules[RULES];
static unsigned nrules;

static struct sv_cpus parse(const char *list)
{
	struct sv_cpus s = {{0}};

	if (sv_cpus_parse_list(list, &s) < 0) {
		fprintf(stderr, "watch_threads: %s: no list of CPUs\n", list);
		exit(2);
	}
	return s;
}

static void add_rule(char *text)
{
	struct rule *r = &rules[nrules++];
	char *part[5] = {NULL}, *save = NULL;
	int n = 0;

	for (char *s = strtok_r(text, ":", &save); s && n < 5; s = strtok_r(NULL, ":", &save))
		part[n++] = s;
	r->own = n == 5 && !strcmp(part[0], "own");
	if (r->own) {
		r->root[r->roots++] = atoi(part[1]);
		r->guest = parse(part[2]);
		r->sidecore = parse(part[3]);
		r->other = parse(part[4]);
		return;
	}
	if (n != 3 || strcmp(part[0], "foreign") != 0)
		exit(2);
	r->guest = parse(part[1]);
	for (char *s = strtok_r(part[2], ",", &save); s && r->roots < ROOTS;
		s = strtok_r(NULL, ",", &save))
		r->root[r->roots++] = atoi(s);
}

/* Name, parent and processor of a task. */
static bool read_stat(const char *path, char name[32], int *parent, int *cpu)
{
	char text[1024], *open, *close, state;
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close)
		return false;
	snprintf(name, 32, "%.*s", (int)(close - open - 1), open + 1);
	return sscanf(close + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
		"%*d %*u %*u %*d %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*d %d", &state,
		parent, cpu) == 3 && state != 'Z';
}

static bool is_ours(int pid)
{
	char path[64], target[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = 0;
	return strstr(target, "/sidevisor") && !strstr(target, "watch");
}

static bool descends(const struct rule *r, int pid)
{
	for (int depth = 0; depth < 16 && pid > 1; depth++) {
		char path[64], name[32];
		int cpu;

		for (int i = 0; i < r->roots; i++)
			if (r->root[i] == pid)
				return true;
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		if (!read_stat(path, name, &pid, &cpu))
			return false;
	}
	return false;
}

static bool is_right(const struct rule *r, const char *name, int cpu)
{
	if (!r->own)
		return !sv_cpus_has(&r->guest, cpu);
	if (!strncmp(name, "vcpu-", 5))
		return sv_cpus_has(&r->guest, cpu);
	if (!strncmp(name, "sidecore-", 9))
		return sv_cpus_has(&r->sidecore, cpu);
	if (!strncmp(name, "kvm-", 4))
		return sv_cpus_has(&r->guest, cpu) || sv_cpus_has(&r->sidecore, cpu) ||
		       sv_cpus_has(&r->other, cpu);
	return sv_cpus_has(&r->other, cpu);
}

static void sample_process(struct rule *r, int pid)
{
	char path[128], name[32];
	const struct dirent *e;
	int parent, cpu;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/stat", pid, e->d_name);
		if (!isdigit((unsigned char)e->d_name[0]) || !read_stat(path, name, &parent, &cpu))
			continue;
		r->seen++;
		if (is_right(r, name, cpu))
			continue;
		if (r->wrong++ < 10)
			printf("%s (pid %d, task %s) ran on CPU %d\n", name, pid, e->d_name, cpu);
	}
	if (d)
		closedir(d);
}

static void sample(void)
{
	DIR *d = opendir("/proc");
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		int pid = atoi(e->d_name);

		if (pid <= 0 || !is_ours(pid))
			continue;
		for (unsigned i = 0; i < nrules; i++)
			if (descends(&rules[i], pid) == rules[i].own)
				sample_process(&rules[i], pid);
	}
	if (d)
		closedir(d);
}

int main(int argc, char **argv)
{
	struct timespec now, end;
	unsigned long rounds = 0, seen = 0, wrong = 0;

	if (argc < 3 || argc > RULES + 2)
		return 2;
	for (int i = 2; i < argc; i++)
		add_rule(argv[i]);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += atoi(argv[1]);
	do {
		sample();
		rounds++;
		usleep(SAMPLE_US);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	for (unsigned i = 0; i < nrules; i++) {
		seen += rules[i].own ? rules[i].seen : 0;
		wrong += rules[i].wrong;
	}
	printf("watch_threads: %lu rounds, %lu samples of threads, %lu on a foreign core\n", rounds, seen,
		wrong);
	return wrong ? 1 : seen ? 0 : 2;
}
