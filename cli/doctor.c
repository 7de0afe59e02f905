/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor doctor: what on this node would spoil guests and sidecores. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <host/doctor.h>
#include <jansson.h>

#include "cli.h"

#define SCHEMA "sidevisor-doctor/1"

static const char help[] =
	"usage: sidevisor doctor [OPTION...]\n"
	"\n"
	"Is this node ready for guests and sidecores? Each finding says what it costs and the "
	"remedy.\n"
	"Nothing is changed.\n"
	"\n"
	"      --cpus LIST        the planned guest cores, such as 2-7 (default: look at all "
	"CPUs)\n"
	"      --sidecores LIST   the planned sidecores\n"
	"  -m, --memory SIZE      of the planned guests\n"
	"      --untrusted        guests and neighbours do not trust each other\n"
	"      --measure          measure noise on each of these CPUs by fixed work quanta\n"
	"      --seconds N        how long on each (default 1)\n"
	"      --all              show what is in order as well\n"
	"      --strict           exit with 1 when there is a problem or a warning\n"
	"  -j, --json             as JSON (docs/doctor.md)\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 examined, 1 it failed or --strict found something, 2 wrong usage.\n";

struct doctor_options {
	struct sv_examination e;
	bool measure, all, strict, json;
	unsigned seconds;
};

enum {
	OPT_CPUS = 256,
	OPT_SIDECORES,
	OPT_UNTRUSTED,
	OPT_MEASURE,
	OPT_SECONDS,
	OPT_ALL,
	OPT_STRICT
};

static const struct option options[] = {
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"sidecores", required_argument, NULL, OPT_SIDECORES},
	{"memory", required_argument, NULL, 'm'},
	{"untrusted", no_argument, NULL, OPT_UNTRUSTED},
	{"measure", no_argument, NULL, OPT_MEASURE},
	{"seconds", required_argument, NULL, OPT_SECONDS},
	{"all", no_argument, NULL, OPT_ALL},
	{"strict", no_argument, NULL, OPT_STRICT},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static int parse_list(
	const char *option, const char *text, struct sv_cpus *set, struct sv_error *err)
{
	if (sv_cpus_parse_list(text, set) < 0 || sv_cpus_empty(set))
		return sv_fail(
			err, EINVAL, "%s %s: write CPUs such as 2,3 or 4-7,10", option, text);
	return 0;
}

static int take(struct doctor_options *o, int c, struct sv_error *err)
{
	uint64_t n = 0;
	int rc = 0;

	switch (c) {
	case OPT_CPUS:
		rc = parse_list("--cpus", optarg, &o->e.guest, err);
		break;
	case OPT_SIDECORES:
		rc = parse_list("--sidecores", optarg, &o->e.sidecore, err);
		break;
	case 'm':
		rc = cli_parse_size("--memory", optarg, &o->e.memory_bytes, err);
		break;
	case OPT_UNTRUSTED:
		o->e.untrusted = true;
		break;
	case OPT_MEASURE:
		o->measure = true;
		break;
	case OPT_SECONDS:
		rc = cli_parse_number("--seconds", optarg, 1, 100, &n, err);
		o->seconds = (unsigned)n;
		break;
	case OPT_ALL:
		o->all = true;
		break;
	case OPT_STRICT:
		o->strict = true;
		break;
	case 'j':
		o->json = true;
		break;
	}
	return rc;
}

/* --- noise -------------------------------------------------------------------------------------
 */

/* The CPUs that are measured: the planned ones, else those this process may use. */
static unsigned measure(const struct doctor_options *o, struct sv_noise **noise)
{
	struct sv_cpus set = o->e.guest;
	unsigned n = 0, all;

	sv_cpus_add(&set, &o->e.sidecore);
	if (sv_cpus_empty(&set))
		sv_cpus_allowed(&set);
	all = sv_cpus_count(&set);
	*noise = calloc(all + 1, sizeof(**noise));
	for (int cpu = -1; *noise && (cpu = sv_cpus_next(&set, cpu)) >= 0;) {
		int rc = sv_noise_measure(cpu, o->seconds, &(*noise)[n]);

		if (rc < 0)
			fprintf(stderr, "sidevisor: noise of CPU %d: %s\n", cpu, strerror(-rc));
		else
			n++;
		fprintf(stderr, "sidevisor: noise measured on %u of %u CPUs\n", n, all);
	}
	return n;
}

static void print_noise(const struct sv_noise *noise, unsigned n)
{
	printf("\nnoise, fixed work quanta on this host (no guest runs)\n"
	       "  CPU   quanta   least us     p50     p99   p99.99     worst     lost\n");
	for (unsigned i = 0; i < n; i++)
		printf("  %3d %8u %10.1f %7.1f %7.1f %8.1f %9.1f %7.2f %%\n", noise[i].cpu,
			noise[i].quanta, noise[i].least_us, noise[i].p50_us, noise[i].p99_us,
			noise[i].p9999_us, noise[i].worst_us, noise[i].lost * 100);
}

/* What the quanta of all CPUs took beyond their shortest. */
static void print_histogram(const struct sv_noise *noise, unsigned n)
{
	static const char bar[] = "########################################";
	uint64_t count[SV_NOISE_BUCKETS] = {0}, most = 1;

	for (unsigned b = 0; b < SV_NOISE_BUCKETS; b++) {
		for (unsigned i = 0; i < n; i++)
			count[b] += noise[i].bucket[b];
		most = count[b] > most ? count[b] : most;
	}
	printf("  beyond the shortest\n");
	for (unsigned b = 0; b < SV_NOISE_BUCKETS; b++)
		if (count[b])
			printf("  %s %6u us %10llu %.*s\n",
				b + 1 < SV_NOISE_BUCKETS ? "below  " : "at least",
				1u << (b + 1 < SV_NOISE_BUCKETS ? b : b - 1),
				(unsigned long long)count[b],
				(int)((count[b] * 40 + most - 1) / most), bar);
}

/* --- output ------------------------------------------------------------------------------------
 */

static bool colour_wanted(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

/* Words up to column 96, the lines after the first indented. */
static void print_wrapped(const char *head, const char *text)
{
	size_t column = (size_t)printf("    %s", head);
	const char *gap = "";

	while (*text) {
		size_t word = strcspn(text, " ");

		if (column + word + 1 > 96) {
			gap = "\n      ";
			column = 6;
		}
		printf("%s%.*s", gap, (int)word, text);
		column += word + 1;
		gap = " ";
		text += word;
		text += *text == ' ';
	}
	putchar('\n');
}

static void print_text(const struct doctor_options *o, const struct sv_findings *found)
{
	static const char *const colour[SV_SEVERITIES] = {
		"\033[1;31m", "\033[1;33m", "\033[36m", "\033[35m", "\033[32m"};
	unsigned count[SV_SEVERITIES] = {0};
	bool colours = colour_wanted();

	for (unsigned i = 0; i < found->n; i++) {
		const struct sv_finding *f = &found->finding[i];

		count[f->severity]++;
		if (f->severity == SV_SEVERITY_OK && !o->all)
			continue;
		printf("%s%-8s%s %s\n", colours ? colour[f->severity] : "",
			sv_severity_name(f->severity), colours ? "\033[0m" : "", f->id);
		print_wrapped("", f->what);
		if (*f->cost)
			print_wrapped("costs: ", f->cost);
		if (*f->remedy)
			print_wrapped("remedy: ", f->remedy);
	}
	printf("%u problems, %u warnings, %u notes, %u unknown, %u in order%s\n", count[0],
		count[1], count[2], count[3], count[4], o->all ? "" : " (--all shows them)");
}

static void print_json(const struct sv_findings *found, const struct sv_noise *noise, unsigned n)
{
	json_t *j = json_object(), *list = json_array(), *measured = json_array();

	for (unsigned i = 0; i < found->n; i++) {
		const struct sv_finding *f = &found->finding[i];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "id", f->id, "severity",
				      sv_severity_name(f->severity), "what", f->what, "cost",
				      f->cost, "remedy", f->remedy, "matters", f->matters));
	}
	for (unsigned i = 0; i < n; i++) {
		json_t *buckets = json_array();

		for (unsigned b = 0; b < SV_NOISE_BUCKETS; b++)
			json_array_append_new(buckets, json_integer(noise[i].bucket[b]));
		json_array_append_new(measured,
			json_pack("{s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "cpu",
				noise[i].cpu, "quanta", noise[i].quanta, "least_us",
				noise[i].least_us, "p50_us", noise[i].p50_us, "p99_us",
				noise[i].p99_us, "p9999_us", noise[i].p9999_us, "worst_us",
				noise[i].worst_us, "lost", noise[i].lost, "beyond_least", buckets));
	}
	json_object_set_new(j, "schema", json_string(SCHEMA));
	json_object_set_new(j, "findings", list);
	json_object_set_new(j, "noise", measured);
	json_dumpf(j, stdout, JSON_SORT_KEYS | JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
}

static int examine(const struct doctor_options *o)
{
	struct sv_findings *found = calloc(1, sizeof(*found));
	struct sv_noise *noise = NULL;
	unsigned n = 0;
	bool bad = false;

	if (!found)
		return EXIT_FAILED;
	sv_doctor_examine(&o->e, found);
	if (o->measure)
		n = measure(o, &noise);
	if (o->json) {
		print_json(found, noise, n);
	} else {
		print_text(o, found);
		if (n)
			print_noise(noise, n);
		if (n)
			print_histogram(noise, n);
	}
	for (unsigned i = 0; i < found->n; i++)
		bad |= found->finding[i].severity <= SV_SEVERITY_WARNING;
	free(noise);
	free(found);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "sidevisor doctor: standard output: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return o->strict && bad ? EXIT_FAILED : EXIT_DONE;
}

int cli_doctor(int argc, char **argv)
{
	const char *kvm = getenv("SIDEVISOR_KVM");
	struct doctor_options o = {.e = {.root = "", .kvm = kvm ? kvm : "/dev/kvm"}, .seconds = 1};
	struct sv_error err;
	int c, rc;

	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":m:jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_DONE;
		}
		if (c == '?')
			return cli_usage_error("doctor", "unknown option '%s'", argv[optind - 1]);
		if (c == ':')
			return cli_usage_error(
				"doctor", "option '%s' needs a value", argv[optind - 1]);
		rc = take(&o, c, &err);
		if (rc < 0)
			return cli_fail(&err, rc);
	}
	if (optind < argc)
		return cli_usage_error("doctor", "unexpected operand '%s'", argv[optind]);
	return examine(&o);
}
