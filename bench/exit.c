/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench exit: what an exit costs on this machine, and what a round trip of the ring costs.
 *
 * One VM of the lightweight kernel on one pair of cores; its bench application goes round all items
 * (guest/lwk/apps/bench.c), the VM process does the host's ping-pong in between, on the vCPU's own
 * thread. The samples are single operations in TSC ticks, read from guest memory at the end.
 */
#include <bench/bench.h>

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <channels/atomics.h>
#include <lwk/bench.h>
#include <sidevisor/platform.h>
#include <sidevisor/services.h>
#include <vmm/vmm.h>

#define BUCKETS 24u
#define GIVE_UP_TICKS 1000000000ull

static const char help[] =
	"usage: sidevisor bench exit [--rounds N] [--count N] [--exits N] [--cpus CPU] [--sidecore CPU]\n"
	"                            [--json]\n"
	"\n"
	"In one VM on one pair of cores, going round all items so that drift hits all alike:\n"
	"the raw ping-pong of one cache line (from the vCPU's thread in host mode, and from the guest),\n"
	"an empty request through the channel, an exit that the kernel handles (CPUID), exits to the VM\n"
	"process (port, MMIO), and an ioeventfd kick. Samples are single operations and contain the\n"
	"clock's own cost, which is reported too.\n"
	"\n"
	"  --rounds N   rounds (default 50)\n"
	"  --count N    ping-pongs and requests per round (default 2000)\n"
	"  --exits N    exits of each kind per round (default 40)\n"
	"\n"
	"JSON: substrate, emulated, cpus, and per item (clock, pingpong, pingpong_guest, ring,\n"
	"exit_kernel, exit_user_pio, exit_user_mmio, exit_hypercall, kick_ioeventfd) n, p50, p90, p99,\n"
	"max in ns; ring_over_pingpong (p50), ring_p99_over_pingpong_p99, exit_over_ring (port exit, p50).\n"
	"exit_hypercall is null where KVM hands no hypercall to user space (KVM-PVM).\n";

struct item {
	const char *key, *what;
};

static const struct item items[LWK_BENCH_ITEMS] = {
	[LWK_BENCH_CLOCK] = {"clock", "two RDTSC in a row"},
	[LWK_BENCH_PINGPONG_HOST] = {"pingpong", "raw cache line, host thread"},
	[LWK_BENCH_PINGPONG_GUEST] = {"pingpong_guest", "raw cache line, guest CPL 3"},
	[LWK_BENCH_RING] = {"ring", "request through the channel, guest CPL 3"},
	[LWK_BENCH_EXIT_KERNEL] = {"exit_kernel", "exit handled in the kernel (CPUID)"},
	[LWK_BENCH_EXIT_PIO] = {"exit_user_pio", "exit to the VM process (port)"},
	[LWK_BENCH_EXIT_MMIO] = {"exit_user_mmio", "exit to the VM process (MMIO)"},
	[LWK_BENCH_KICK] = {"kick_ioeventfd", "ioeventfd kick (MMIO)"},
	[LWK_BENCH_HYPERCALL] = {"exit_hypercall", "exit to the VM process (hypercall, CPL 0)"},
};

struct summary {
	uint64_t n;
	double p50, p90, p99, max; /* ns */
	unsigned bucket[BUCKETS];  /* by powers of two of ns */
};

static struct {
	struct lwk_bench *shared;
	struct summary of[LWK_BENCH_ITEMS];
	bool done;
	uint64_t error;
} run;

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void summarise(struct summary *s, uint64_t *v, uint64_t n, double ns_per_tick)
{
	s->n = n;
	if (!n)
		return;
	qsort(v, n, sizeof(*v), by_value);
	s->p50 = (double)v[n / 2] * ns_per_tick;
	s->p90 = (double)v[n * 90 / 100] * ns_per_tick;
	s->p99 = (double)v[n * 99 / 100] * ns_per_tick;
	s->max = (double)v[n - 1] * ns_per_tick;
	for (uint64_t i = 0; i < n; i++) {
		double ns = (double)v[i] * ns_per_tick;
		unsigned b = 0;

		while (b + 1 < BUCKETS && ns >= (double)(2ull << b))
			b++;
		s->bucket[b]++;
	}
}

/* The vCPU's thread, in host mode, takes the guest's side of a ping-pong under way. */
static void host_pingpong(void *(*ptr)(void *vm, uint64_t gpa, uint64_t len), void *vm)
{
	struct lwk_bench *b = run.shared;
	uint64_t *line = ptr(vm, b->line_gpa, 128);
	uint64_t *n = &b->n[LWK_BENCH_PINGPONG_HOST];
	uint64_t *out = ptr(vm, b->samples[LWK_BENCH_PINGPONG_HOST], b->room * sizeof(*out));

	for (uint64_t i = 1; line && out && *n < b->room; i++) {
		uint64_t t = sv_tsc();

		sv_store_release(&line[0], i);
		while (sv_load_acquire(&line[8]) != i) {
			sv_cpu_relax();
			if (sv_tsc() - t > GIVE_UP_TICKS)
				return; /* the sidecore gave up before: see guest/lwk/apps/bench.c */
		}
		out[(*n)++] = sv_tsc() - t;
		if (i >= b->count)
			return;
	}
}

static void finish(void *(*ptr)(void *vm, uint64_t gpa, uint64_t len), void *vm)
{
	const struct sv_boot *boot = ptr(vm, SV_BOOT_INFO_GPA, sizeof(*boot));
	struct lwk_bench *b = run.shared;

	run.error = b->error;
	for (unsigned i = 0; boot && boot->tsc_hz && i < LWK_BENCH_ITEMS; i++) {
		uint64_t n = b->n[i];
		uint64_t *v = n <= b->room ? ptr(vm, b->samples[i], n * sizeof(*v)) : NULL;

		if (v)
			summarise(&run.of[i], v, n, 1e9 / (double)boot->tsc_hz);
	}
	run.done = true;
}

static void hook(void *(*ptr)(void *vm, uint64_t gpa, uint64_t len), void *vm, uint32_t value)
{
	if (value >= 4096)
		run.shared = ptr(vm, value, sizeof(*run.shared));
	else if (run.shared && value == LWK_BENCH_HOST_PINGPONG)
		host_pingpong(ptr, vm);
	else if (run.shared && value == LWK_BENCH_DONE)
		finish(ptr, vm);
}

/* --- report ---------------------------------------------------------------------------------- */

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

static json_t *summary_json(const struct summary *s)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f}", "n", (json_int_t)s->n, "p50", s->p50, "p90",
		s->p90, "p99", s->p99, "max", s->max);
}

static void print_json(const struct sv_bench_vm *vm)
{
	const struct summary *of = run.of;
	json_t *o = json_object();
	char *text;

	json_object_set_new(o, "bench", json_string("exit"));
	json_object_set_new(o, "substrate", json_string(sv_vmm_substrate()));
	json_object_set_new(o, "emulated", json_boolean(sv_vmm_emulated()));
	json_object_set_new(o, "cpus",
		json_pack("{s:i, s:i}", "guest", vm->guest_cpu(), "sidecore", vm->sidecore_cpu()));
	for (unsigned i = 0; i < LWK_BENCH_ITEMS; i++)
		json_object_set_new(o, items[i].key, of[i].n ? summary_json(&of[i]) : json_null());
	json_object_set_new(o, "ring_over_pingpong",
		json_real(ratio(of[LWK_BENCH_RING].p50, of[LWK_BENCH_PINGPONG_HOST].p50)));
	json_object_set_new(o, "ring_p99_over_pingpong_p99",
		json_real(ratio(of[LWK_BENCH_RING].p99, of[LWK_BENCH_PINGPONG_HOST].p99)));
	json_object_set_new(o, "exit_over_ring",
		json_real(ratio(of[LWK_BENCH_EXIT_PIO].p50, of[LWK_BENCH_RING].p50)));
	text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	puts(text);
	free(text);
	json_decref(o);
}

/* A column per power of two of nanoseconds, from 16 ns to 2 ms. */
static void print_histogram(const struct summary *s)
{
	static const char *const level[] = {" ", ".", ":", "-", "=", "+", "*", "#"};
	unsigned most = 1;

	for (unsigned i = 0; i < BUCKETS; i++)
		most = s->bucket[i] > most ? s->bucket[i] : most;
	printf("  |");
	for (unsigned i = 3; i < 21; i++) {
		unsigned l = s->bucket[i] ? 1 + (unsigned)((uint64_t)s->bucket[i] * 6 / most) : 0;

		fputs(level[l], stdout);
	}
	printf("|\n");
}

static void print_text(const struct sv_bench_vm *vm)
{
	const struct summary *of = run.of;

	printf("substrate %s%s, guest on CPU %d, sidecore on CPU %d; nanoseconds per operation\n\n",
		sv_vmm_substrate(), sv_vmm_emulated() ? " (emulated)" : "", vm->guest_cpu(),
		vm->sidecore_cpu());
	printf("%-42s %8s %9s %9s %9s %10s  |16ns..2ms by x2|\n", "", "n", "p50", "p90", "p99", "max");
	for (unsigned i = 0; i < LWK_BENCH_ITEMS; i++) {
		if (!of[i].n)
			continue;
		printf("%-42s %8llu %9.0f %9.0f %9.0f %10.0f", items[i].what,
			(unsigned long long)of[i].n, of[i].p50, of[i].p90, of[i].p99, of[i].max);
		print_histogram(&of[i]);
	}
	printf("\nring over ping-pong: %.2f (p50), %.2f (p99); port exit over ring: %.1f (p50)\n",
		ratio(of[LWK_BENCH_RING].p50, of[LWK_BENCH_PINGPONG_HOST].p50),
		ratio(of[LWK_BENCH_RING].p99, of[LWK_BENCH_PINGPONG_HOST].p99),
		ratio(of[LWK_BENCH_EXIT_PIO].p50, of[LWK_BENCH_RING].p50));
}

/* --- options --------------------------------------------------------------------------------- */

struct options {
	unsigned rounds, count, exits;
	const char *cpus, *sidecore;
	bool json;
};

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {{"rounds", required_argument, NULL, 'r'},
		{"count", required_argument, NULL, 'n'}, {"exits", required_argument, NULL, 'e'},
		{"cpus", required_argument, NULL, 'c'}, {"sidecore", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	int c;

	*o = (struct options){.rounds = 50, .count = 2000, .exits = 40};
	optind = 1;
	while ((c = getopt_long(argc, argv, "r:n:e:c:s:jh", options, NULL)) != -1) {
		unsigned *number = c == 'r'   ? &o->rounds
				   : c == 'n' ? &o->count
				   : c == 'e' ? &o->exits
					      : NULL;

		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		if (number)
			*number = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'c')
			o->cpus = optarg;
		else if (c == 's')
			o->sidecore = optarg;
		else
			o->json = true;
	}
	if (!o->rounds || !o->count || o->count > SV_BENCH_PINGPONG_MAX || !o->exits ||
		(uint64_t)o->rounds * (o->count > o->exits ? o->count : o->exits) > 1000000) {
		fprintf(stderr, "sidevisor bench exit: --rounds, --count and --exits are from 1, count "
				"at most %u, rounds times the larger at most 1000000\n",
			SV_BENCH_PINGPONG_MAX);
		return 2;
	}
	return -1;
}

int sv_bench_exit(int argc, char **argv, const struct sv_bench_vm *vm)
{
	char cmdline[128];
	const char *a[24];
	struct options o;
	int n = 0, rc = parse(&o, argc, argv);

	if (rc >= 0)
		return rc;
	snprintf(cmdline, sizeof(cmdline), "app=bench rounds=%u count=%u exits=%u%s", o.rounds,
		o.count, o.exits, sv_vmm_hypercall_exits() ? " hypercall" : "");
	a[n++] = "run";
	a[n++] = "--private";
	a[n++] = "--quiet";
	a[n++] = "--allow-bench";
	a[n++] = "--idle=never";
	a[n++] = "--console=none";
	a[n++] = "--memory=128M";
	a[n++] = "--kernel";
	a[n++] = sv_bench_lwk_path();
	a[n++] = "--cmdline";
	a[n++] = cmdline;
	if (o.cpus) {
		a[n++] = "--cpus";
		a[n++] = o.cpus;
	}
	if (o.sidecore) {
		a[n++] = "--sidecore";
		a[n++] = o.sidecore;
	}
	a[n] = NULL;
	sv_vmm_set_bench_hook(hook);
	rc = vm->run(n, (char **)(uintptr_t)a);
	if (rc != 0 || !run.done || run.error) {
		fprintf(stderr,
			"sidevisor bench exit: the measurement did not come to its end (service status "
			"%llu)\n", (unsigned long long)run.error);
		return rc ? rc : 1;
	}
	if (o.json)
		print_json(vm);
	else
		print_text(vm);
	return 0;
}
