/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor profile: check, show and import profiles, and list their keys. */
#include "profile.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "cli.h"

static const char help[] =
	"usage: sidevisor profile check PROFILE...\n"
	"       sidevisor profile show PROFILE [--json]\n"
	"       sidevisor profile keys [--node] [--json]\n"
	"       sidevisor profile import FILE.xml [-o OUT.yaml]\n"
	"\n"
	"Guest and node profiles. PROFILE is a YAML file, or the name of a guest of this node:\n"
	"then it is " SV_PROFILE_GUESTS "/NAME.yaml.\n"
	"\n"
	"  check   say every problem: file, line, column, key, and what was expected\n"
	"  show    the profile with inheritance and defaults applied, and each value's origin\n"
	"  keys    every key of guest profiles, or of node profiles\n"
	"  import  a guest profile from a V3M XML profile; what is left out is said on stderr\n"
	"\n"
	"      --node         the keys of node profiles\n"
	"  -o, --output FILE  write there, where nothing may be yet (default: standard output)\n"
	"  -j, --json\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 done, 1 a profile has a problem, 2 wrong usage.\n";

const char *profile_path(const char *operand, char path[PROFILE_PATH])
{
	snprintf(path, PROFILE_PATH, "%s", operand);
	if (!strchr(operand, '/') && access(path, F_OK) < 0) {
		snprintf(path, PROFILE_PATH, SV_PROFILE_GUESTS "/%s.yaml", operand);
		if (access(path, F_OK) < 0)
			snprintf(path, PROFILE_PATH, "%s", operand);
	}
	return path;
}

int profile_load_one(const char *operand, int want, char path[PROFILE_PATH], struct sv_profile **p,
	struct sv_error *err)
{
	struct sv_profile_report r = {0};
	int rc;

	if (strlen(operand) >= PROFILE_PATH)
		return sv_fail(err, ENAMETOOLONG, "%.80s...: the name is too long", operand);
	rc = sv_profile_load(profile_path(operand, path), want, p, &r);
	if (rc == 0)
		return 0;
	if (rc == -ENOENT && r.problems == 1 && !strchr(operand, '/') && !strcmp(path, operand))
		return sv_fail(err, ENOENT,
			"%.200s: no such file, and there is no guest profile %s/%.200s.yaml",
			operand, SV_PROFILE_GUESTS, operand);
	if (r.problems == 1)
		return sv_fail(err, -rc, "%s", r.first.text);
	return sv_fail(err, -rc, "%.380s (and %u more: see `sidevisor profile check`)",
		r.first.text, r.problems - 1);
}

struct sv_plan_policy profile_plan_policy(const struct sv_profile_node_policy *n)
{
	return (struct sv_plan_policy){.kind = (enum sv_plan_policy_kind)n->policy,
		.sidecores = n->sidecores,
		.guest_cores_per_sidecore = n->guest_cores_per_sidecore,
		.housekeeping = n->housekeeping,
		.near = n->near,
		.housekeeping_cpu = n->housekeeping_cpu,
		.housekeeping_cpus = n->housekeeping_cpus,
		.exclude_cpu = n->exclude_cpu,
		.exclude_cpus = n->exclude_cpus,
		.sidecore_cpu = n->sidecore_cpu,
		.sidecore_cpus = n->sidecore_cpus};
}

static void print_problem(void *ctx, const char *sentence)
{
	(void)ctx;
	fprintf(stderr, "%s\n", sentence);
}

static int check(int n, char **operands)
{
	char path[PROFILE_PATH];
	int status = EXIT_DONE;

	if (!n)
		return cli_usage_error("profile", "check: name one profile or more");
	for (int i = 0; i < n; i++) {
		struct sv_profile_report r = {.problem = print_problem};
		struct sv_profile *p = NULL;

		if (sv_profile_load(profile_path(operands[i], path), -1, &p, &r) < 0)
			status = EXIT_FAILED;
		sv_profile_free(p);
	}
	return status;
}

/* --- show ------------------------------------------------------------------------------------- */

static void show_origin(const struct sv_profile_value *v)
{
	if (v->file)
		printf("  # %s:%u\n", v->file, v->line);
	else
		printf("  # default\n");
}

static void show_yaml(const struct sv_profile *p)
{
	const struct sv_profile_value *v, *before = NULL;
	size_t n;

	v = sv_profile_values(p, &n);
	for (size_t i = 0; i < n; before = &v[i], i++) {
		bool first = v[i].list && (!before || !before->list || before->index != v[i].index);

		/* What it inherits is in here: this is a profile of its own. */
		if (!strcmp(v[i].key, "inherits"))
			printf("# ");
		printf("%s%s:", !v[i].list ? "" : first ? "- " : "  ", v[i].key);
		if (v[i].is_list) {
			printf("%s", i + 1 < n && v[i + 1].list ? "" : " []");
		} else {
			putchar(' ');
			if (v[i].type == SV_PROFILE_TEXT)
				sv_profile_put_text(stdout, v[i].text);
			else
				fputs(v[i].text, stdout);
		}
		show_origin(&v[i]);
	}
}

static json_t *json_value(const struct sv_profile_value *v)
{
	json_t *value = v->is_list ? json_array()
		: v->type == SV_PROFILE_NUMBER ? json_integer(strtol(v->text, NULL, 10))
		: v->type == SV_PROFILE_BOOL ? json_boolean(!strcmp(v->text, "true"))
		: json_string(v->text);
	json_t *j = json_pack("{s:o}", "value", value);

	if (v->file) {
		json_object_set_new(j, "file", json_string(v->file));
		json_object_set_new(j, "line", json_integer(v->line));
		json_object_set_new(j, "column", json_integer(v->column));
	} else {
		json_object_set_new(j, "default", json_true());
	}
	return j;
}

static void print_json(json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
}

static void show_json(const struct sv_profile *p)
{
	json_t *all = json_object(), *list = NULL, *entry = NULL;
	const struct sv_profile_value *v;
	size_t n;

	v = sv_profile_values(p, &n);
	for (size_t i = 0; i < n; i++) {
		json_t *j = json_value(&v[i]);

		if (v[i].list) {
			if (json_array_size(list) <= v[i].index) {
				entry = json_object();
				json_array_append_new(list, entry);
			}
			json_object_set_new(entry, v[i].key, j);
			continue;
		}
		json_object_set_new(all, v[i].key, j);
		list = v[i].is_list ? json_object_get(j, "value") : NULL;
	}
	print_json(json_pack("{s:i, s:s, s:o}", "version", 1, "kind",
		sv_profile_kind_name(sv_profile_kind(p)), "keys", all));
}

static int show(int n, char **operands, bool json)
{
	char path[PROFILE_PATH];
	struct sv_profile *p = NULL;
	struct sv_error err;

	if (n != 1)
		return cli_usage_error("profile", "show: name one profile");
	if (profile_load_one(operands[0], -1, path, &p, &err) < 0) {
		fprintf(stderr, "sidevisor: %s\n", err.text);
		return EXIT_FAILED;
	}
	if (json)
		show_json(p);
	else
		show_yaml(p);
	sv_profile_free(p);
	return EXIT_DONE;
}

/* --- keys ------------------------------------------------------------------------------------- */

static json_t *keys_json(enum sv_profile_kind kind, const char *list)
{
	json_t *all = json_array();
	size_t n;
	const struct sv_profile_key *k = sv_profile_keys(kind, list, &n);

	for (size_t i = 0; i < n; i++)
		json_array_append_new(all,
			json_pack("{s:s, s:s, s:s, s:s?}", "key", k[i].name, "expected",
				k[i].expected, "what", k[i].what, "default", k[i].default_text));
	return all;
}

static void keys_text(enum sv_profile_kind kind, const char *list)
{
	size_t n;
	const struct sv_profile_key *k = sv_profile_keys(kind, list, &n);

	for (size_t i = 0; i < n; i++) {
		printf("%s%s: %s\n", list ? "  - " : "", k[i].name, k[i].expected);
		printf("%s    %s%s%s%s\n", list ? "    " : "", k[i].what,
			k[i].default_text ? " (default " : "",
			k[i].default_text ? k[i].default_text : "", k[i].default_text ? ")" : "");
		if (!list && (!strcmp(k[i].name, "disks") || !strcmp(k[i].name, "nets") ||
				     !strcmp(k[i].name, "uplinks")))
			keys_text(kind, k[i].name);
	}
}

static int keys(int n, bool node, bool json)
{
	enum sv_profile_kind kind = node ? SV_PROFILE_NODE_KIND : SV_PROFILE_GUEST;

	if (n)
		return cli_usage_error("profile", "keys: it takes no operand");
	if (json)
		print_json(json_pack("{s:i, s:s, s:o, s:o, s:o, s:o*}", "version", 1, "kind",
			sv_profile_kind_name(kind), "keys", keys_json(kind, NULL), "disks",
			keys_json(kind, "disks"), "nets", keys_json(kind, "nets"), "uplinks",
			node ? keys_json(kind, "uplinks") : NULL));
	else
		keys_text(kind, NULL);
	return EXIT_DONE;
}

/* --- import ----------------------------------------------------------------------------------- */

static int write_new(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	size_t left = strlen(text);

	if (fd < 0) {
		fprintf(stderr, "sidevisor: %s: %s%s\n", path, strerror(errno),
			errno == EEXIST ? "; remove it, or name another" : "");
		return EXIT_FAILED;
	}
	while (left) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		text += n;
		left -= (size_t)n;
	}
	if (close(fd) == 0 && !left)
		return EXIT_DONE;
	fprintf(stderr, "sidevisor: %s: %s\n", path, strerror(errno));
	unlink(path);
	return EXIT_FAILED;
}

static int import(int n, char **operands, const char *output)
{
	struct sv_profile_report left_out = {.problem = print_problem};
	struct sv_error err;
	char *yaml;
	int status = EXIT_DONE;

	if (n != 1)
		return cli_usage_error("profile", "import: name one XML file");
	if (sv_profile_import_v3m(operands[0], &yaml, &left_out, &err) < 0) {
		fprintf(stderr, "sidevisor: %s\n", err.text);
		return EXIT_FAILED;
	}
	if (output)
		status = write_new(output, yaml);
	else
		fputs(yaml, stdout);
	free(yaml);
	return status;
}

int cli_profile(int argc, char **argv)
{
	static const struct option options[] = {{"node", no_argument, NULL, 'N'},
		{"output", required_argument, NULL, 'o'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	bool json = false, node = false;
	const char *output = NULL, *verb;
	int c;

	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":o:jh", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'N':
			node = true;
			break;
		case 'o':
			output = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return EXIT_DONE;
		case ':':
			return cli_usage_error(
				"profile", "option '%s' needs a value", argv[optind - 1]);
		default:
			return cli_usage_error("profile", "unknown option '%s'", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return cli_usage_error("profile", "say check, show, keys or import");
	verb = argv[optind++];
	if (!strcmp(verb, "check"))
		return check(argc - optind, argv + optind);
	if (!strcmp(verb, "show"))
		return show(argc - optind, argv + optind, json);
	if (!strcmp(verb, "keys"))
		return keys(argc - optind, node, json);
	if (!strcmp(verb, "import"))
		return import(argc - optind, argv + optind, output);
	return cli_usage_error(
		"profile", "unknown verb '%s'; say check, show, keys or import", verb);
}
