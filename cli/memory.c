/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor memory: what a guest has given back, and what it shall have; dirty: what it writes. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <vmm/vmm.h>

#include "cli.h"

static const char help[] =
	"usage: sidevisor memory [--json] NAME [SIZE]\n\n"
	"How much memory the guest NAME has given back to this host, as reports of free pages and in its\n"
	"balloon; with SIZE, such as 2G, how much it shall have from now on (at most what it was started\n"
	"with). It gives and takes over the next seconds, as its kernel can. Needs `run --balloon`.\n";

/* The "error" of an answer on stderr. Return: exit status. */
static int report_error(const char *name, const char *text)
{
	json_t *o = json_loads(text, 0, NULL);
	const char *error = json_string_value(json_object_get(o, "error"));
	int rc = error ? EXIT_FAILED : EXIT_DONE;

	if (error)
		fprintf(stderr, "sidevisor: %s: %s\n", name, error);
	json_decref(o);
	return rc;
}

static int set_size(const char *name, const char *size)
{
	char command[64], *text;
	struct sv_error err;
	uint64_t bytes;
	int rc = cli_parse_size("memory", size, &bytes, &err);

	if (rc < 0)
		return cli_fail(&err, rc);
	snprintf(command, sizeof(command), "memory %llu", (unsigned long long)bytes);
	if (strlen(command) > 31)
		return cli_usage_error("memory", "%s is too much", size);
	rc = sv_vmm_ask(name, command, &text, &err);
	if (rc < 0)
		return cli_fail(&err, rc);
	rc = report_error(name, text);
	free(text);
	return rc;
}

static long long mib(const json_t *o, const char *key)
{
	return (long long)(json_integer_value(json_object_get(o, key)) >> 20);
}

static int show(const char *name, bool json)
{
	struct sv_error err;
	char *text;
	json_t *all, *b;
	int rc = sv_vmm_ask(name, "stats", &text, &err);

	if (rc < 0)
		return cli_fail(&err, rc);
	all = json_loads(text, 0, NULL);
	free(text);
	b = json_object_get(all, "balloon");
	if (!b) {
		fprintf(stderr, "sidevisor: %s: this VM has no balloon; run it with --balloon\n", name);
		json_decref(all);
		return EXIT_FAILED;
	}
	json_object_set(b, "memory_bytes", json_object_get(all, "memory_bytes"));
	if (json) {
		text = json_dumps(b, JSON_INDENT(2) | JSON_SORT_KEYS);
		puts(text);
		free(text);
	} else {
		printf("%s: %lld MiB, of which %lld MiB are with the host; %lld MiB in the balloon (%lld "
		       "asked for)\nreported free so far %lld MiB, made again %lld MiB, of these ahead "
		       "of use %lld MiB\n",
			name, mib(all, "memory_bytes"), mib(b, "hole_bytes"), mib(b, "balloon_bytes"),
			mib(b, "target_bytes"), mib(b, "reported_bytes"), mib(b, "again_bytes"),
			mib(b, "ahead_bytes"));
	}
	json_decref(all);
	return EXIT_DONE;
}

/* --json and --help, wherever they stand. Return: -1 go on from optind, else the exit status. */
static int parse(int argc, char **argv, const char *text, bool *json)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int c;

	*json = false;
	optind = 0;
	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(text, stdout);
			return EXIT_DONE;
		}
		if (c == '?')
			return EXIT_USAGE;
		*json = true;
	}
	if (optind >= argc)
		return cli_usage_error(argv[0], "which VM? `sidevisor ps` lists them");
	if (argc - optind > 2)
		return cli_usage_error(argv[0], "unexpected operand '%s'", argv[optind + 2]);
	return -1;
}

int cli_memory(int argc, char **argv)
{
	bool json;
	int rc = parse(argc, argv, help, &json);

	if (rc >= 0)
		return rc;
	if (argc - optind == 2)
		return set_size(argv[optind], argv[optind + 1]);
	return show(argv[optind], json);
}

int cli_dirty(int argc, char **argv)
{
	static const char dirty_help[] =
		"usage: sidevisor dirty [--json] NAME [start|stop|show|verify]\n\n"
		"Track which pages the guest NAME writes, as a checkpoint or migration would: start and stop;\n"
		"show what is counted (the default); verify: with the vCPUs at rest, compare checksums of all\n"
		"of its memory with those of the last time, and name pages that changed and were not found.\n"
		"Needs `run --track-dirty`. Output: JSON in any case. Exit status 1: a page was missed.\n";
	char command[32], *text;
	const char *name, *what;
	struct sv_error err;
	json_t *o;
	bool json;
	int rc = parse(argc, argv, dirty_help, &json);

	if (rc >= 0)
		return rc;
	name = argv[optind];
	what = argc - optind == 2 ? argv[optind + 1] : "show";
	if (strcmp(what, "start") && strcmp(what, "stop") && strcmp(what, "show") &&
		strcmp(what, "verify"))
		return cli_usage_error("dirty", "'%s': give start, stop, show or verify", what);
	snprintf(command, sizeof(command), "dirty %s", what);
	rc = sv_vmm_ask(name, command, &text, &err);
	if (rc < 0)
		return cli_fail(&err, rc);
	rc = report_error(name, text);
	o = json_loads(text, 0, NULL);
	if (rc == EXIT_DONE)
		puts(text);
	if (json_integer_value(json_object_get(o, "missed")) > 0)
		rc = EXIT_FAILED;
	json_decref(o);
	free(text);
	return rc;
}
