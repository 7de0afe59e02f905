/* SPDX-License-Identifier: BSD-3-Clause */
/* stats, ps, stop, pause, resume: questions and orders to running VM processes. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <host/cpus.h>
#include <vmm/vmm.h>

#include "cli.h"

static const struct option options[] = {
	{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

/* Parse --json and --help, expect @names operands. Return: -1 go on, else the exit status. */
static int parse(int argc, char **argv, const char *help, int names, bool *json)
{
	int c;

	*json = false;
	optind = 1;
	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_DONE;
		}
		if (c != 'j')
			return cli_usage_error(argv[0], "unknown option");
		*json = true;
	}
	if (argc - optind != names)
		return cli_usage_error(argv[0], names ? "name one VM" : "takes no operand");
	return -1;
}

static int64_t get_int(const json_t *o, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(o, key));
}

static const char *get_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "?";
}

static void print_object(const json_t *o, const char *indent)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)o, key, value)
		if (json_is_integer(value) && json_integer_value(value))
			printf("%s%-32s %lld\n", indent, key, (long long)json_integer_value(value));
}

/* A JSON list of CPUs or nodes as "2-3,6"; those that are not given (-1) as "any". */
static const char *list_of(const json_t *placement, const char *key, char *text, size_t bytes)
{
	const json_t *a = json_object_get(placement, key);
	struct sv_cpus set = {{0}};
	bool any = false;

	for (size_t i = 0; i < json_array_size(a); i++) {
		int n = (int)json_integer_value(json_array_get(a, i));

		any |= n < 0;
		sv_cpus_set(&set, n);
	}
	if (!json_array_size(a) || any || sv_cpus_print_list(&set, text, bytes) < 0)
		snprintf(text, bytes, "%s", any ? "any" : "?");
	return text;
}

static void print_placement(const json_t *p)
{
	const json_t *iso = json_object_get(p, "isolation"), *notes = json_object_get(iso, "notes");
	char guest[256], sidecore[256], nodes[256];
	json_t *note;
	size_t i;

	if (!p)
		return;
	printf("guest cores %s, %s sidecore %s, control CPU %lld, memory on node %s (%s)\n",
		list_of(p, "vcpu_cpus", guest, sizeof(guest)),
		json_is_true(json_object_get(p, "private_sidecores")) ? "private" : "node's",
		list_of(p, "sidecore_cpus", sidecore, sizeof(sidecore)),
		(long long)get_int(p, "control_cpu"),
		list_of(p, "memory_nodes", nodes, sizeof(nodes)), get_text(p, "policy"));
	printf("on the host: %lld interrupts moved away, %lld refused; cpuset %s%s%s\n",
		(long long)get_int(iso, "irqs_moved"), (long long)get_int(iso, "irqs_refused"),
		get_text(iso, "cpuset"), *get_text(iso, "cgroup") ? " " : "", get_text(iso, "cgroup"));
	json_array_foreach((json_t *)(uintptr_t)notes, i, note)
		printf("    not isolated: %s\n", json_string_value(note));
}

/* What is not there for every VM. */
static void print_events(const json_t *o)
{
	const json_t *s = json_object_get(o, "memory_source");

	if (get_int(o, "node_rejoins"))
		printf("sidecore processes that ended and came back: %lld, the last after %lld ms\n",
			(long long)get_int(o, "node_rejoins"), (long long)get_int(o, "node_outage_ms"));
	if (!s)
		return;
	printf("memory source: %lld of %lld pages there, %s %lld ms; %lld faults, %lld pages that devices "
	       "waited for, %lld requests, %lld KiB\n",
		(long long)get_int(s, "present"), (long long)get_int(s, "pages"),
		json_is_true(json_object_get(s, "done")) ? "all after" : "so far",
		(long long)get_int(s, "elapsed_us") / 1000, (long long)get_int(s, "faults"),
		(long long)get_int(s, "device_waits"), (long long)get_int(s, "requests"),
		(long long)get_int(s, "bytes") >> 10);
}

static void print_stats(const json_t *o)
{
	json_t *vcpu;
	size_t i;

	printf("%s: pid %lld, %s%s, %s, %lld MiB\n", get_text(o, "name"),
		(long long)get_int(o, "pid"), get_text(o, "substrate"),
		json_is_true(json_object_get(o, "emulated")) ? " (emulated)" : "",
		get_text(o, "state"), (long long)(get_int(o, "memory_bytes") >> 20));
	print_placement(json_object_get(o, "placement"));
	print_events(o);
	printf("exits to sidevisor: %lld\n", (long long)get_int(o, "exits_to_us"));
	json_array_foreach(json_object_get(o, "vcpus"), i, vcpu) {
		printf("\nvCPU %lld on CPU %lld: %lld exits to sidevisor, %lld kicks\n",
			(long long)get_int(vcpu, "vcpu"), (long long)get_int(vcpu, "cpu"),
			(long long)get_int(vcpu, "exits_to_us"), (long long)get_int(vcpu, "kicks"));
		print_object(json_object_get(vcpu, "exits"), "    ");
		printf("  counted by KVM:\n");
		print_object(json_object_get(vcpu, "kvm"), "    ");
	}
}

int cli_stats(int argc, char **argv)
{
	static const char help[] =
		"usage: sidevisor stats [--json] NAME\n\n"
		"What the VM called NAME counts: exits that reach its process, per reason and vCPU,\n"
		"and beside them KVM's own counters (exits handled in the kernel, injections, ...).\n";
	struct sv_error err;
	char *text;
	bool json;
	json_t *o;
	int rc = parse(argc, argv, help, 1, &json);

	if (rc >= 0)
		return rc;
	rc = sv_vmm_ask(argv[optind], "stats", &text, &err);
	if (rc < 0)
		return cli_fail(&err, rc);
	if (json) {
		puts(text);
	} else {
		o = json_loads(text, 0, NULL);
		print_stats(o);
		json_decref(o);
	}
	free(text);
	return EXIT_DONE;
}

int cli_ps(int argc, char **argv)
{
	static const char help[] = "usage: sidevisor ps [--json]\n\nThe VMs that run on this machine.\n";
	char *names = NULL, *text;
	struct sv_error err;
	json_t *list, *name, *all = json_array();
	bool json;
	size_t i;
	int rc = parse(argc, argv, help, 0, &json);

	if (rc >= 0) {
		json_decref(all);
		return rc;
	}
	names = sv_vmm_list();
	list = json_loads(names, 0, NULL);
	json_array_foreach(list, i, name)
		if (sv_vmm_ask(json_string_value(name), "stats", &text, &err) == 0) {
			json_array_append_new(all, json_loads(text, 0, NULL));
			free(text);
		}
	if (json) {
		text = json_dumps(all, JSON_INDENT(2) | JSON_SORT_KEYS);
		puts(text);
		free(text);
	} else {
		printf("%-20s %8s %6s %10s %-10s %-10s %-12s %-9s %s\n", "NAME", "PID", "VCPUS",
			"MEMORY", "STATE", "SUBSTRATE", "GUEST-CORES", "SIDECORE", "NODES");
		json_array_foreach(all, i, name) {
			const json_t *p = json_object_get(name, "placement");
			char guest[256], sidecore[256], nodes[256];

			printf("%-20s %8lld %6zu %9lldM %-10s %-10s %-12s %-9s %s\n", get_text(name, "name"),
				(long long)get_int(name, "pid"),
				json_array_size(json_object_get(name, "vcpus")),
				(long long)(get_int(name, "memory_bytes") >> 20),
				get_text(name, "state"), get_text(name, "substrate"),
				list_of(p, "vcpu_cpus", guest, sizeof(guest)),
				list_of(p, "sidecore_cpus", sidecore, sizeof(sidecore)),
				list_of(p, "memory_nodes", nodes, sizeof(nodes)));
		}
	}
	json_decref(list);
	json_decref(all);
	free(names);
	return EXIT_DONE;
}

int cli_control(int argc, char **argv)
{
	static const char help[] = "usage: sidevisor stop|pause|resume NAME\n\n"
				   "stop ends the VM at once, as if its power were cut.\n";
	struct sv_error err;
	char *text;
	bool json;
	int rc = parse(argc, argv, help, 1, &json);

	if (rc >= 0)
		return rc;
	rc = sv_vmm_ask(argv[optind], argv[0], &text, &err);
	if (rc < 0)
		return cli_fail(&err, rc);
	if (json)
		puts(text);
	free(text);
	return EXIT_DONE;
}
