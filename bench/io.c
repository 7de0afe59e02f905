/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sidevisor bench io: our disks against other back ends, under fio in a Linux guest with its own
 * driver. Every workload is run on each back end in turn before the next, round after round, so that
 * what else the machine does hits all alike.
 */
#include "common.h"
#include "io.h"

#include <bench/bench.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
	"usage: sidevisor bench io [--rounds N] [--seconds S] [--only TEXT] [--image-size MIB] [--pieces KIB]\n"
	"                          [--direct] [--writethrough] [--cpus GUEST,SIDECORE[,OTHER]] [--dir DIR] [--json] [--report DIR]\n"
	"                          [--kernel BZIMAGE --initrd FILE --root IMAGE]\n"
	"\n"
	"fio in a guest, on a disk of each back end in turn, round after round; each has a copy of the\n"
	"same image and the same CPUs. Without --kernel the guest is User-mode Linux: an unmodified\n"
	"driver at native speed on any machine, no KVM. Its back ends: `serve` polling (ours), `serve\n"
	"--idle 0` woken by kicks (ours_exit), qemu-storage-daemon with an iothread, polling, and io_uring\n"
	"(peer_best), and as it comes (peer_default).\n"
	"With --kernel: a virtual machine each; ours, ours_exit, QEMU with iothread, io_uring and polling,\n"
	"QEMU as it comes. The root file system, read-only, has fio and as /loop what --print-loop\n"
	"prints, which the kernel parameter sv.run=sh%/loop makes it run (tests/node/bench-io.sh makes\n"
	"one, in a virtual node).\n"
	"\n"
	"  --rounds N       (default 5)\n"
	"  --seconds S      fio's, per workload and back end (default 1)\n"
	"  --only TEXT      workloads whose name has TEXT\n"
	"  --image-size MIB (default 256: in the page cache)\n"
	"  --pieces KIB     the image is written in pieces of so many KiB, a power of two from 4 to 1024\n"
	"                   (default 1024): the page cache has it in folios as large, which on some file\n"
	"                   systems make each small write dearer\n"
	"  --direct         the back ends open the image with O_DIRECT\n"
	"  --writethrough   every write is durable when it completes\n"
	"  --cpus G,S[,O]   the guest on G, back ends on S and O; OTHER takes what is not the sidecore's\n"
	"                   (default: the first ones this process may use, and O = S on two CPUs)\n"
	"  --dir DIR        for the images (default TMPDIR or /tmp)\n"
	"  --json           one JSON object instead of text\n"
	"  --report DIR     io.json and a plot, io.svg\n"
	"\n"
	"As it comes it takes three to four minutes: rounds x 8 workloads x 4 back ends x seconds, and a\n"
	"few for each image and guest. How far it is, is on standard error.\n"
	"\n"
	"JSON: substrate, cpus, rounds, seconds, image_mib, piece_kib, direct, writethrough; per workload and back end the median,\n"
	"least and most of the rounds: iops, p50_us, p99_us, mean_us, and per operation: interrupts, kicks,\n"
	"busy_ns (of the sidecore for this disk), cpu_ns (of the back end's process; a sidecore that polls\n"
	"uses all of its CPU), exits and their kinds (KVM); ours_over_peer: of the same round, the better\n"
	"peer's set-up by the median of the workload.\n";

static const struct io_workload workloads[] = {
	{"randread-1", "--rw=randread --bs=4k --iodepth=1"},
	{"randread-32", "--rw=randread --bs=4k --iodepth=32"},
	{"randwrite-1", "--rw=randwrite --bs=4k --iodepth=1"},
	{"randwrite-32", "--rw=randwrite --bs=4k --iodepth=32"},
	{"randread-32-batch", "--rw=randread --bs=4k --iodepth=32 --iodepth_batch_submit=16 "
			      "--iodepth_batch_complete_min=1 --iodepth_batch_complete_max=16"},
	{"seqread-128k", "--rw=read --bs=128k --iodepth=8"},
	{"seqwrite-128k", "--rw=write --bs=128k --iodepth=8"},
	{"fsync", "--rw=randwrite --bs=4k --iodepth=1 --fsync=1"},
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

static const char *const counter_key[IO_COUNTERS] = {"interrupts", "kicks", "busy_ns", "cpu_ns", "exits"};

static struct io_run run;
static struct io_cell cell[WORKLOADS][IO_TARGETS][IO_ROUNDS_MAX];

/* --- one cell -------------------------------------------------------------------------------- */

static double at(json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static double guest_interrupts(json_t *answer, const char *when, unsigned disk)
{
	json_t *all = json_object_get(answer, when);

	return json_array_size(all) > disk ? json_number_value(json_array_get(all, disk)) : -1;
}

static void rate(double before, double after, double ops, double *out)
{
	*out = before < 0 || after < before || ops <= 0 ? -1 : (after - before) / ops;
}

static int measure(const struct io_workload *w, unsigned target, struct io_cell *c,
	struct sv_error *err)
{
	struct io_target *t = &run.target[target];
	struct io_sample before, after;
	json_t *answer, *dir;
	double ops;
	int rc = bench_go_on(err);

	if (rc < 0)
		return rc;
	io_sample(t, &before);
	rc = io_guest_fio(t->guest, t->device, w->fio, run.o.seconds, err);
	if (rc < 0)
		return rc;
	io_sample(t, &after);
	rc = io_guest_record(t->guest, &answer, err);
	if (rc < 0)
		return rc;
	before.of[IO_INTERRUPTS] = guest_interrupts(answer, "before", (unsigned)(t->device[2] - 'a'));
	after.of[IO_INTERRUPTS] = guest_interrupts(answer, "after", (unsigned)(t->device[2] - 'a'));
	if (json_is_string(json_object_get(answer, "cache")))
		snprintf(t->cache, sizeof(t->cache), "%s",
			json_string_value(json_object_get(answer, "cache")));
	dir = json_object_get(answer, strstr(w->fio, "read") ? "read" : "write");
	ops = at(dir, "total_ios");
	c->iops = at(dir, "iops");
	c->mean_us = at(dir, "mean") / 1000;
	c->p50_us = at(dir, "p50") / 1000;
	c->p99_us = at(dir, "p99") / 1000;
	for (unsigned i = 0; i < IO_COUNTERS; i++)
		rate(before.of[i], after.of[i], ops, &c->per_op.of[i]);
	for (unsigned k = 0; k < IO_KINDS; k++)
		rate(before.exits[k], after.exits[k], ops, &c->per_op.exits[k]);
	if (at(answer, "error") != 0 || ops <= 0)
		rc = sv_fail(err, EIO, "fio %s on %s: %g operations, error %g", w->fio, t->what, ops,
			at(answer, "error"));
	json_decref(answer);
	return rc;
}

static bool chosen(const struct io_workload *w)
{
	return !run.o.only || strstr(w->key, run.o.only);
}

static int measure_all(struct sv_error *err)
{
	for (unsigned round = 0; round < run.o.rounds; round++) {
		bench_progress("round %u of %u", round + 1, run.o.rounds);
		for (unsigned w = 0; w < WORKLOADS; w++) {
			if (!chosen(&workloads[w]))
				continue;
			bench_progress_step("round %u of %u: %s", round + 1, run.o.rounds, workloads[w].key);
			/* A different one begins each round. */
			for (unsigned i = 0; i < run.targets; i++) {
				unsigned t = (i + round) % run.targets;
				int rc = measure(&workloads[w], t, &cell[w][t][round], err);

				if (rc < 0)
					return rc;
			}
		}
	}
	return 0;
}

/* --- statistics ------------------------------------------------------------------------------ */

/* @offset: of the double in a cell. */
static struct io_spread over_rounds(unsigned w, unsigned t, size_t offset)
{
	double v[IO_ROUNDS_MAX] = {0};

	for (unsigned i = 0; i < run.o.rounds; i++)
		v[i] = *(const double *)(const void *)((const char *)&cell[w][t][i] + offset);
	return io_spread_of(v, run.o.rounds);
}

static struct io_spread ours_over_peer(unsigned w, unsigned *better)
{
	double v[IO_ROUNDS_MAX] = {0};

	*better = 2;
	for (unsigned t = 3; t < run.targets; t++)
		if (over_rounds(w, t, offsetof(struct io_cell, iops)).median >
			over_rounds(w, *better, offsetof(struct io_cell, iops)).median)
			*better = t;
	for (unsigned i = 0; i < run.o.rounds; i++)
		v[i] = cell[w][0][i].iops / cell[w][*better][i].iops;
	return io_spread_of(v, run.o.rounds);
}

/* --- output ---------------------------------------------------------------------------------- */

static json_t *row_json(unsigned w, unsigned t)
{
	json_t *o = json_pack("{s:s, s:s, s:s}", "back_end", run.target[t].key, "what",
		run.target[t].what, "cache", run.target[t].cache);
	json_t *per_op = json_object(), *kinds = json_object();

#define SPREAD(field) \
	json_object_set_new(o, #field, io_spread_json(over_rounds(w, t, offsetof(struct io_cell, field))))
	SPREAD(iops);
	SPREAD(p50_us);
	SPREAD(p99_us);
	SPREAD(mean_us);
#undef SPREAD
	for (unsigned i = 0; i < IO_COUNTERS; i++)
		json_object_set_new(per_op, counter_key[i],
			io_spread_json(over_rounds(w, t, offsetof(struct io_cell, per_op.of[0]) + i * sizeof(double))));
	for (unsigned k = 0; k < IO_KINDS && cell[w][t][0].per_op.of[IO_EXITS] >= 0; k++)
		json_object_set_new(kinds, io_kind_name[k],
			io_spread_json(over_rounds(w, t,
				offsetof(struct io_cell, per_op.exits[0]) + k * sizeof(double))));
	json_object_set_new(per_op, "exits_by_kind", kinds);
	json_object_set_new(o, "per_op", per_op);
	return o;
}

static json_t *record(void)
{
	json_t *all = json_array();

	for (unsigned w = 0; w < WORKLOADS; w++) {
		json_t *rows = json_array(), *o;
		unsigned better;
		struct io_spread s;

		if (!chosen(&workloads[w]))
			continue;
		for (unsigned t = 0; t < run.targets; t++)
			json_array_append_new(rows, row_json(w, t));
		s = ours_over_peer(w, &better);
		o = json_pack("{s:s, s:s, s:o, s:s}", "workload", workloads[w].key, "fio", workloads[w].fio,
			"rows", rows, "better_peer", run.target[better].key);
		json_object_set_new(o, "ours_over_peer", io_spread_json(s));
		json_array_append_new(all, o);
	}
	return json_pack("{s:s, s:s, s:s, s:{s:i, s:i, s:i}, s:i, s:f, s:i, s:i, s:b, s:b, s:o}", "bench", "io", "rig",
		run.o.kernel ? "vm" : "uml", "substrate", run.substrate, "cpus", "guest", run.o.guest_cpu,
		"sidecore", run.o.sidecore_cpu, "other", run.o.other_cpu, "rounds", (int)run.o.rounds,
		"seconds", run.o.seconds, "image_mib", (int)run.o.image_mib, "piece_kib", (int)run.o.piece_kib, "direct", run.o.direct,
		"writethrough", run.o.writethrough, "workloads", all);
}

static void print_rate(double v)
{
	if (v < 0)
		printf(" %9s", "-");
	else
		printf(" %9.*f", v < 10 ? 3 : 0, v);
}

static void print_kinds(unsigned w, unsigned t)
{
	const char *separator = "      exits and injections per operation: ";

	for (unsigned k = 0; k < IO_KINDS; k++) {
		double v = over_rounds(w, t, offsetof(struct io_cell, per_op.exits[0]) + k * sizeof(double)).median;

		if (v <= 0)
			continue;
		printf("%s%s %.3g", separator, io_kind_name[k], v);
		separator = ", ";
	}
	if (*separator == ',')
		putchar('\n');
}

static void print_table(void)
{
	printf("%s; guest on CPU %d, back ends on CPU %d%s; %u rounds of %g s; image of %u MiB, written in pieces of %u KiB%s\n",
		run.substrate, run.o.guest_cpu, run.o.sidecore_cpu,
		run.o.other_cpu == run.o.sidecore_cpu ? "" : " and another", run.o.rounds, run.o.seconds,
		run.o.image_mib, run.o.piece_kib, run.o.direct ? ", O_DIRECT" : ", in the page cache");
	for (unsigned t = 0; t < run.targets; t++)
		printf("the guest takes the disk of %s for %s\n", run.target[t].what, run.target[t].cache);
	for (unsigned w = 0; w < WORKLOADS; w++) {
		unsigned better;
		struct io_spread s;

		if (!chosen(&workloads[w]))
			continue;
		printf("\n%-43s %8s %17s %8s %8s %9s %9s %9s %9s %9s\n", workloads[w].key, "op/s",
			"least..most", "p50 us", "p99 us", "intr/op", "kicks/op", "busy ns", "cpu ns", "exits/op");
		for (unsigned t = 0; t < run.targets; t++) {
			struct io_spread iops = over_rounds(w, t, offsetof(struct io_cell, iops));

			printf("  %-41s %8.0f %8.0f..%-7.0f %8.0f %8.0f", run.target[t].what, iops.median,
				iops.least, iops.most, over_rounds(w, t, offsetof(struct io_cell, p50_us)).median,
				over_rounds(w, t, offsetof(struct io_cell, p99_us)).median);
			for (unsigned i = 0; i < IO_COUNTERS; i++)
				print_rate(over_rounds(w, t,
					offsetof(struct io_cell, per_op.of[0]) + i * sizeof(double)).median);
			putchar('\n');
			print_kinds(w, t);
		}
		s = ours_over_peer(w, &better);
		printf("  ours over the better peer: %.2f (%.2f to %.2f)\n", s.median, s.least, s.most);
	}
}

/* --- the whole ------------------------------------------------------------------------------- */

static int bench(struct sv_error *err)
{
	int rc;

	if (snprintf(run.dir, sizeof(run.dir), "%s/sidevisor-io.XXXXXX", run.o.dir) >= (int)sizeof(run.dir))
		return sv_fail(err, ENAMETOOLONG, "--dir %s: too long", run.o.dir);
	if (!mkdtemp(run.dir))
		return sv_fail(err, errno, "--dir %s: %s", run.o.dir, strerror(errno));
	setenv("SIDEVISOR_RUN_DIR", run.dir, 1);
	rc = run.o.kernel ? io_rig_vm(&run, err) : io_rig_uml(&run, err);
	if (rc == 0)
		rc = measure_all(err);
	bench_progress_end();
	io_rig_stop(&run);
	io_remove(run.dir);
	return rc < 0 ? rc : bench_go_on(err);
}

static int report(struct sv_error *err)
{
	json_t *o = record();
	char *text;
	int rc = 0;

	if (run.o.json) {
		text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
		puts(text);
		free(text);
	} else {
		print_table();
	}
	if (run.o.report)
		rc = io_report(run.o.report, o, err);
	json_decref(o);
	return rc;
}

enum { ROUNDS = 1, SECONDS, ONLY, IMAGE, PIECES, DIRECT, THROUGH, CPUS, DIR_, JSON, REPORT, KERNEL, INITRD, ROOT, LOOP };
static const struct option long_options[] = {{"rounds", required_argument, NULL, ROUNDS},
	{"seconds", required_argument, NULL, SECONDS}, {"only", required_argument, NULL, ONLY},
	{"image-size", required_argument, NULL, IMAGE}, {"pieces", required_argument, NULL, PIECES}, {"direct", no_argument, NULL, DIRECT},
	{"writethrough", no_argument, NULL, THROUGH},
	{"cpus", required_argument, NULL, CPUS}, {"dir", required_argument, NULL, DIR_},
	{"json", no_argument, NULL, JSON}, {"report", required_argument, NULL, REPORT},
	{"kernel", required_argument, NULL, KERNEL}, {"initrd", required_argument, NULL, INITRD},
	{"root", required_argument, NULL, ROOT},
	{"print-loop", no_argument, NULL, LOOP}, {"help", no_argument, NULL, 'h'}, {0}};

static int bad(const char *what)
{
	fprintf(stderr, "sidevisor bench io: %s (see `sidevisor bench io --help`)\n", what);
	return 2;
}

/* Return: -1 to go on, or an exit status. */
static int parse(int argc, char **argv, const char **cpus)
{
	struct io_options *o = &run.o;
	int c;

	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		switch (c) {
		case ROUNDS: o->rounds = bench_number(optarg); break;
		case SECONDS: o->seconds = bench_seconds(optarg); break;
		case ONLY: o->only = optarg; break;
		case IMAGE: o->image_mib = bench_number(optarg); break;
		case PIECES: o->piece_kib = bench_number(optarg); break;
		case DIRECT: o->direct = true; break;
		case THROUGH: o->writethrough = true; break;
		case CPUS: *cpus = optarg; break;
		case DIR_: o->dir = optarg; break;
		case JSON: o->json = true; break;
		case REPORT: o->report = optarg; break;
		case KERNEL: o->kernel = optarg; break;
		case INITRD: o->initrd = optarg; break;
		case ROOT: o->root = optarg; break;
		case LOOP: fputs(io_guest_loop, stdout); return 0;
		case 'h': fputs(help, stdout); return 0;
		default: return bad("unknown option");
		}
	}
	if (optind < argc)
		return bad("an argument too many");
	if (o->rounds < 1 || o->rounds > IO_ROUNDS_MAX || !(o->seconds >= 0.1 && o->seconds <= 600) ||
		o->image_mib < 16 || o->image_mib > 65536)
		return bad("--rounds is 1 to 101, --seconds 0.1 to 600, --image-size 16 to 65536");
	if (o->piece_kib < 4 || o->piece_kib > 1024 || (o->piece_kib & (o->piece_kib - 1)))
		return bad("--pieces is a power of two from 4 to 1024");
	if (!o->kernel != !o->initrd || !o->kernel != !o->root)
		return bad("--kernel, --initrd and --root go together");
	return -1;
}

int sv_bench_io(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR"), *cpus = NULL;
	struct sv_error err = {""};
	int rc;

	run.o = (struct io_options){
		.rounds = 5, .seconds = 1, .image_mib = 256, .piece_kib = 1024,
		.dir = tmp && *tmp ? tmp : "/tmp"};
	rc = parse(argc, argv, &cpus);
	if (rc >= 0)
		return rc;
	rc = io_choose_cpus(cpus, &run.o.guest_cpu, &run.o.sidecore_cpu, &run.o.other_cpu, &err);
	if (rc == -EINVAL)
		return bad(err.text);
	bench_catch_signals();
	signal(SIGPIPE, SIG_IGN);
	rc = rc < 0 ? rc : bench(&err);
	rc = rc < 0 ? rc : report(&err);
	return rc < 0 ? bench_failed("io", &err) : 0;
}
