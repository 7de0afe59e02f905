/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench net: two guests on our switch, with the sidecore polling and with it woken by
 * kicks, and two that DPDK's testpmd joins. User-mode Linux: unmodified drivers at native speed.
 */
#include "common.h"
#include "net_pairs.h"

#include <bench/bench.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"usage: sidevisor bench net [--rounds N] [--seconds S] [--only TEXT]\n"
	"                           [--cpus GUEST,SIDECORE[,OTHER]] [--json]\n"
	"\n"
	"Two User-mode Linux guests on our switch with the sidecore polling (ours), two on one that is\n"
	"woken by kicks (ours_exit), and two that DPDK's testpmd joins, which polls and looks at no\n"
	"address (testpmd; left out where dpdk is not installed). The pairs take turns at each workload,\n"
	"round after round. It takes user-mode-linux, iperf3, iputils-ping, and for frames-64\n"
	"netsniff-ng and procps.\n"
	"\n"
	"  --rounds N     (default 5)\n"
	"  --seconds S    per workload and back end (default 1)\n"
	"  --only TEXT    workloads whose name has TEXT\n"
	"  --cpus G,S[,O] guests on G (the second on O, if that is given), back ends on S\n"
	"  --json         one JSON object instead of text\n"
	"\n"
	"As it comes it takes about two minutes: rounds x 5 workloads x 3 pairs x seconds, and the boot\n"
	"of six guests. How far it is, is on standard error.\n"
	"\n"
	"JSON: substrate, cpus, rounds, seconds; workloads: of each workload, unit, rows (back_end, what,\n"
	"rate), ours_over_exit and, with testpmd, ours_over_peer: of the same round. A rate and a ratio are\n"
	"median, least and most of the rounds.\n"
	"Workloads: tcp, tcp-back (bits per second that arrived), udp-64 (datagrams of 64 bytes that\n"
	"arrived, per second), frames-64 (frames of 64 bytes that the other guest's driver got, per second;\n"
	"sent with trafgen, a ring of the kernel's), pingpong (request and response, per second).\n";

/*
 * The second guest runs @before; guest[@by] runs @command and says the rate; the second runs
 * @after. %g, if it is there: seconds.
 */
static const struct {
	const char *key, *unit, *before, *command, *after;
	unsigned by;
} workloads[] = {
	{"tcp", "bit/s", NULL, "iperf3 -c 10.0.0.1 -t %g -J >/tmp/o; rate", NULL, 1},
	{"tcp-back", "bit/s", NULL, "iperf3 -c 10.0.0.1 -t %g -R -J >/tmp/o; rate", NULL, 1},
	{"udp-64", "datagram/s", NULL,
		"iperf3 -c 10.0.0.1 -t %g -u -b 0 -l 64 -J >/tmp/o; datagrams", NULL, 1},
	{"frames-64", "frame/s", "flood & sleep 0.5", "frames %g", "pkill -9 trafgen; wait", 0},
	{"pingpong", "round trip/s", NULL, "ping -q -A -w %g 10.0.0.1 >/tmp/o; trips", NULL, 1},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

static struct {
	unsigned rounds;
	double seconds;
	bool json;
	const char *only;
	struct net_pairs pairs;
	double value[WORKLOADS][NET_PAIRS][IO_ROUNDS_MAX];
} run;

/* --- measuring -------------------------------------------------------------------------------- */

static bool chosen(unsigned w)
{
	return !run.only || strstr(workloads[w].key, run.only);
}

static bool any_chosen(void)
{
	bool any = false;

	for (unsigned w = 0; w < WORKLOADS; w++) {
		any |= chosen(w);
		run.pairs.frames |= chosen(w) && workloads[w].before;
	}
	return any;
}

static int ask(struct net_pair *p, unsigned guest, const char *line, char **answer,
	struct sv_error *err)
{
	unsigned ms = (unsigned)(run.seconds * 1000) + 30000;

	return io_guest_ask(&p->guest[guest], line, ms, answer, err);
}

static int measure(unsigned w, unsigned i, unsigned round, struct sv_error *err)
{
	struct net_pair *p = &run.pairs.at[i];
	char command[256], none[] = "", *answer = none;
	int rc = bench_go_on(err);

	if (rc < 0)
		return rc;
	snprintf(command, sizeof(command), workloads[w].command, run.seconds);
	if (workloads[w].before)
		rc = ask(p, 1, workloads[w].before, &answer, err);
	if (rc == 0)
		rc = ask(p, workloads[w].by, command, &answer, err);
	if (rc < 0)
		return rc;
	run.value[w][i][round] = strtod(answer, NULL);
	if (!(run.value[w][i][round] > 0))
		return sv_fail(err, EIO, "%s, %s: no result: %.200s", p->what, workloads[w].key,
			answer);
	return workloads[w].after ? ask(p, 1, workloads[w].after, &answer, err) : 0;
}

/* All pairs, another one first in each round. */
static int measure_pairs(unsigned w, unsigned round, struct sv_error *err)
{
	int rc = 0;

	for (unsigned k = 0; k < run.pairs.n && rc == 0; k++) {
		unsigned i = (k + round) % run.pairs.n;

		net_pair_turn(&run.pairs, i, true);
		rc = measure(w, i, round, err);
		net_pair_turn(&run.pairs, i, false);
	}
	return rc;
}

static int measure_all(struct sv_error *err)
{
	int rc = 0;

	for (unsigned round = 0; round < run.rounds; round++) {
		bench_progress("round %u of %u", round + 1, run.rounds);
		for (unsigned w = 0; w < WORKLOADS && rc == 0; w++) {
			if (!chosen(w))
				continue;
			bench_progress_step(
				"round %u of %u: %s", round + 1, run.rounds, workloads[w].key);
			rc = measure_pairs(w, round, err);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static struct io_spread of(unsigned w, unsigned i)
{
	double v[IO_ROUNDS_MAX];

	memcpy(v, run.value[w][i], sizeof(v));
	return io_spread_of(v, run.rounds);
}

static struct io_spread ours_over(unsigned w, unsigned i)
{
	double v[IO_ROUNDS_MAX];

	for (unsigned r = 0; r < run.rounds; r++)
		v[r] = run.value[w][NET_OURS][r] / run.value[w][i][r];
	return io_spread_of(v, run.rounds);
}

/* --- output ----------------------------------------------------------------------------------- */

static json_t *workload_json(unsigned w)
{
	json_t *rows = json_array(), *o;

	for (unsigned i = 0; i < run.pairs.n; i++)
		json_array_append_new(rows,
			json_pack("{s:s, s:s, s:o}", "back_end", run.pairs.at[i].key, "what",
				run.pairs.at[i].what, "rate", io_spread_json(of(w, i))));
	o = json_pack("{s:s, s:s, s:o, s:o}", "workload", workloads[w].key, "unit",
		workloads[w].unit, "rows", rows, "ours_over_exit",
		io_spread_json(ours_over(w, NET_OURS_EXIT)));
	if (run.pairs.n > NET_PEER)
		json_object_set_new(o, "ours_over_peer", io_spread_json(ours_over(w, NET_PEER)));
	return o;
}

static void print_json(void)
{
	json_t *all = json_array(), *o;
	char *text;

	for (unsigned w = 0; w < WORKLOADS; w++)
		if (chosen(w))
			json_array_append_new(all, workload_json(w));
	o = json_pack("{s:s, s:s+, s:{s:i, s:i, s:i}, s:i, s:f, s:o}", "bench", "net", "substrate",
		"User-mode Linux, native ", run.pairs.release, "cpus", "guest", run.pairs.guest_cpu,
		"sidecore", run.pairs.sidecore_cpu, "other", run.pairs.other_cpu, "rounds",
		(int)run.rounds, "seconds", run.seconds, "workloads", all);
	text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	puts(text);
	free(text);
	json_decref(o);
}

static void print_ratio(const char *what, struct io_spread s)
{
	printf("  %s: %.2f (%.2f to %.2f)\n", what, s.median, s.least, s.most);
}

static void print_table(void)
{
	const struct net_pairs *p = &run.pairs;

	printf("User-mode Linux %s, native; guests on CPU %d%s, back ends on CPU %d; %u rounds of "
	       "%g s\n", p->release, p->guest_cpu,
		p->other_cpu == p->sidecore_cpu ? "" : " and another", p->sidecore_cpu, run.rounds,
		run.seconds);
	for (unsigned w = 0; w < WORKLOADS; w++) {
		if (!chosen(w))
			continue;
		printf("\n%s, %s\n", workloads[w].key, workloads[w].unit);
		for (unsigned i = 0; i < p->n; i++) {
			struct io_spread s = of(w, i);

			printf("  %-40s %14.0f %14.0f..%.0f\n", p->at[i].what, s.median, s.least,
				s.most);
		}
		print_ratio("polling over kicks", ours_over(w, NET_OURS_EXIT));
		if (p->n > NET_PEER)
			print_ratio("ours over testpmd", ours_over(w, NET_PEER));
	}
}

/* --- the whole -------------------------------------------------------------------------------- */

static int bench(struct sv_error *err)
{
	bool peer = net_peer_is_there();
	int rc;

	if (!peer)
		fprintf(stderr, "without DPDK's testpmd: it is not installed (dpdk), or this CPU "
				"has no SSE 4.2\n");
	rc = net_pairs_start(&run.pairs, peer ? NET_PAIRS : NET_PEER, err);
	rc = rc < 0 ? rc : measure_all(err);
	bench_progress_end();
	net_pairs_stop(&run.pairs);
	return rc < 0 ? rc : bench_go_on(err);
}

static int bad(const char *what)
{
	fprintf(stderr, "sidevisor bench net: %s (see `sidevisor bench net --help`)\n", what);
	return 2;
}

int sv_bench_net(int argc, char **argv)
{
	enum { ROUNDS = 1, SECONDS, ONLY, CPUS, JSON };
	static const struct option options[] = {{"rounds", required_argument, NULL, ROUNDS},
		{"seconds", required_argument, NULL, SECONDS}, {"only", required_argument, NULL, ONLY},
		{"cpus", required_argument, NULL, CPUS}, {"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'}, {0}};
	struct net_pairs *p = &run.pairs;
	struct sv_error err = {""};
	const char *cpus = NULL;
	int c, rc;

	run.rounds = 5;
	run.seconds = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case ROUNDS: run.rounds = bench_number(optarg); break;
		case SECONDS: run.seconds = bench_seconds(optarg); break;
		case ONLY: run.only = optarg; break;
		case CPUS: cpus = optarg; break;
		case JSON: run.json = true; break;
		case 'h': fputs(help, stdout); return 0;
		default: return bad("unknown option");
		}
	}
	if (optind < argc || run.rounds < 1 || run.rounds > IO_ROUNDS_MAX ||
		!(run.seconds >= 1 && run.seconds <= 600))
		return bad("--rounds is 1 to 101, --seconds 1 to 600, and there are no arguments");
	if (!any_chosen())
		return bad("--only: no workload has that in its name");
	rc = io_choose_cpus(cpus, &p->guest_cpu, &p->sidecore_cpu, &p->other_cpu, &err);
	if (rc == -EINVAL)
		return bad(err.text);
	bench_catch_signals();
	signal(SIGPIPE, SIG_IGN);
	rc = rc < 0 ? rc : bench(&err);
	if (rc < 0)
		return bench_failed("net", &err);
	if (run.json)
		print_json();
	else
		print_table();
	return 0;
}
