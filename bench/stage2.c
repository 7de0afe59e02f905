/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stage-2 rows of `sidevisor bench paging`: what the first touch of a page of guest memory costs,
 * in faults and in time, by when and by whom KVM's tables were filled. A VM for each row and round,
 * in a process of its own; the rows take turns.
 */
#include "stage2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lwk/touch.h>
#include <sidevisor/platform.h>
#include <vmm/vmm.h>

#define ROUNDS 32u
#define MORE_MIB 64u /* besides what is touched */

enum { DEMAND, BEFORE, RUNNING, WHENS };

static const struct {
	const char *key, *what;
} whens[WHENS] = {
	[DEMAND] = {"demand", "on demand, by the guest's own faults"},
	[BEFORE] = {"before", "before the start"},
	[RUNNING] = {"running", "off the guest core, while the guest runs"},
};

_Static_assert(2 * WHENS <= BENCH_BARS, "every row has a bar");

/* What one VM leaves behind, in memory shared with the process that ran it. */
struct outcome {
	uint64_t pages, faults, exits, wrong, done;
	double mean, p50, p99, max; /* ns per page */
};

struct row {
	unsigned when, vcpus;
	struct outcome of[ROUNDS];
};

static struct outcome *here;
static struct lwk_touch *shared;
static uint64_t faults_at, exits_at;
static bool marked;

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void summarise(uint64_t *v, uint64_t n, double ns_per_tick)
{
	double sum = 0;

	qsort(v, n, sizeof(*v), by_value);
	for (uint64_t i = 0; i < n; i++)
		sum += (double)v[i];
	here->mean = sum / (double)n * ns_per_tick;
	here->p50 = (double)v[n / 2] * ns_per_tick;
	here->p99 = (double)v[n - 1 - n / 100] * ns_per_tick;
	here->max = (double)v[n - 1] * ns_per_tick;
}

static void finish(void *(*ptr)(void *vm, uint64_t gpa, uint64_t len), void *vm)
{
	const struct sv_boot *boot = ptr(vm, SV_BOOT_INFO_GPA, sizeof(*boot));
	uint64_t n = shared->pages, *v = n < 1ull << 32 ? ptr(vm, shared->samples, n * 8) : NULL;

	if (!v || !n || !boot || !boot->tsc_hz)
		return;
	here->pages = n;
	here->wrong = shared->wrong;
	summarise(v, n, 1e9 / (double)boot->tsc_hz);
	here->done = 1;
}

static void hook(void *(*ptr)(void *vm, uint64_t gpa, uint64_t len), void *vm, uint32_t value)
{
	uint64_t faults = sv_vmm_kvm_counter(vm, "pf_taken"), exits = sv_vmm_kvm_counter(vm, "exits");

	if (value >= 4096) {
		shared = ptr(vm, value, sizeof(*shared));
	} else if (!shared) {
		return;
	} else if (value == LWK_TOUCH_ASK) {
		__atomic_store_n(&shared->go, sv_vmm_stage2_done(vm), __ATOMIC_RELEASE);
	} else if (value == LWK_TOUCH_MARK) {
		here->faults = faults - faults_at;
		here->exits = marked ? exits - exits_at - 1 : 0; /* without that of the mark */
		faults_at = faults;
		exits_at = exits;
		marked = true;
	} else if (value == LWK_TOUCH_DONE) {
		finish(ptr, vm);
	}
}

/* --- the VMs ----------------------------------------------------------------------------------- */

static int run_guest(const struct bench_stage2_options *o, const struct sv_bench_vm *vm,
	const struct row *row)
{
	char cmdline[64], memory[16], vcpus[16];
	const char *a[32] = {"run", "--private", "--quiet", "--no-populate", "--kernel",
		sv_bench_lwk_path(), "--memory", memory, "--vcpus", vcpus, "--cmdline", cmdline,
		"--stage2", whens[row->when].key};
	int n = 14;

	snprintf(memory, sizeof(memory), "%uM", o->mib + MORE_MIB);
	snprintf(vcpus, sizeof(vcpus), "%u", row->vcpus);
	snprintf(cmdline, sizeof(cmdline), "app=touch mib=%u quiet%s", o->mib,
		row->when == RUNNING ? " wait" : "");
	if (row->vcpus > 1 && sysconf(_SC_NPROCESSORS_ONLN) <= (long)row->vcpus)
		a[n++] = "--overcommit";
	if (o->backing) {
		a[n++] = "--backing";
		a[n++] = o->backing;
	}
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

static int run_apart(const struct bench_stage2_options *o, const struct sv_bench_vm *vm,
	const struct row *row, struct outcome *out)
{
	pid_t pid;
	int status = 0, null;

	here = out;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		/* The guest's console is not the report's. */
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(null, 1);
		if (o->quiet)
			dup2(null, 2);
		_exit(run_guest(o, vm, row));
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 && out->done && !out->wrong)
		return 0;
	fprintf(stderr, "sidevisor bench paging: memory mapped %s, %u vCPUs: the measurement did not "
			"come to its end\n", whens[row->when].key, row->vcpus);
	return 1;
}

/* --- report ---------------------------------------------------------------------------------- */

static int by_mean(const void *a, const void *b)
{
	double x = ((const struct outcome *)a)->mean, y = ((const struct outcome *)b)->mean;

	return x < y ? -1 : x > y;
}

static json_t *row_json(struct row *row, unsigned rounds)
{
	const struct outcome *m;

	qsort(row->of, rounds, sizeof(row->of[0]), by_mean);
	m = &row->of[rounds / 2];
	return json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "when",
		whens[row->when].key, "what", whens[row->when].what, "vcpus", row->vcpus, "rounds",
		rounds, "pages", (json_int_t)m->pages, "faults", (json_int_t)m->faults, "exits",
		(json_int_t)m->exits, "exits_per_page", (double)m->exits / (double)m->pages, "mean_ns",
		m->mean, "p50_ns", m->p50, "p99_ns", m->p99, "max_ns", m->max);
}

static double faults_of(const json_t *rows, size_t i)
{
	return (double)json_integer_value(json_object_get(json_array_get(rows, i), "faults"));
}

static json_t *make_json(const struct bench_stage2_options *o, struct row *rows, unsigned n)
{
	json_t *a = json_array(), *ratios = json_object();
	char vcpus[16];

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(a, row_json(&rows[i], o->rounds));
	for (unsigned i = 0; i + RUNNING < n; i += WHENS) {
		double demand = faults_of(a, i + DEMAND);

		snprintf(vcpus, sizeof(vcpus), "%u", rows[i].vcpus);
		json_object_set_new(ratios, vcpus,
			json_real(demand > 0 ? faults_of(a, i + RUNNING) / demand : 0));
	}
	return json_pack("{s:i, s:s, s:o, s:o}", "mib", o->mib, "backing",
		o->backing ? o->backing : "auto", "rows", a, "faults_running_over_demand", ratios);
}

int bench_stage2(const struct bench_stage2_options *o, const struct sv_bench_vm *vm, json_t **out)
{
	unsigned n = o->vcpus > 1 ? 2 * WHENS : WHENS;
	struct row *rows = mmap(NULL, 2 * WHENS * sizeof(*rows), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc = 0;

	if (rows == MAP_FAILED || o->rounds > ROUNDS) {
		fputs("sidevisor bench paging: out of memory\n", stderr);
		return 1;
	}
	for (unsigned r = 0; r < o->rounds; r++)
		for (unsigned i = 0; i < n && rc == 0; i++) {
			rows[i].when = i % WHENS;
			rows[i].vcpus = i < WHENS ? 1 : o->vcpus;
			rc = run_apart(o, vm, &rows[i], &rows[i].of[r]);
		}
	if (rc == 0)
		*out = make_json(o, rows, n);
	munmap(rows, 2 * WHENS * sizeof(*rows));
	return rc;
}

static double number(const json_t *row, const char *key)
{
	return json_number_value(json_object_get(row, key));
}

void bench_stage2_print(const json_t *j)
{
	const json_t *ratios = json_object_get(j, "faults_running_over_demand"), *rows, *row, *v;
	const char *key;
	size_t i;

	rows = json_object_get(j, "rows");
	printf("\nfirst touches of %d MiB of guest memory, 4 KiB each; ns per touch\n\n%-42s %5s %9s "
	       "%9s %9s %9s %9s %9s\n",
		(int)json_integer_value(json_object_get(j, "mib")), "mapped", "vCPUs", "faults",
		"exits", "mean", "p50", "p99", "max");
	json_array_foreach(rows, i, row)
		printf("%-42s %5.0f %9.0f %9.0f %9.1f %9.1f %9.1f %9.0f\n",
			json_string_value(json_object_get(row, "what")), number(row, "vcpus"),
			number(row, "faults"), number(row, "exits"), number(row, "mean_ns"),
			number(row, "p50_ns"), number(row, "p99_ns"), number(row, "max_ns"));
	json_object_foreach((json_t *)(uintptr_t)ratios, key, v)
		printf("faults with %s vCPU(s), mapped while the guest runs over on demand: %.4f\n", key,
			json_real_value(v));
}

/* With large pages only one touch in hundreds faults: the mean tells, percentiles would not. */
void bench_stage2_bars(const json_t *j, struct bench_bars *out)
{
	const json_t *rows = json_object_get(j, "rows"), *row;
	size_t i;

	snprintf(out->title, sizeof(out->title), "first touches of %d MiB of guest memory on %s%s: mean "
						 "(bar) and p99, ns per touch of 4 KiB",
		(int)json_integer_value(json_object_get(j, "mib")), sv_vmm_substrate(),
		sv_vmm_emulated() ? " (emulated)" : "");
	json_array_foreach(rows, i, row) {
		double pages = number(row, "pages"), faults = number(row, "faults") / pages;
		struct bench_bar *b = &out->bar[out->n];

		snprintf(b->what, sizeof(b->what), "%s, %.0f vCPU%s",
			json_string_value(json_object_get(row, "what")), number(row, "vcpus"),
			number(row, "vcpus") > 1 ? "s" : "");
		snprintf(b->note, sizeof(b->note), "%.3f faults, %.3f exits", faults,
			number(row, "exits_per_page"));
		b->ns = number(row, "mean_ns");
		b->p99 = number(row, "p99_ns");
		b->exit = !strcmp(json_string_value(json_object_get(row, "when")), whens[DEMAND].key);
		out->n++;
	}
}
