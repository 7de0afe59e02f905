/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench paging --advise: the guest runs for some seconds, in small pages on demand, while its
 * faults, its writes and its page-table requests are counted; three small VMs say what these cost here.
 */
#include "advise.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bench/bench.h>
#include <vmm/vmm.h>

#include "stage2.h"

#define ARGS 64
#define TICK_MS 200u
#define BASE_BYTES (12ull << 20) /* of the VM process itself, about */
#define WALK_MIB "64"

static const char help[] =
	"usage: sidevisor bench paging --advise [--seconds N] [--record FILE] [--json] [PROFILE]\n"
	"                              [-- RUN-OPTION...]\n"
	"\n"
	"Run the guest of PROFILE (or of the options after --, as for `sidevisor run`) for N seconds\n"
	"(default 6), measure how it uses memory, and say in words which paging suits it: populate,\n"
	"stage2, backing and direct_paging. With a PROFILE the choice is recorded beside it, as\n"
	"NAME.paging.json, or in FILE: `paging: auto` in the profile takes it from there. The guest is\n"
	"stopped afterwards, as if its power were cut: give it a disk that may be lost.\n";

struct options {
	double seconds;
	const char *record, *profile;
	bool json;
	char **more;
	int mores;
};

static void sleep_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	nanosleep(&t, NULL);
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- children ---------------------------------------------------------------------------------- */

/* `sidevisor run` in a process of its own. @out: where its standard output goes, -1: to stderr. */
static pid_t start_run(const char *const *argv, int out)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		sigset_t none;
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, 0);
		dup2(out >= 0 ? out : 2, 1);
		execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return pid;
}

/* Random reads in memory of @backing: picoseconds each; 0: it could not be measured. */
static double walk(const char *backing)
{
	const char *argv[] = {"sidevisor", "run", "--private", "--quiet", "--console", "stdio",
		"--memory", "128M", "--backing", backing, "--kernel", sv_bench_lwk_path(),
		"--cmdline", "app=walk mib=" WALK_MIB, NULL};
	unsigned long ps = 0;
	int fds[2], status;
	char line[256];
	FILE *f;
	pid_t pid;

	if (pipe(fds) < 0)
		return 0;
	pid = start_run(argv, fds[1]);
	close(fds[1]);
	f = fdopen(fds[0], "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "walk %lu ps", &ps);
	if (f)
		fclose(f);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return (double)ps;
}

static double row_mean(const json_t *touches, size_t i)
{
	return json_number_value(json_object_get(
		json_array_get(json_object_get(touches, "rows"), i), "mean_ns"));
}

static uint64_t free_pages(const char *size)
{
	unsigned long long n = 0;
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%s/free_hugepages", size);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static int measure_machine(const struct sv_bench_vm *vm, struct bench_advise_facts *f)
{
	struct bench_stage2_options o = {.mib = 16, .vcpus = 1, .rounds = 1, .quiet = true, .backing = "4k"};
	json_t *touches = NULL;
	int rc = bench_stage2(&o, vm, &touches);
	double small, huge;

	if (rc)
		return rc;
	f->touch_ns = row_mean(touches, 0) - row_mean(touches, 1);
	json_decref(touches);
	small = walk("4k");
	huge = walk("thp");
	f->small_over_huge = small > 0 && huge > 0 ? small / huge : 0;
	f->free_2m = free_pages("2048kB");
	f->free_1g = free_pages("1048576kB");
	return 0;
}

/* --- the guest ----------------------------------------------------------------------------------- */

struct watch {
	pid_t pid;
	char name[32];
};

static json_t *ask(const struct watch *w, const char *what)
{
	struct sv_error err;
	char *text;
	json_t *o;

	if (sv_vmm_ask(w->name, what, &text, &err) < 0)
		return NULL;
	o = json_loads(text, 0, NULL);
	free(text);
	return o;
}

static uint64_t resident(pid_t pid)
{
	unsigned long long kib = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Rss: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

static double faults_of(const json_t *stats)
{
	const json_t *vcpu;
	double n = 0;
	size_t i;

	json_array_foreach(json_object_get(stats, "vcpus"), i, vcpu)
		n += json_number_value(
			json_object_get(json_object_get(vcpu, "kvm"), "pf_taken"));
	return n;
}

/* Requests to the paging service by this VM, as its node tells. */
static double updates_of(const struct watch *w)
{
	json_t *node = ask(w, "devices");
	const json_t *vm;
	double n = 0;
	size_t i;

	json_array_foreach(json_object_get(node, "vms"), i, vm)
		n += json_number_value(
			json_object_get(json_object_get(vm, "services"), "paging"));
	json_decref(node);
	return n;
}

static bool ended(struct watch *w)
{
	if (w->pid > 0 && waitpid(w->pid, NULL, WNOHANG) == w->pid)
		w->pid = 0;
	return w->pid <= 0;
}

static bool wait_for_guest(struct watch *w)
{
	for (unsigned i = 0; i < 300 && !ended(w); i++) {
		json_t *stats = ask(w, "stats");
		bool runs = faults_of(stats) > 0;

		json_decref(stats);
		if (runs)
			return true;
		sleep_ms(100);
	}
	return false;
}

/* The first half: faults, touched memory, requests. The second: what is written. */
static int watch_guest(const struct options *o, struct watch *w, struct bench_advise_facts *f)
{
	json_t *first, *last, *take;
	double start = now_s(), updates;

	first = ask(w, "stats");
	updates = updates_of(w);
	while (now_s() - start < o->seconds / 2 && !ended(w))
		sleep_ms(TICK_MS);
	f->seconds = now_s() - start;
	last = ask(w, "stats");
	if (!first || !last || w->pid <= 0) {
		json_decref(first);
		json_decref(last);
		return 1;
	}
	f->touched_bytes = resident(w->pid);
	f->touched_bytes -= f->touched_bytes < BASE_BYTES ? f->touched_bytes : BASE_BYTES;
	f->faults_per_s = (faults_of(last) - faults_of(first)) / f->seconds;
	f->updates_per_s = (updates_of(w) - updates) / f->seconds;
	f->memory_bytes = (uint64_t)json_integer_value(json_object_get(last, "memory_bytes"));
	f->lightweight = json_is_true(json_object_get(last, "lightweight"));
	f->pre_fault = json_is_true(json_object_get(last, "pre_fault"));
	json_decref(first);
	json_decref(last);
	json_decref(ask(w, "dirty start"));
	for (double from = now_s(); now_s() - from < o->seconds / 2 && !ended(w);) {
		uint64_t pages;

		sleep_ms(TICK_MS);
		take = ask(w, "dirty take");
		pages = (uint64_t)json_integer_value(json_object_get(take, "pages"));
		if (pages * 4096 > f->written_bytes)
			f->written_bytes = pages * 4096;
		json_decref(take);
	}
	return 0;
}

static int measure_guest(const struct options *o, struct bench_advise_facts *f)
{
	struct watch w;
	const char *argv[ARGS];
	int n = 0, rc;

	snprintf(w.name, sizeof(w.name), "advise-%d", (int)getpid());
	argv[n++] = "sidevisor";
	argv[n++] = "run";
	if (o->profile)
		argv[n++] = o->profile;
	for (int i = 0; i < o->mores && n < ARGS - 16; i++)
		argv[n++] = o->more[i];
	argv[n++] = "--name";
	argv[n++] = w.name;
	argv[n++] = "--quiet";
	argv[n++] = "--paging";
	argv[n++] = "off";
	argv[n++] = "--no-populate";
	argv[n++] = "--stage2";
	argv[n++] = "demand";
	argv[n++] = "--backing";
	argv[n++] = "4k";
	argv[n++] = "--track-dirty";
	argv[n++] = "--direct-paging";
	argv[n] = NULL;
	w.pid = start_run(argv, -1);
	rc = w.pid > 0 && wait_for_guest(&w) ? watch_guest(o, &w, f) : 1;
	if (rc)
		fputs("sidevisor bench paging: the guest did not run long enough to be measured\n", stderr);
	if (!ended(&w)) {
		json_decref(ask(&w, "stop"));
		for (unsigned i = 0; i < 100 && !ended(&w); i++)
			sleep_ms(100);
	}
	if (!ended(&w)) {
		kill(w.pid, SIGKILL);
		waitpid(w.pid, NULL, 0);
	}
	return rc;
}

/* --- report ---------------------------------------------------------------------------------- */

static json_t *make_json(const struct bench_advise_facts *f, const struct bench_advice *a)
{
	static const char *const backing[] = {"auto", "4k", "thp", "2m", "1g"};
	static const char *const when[] = {"", "before", "running", "demand"};
	json_t *o = json_pack("{s:s, s:b, s:I}", "substrate", sv_vmm_substrate(), "emulated",
		sv_vmm_emulated(), "memory_bytes", (json_int_t)f->memory_bytes);
	json_t *why = json_array();

	json_object_set_new(o, "choice",
		json_pack("{s:b, s:s, s:s, s:b}", "populate", a->populate, "stage2", when[a->stage2],
			"backing", backing[a->backing], "direct_paging", a->direct_paging));
	for (unsigned i = 0; i < BENCH_ADVISE_WHYS; i++)
		json_array_append_new(why, json_string(a->why[i]));
	json_object_set_new(o, "why", why);
	json_object_set_new(o, "measured",
		json_pack("{s:f, s:I, s:f, s:I, s:f, s:b, s:f, s:f, s:b, s:I, s:I}", "seconds",
			f->seconds, "touched_bytes", (json_int_t)f->touched_bytes, "faults_per_s",
			f->faults_per_s, "written_bytes", (json_int_t)f->written_bytes,
			"updates_per_s", f->updates_per_s, "lightweight", f->lightweight, "touch_ns",
			f->touch_ns, "small_over_huge", f->small_over_huge, "pre_fault", f->pre_fault,
			"free_2m", (json_int_t)f->free_2m, "free_1g", (json_int_t)f->free_1g));
	return o;
}

/* *path: "" when nothing is to be recorded. */
static int record_path(const struct options *o, const struct sv_bench_vm *vm, char *path, size_t bytes,
	struct sv_error *err)
{
	*path = 0;
	if (!o->record)
		return o->profile ? vm->record_path(o->profile, path, bytes, err) : 0;
	if (!*o->record || snprintf(path, bytes, "%s", o->record) >= (int)bytes)
		return sv_fail(err, EINVAL, "--record %.80s: the path of a file is needed", o->record);
	return 0;
}

static int record(const char *path, const json_t *j)
{
	int rc;

	if (!*path)
		return 0;
	rc = json_dump_file(j, path, JSON_INDENT(2));
	if (rc < 0)
		fprintf(stderr, "sidevisor bench paging: %s: %s\n", path, strerror(errno));
	else
		fprintf(stderr, "recorded in %s; `paging: auto` in a profile takes it from there\n", path);
	return rc < 0;
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {{"advise", no_argument, NULL, 'a'},
		{"seconds", required_argument, NULL, 's'}, {"record", required_argument, NULL, 'r'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	int c;

	*o = (struct options){.seconds = 6};
	optind = 0;
	while ((c = getopt_long(argc, argv, "+as:r:jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		if (c == 's')
			o->seconds = strtod(optarg, NULL);
		else if (c == 'r')
			o->record = optarg;
		else if (c == 'j')
			o->json = true;
	}
	if (optind < argc && strcmp(argv[optind - 1], "--") != 0)
		o->profile = argv[optind++];
	if (optind < argc && !strcmp(argv[optind], "--"))
		optind++;
	o->more = argv + optind;
	o->mores = argc - optind;
	if (o->seconds >= 1 && o->seconds <= 3600 && o->mores < ARGS - 20 && (o->profile || o->mores))
		return -1;
	fputs("sidevisor bench paging: --advise wants a PROFILE, or -- and the options of a run; --seconds "
	      "is from 1 to 3600\n", stderr);
	return 2;
}

int bench_advise_run(int argc, char **argv, const struct sv_bench_vm *vm)
{
	struct bench_advise_facts f = {0};
	struct bench_advice a;
	struct options o;
	json_t *j;
	struct sv_error err;
	char *text, path[4096];
	int rc = parse(&o, argc, argv);

	if (rc >= 0)
		return rc;
	if (record_path(&o, vm, path, sizeof(path), &err) < 0) {
		fprintf(stderr, "sidevisor bench paging: %s\n", err.text);
		return 2;
	}
	rc = measure_machine(vm, &f);
	if (rc == 0)
		rc = measure_guest(&o, &f);
	if (rc)
		return rc;
	bench_advise(&f, &a);
	j = make_json(&f, &a);
	text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	if (o.json)
		puts(text);
	else
		for (unsigned i = 0; i < BENCH_ADVISE_WHYS; i++)
			printf("%s\n", a.why[i]);
	free(text);
	rc = record(path, j);
	json_decref(j);
	return rc;
}
