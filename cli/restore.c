/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor restore-host: undo what dead processes of ours changed on this host. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include <host/claims.h>
#include <host/isolate.h>

#include "cli.h"

static const char help[] =
	"usage: sidevisor restore-host [--all] [--dry-run] [--json]\n"
	"\n"
	"Undo what `run` and `serve` changed on this host and a crash kept them from undoing:\n"
	"interrupt affinities, the work queues' CPUs, cgroups. `run` and `serve` do so when they start.\n"
	"A value that someone else changed meanwhile is kept.\n"
	"\n"
	"  -a, --all      also cgroups and records of VMs that are gone and stand in no journal\n"
	"  -n, --dry-run  say what would be done\n"
	"  -j, --json     what was done, as JSON\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 nothing is left; 1 something is; 2 wrong usage.\n";

static const struct option options[] = {{"all", no_argument, NULL, 'a'},
	{"dry-run", no_argument, NULL, 'n'}, {"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

static void collect(void *ctx, const char *kind, const char *path, const char *old, const char *what)
{
	json_array_append_new(ctx, json_pack("{s:s, s:s, s:s, s:s}", "kind", kind, "path", path, "old",
		old, "what", what));
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static void print(const json_t *list, bool json)
{
	json_t *o;
	size_t i;

	if (json) {
		char *text = json_dumps(list, JSON_INDENT(1));

		puts(text);
		free(text);
		return;
	}
	json_array_foreach(list, i, o)
		printf("%s%s%s: %s\n", text_of(o, "path"), *text_of(o, "old") ? " to " : "",
			text_of(o, "old"), text_of(o, "what"));
	if (!json_array_size(list))
		puts("nothing to restore");
}

int cli_restore(int argc, char **argv)
{
	struct sv_restore_report report = {.line = collect};
	bool all = false, dry = false, json = false;
	struct sv_error err;
	char run_dir[256];
	json_t *list;
	int c, rc;

	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "anjh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_DONE;
		}
		if (c == '?')
			return cli_usage_error("restore-host", "unknown option '%s'", argv[optind - 1]);
		all |= c == 'a';
		dry |= c == 'n';
		json |= c == 'j';
	}
	if (optind < argc)
		return cli_usage_error("restore-host", "takes no operand");
	rc = sv_run_dir(run_dir, sizeof(run_dir), &err);
	if (rc < 0)
		return cli_fail(&err, rc);
	list = json_array();
	report.ctx = list;
	rc = sv_restore("", run_dir, all, dry, &report, &err);
	print(list, json);
	json_decref(list);
	if (rc == 0)
		return EXIT_DONE;
	cli_fail(&err, rc);
	return EXIT_FAILED;
}
