/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench net: two guests on our switch, with the sidecore polling and with it woken by kicks, and two
 * that DPDK's testpmd joins. User-mode Linux: unmodified drivers at native speed.
 */
#include "common.h"
#include "io.h"
#include "vu_mask.h"

#include <bench/bench.h>

#include <errno.h>
#include <getopt.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TARGETS 3u
#define PEER 2u /* it need not be there */

static const char help[] =
	"usage: sidevisor bench net [--rounds N] [--seconds S] [--only TEXT] [--cpus GUEST,SIDECORE[,OTHER]]\n"
	"                           [--json]\n"
	"\n"
	"Two User-mode Linux guests on our switch with the sidecore polling (ours), two on one that is\n"
	"woken by kicks (ours_exit), and two that DPDK's testpmd joins, which polls and looks at no address\n"
	"(testpmd; left out where dpdk is not installed). The pairs take turns at each workload, round after\n"
	"round.\n"
	"\n"
	"  --rounds N     (default 5)\n"
	"  --seconds S    per workload and back end (default 1)\n"
	"  --only TEXT    workloads whose name has TEXT\n"
	"  --cpus G,S[,O] guests on G (the second on O, if that is given), back ends on S\n"
	"  --json         one JSON object instead of text\n"
	"\n"
	"As it comes it takes about two minutes: rounds x 5 workloads x 3 pairs x seconds, and the boot of six\n"
	"guests. How far it is, is on standard error.\n"
	"\n"
	"JSON: substrate, cpus, rounds, seconds; per workload its unit and per back end the median, least\n"
	"and most of the rounds; ours_over_exit, ours_over_peer: of the same round.\n"
	"Workloads: tcp, tcp-back (bits per second that arrived), udp-64 (datagrams of 64 bytes that\n"
	"arrived, per second), frames-64 (frames of 64 bytes that the other guest's driver got, per second;\n"
	"sent with trafgen, a ring of the kernel's), pingpong (request and response, per second).\n";

struct pair {
	const char *key, *what;
	pid_t back_end;
	char port[2][128];
	struct vu_mask *mask[2];
	struct io_guest guest[2];
};

/*
 * The second guest runs @before; guest[@by] runs @command and says the rate; the second runs @after. %g, if it
 * is there: seconds.
 */
static const struct {
	const char *key, *unit, *before, *command, *after;
	unsigned by;
} workloads[] = {
	{"tcp", "bit/s", NULL, "iperf3 -c 10.0.0.1 -t %g -J >/tmp/o; rate", NULL, 1},
	{"tcp-back", "bit/s", NULL, "iperf3 -c 10.0.0.1 -t %g -R -J >/tmp/o; rate", NULL, 1},
	{"udp-64", "datagram/s", NULL, "iperf3 -c 10.0.0.1 -t %g -u -b 0 -l 64 -J >/tmp/o; datagrams", NULL, 1},
	{"frames-64", "frame/s", "flood & sleep 0.5", "frames %g", "pkill -9 trafgen; wait", 0},
	{"pingpong", "round trip/s", NULL, "ping -q -A -w %g 10.0.0.1 >/tmp/o; trips", NULL, 1},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

/* %d: 1 or 2. */
static const char guest_script[] =
	"#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
	"mount -t proc none /proc; mount -t sysfs none /sys\n"
	"mount -t devtmpfs none /dev 2>/dev/null\nmount -t tmpfs none /tmp; cd /tmp\n"
	"%s"
	"ip link set lo up; ip link set eth0 up; ip addr add 10.0.0.%u/24 dev eth0\n"
	"rate() { awk '/\"sum_received\"/ { on = 1 } on && /bits_per_second/ { print $2 + 0; exit }' /tmp/o; }\n"
	"datagrams() { awk '/\"end\"/ { on = 1 } on && /\"sum\"/ { s = 1 } s && /\"seconds\"/ { t = $2 + 0 }\n"
	"	s && /\"lost_packets\"/ { l = $2 + 0 } s && /\"packets\"/ { p = $2 + 0 }\n"
	"	END { if (t) print (p - l) / t }' /tmp/o; }\n"
	"flood() { exec trafgen -q -o eth0 -P 1 --no-sock-mem \"{ eth(da=$(ip neigh show 10.0.0.1 |"
	" awk '{ print $5 }'), type=0x88b5), fill(0, 46) }\" >/tmp/t 2>&1; }\n"
	"frames() { a=$(count); sleep $1; echo $a $(count) | awk '$3 > $1 { print ($4 - $2) / ($3 - $1) * 1e9 }'; }\n"
	"count() { echo $(date +%%s%%N) $(cat /sys/class/net/eth0/statistics/rx_packets); }\n"
	"trips() { awk '/received/ { n = $4; t = $NF + 0; if (t) print n * 1000 / t }' /tmp/o; }\n"
	"stty -echo 2>/dev/null\n"
	"for p in ip iperf3 ping; do command -v $p >/dev/null || echo \"@\"\"lacks $p\"; done\n"
	"command -v trafgen >/dev/null || echo \"@\"\"lacks trafgen (netsniff-ng)\"\n"
	"[ %u = 2 ] || iperf3 -s -D >/dev/null\n"
	"echo \"@\"\"up $(uname -r)\"\n"
	"while read -r line; do\n"
	"	[ \"$line\" != bye ] || break\n"
	"	echo \"@\"\"begin\"\n	eval \"$line\"\n	echo \"@\"\"end\"\n"
	"done\necho o >/proc/sysrq-trigger\nsleep 5\n";

static struct {
	unsigned rounds;
	double seconds;
	bool json;
	const char *only;
	int guest_cpu, sidecore_cpu, other_cpu;
	char dir[96], release[64];
	struct pair pair[TARGETS];
	unsigned pairs;
	double value[WORKLOADS][TARGETS][IO_ROUNDS_MAX];
} run;

/* --- back ends ------------------------------------------------------------------------------- */

#define WORD(text) ((char *)(uintptr_t)(text))

static int start_ours(struct pair *p, unsigned i, const char *idle, struct sv_error *err)
{
	char node[128], cpu[16], control[16], net[2][192], log[128];
	char *argv[] = {WORD("/proc/self/exe"), WORD("serve"), WORD("--isolate=none"),
		WORD("--share-cores"), WORD("--cpus"), cpu, WORD("--control-cpu"), control,
		WORD("--idle"), WORD(idle), WORD("--socket"), node, WORD("--net"), net[0],
		WORD("--net"), net[1], NULL};

	snprintf(node, sizeof(node), "%s/node%u", run.dir, i);
	snprintf(cpu, sizeof(cpu), "%d", run.sidecore_cpu);
	snprintf(control, sizeof(control), "%d", run.other_cpu);
	for (unsigned k = 0; k < 2; k++)
		snprintf(net[k], sizeof(net[k]), "path=%s,switch=lan,mac=52:54:00:00:00:0%u", p->port[k],
			k + 1);
	snprintf(log, sizeof(log), "%s/log%u", run.dir, i);
	p->back_end = io_spawn(argv, run.sidecore_cpu, run.other_cpu, -1, -1, log);
	if (p->back_end < 0)
		return sv_fail(err, -p->back_end, "sidevisor serve: %s", strerror(-p->back_end));
	return io_await(p->port[1], p->back_end, log, err);
}

/*
 * What testpmd's vhost ports offer and these guests cannot use: a control queue, which the ports leave to QEMU, so
 * that a driver that talks to them directly would wait for ever for the answer to its first command; and packed
 * rings, for which User-mode Linux starts a ring at 0 instead of at its wrap counter.
 */
#define NOT_FOR_UML (1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX | \
	1ull << VIRTIO_NET_F_CTRL_VLAN | 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA | \
	1ull << VIRTIO_NET_F_GUEST_ANNOUNCE | 1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR | \
	1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)

static bool has_peer(void)
{
	return access("/usr/bin/dpdk-testpmd", X_OK) == 0 && __builtin_cpu_supports("sse4.2");
}

/* testpmd joins two ports without looking at an address. It polls from now on, and whenever it is not stopped. */
static int start_testpmd(struct pair *p, unsigned i, struct sv_error *err)
{
	char lcores[32], prefix[32], vdev[2][224], behind[160], log[128];
	char *argv[] = {WORD("dpdk-testpmd"), WORD("--lcores"), lcores, WORD("--no-pci"), WORD("--no-telemetry"),
		WORD("-m"), WORD("256"), WORD("--no-huge"), WORD("--file-prefix"), prefix, WORD("--vdev"), vdev[0],
		WORD("--vdev"), vdev[1], WORD("--"), WORD("--nb-cores=1"), WORD("--no-mlockall"),
		WORD("--total-num-mbufs=16384"), WORD("--stats-period"), WORD("3600"),
		WORD("--forward-mode=io"), NULL};
	int rc = 0;

	snprintf(lcores, sizeof(lcores), "(0,1)@%d", run.sidecore_cpu);
	snprintf(prefix, sizeof(prefix), "sidevisor%d", (int)getpid());
	for (unsigned k = 0; k < 2; k++)
		snprintf(vdev[k], sizeof(vdev[k]), "net_vhost%u,iface=%.127s-behind,queues=1,tso=1,legacy-ol-flags=1", k,
			p->port[k]);
	snprintf(log, sizeof(log), "%s/log%u", run.dir, i);
	p->back_end = io_spawn(argv, run.sidecore_cpu, run.other_cpu, -1, -1, log);
	if (p->back_end < 0)
		return sv_fail(err, -p->back_end, "dpdk-testpmd: %s", strerror(-p->back_end));
	for (unsigned k = 0; k < 2 && rc == 0; k++) {
		snprintf(behind, sizeof(behind), "%s-behind", p->port[k]);
		rc = io_await(behind, p->back_end, log, err);
		if (rc == 0)
			rc = vu_mask_start(&p->mask[k], p->port[k], behind, NOT_FOR_UML, err);
	}
	return rc;
}

/* --- guests ---------------------------------------------------------------------------------- */

static int write_init(unsigned k, char *path, size_t room, struct sv_error *err)
{
	static const char *const modules[] = {"../net/core/failover", "net/net_failover", "net/virtio_net"};
	char insmod[1024] = "", module[256];
	size_t n = 0;
	FILE *f;
	int rc;

	for (unsigned m = 0; m < 3; m++)
		if (io_uml_module(modules[m], module, sizeof(module)))
			n += (size_t)snprintf(insmod + n, sizeof(insmod) - n, "insmod %s\n", module);
	if (!strstr(insmod, "virtio_net"))
		return sv_fail(err, ENOENT, "no virtio_net module for User-mode Linux: install user-mode-linux");
	snprintf(path, room, "%s/init%u", run.dir, k);
	f = fopen(path, "we");
	if (!f)
		return sv_fail(err, errno, "%s: %s", path, strerror(errno));
	fprintf(f, guest_script, insmod, k + 1, k + 1);
	rc = ferror(f) | fchmod(fileno(f), 0700);
	return fclose(f) || rc ? sv_fail(err, EIO, "%s: cannot be written", path) : 0;
}

static int start_guest(struct pair *p, unsigned i, unsigned k, struct sv_error *err)
{
	char init[128], init_is[160], uml_dir[160], umid[32], port[192], log[128];
	char *argv[] = {WORD("linux.uml"), WORD("mem=128M"), WORD("rootfstype=hostfs"), WORD("rootflags=/"),
		WORD("rw"), init_is, port, WORD("con=null"), WORD("con0=fd:0,fd:1"), WORD("ssl=null"),
		WORD("quiet"), WORD("loglevel=1"), uml_dir, umid, NULL};
	int cpu = k ? run.other_cpu : run.guest_cpu;
	int rc = write_init(k, init, sizeof(init), err);

	if (rc < 0)
		return rc;
	if (run.other_cpu == run.sidecore_cpu)
		cpu = run.guest_cpu;
	snprintf(init_is, sizeof(init_is), "init=%s", init);
	snprintf(uml_dir, sizeof(uml_dir), "uml_dir=%s/", run.dir);
	snprintf(umid, sizeof(umid), "umid=g%u%u", i, k);
	snprintf(port, sizeof(port), "virtio_uml.device=%s:1", p->port[k]);
	snprintf(log, sizeof(log), "%s/guest%u%u", run.dir, i, k);
	io_uml_preload();
	rc = io_guest_start(&p->guest[k], argv, cpu, cpu, log, err);
	unsetenv("LD_PRELOAD");
	return rc < 0 ? rc : io_guest_up(&p->guest[k], run.release, sizeof(run.release), err);
}

static int start_back_end(struct pair *p, unsigned i, struct sv_error *err)
{
	return i == PEER ? start_testpmd(p, i, err) : start_ours(p, i, i ? "0" : "2000", err);
}

static int start_pair(unsigned i, struct sv_error *err)
{
	static const struct pair plan[TARGETS] = {
		{.key = "ours", .what = "sidevisor's switch, the sidecore polls"},
		{.key = "ours_exit", .what = "sidevisor's switch, woken by kicks"},
		{.key = "testpmd", .what = "DPDK's testpmd, polls"},
	};
	struct pair *p = &run.pair[i];
	char *answer;
	int rc;

	bench_progress("the guests of %s", plan[i].what);
	*p = plan[i];
	run.pairs = i + 1;
	for (unsigned k = 0; k < 2; k++)
		snprintf(p->port[k], sizeof(p->port[k]), "%s/net%u%u", run.dir, i, k);
	rc = start_back_end(p, i, err);
	for (unsigned k = 0; k < 2 && rc == 0; k++)
		rc = start_guest(p, i, k, err);
	if (rc == 0)
		rc = io_guest_ask(&p->guest[1],
			"for i in 1 2 3 4 5; do ping -q -c 1 -W 1 10.0.0.1 >/dev/null && break; done; echo $?", 20000,
			&answer, err);
	if (rc == 0 && atoi(answer) != 0)
		rc = sv_fail(err, EHOSTUNREACH, "%s: the guests do not reach each other", p->what);
	if (rc == 0 && i == PEER)
		kill(p->back_end, SIGSTOP);
	return rc;
}

static void stop_pairs(void)
{
	for (unsigned i = 0; i < run.pairs; i++) {
		struct pair *p = &run.pair[i];

		if (i == PEER && p->back_end > 0)
			kill(p->back_end, SIGCONT);
		io_guest_stop(&p->guest[1]);
		io_guest_stop(&p->guest[0]);
		vu_mask_stop(p->mask[0]);
		vu_mask_stop(p->mask[1]);
		io_end(p->back_end);
	}
}

/* --- measuring ------------------------------------------------------------------------------- */

static bool chosen(unsigned w)
{
	return !run.only || strstr(workloads[w].key, run.only);
}

static int ask(struct pair *p, unsigned guest, const char *line, char **answer, struct sv_error *err)
{
	return io_guest_ask(&p->guest[guest], line, (unsigned)(run.seconds * 1000) + 30000, answer, err);
}

static int measure(unsigned w, unsigned i, unsigned round, struct sv_error *err)
{
	struct pair *p = &run.pair[i];
	char command[256], *answer;
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
		return sv_fail(err, EIO, "%s, %s: no result: %.200s", p->what, workloads[w].key, answer);
	return workloads[w].after ? ask(p, 1, workloads[w].after, &answer, err) : 0;
}

/* One that polls for ever has the CPU to itself in its turns, and leaves it to the others in theirs. */
static int measure_alone(unsigned w, unsigned i, unsigned round, struct sv_error *err)
{
	int rc;

	if (i != PEER)
		return measure(w, i, round, err);
	kill(run.pair[i].back_end, SIGCONT);
	rc = measure(w, i, round, err);
	kill(run.pair[i].back_end, SIGSTOP);
	return rc;
}

static int measure_all(struct sv_error *err)
{
	for (unsigned round = 0; round < run.rounds; round++) {
		bench_progress("round %u of %u", round + 1, run.rounds);
		for (unsigned w = 0; w < WORKLOADS; w++) {
			if (!chosen(w))
				continue;
			bench_progress_step("round %u of %u: %s", round + 1, run.rounds, workloads[w].key);
			for (unsigned i = 0; i < run.pairs; i++) {
				int rc = measure_alone(w, (i + round) % run.pairs, round, err);

				if (rc < 0)
					return rc;
			}
		}
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
		v[r] = run.value[w][0][r] / run.value[w][i][r];
	return io_spread_of(v, run.rounds);
}

/* --- output ---------------------------------------------------------------------------------- */

static void print_json(void)
{
	json_t *all = json_array(), *o;
	char *text;

	for (unsigned w = 0; w < WORKLOADS; w++) {
		json_t *rows = json_array();

		for (unsigned i = 0; chosen(w) && i < run.pairs; i++)
			json_array_append_new(rows, json_pack("{s:s, s:s, s:o}", "back_end", run.pair[i].key,
							    "what", run.pair[i].what, "rate",
							    io_spread_json(of(w, i))));
		o = json_pack("{s:s, s:s, s:o}", "workload", workloads[w].key, "unit", workloads[w].unit, "rows",
			rows);
		if (chosen(w))
			json_object_set_new(o, "ours_over_exit", io_spread_json(ours_over(w, 1)));
		if (chosen(w) && run.pairs > PEER)
			json_object_set_new(o, "ours_over_peer", io_spread_json(ours_over(w, PEER)));
		if (chosen(w))
			json_array_append(all, o);
		json_decref(o);
	}
	o = json_pack("{s:s, s:s+, s:{s:i, s:i, s:i}, s:i, s:f, s:o}", "bench", "net", "substrate",
		"User-mode Linux, native ", run.release, "cpus", "guest", run.guest_cpu, "sidecore",
		run.sidecore_cpu, "other", run.other_cpu, "rounds", (int)run.rounds, "seconds", run.seconds,
		"workloads", all);
	text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	puts(text);
	free(text);
	json_decref(o);
}

static void print_table(void)
{
	printf("User-mode Linux %s, native; guests on CPU %d%s, back ends on CPU %d; %u rounds of %g s\n",
		run.release, run.guest_cpu, run.other_cpu == run.sidecore_cpu ? "" : " and another",
		run.sidecore_cpu, run.rounds, run.seconds);
	for (unsigned w = 0; w < WORKLOADS; w++) {
		struct io_spread s;

		if (!chosen(w))
			continue;
		printf("\n%s, %s\n", workloads[w].key, workloads[w].unit);
		for (unsigned i = 0; i < run.pairs; i++) {
			s = of(w, i);
			printf("  %-40s %14.0f %14.0f..%-14.0f\n", run.pair[i].what, s.median, s.least, s.most);
		}
		s = ours_over(w, 1);
		printf("  polling over kicks: %.2f (%.2f to %.2f)\n", s.median, s.least, s.most);
		if (run.pairs <= PEER)
			continue;
		s = ours_over(w, PEER);
		printf("  ours over testpmd: %.2f (%.2f to %.2f)\n", s.median, s.least, s.most);
	}
}

/* --- the whole ------------------------------------------------------------------------------- */

static int bench(struct sv_error *err)
{
	const char *tmp = getenv("TMPDIR");
	int rc = 0;

	if (snprintf(run.dir, sizeof(run.dir), "%s/sidevisor-net.XXXXXX", tmp && *tmp ? tmp : "/tmp") >=
			(int)sizeof(run.dir) || !mkdtemp(run.dir))
		return sv_fail(err, errno, "%s: %s", run.dir, strerror(errno));
	setenv("SIDEVISOR_RUN_DIR", run.dir, 1);
	if (!has_peer())
		fprintf(stderr, "without DPDK's testpmd: it is not installed (dpdk), or this CPU has no SSE 4.2\n");
	for (unsigned i = 0; i < (has_peer() ? TARGETS : PEER) && rc == 0; i++)
		rc = start_pair(i, err);
	rc = rc < 0 ? rc : measure_all(err);
	bench_progress_end();
	stop_pairs();
	io_remove(run.dir);
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
	rc = io_choose_cpus(cpus, &run.guest_cpu, &run.sidecore_cpu, &run.other_cpu, &err);
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
