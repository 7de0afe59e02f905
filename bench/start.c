/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench start: from `sidevisor run` to the first guest instruction, and what the VM
 * process costs in memory beyond its guest's.
 */
#include <bench/bench.h>

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUNS_MAX 1000u

static const char help[] =
	"usage: sidevisor bench start [--kernel LWK] [--runs N] [--memory SIZE] [--populate] [--json]\n"
	"\n"
	"Start a VM N times (default 20, 128M, memory not populated in advance) and report the time\n"
	"from the start of `sidevisor run` to the first KVM_RUN, and the proportional set size of the\n"
	"VM process without the guest's RAM and channels.\n"
	"\n"
	"JSON keys: runs, memory, populate, first_run_ns {n, p50, p90, p99, max}, footprint_kib.\n";

struct options {
	const char *kernel, *memory;
	unsigned runs;
	bool populate, json;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Start `sidevisor run`; its standard error comes through *out. */
static pid_t start_run(const struct options *o, const char *cmdline, int *out)
{
	const char *argv[16];
	int n = 0, fds[2];
	pid_t pid;

	if (pipe(fds) < 0)
		return -1;
	argv[n++] = "sidevisor";
	argv[n++] = "run";
	argv[n++] = "--private";
	argv[n++] = "--json";
	argv[n++] = "--console";
	argv[n++] = "none";
	argv[n++] = "--memory";
	argv[n++] = o->memory;
	argv[n++] = "--kernel";
	argv[n++] = o->kernel;
	argv[n++] = "--cmdline";
	argv[n++] = cmdline;
	if (!o->populate)
		argv[n++] = "--no-populate";
	argv[n] = NULL;
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		execv("/proc/self/exe", (char **)(uintptr_t)argv);
		_exit(1);
	}
	close(fds[1]);
	*out = fds[0];
	return pid;
}

static size_t read_all(int fd, char *text, size_t room)
{
	size_t len = 0;
	ssize_t n;

	while (len + 1 < room && (n = read(fd, text + len, room - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	return len;
}

/* One run of a guest that exits at once. Return: ns from here to its first KVM_RUN, 0: it failed. */
static uint64_t one_start(const struct options *o)
{
	uint64_t before = now_ns(), first = 0;
	char text[8192], *brace;
	int fd, status;
	pid_t pid = start_run(o, "app=hello quiet", &fd);
	json_t *j;

	if (pid < 0)
		return 0;
	read_all(fd, text, sizeof(text));
	close(fd);
	waitpid(pid, &status, 0);
	brace = strchr(text, '{');
	j = brace ? json_loads(brace, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	if (j)
		first = (uint64_t)json_integer_value(json_object_get(j, "first_run_monotonic_ns"));
	json_decref(j);
	if (first <= before) {
		fprintf(stderr, "sidevisor bench start: the guest did not run: %s\n", text);
		return 0;
	}
	return first - before;
}

/* Pss of @pid in KiB without the mappings of guest memory. */
static long footprint_kib(pid_t pid)
{
	char path[64], line[512];
	bool guest = false;
	long sum = 0, kib;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "-") && strchr(line, ' ') && strchr("0123456789abcdef", line[0]))
			guest = strstr(line, "memfd:sidevisor-") != NULL;
		else if (!guest && sscanf(line, "Pss: %ld kB", &kib) == 1)
			sum += kib;
	}
	fclose(f);
	return sum;
}

static long measure_footprint(const struct options *o)
{
	struct timespec settle = {.tv_nsec = 700000000};
	int fd, status;
	long kib;
	pid_t pid = start_run(o, "app=idle quiet", &fd);

	if (pid < 0)
		return -1;
	nanosleep(&settle, NULL);
	kib = footprint_kib(pid);
	kill(pid, SIGTERM);
	close(fd);
	waitpid(pid, &status, 0);
	return kib;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const struct options *o, uint64_t *ns, unsigned n, long kib)
{
	uint64_t p50, p90, p99;

	qsort(ns, n, sizeof(ns[0]), by_value);
	p50 = ns[n / 2];
	p90 = ns[n * 90 / 100];
	p99 = ns[n * 99 / 100];
	if (o->json) {
		printf("{\"runs\": %u, \"memory\": \"%s\", \"populate\": %s, \"first_run_ns\": {\"n\": %u, "
		       "\"p50\": %llu, \"p90\": %llu, \"p99\": %llu, \"max\": %llu}, "
		       "\"footprint_kib\": %ld}\n",
			o->runs, o->memory, o->populate ? "true" : "false", n, (unsigned long long)p50,
			(unsigned long long)p90, (unsigned long long)p99,
			(unsigned long long)ns[n - 1], kib);
		return;
	}
	printf("%u starts of a VM with %s, memory %s\n", n, o->memory,
		o->populate ? "populated before the start" : "populated on demand");
	printf("  `run` to first guest instruction: p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms\n",
		(double)p50 / 1e6, (double)p90 / 1e6, (double)p99 / 1e6, (double)ns[n - 1] / 1e6);
	printf("  VM process beyond guest memory (Pss): %ld KiB\n", kib);
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {{"kernel", required_argument, NULL, 'k'},
		{"runs", required_argument, NULL, 'n'}, {"memory", required_argument, NULL, 'm'},
		{"populate", no_argument, NULL, 'p'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int c;

	*o = (struct options){.kernel = sv_bench_lwk_path(), .memory = "128M", .runs = 20};
	optind = 1;
	while ((c = getopt_long(argc, argv, "k:n:m:pjh", options, NULL)) != -1) {
		switch (c) {
		case 'k':
			o->kernel = optarg;
			break;
		case 'n':
			o->runs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			o->memory = optarg;
			break;
		case 'p':
			o->populate = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			return 2;
		}
	}
	if (!o->runs || o->runs > RUNS_MAX) {
		fprintf(stderr, "sidevisor bench start: --runs is from 1 to %u\n",
			RUNS_MAX);
		return 2;
	}
	return -1;
}

int sv_bench_start(int argc, char **argv)
{
	struct options o;
	uint64_t *ns;
	unsigned n = 0;
	int rc = parse(&o, argc, argv);

	if (rc >= 0)
		return rc;
	ns = calloc(o.runs, sizeof(*ns));
	for (unsigned i = 0; ns && i < o.runs; i++) {
		ns[n] = one_start(&o);
		if (!ns[n])
			break;
		n++;
	}
	if (n == o.runs)
		report(&o, ns, n, measure_footprint(&o));
	free(ns);
	return n == o.runs ? 0 : 1;
}
