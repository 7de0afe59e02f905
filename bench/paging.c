/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench paging: what a validated page-table update costs, by request and by exit.
 *
 * One VM of the lightweight kernel on one pair of cores; its pagingbench application goes round all
 * items (guest/lwk/apps/paging_bench.c). Samples are TSC ticks of single requests, read from guest
 * memory at the end and divided by the updates that a request carries.
 */
#include <bench/bench.h>

#include <getopt.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwk/paging_bench.h>
#include <sidevisor/platform.h>
#include <vmm/vmm.h>

#include "advise.h"
#include "paging_host.h"
#include "paging_report.h"
#include "stage2.h"

static const char help[] =
	"usage: sidevisor bench paging [--rounds N] [--count N] [--exits N] [--cpus CPU]\n"
	"                              [--sidecore CPU] [--report DIR] [--json]\n"
	"                              [--only updates|stage2] [--memory MIB] [--vcpus N]\n"
	"                              [--touch-rounds N] [--backing WHAT]\n"
	"\n"
	"In one VM on one pair of cores, going round all methods so that drift hits all alike:\n"
	"page-table updates by request through the ring (one at a time; 8, 64 and 512 in a request;\n"
	"a stream of requests), by an exit through a port, and by a store into read-only memory. The\n"
	"same validation serves all. Then, without a guest, validated updates against plain stores\n"
	"into the same tables.\n"
	"\n"
	"Then what the first touch of a page of guest memory costs, in KVM's faults and in time: memory\n"
	"that KVM maps on demand, before the start, and by a thread beside the guest while it runs.\n"
	"\n"
	"  --rounds N    rounds (default 20)\n"
	"  --count N     requests of one update per round, an eighth of that of each batch\n"
	"                (default 1000)\n"
	"  --exits N     exits and settled unmaps of each kind per round (default 40)\n"
	"  --only PART   updates: page-table updates; stage2: first touches\n"
	"  --memory MIB  to be touched (default 256)\n"
	"  --vcpus N     of the rows with several vCPUs (default 4; 1: no such rows)\n"
	"  --touch-rounds N  VMs for each row of first touches (default 1)\n"
	"  --backing WHAT    of guest memory for these, as for `sidevisor run`\n"
	"  --advise      which paging suits a guest: `sidevisor bench paging --advise --help`\n"
	"  --report DIR  leaves paging.json and paging.svg there, bars of all that was measured\n"
	"\n"
	"JSON: per method n, updates (per request), ns per update (p50, p90, p99, max),\n"
	"updates_per_s (from the mean), exits (to the VM process, per update); map_over_ring: one\n"
	"map against an empty request; ring_over_exit: against the better exit; settle_over_exit: an\n"
	"unmap that nobody may use afterwards, against that of a page that nobody used, by exit;\n"
	"stage2: per row faults and exits (KVM's counts, all vCPUs), ns per touch (mean, p50, p99,\n"
	"max), and faults_running_over_demand by number of vCPUs.\n";

struct item {
	const char *key, *what;
	unsigned updates;
	int counted; /* the item whose exits were counted for this one; -1: none */
};

static const struct item items[LWK_PB_ITEMS] = {
	[LWK_PB_EMPTY] = {"ring_empty", "an empty request through the ring", 1, LWK_PB_RING_MAP},
	[LWK_PB_RING_MAP] = {"ring_map", "map, one per request", 1, LWK_PB_RING_MAP},
	[LWK_PB_RING_UNMAP] = {"ring_unmap", "unmap, one per request, page not used", 1,
		LWK_PB_RING_MAP},
	[LWK_PB_BATCH_8] = {"ring_batch_8", "map, 8 per request", 8, LWK_PB_STREAM_64},
	[LWK_PB_BATCH_64] = {"ring_batch_64", "map, 64 per request", 64, LWK_PB_STREAM_64},
	[LWK_PB_BATCH_512] = {"ring_batch_512", "map, 512 per request", 512, LWK_PB_STREAM_64},
	[LWK_PB_STREAM_64] = {"ring_stream_64", "map, 64 per request, 16 in flight", 1024,
		LWK_PB_STREAM_64},
	[LWK_PB_RANGE_512] = {"ring_range_512", "map, a range of 512 per request", 512,
		LWK_PB_STREAM_64},
	[LWK_PB_RING_SETTLE] = {"ring_settle", "unmap of a used page, settled", 1,
		LWK_PB_RING_SETTLE},
	[LWK_PB_SETTLE_64] = {"ring_settle_64", "unmap of 64 used pages, settled", 64,
		LWK_PB_SETTLE_64},
	[LWK_PB_PORT_MAP] = {"port_map", "map by exit (port)", 1, LWK_PB_PORT_MAP},
	[LWK_PB_PORT_SETTLE] = {"port_settle", "unmap by exit (port), unused page", 1,
		LWK_PB_PORT_MAP},
	[LWK_PB_TRAP_MAP] = {"trap_map", "map by trapped store", 1, -1},
};

struct summary {
	uint64_t n;
	double p50, p90, p99, max, mean; /* ns per update */
	double exits;                    /* per update; < 0: not counted */
};

static struct {
	struct lwk_paging_bench *shared;
	struct summary of[LWK_PB_ITEMS];
	uint64_t exits_at, exits[LWK_PB_ITEMS];
	bool marked, done, shadowed;
	uint64_t error;
} run;

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void summarise(struct summary *s, uint64_t *v, uint64_t n, double ns_per_tick)
{
	double sum = 0;

	s->n = n;
	if (!n)
		return;
	qsort(v, n, sizeof(*v), by_value);
	for (uint64_t i = 0; i < n; i++)
		sum += (double)v[i];
	s->p50 = (double)v[n / 2] * ns_per_tick;
	s->p90 = (double)v[n * 90 / 100] * ns_per_tick;
	s->p99 = (double)v[n * 99 / 100] * ns_per_tick;
	s->max = (double)v[n - 1] * ns_per_tick;
	s->mean = sum / (double)n * ns_per_tick;
}

/*
 * Exits between two marks, less the mark's own, per update. By port an unmap goes with each map, by
 * trap an unmap by port goes with each map.
 */
static double exits_per_update(unsigned item)
{
	unsigned counted = items[item].counted < 0 ? item : (unsigned)items[item].counted;
	double exits = (double)run.exits[counted] - 1, samples = LWK_PB_COUNTED;

	if (item == LWK_PB_PORT_MAP || item == LWK_PB_PORT_SETTLE || item == LWK_PB_TRAP_MAP)
		return exits / (2 * samples);
	return exits / (samples * items[item].updates);
}

static void finish(void *(*ptr)(void *vm, uint64_t gpa, uint64_t len), void *vm)
{
	const struct sv_boot *boot = ptr(vm, SV_BOOT_INFO_GPA, sizeof(*boot));
	struct lwk_paging_bench *b = run.shared;

	run.error = b->error;
	run.shadowed = b->shadowed;
	for (unsigned i = 0; boot && boot->tsc_hz && i < LWK_PB_ITEMS; i++) {
		uint64_t n = b->n[i];
		uint64_t *v = n <= b->room ? ptr(vm, b->samples[i], n * sizeof(*v)) : NULL;

		if (v)
			summarise(&run.of[i], v, n, 1e9 / (double)boot->tsc_hz / items[i].updates);
		run.of[i].exits = exits_per_update(i);
	}
	run.done = true;
}

static void hook(void *(*ptr)(void *vm, uint64_t gpa, uint64_t len), void *vm, uint32_t value)
{
	if (value >= 4096) {
		run.shared = ptr(vm, value, sizeof(*run.shared));
	} else if (run.shared && value == LWK_PB_DONE) {
		finish(ptr, vm);
	} else if (value >= LWK_PB_MARK && value < LWK_PB_MARK + LWK_PB_ITEMS) {
		if (run.marked)
			run.exits[value - LWK_PB_MARK] = sv_vmm_exits(vm) - run.exits_at;
		run.exits_at = sv_vmm_exits(vm);
		run.marked = !run.marked;
	}
}

/* --- report ---------------------------------------------------------------------------------- */

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

static double better(double a, double b)
{
	return a < b ? a : b;
}

static double best_exit(void)
{
	return better(run.of[LWK_PB_PORT_MAP].p50, run.of[LWK_PB_TRAP_MAP].p50);
}

static double per_second(const struct summary *s)
{
	return s->mean > 0 ? 1e9 / s->mean : 0;
}

static json_t *method_json(unsigned i)
{
	const struct summary *s = &run.of[i];

	return json_pack("{s:I, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "n", (json_int_t)s->n,
		"updates", items[i].updates, "p50", s->p50, "p90", s->p90, "p99", s->p99, "max",
		s->max, "updates_per_s", per_second(s), "exits", s->exits);
}

static json_t *make_json(const struct sv_bench_vm *vm, const struct bench_paging_host *h)
{
	const struct summary *of = run.of;
	json_t *o = json_pack("{s:s, s:s, s:b, s:s, s:{s:i, s:i}}", "bench", "paging", "substrate",
		sv_vmm_substrate(), "emulated", sv_vmm_emulated(), "tables",
		run.shadowed ? "shadowed" : "nested", "cpus", "guest", vm->guest_cpu(), "sidecore",
		vm->sidecore_cpu());
	json_t *methods = json_object();

	for (unsigned i = 0; i < LWK_PB_ITEMS; i++)
		json_object_set_new(methods, items[i].key, method_json(i));
	json_object_set_new(o, "methods", methods);
	json_object_set_new(o, "map_over_ring",
		json_real(ratio(of[LWK_PB_RING_MAP].p50, of[LWK_PB_EMPTY].p50)));
	json_object_set_new(
		o, "ring_over_exit", json_real(ratio(of[LWK_PB_RING_MAP].p50, best_exit())));
	json_object_set_new(o, "settle_over_exit",
		json_real(ratio(of[LWK_PB_RING_SETTLE].p50, of[LWK_PB_PORT_SETTLE].p50)));
	json_object_set_new(o, "in_process",
		json_pack("{s:f, s:f, s:f, s:f, s:f}", "validated_ns", h->validated_ns,
			"plain_store_ns", h->plain_ns, "ratio", ratio(h->validated_ns, h->plain_ns),
			"plain_books_ns", h->books_ns, "ratio_books",
			ratio(h->validated_ns, h->books_ns)));
	return o;
}

_Static_assert(LWK_PB_ITEMS <= BENCH_BARS, "every method has a bar");

static void update_bars(struct bench_bars *part)
{
	snprintf(part->title, sizeof(part->title),
		"page-table updates on %s%s: p50 (bar) to p99, ns per update", sv_vmm_substrate(),
		sv_vmm_emulated() ? " (emulated)" : "");
	for (unsigned i = 0; i < LWK_PB_ITEMS; i++) {
		struct bench_bar *b = &part->bar[part->n++];

		snprintf(b->what, sizeof(b->what), "%s", items[i].what);
		b->ns = run.of[i].p50;
		b->p99 = run.of[i].p99;
		b->exit = i >= LWK_PB_PORT_MAP;
	}
}

static int write_report(const char *dir, const char *json, const json_t *all)
{
	const json_t *touches = json_object_get(all, "stage2");
	struct bench_bars part[2] = {{.n = 0}};
	struct sv_error err = {""};
	unsigned parts = 0;
	int rc;

	if (json_object_get(all, "methods"))
		update_bars(&part[parts++]);
	if (touches)
		bench_stage2_bars(touches, &part[parts++]);
	rc = bench_paging_report(dir, json, part, parts, &err);
	if (rc < 0)
		fprintf(stderr, "sidevisor bench paging: %s\n", err.text);
	return rc < 0;
}

static void print_text(const struct sv_bench_vm *vm, const struct bench_paging_host *h)
{
	const struct summary *of = run.of;

	printf("substrate %s%s, tables %s, guest on CPU %d, sidecore on CPU %d; ns per update\n\n",
		sv_vmm_substrate(), sv_vmm_emulated() ? " (emulated)" : "",
		run.shadowed ? "shadowed by KVM" : "walked by the processor", vm->guest_cpu(),
		vm->sidecore_cpu());
	printf("%-40s %8s %9s %9s %9s %10s %8s\n", "", "n", "p50", "p90", "p99", "M/s", "exits");
	for (unsigned i = 0; i < LWK_PB_ITEMS; i++)
		printf("%-40s %8llu %9.1f %9.1f %9.1f %10.3f %8.2f\n", items[i].what,
			(unsigned long long)of[i].n, of[i].p50, of[i].p90, of[i].p99,
			per_second(&of[i]) / 1e6, of[i].exits);
	printf("\nmap over empty request: %.2f; ring over the better exit: 1/%.0f; settled unmap "
	       "over that "
	       "of the exit: 1/%.1f (p50)\nin one process: %.2f ns per validated update, %.2f ns "
	       "per "
	       "plain store, ratio %.2f; %.2f ns per plain store of entry, private entry and "
	       "count, "
	       "ratio %.2f\n",
		ratio(of[LWK_PB_RING_MAP].p50, of[LWK_PB_EMPTY].p50),
		ratio(best_exit(), of[LWK_PB_RING_MAP].p50),
		ratio(of[LWK_PB_PORT_SETTLE].p50, of[LWK_PB_RING_SETTLE].p50), h->validated_ns,
		h->plain_ns, ratio(h->validated_ns, h->plain_ns), h->books_ns,
		ratio(h->validated_ns, h->books_ns));
}

/* --- options --------------------------------------------------------------------------------- */

struct options {
	unsigned rounds, count, exits;
	const char *cpus, *sidecore, *report, *only;
	struct bench_stage2_options touch;
	bool json;
};

static int check_stage2(const struct options *o)
{
	if (o->only && strcmp(o->only, "updates") != 0 && strcmp(o->only, "stage2") != 0) {
		fprintf(stderr, "sidevisor bench paging: --only %s: give updates or stage2\n", o->only);
		return 2;
	}
	if (o->touch.mib < 2 || o->touch.mib > 65536 || o->touch.mib % 2 || !o->touch.vcpus ||
		o->touch.vcpus > 256 || !o->touch.rounds || o->touch.rounds > 32) {
		fputs("sidevisor bench paging: --memory is an even number of MiB from 2 to 65536, "
		      "--vcpus from 1 to 256, --touch-rounds from 1 to 32\n",
			stderr);
		return 2;
	}
	return -1;
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {{"rounds", required_argument, NULL, 'r'},
		{"count", required_argument, NULL, 'n'}, {"exits", required_argument, NULL, 'e'},
		{"cpus", required_argument, NULL, 'c'}, {"sidecore", required_argument, NULL, 's'},
		{"report", required_argument, NULL, 'R'}, 
		{"only", required_argument, NULL, 'o'}, {"memory", required_argument, NULL, 'm'},
		{"vcpus", required_argument, NULL, 'v'}, {"backing", required_argument, NULL, 'b'},
		{"touch-rounds", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	int c;

	*o = (struct options){.rounds = 20, .count = 1000, .exits = 40, .touch = {.mib = 256, .vcpus = 4, .rounds = 1}};
	optind = 1;
	while ((c = getopt_long(argc, argv, "r:n:e:c:s:R:o:m:v:b:t:jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		if (c == 'r')
			o->rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'n')
			o->count = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'e')
			o->exits = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'c')
			o->cpus = optarg;
		else if (c == 's')
			o->sidecore = optarg;
		else if (c == 'R')
			o->report = optarg;
		else if (c == 'o')
			o->only = optarg;
		else if (c == 'm')
			o->touch.mib = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'v')
			o->touch.vcpus = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 't')
			o->touch.rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'b')
			o->touch.backing = optarg;
		else
			o->json = true;
	}
	if (!o->rounds || o->count < 8 || !o->exits ||
		(uint64_t)o->rounds * (o->count > o->exits ? o->count : o->exits) > 200000) {
		fputs("sidevisor bench paging: --rounds and --exits are from 1, --count from 8, "
		      "rounds "
		      "times the larger at most 200000\n",
			stderr);
		return 2;
	}
	o->touch.cpus = o->cpus;
	o->touch.sidecore = o->sidecore;
	return check_stage2(o);
}

static int run_guest(const struct options *o, const struct sv_bench_vm *vm)
{
	char cmdline[128];
	const char *a[] = {"run", "--private", "--quiet", "--direct-paging", "--idle=never",
		"--memory=128M", "--kernel", sv_bench_lwk_path(), "--cmdline", cmdline, NULL, NULL,
		NULL, NULL, NULL};
	int n = 10;

	snprintf(cmdline, sizeof(cmdline), "app=pagingbench rounds=%u count=%u exits=%u", o->rounds,
		o->count, o->exits);
	if (o->cpus) {
		a[n++] = "--cpus";
		a[n++] = o->cpus;
	}
	if (o->sidecore) {
		a[n++] = "--sidecore";
		a[n++] = o->sidecore;
	}
	sv_vmm_set_bench_hook(hook);
	return vm->run(n, (char **)(uintptr_t)a);
}

/* The page-table updates. *out: a new reference. Return: 0 or the exit status. */
static int measure_updates(const struct options *o, const struct sv_bench_vm *vm,
	struct bench_paging_host *host, json_t **out)
{
	int rc = run_guest(o, vm);

	if (rc != 0 || !run.done || run.error) {
		fprintf(stderr,
			"sidevisor bench paging: the measurement did not come to its end "
			"(service status %llu)\n",
			(unsigned long long)run.error);
		return rc ? rc : 1;
	}
	if (!bench_paging_host(host)) {
		fputs("sidevisor bench paging: no memory for the measurement without a guest\n",
			stderr);
		return 1;
	}
	*out = make_json(vm, host);
	return 0;
}

static json_t *head_json(void)
{
	return json_pack("{s:s, s:s, s:b}", "bench", "paging", "substrate", sv_vmm_substrate(),
		"emulated", sv_vmm_emulated());
}

static int print_all(const struct options *o, const struct sv_bench_vm *vm,
	const struct bench_paging_host *host, json_t *all)
{
	char *text = json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	const json_t *touches = json_object_get(all, "stage2");
	int rc = 0;

	if (o->json) {
		puts(text);
	} else {
		if (json_object_get(all, "methods"))
			print_text(vm, host);
		if (touches)
			bench_stage2_print(touches);
	}
	if (o->report)
		rc = write_report(o->report, text, all);
	free(text);
	return rc;
}

int sv_bench_paging(int argc, char **argv, const struct sv_bench_vm *vm)
{
	struct bench_paging_host host = {0};
	json_t *all = NULL, *touches = NULL;
	struct options o;
	int rc;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--advise"))
			return bench_advise_run(argc, argv, vm);
	rc = parse(&o, argc, argv);
	if (rc >= 0)
		return rc;
	rc = 0;
	/* Touches first: a process that has run a VM is not the one to be copied. */
	if (!o.only || !strcmp(o.only, "stage2"))
		rc = bench_stage2(&o.touch, vm, &touches);
	if (rc == 0 && (!o.only || !strcmp(o.only, "updates")))
		rc = measure_updates(&o, vm, &host, &all);
	if (rc == 0 && !all)
		all = head_json();
	if (rc == 0 && touches)
		json_object_set(all, "stage2", touches);
	if (rc == 0)
		rc = print_all(&o, vm, &host, all);
	json_decref(touches);
	json_decref(all);
	return rc;
}
