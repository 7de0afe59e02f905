/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor bench plan: how long it takes to place guests on machines that need not be here. */
#include <bench/bench.h>

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <placement/plan.h>

#define RUNS_MAX 1000u
#define TOPOLOGIES_MAX 16u

static const char help[] =
	"usage: sidevisor bench plan [--topology FILE|TEXT]... [--guests N] [--vcpus N]\n"
	"                            [--policy locality|spread] [--runs N] [--json]\n"
	"\n"
	"Plan N guests (default 64) on each topology N times (default 9) and report the median and\n"
	"the longest. Without --topology: synthetic machines of up to 4,096 cores. Without --vcpus:\n"
	"as many as fill three quarters of the cores. Reading the topology is reported apart.\n"
	"\n"
	"JSON keys: policy, machines [{topology, cores, domains, guests, vcpus, read_ns, plan_ns {n, p50,\n"
	"max}, sidecores, mean_line_ns}].\n";

static const char *const usual[] = {"pack:2 [numa] l3:12 core:8 pu:2", "numa:24 l3:1 core:8 pu:2",
	"pack:8 numa:4 l3:4 core:8 pu:2", "pack:16 numa:4 l3:8 core:8 pu:1"};

struct options {
	const char *topology[TOPOLOGIES_MAX];
	unsigned topologies, guests, vcpus, runs;
	enum sv_plan_policy_kind kind;
	bool json;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

struct record {
	const char *topology;
	uint64_t read_ns, plan_ns[RUNS_MAX];
	unsigned cores, domains, guests, vcpus, sidecores, runs;
	double mean_ns;
};

static int measure(const struct options *o, const struct sv_machine *m, struct record *r,
	struct sv_error *err)
{
	struct sv_plan_guest *guest;
	struct sv_plan_request req = {.policy = {.kind = o->kind, .sidecores = SV_PLAN_AUTO,
					      .housekeeping = SV_PLAN_AUTO}, .guests = o->guests};
	unsigned share = m->cores * 3 / 4 / o->guests;
	int rc = 0;

	guest = calloc(o->guests, sizeof(*guest));
	if (!guest)
		return sv_fail(err, ENOMEM, "out of memory");
	r->cores = m->cores;
	r->domains = m->domains;
	r->guests = o->guests;
	r->vcpus = o->vcpus ? o->vcpus : share ? share : 1;
	for (unsigned g = 0; g < o->guests; g++) {
		snprintf(guest[g].name, sizeof(guest[g].name), "guest%u", g);
		guest[g].vcpus = r->vcpus;
	}
	req.guest = guest;
	for (r->runs = 0; r->runs < o->runs && rc == 0; r->runs++) {
		uint64_t start = now_ns();
		struct sv_plan *plan = NULL;

		rc = sv_plan_make(m, &req, &plan, err);
		r->plan_ns[r->runs] = now_ns() - start;
		if (rc == 0) {
			r->sidecores = plan->sidecores;
			r->mean_ns = plan->mean_ns;
		}
		sv_plan_free(plan);
	}
	qsort(r->plan_ns, r->runs, sizeof(r->plan_ns[0]), by_time);
	free(guest);
	return rc;
}

static json_t *to_json(const struct record *r)
{
	return json_pack("{s:s, s:i, s:i, s:i, s:i, s:I, s:{s:i, s:I, s:I}, s:i, s:f}", "topology",
		r->topology, "cores", (int)r->cores, "domains", (int)r->domains, "guests",
		(int)r->guests, "vcpus", (int)r->vcpus, "read_ns", (json_int_t)r->read_ns, "plan_ns",
		"n", (int)r->runs, "p50", (json_int_t)r->plan_ns[r->runs / 2], "max",
		(json_int_t)r->plan_ns[r->runs - 1], "sidecores", (int)r->sidecores, "mean_line_ns",
		r->mean_ns);
}

static int one_topology(const struct options *o, const char *topology, json_t *machines)
{
	struct record *r = calloc(1, sizeof(*r));
	struct sv_machine *m = NULL;
	struct sv_error err = {0};
	uint64_t start = now_ns();
	int rc = r ? sv_machine_load(topology, &m, &err) : sv_fail(&err, ENOMEM, "out of memory");

	if (rc == 0) {
		r->topology = topology;
		r->read_ns = now_ns() - start;
		rc = measure(o, m, r, &err);
	}
	if (rc < 0)
		fprintf(stderr, "sidevisor bench plan: %s\n", err.text);
	else if (o->json)
		json_array_append_new(machines, to_json(r));
	else
		printf("%-34s %5u cores, %u guests of %u: %8.2f ms (max %.2f), %u sidecores\n", topology,
			r->cores, r->guests, r->vcpus, (double)r->plan_ns[r->runs / 2] / 1e6,
			(double)r->plan_ns[r->runs - 1] / 1e6, r->sidecores);
	sv_machine_free(m);
	free(r);
	return rc;
}

static bool number(const char *text, unsigned most, unsigned *n)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || !v || v > most)
		return false;
	*n = (unsigned)v;
	return true;
}

static int usage(const char *what)
{
	fprintf(stderr, "sidevisor bench plan: %s; see `sidevisor bench plan --help`\n", what);
	return 2;
}

/* Return: -1 to go on, or an exit status. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {{"topology", required_argument, NULL, 't'},
		{"guests", required_argument, NULL, 'g'}, {"vcpus", required_argument, NULL, 'v'},
		{"policy", required_argument, NULL, 'p'}, {"runs", required_argument, NULL, 'r'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 't' && o->topologies == TOPOLOGIES_MAX)
			return usage("at most 16 topologies");
		if (c == 't')
			o->topology[o->topologies++] = optarg;
		else if (c == 'g' && !number(optarg, SV_PLAN_GUESTS, &o->guests))
			return usage("--guests: give a number from 1 to 4096");
		else if (c == 'v' && !number(optarg, SV_MACHINE_CORES, &o->vcpus))
			return usage("--vcpus: give a number from 1 to 65536");
		else if (c == 'r' && !number(optarg, RUNS_MAX, &o->runs))
			return usage("--runs: give a number from 1 to 1000");
		else if (c == 'p' && !strcmp(optarg, "spread"))
			o->kind = SV_PLAN_SPREAD;
		else if (c == 'p' && strcmp(optarg, "locality"))
			return usage("--policy: locality or spread");
		else if (c == 'j')
			o->json = true;
		else if (c == 'h')
			return fputs(help, stdout) < 0;
		else if (c == '?')
			return 2;
	}
	return optind < argc ? usage("no arguments but options") : -1;
}

int sv_bench_plan(int argc, char **argv)
{
	struct options o = {.guests = 64, .runs = 9};
	int rc = parse(argc, argv, &o);
	json_t *machines;

	if (rc >= 0)
		return rc;
	machines = json_array();
	for (unsigned i = 0; !o.topologies && i < sizeof(usual) / sizeof(usual[0]); i++)
		rc = one_topology(&o, usual[i], machines) < 0 || rc == 1 ? 1 : 0;
	for (unsigned i = 0; i < o.topologies; i++)
		rc = one_topology(&o, o.topology[i], machines) < 0 || rc == 1 ? 1 : 0;
	if (o.json) {
		json_t *all = json_pack("{s:s, s:O}", "policy", sv_plan_policy_name(o.kind), "machines",
			machines);

		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(all);
	}
	json_decref(machines);
	return rc;
}
