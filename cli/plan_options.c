/* SPDX-License-Identifier: BSD-3-Clause */
#include "plan_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan_guests.h"
#include "profile.h"

static const char help[] =
	"usage: sidevisor plan [OPTION...] [PROFILE...]\n"
	"\n"
	"Which cores of a node should be sidecores, guest cores and housekeeping, and why. Nothing is\n"
	"changed: the plan is printed. PROFILE is a guest's YAML file or the name of a guest of this\n"
	"node. With no guest named, one guest fills the machine.\n"
	"\n"
	"  -t, --topology TOPOLOGY   an hwloc XML file (`lstopo --of xml`), or a synthetic description\n"
	"                            such as \"pack:2 l3:8 core:8 pu:2\" (default: this machine)\n"
	"  -g, --guest name=NAME[,vcpus=N][,memory=SIZE][,smt=on|off][,share=on|off][,untrusted=on|off]\n"
	"              [,near=DEVICE]\n"
	"                            a guest; repeat for more. smt=on: its vCPUs are all threads of its\n"
	"                            cores; share=on: they may share cores when there are too few;\n"
	"                            untrusted=on: no sidecore beside one of them on a core\n"
	"      --guests N            so many guests alike, guest0 and so on\n"
	"      --vcpus M             vCPUs of each of these (default: as many as fit)\n"
	"      --node FILE           a node profile: policy, sidecores, housekeeping, excluded CPUs;\n"
	"                            options override it\n"
	"      --sidecores auto|N    (default auto)\n"
	"      --guest-cores-per-sidecore N\n"
	"                            at most (default: as many as suit)\n"
	"      --policy locality|spread|smt-sibling\n"
	"                            guests on as few caches and NUMA nodes as hold them, on as many as\n"
	"                            there are, or with sidecores on SMT siblings (default locality)\n"
	"      --near DEVICE         a PCI address or a network interface that guests and sidecores\n"
	"                            should be near\n"
	"      --housekeeping auto|N|LIST\n"
	"                            cores for the operating system: how many, or a list of CPUs with a\n"
	"                            comma or a hyphen in it, such as 0-1 or 5, (default auto)\n"
	"      --exclude LIST        CPUs that are not to be used\n"
	"      --measure             measure latencies between the cores of this machine first: all pairs\n"
	"                            where there are few, else a sample; kept, and used by later plans\n"
	"      --all-pairs           with --measure: every pair of cores\n"
	"      --latencies FILE|none where they are kept (default: /var/lib/sidevisor/latencies.json,\n"
	"                            or below ~/.cache), or plan by the model of docs/placement.md\n"
	"      --svg FILE            draw the machine as well\n"
	"      --export kernel|cgroup|systemd|slurm|libvirt\n"
	"                            print the plan as the configuration of another tool\n"
	"  -j, --json                print it as JSON (docs/plan-json.md)\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 done, 1 the placement cannot be had or a file cannot be read or written,\n"
	"2 wrong usage.\n";

enum {
	OPT_GUESTS = 256, OPT_VCPUS, OPT_NODE, OPT_SIDECORES, OPT_PER, OPT_POLICY, OPT_NEAR, OPT_HOUSE,
	OPT_EXCLUDE, OPT_SVG, OPT_EXPORT, OPT_MEASURE, OPT_ALL, OPT_LATENCIES,
};

static const struct option options[] = {
	{"topology", required_argument, NULL, 't'},
	{"guest", required_argument, NULL, 'g'},
	{"guests", required_argument, NULL, OPT_GUESTS},
	{"vcpus", required_argument, NULL, OPT_VCPUS},
	{"node", required_argument, NULL, OPT_NODE},
	{"sidecores", required_argument, NULL, OPT_SIDECORES},
	{"guest-cores-per-sidecore", required_argument, NULL, OPT_PER},
	{"policy", required_argument, NULL, OPT_POLICY},
	{"near", required_argument, NULL, OPT_NEAR},
	{"housekeeping", required_argument, NULL, OPT_HOUSE},
	{"exclude", required_argument, NULL, OPT_EXCLUDE},
	{"measure", no_argument, NULL, OPT_MEASURE},
	{"all-pairs", no_argument, NULL, OPT_ALL},
	{"latencies", required_argument, NULL, OPT_LATENCIES},
	{"svg", required_argument, NULL, OPT_SVG},
	{"export", required_argument, NULL, OPT_EXPORT},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* "0-3,8" into an array that @o owns. */
static int parse_list(struct plan_options *o, const char *option, const char *text, const int **cpu,
	unsigned *n, struct sv_error *err)
{
	int *list = NULL;
	unsigned count = 0;

	for (const char *s = text; *s;) {
		unsigned long first, last;
		char *end;
		int *more;

		first = last = strtoul(s, &end, 10);
		if (end > s && *end == '-' && end[1] >= '0' && end[1] <= '9')
			last = strtoul(end + 1, &end, 10);
		if (*s < '0' || *s > '9' || (*end && *end != ',') || last < first ||
			last >= SV_MACHINE_CORES || count + (last - first) >= SV_MACHINE_CORES) {
			free(list);
			return sv_fail(err, EINVAL, "%s %s: give a list of CPUs such as 0,2,8-15",
				option, text);
		}
		more = realloc(list, (count + (last - first) + 1) * sizeof(*list));
		if (!more) {
			free(list);
			return sv_fail(err, ENOMEM, "out of memory");
		}
		list = more;
		for (unsigned long c = first; c <= last; c++)
			list[count++] = (int)c;
		s = *end ? end + 1 : end;
	}
	if (!count)
		return sv_fail(err, EINVAL, "%s: give a list of CPUs such as 0,2,8-15", option);
	if (o->lists == sizeof(o->list) / sizeof(o->list[0])) {
		free(list);
		return sv_fail(err, EINVAL, "%s: given too often", option);
	}
	o->list[o->lists++] = list;
	*cpu = list;
	*n = count;
	return 0;
}

static int parse_house(struct plan_options *o, const char *text, struct sv_error *err)
{
	uint64_t n = 0;
	int rc;

	o->policy.housekeeping = SV_PLAN_AUTO;
	o->policy.housekeeping_cpu = NULL;
	o->policy.housekeeping_cpus = 0;
	if (!strcmp(text, "auto"))
		return 0;
	if (strpbrk(text, ",-") && *text != '-') {
		o->policy.housekeeping = 0;
		return parse_list(o, "--housekeeping", text, &o->policy.housekeeping_cpu,
			&o->policy.housekeeping_cpus, err);
	}
	rc = cli_parse_number("--housekeeping", text, 0, SV_MACHINE_CORES, &n, err);
	o->policy.housekeeping = (int)n;
	return rc;
}

static int parse_choice(const char *option, const char *text, unsigned n,
	const char *(*name)(unsigned), unsigned *choice, struct sv_error *err)
{
	char all[128] = "";

	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(text, name(i))) {
			*choice = i;
			return 0;
		}
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "",
			name(i));
	}
	return sv_fail(err, EINVAL, "%s %s: give one of %s", option, text, all);
}

static const char *policy_name(unsigned i)
{
	return sv_plan_policy_name((enum sv_plan_policy_kind)i);
}

static const char *export_name(unsigned i)
{
	return sv_export_name((enum sv_export)i);
}

/* A number, or auto: *value stays what it is. */
static int parse_auto(const char *option, const char *text, int *value, struct sv_error *err)
{
	uint64_t n;
	int rc;

	*value = SV_PLAN_AUTO;
	if (!strcmp(text, "auto"))
		return 0;
	rc = cli_parse_number(option, text, 1, SV_MACHINE_CORES, &n, err);
	if (rc < 0)
		return sv_fail(err, EINVAL, "%s %s: give a whole number from 1 to %u, or auto",
			option, text, SV_MACHINE_CORES);
	*value = (int)n;
	return 0;
}

static int take(struct plan_options *o, struct plan_alike *alike, int c, struct sv_error *err)
{
	unsigned choice = 0;
	uint64_t n = 0;
	int rc = 0;

	switch (c) {
	case 't':
		o->topology = optarg;
		break;
	case 'g':
		rc = plan_guest_parse(o, optarg, err);
		break;
	case OPT_GUESTS:
		rc = cli_parse_number("--guests", optarg, 1, SV_PLAN_GUESTS, &n, err);
		alike->guests = (unsigned)n;
		break;
	case OPT_VCPUS:
		rc = cli_parse_number("--vcpus", optarg, 1, SV_MACHINE_CORES, &n, err);
		alike->vcpus = (unsigned)n;
		break;
	case OPT_SIDECORES:
		rc = parse_auto("--sidecores", optarg, &o->policy.sidecores, err);
		o->policy.sidecore_cpus = 0;
		o->policy.sidecore_cpu = NULL;
		o->sidecores_given = true;
		break;
	case OPT_PER:
		rc = cli_parse_number(
			"--guest-cores-per-sidecore", optarg, 1, SV_MACHINE_CORES, &n, err);
		o->policy.guest_cores_per_sidecore = (unsigned)n;
		break;
	case OPT_POLICY:
		rc = parse_choice(
			"--policy", optarg, SV_PLAN_SMT_SIBLING + 1, policy_name, &choice, err);
		o->policy.kind = (enum sv_plan_policy_kind)choice;
		o->policy_given = true;
		break;
	case OPT_NEAR:
		o->policy.near = optarg;
		break;
	case OPT_HOUSE:
		rc = parse_house(o, optarg, err);
		break;
	case OPT_EXCLUDE:
		rc = parse_list(o, "--exclude", optarg, &o->policy.exclude_cpu,
			&o->policy.exclude_cpus, err);
		break;
	case OPT_MEASURE:
		o->measure = true;
		break;
	case OPT_ALL:
		o->all_pairs = true;
		break;
	case OPT_LATENCIES:
		o->latencies = optarg;
		break;
	case OPT_SVG:
		o->svg = optarg;
		break;
	case OPT_EXPORT:
		rc = parse_choice("--export", optarg, SV_EXPORTS, export_name, &choice, err);
		o->export = (enum sv_export)choice;
		break;
	case 'j':
		o->json = true;
		break;
	default:
		break;
	}
	return rc;
}

static int parse_operands(struct plan_options *o, const struct plan_alike *alike, int n,
	char **operand, struct sv_error *err)
{
	int rc = 0;

	for (int i = 0; i < n && rc == 0; i++)
		rc = plan_guest_profile(o, operand[i], err);
	if (rc == 0 && (alike->guests || alike->vcpus))
		rc = plan_guests_alike(o, alike, err);
	return rc == 0 ? plan_guests_check(o, err) : rc;
}

int plan_options_parse(struct plan_options *o, int argc, char **argv)
{
	struct plan_alike alike = {0};
	struct sv_error err;
	int c, rc = 0;

	*o = (struct plan_options){
		.policy = {.sidecores = SV_PLAN_AUTO, .housekeeping = SV_PLAN_AUTO},
		.export = SV_EXPORTS};
	opterr = 0;
	/* The node profile first, wherever it stands: options override it. */
	for (unsigned pass = 0; pass < 2; pass++) {
		optind = 0;
		while ((c = getopt_long(argc, argv, ":t:g:jh", options, NULL)) != -1) {
			if (c == 'h') {
				fputs(help, stdout);
				return EXIT_DONE;
			}
			if (c == '?')
				return cli_usage_error(
					"plan", "unknown option '%s'", argv[optind - 1]);
			if (c == ':')
				return cli_usage_error(
					"plan", "option '%s' needs a value", argv[optind - 1]);
			if (pass == 0 && c == OPT_NODE)
				rc = plan_node_profile(o, optarg, &err);
			else if (pass == 1)
				rc = take(o, &alike, c, &err);
			if (rc < 0)
				return cli_fail(&err, rc);
		}
	}
	if (o->json && o->export != SV_EXPORTS)
		return cli_usage_error(
			"plan", "--json and --export both print the plan: choose one");
	if (o->measure && o->topology)
		return cli_usage_error(
			"plan", "--measure is for this machine: leave --topology out");
	if (o->all_pairs && !o->measure)
		return cli_usage_error("plan", "--all-pairs needs --measure");
	if (o->measure && o->latencies && !strcmp(o->latencies, "none"))
		return cli_usage_error(
			"plan", "--measure keeps what it measures: --latencies none does not");
	rc = parse_operands(o, &alike, argc - optind, argv + optind, &err);
	return rc < 0 ? cli_fail(&err, rc) : -1;
}

void plan_options_free(struct plan_options *o)
{
	for (unsigned i = 0; i < o->lists; i++)
		free(o->list[i]);
	for (unsigned i = 0; i < o->profiles; i++)
		sv_profile_free(o->profile[i]);
	free(o->profile);
	free(o->guest);
	if (o->node)
		sv_profile_node_policy_free(&o->node_policy);
	sv_profile_free(o->node);
}
