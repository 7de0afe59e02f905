/* SPDX-License-Identifier: BSD-3-Clause */
/* sidevisor device: what virtual devices count and may take, and changing that while they run. */
#include "device.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <io/qos.h>
#include <vmm/vmm.h>

#include "cli.h"
#include "node_process.h"

#define OWN "node"

static const char help[] =
	"usage: sidevisor device [--json] [--socket PATH] [VM[/DEVICE] [KEY=VALUE...]]\n"
	"\n"
	"List the virtual devices that sidecores serve and what they count; or tell all of one; or change\n"
	"it while it runs. The node service's own devices (serve --blk, --net) are those of the VM `node`.\n"
	"\n"
	"  weight=N            share of what others want too, 1 to 10000\n"
	"  priority=N          strict: 7 before 6 ... before 0\n"
	"  min-bandwidth=SIZE  bytes per second before priorities and weights count, such as 20M; 0: none\n"
	"  max-bandwidth=SIZE  bytes per second at most; 0: no such bound\n"
	"  min-iops=N, max-iops=N\n"
	"                      the same in requests per second\n"
	"  burst=MILLISECONDS  so much of an unused maximum may be used later at once\n"
	"  depth=N             requests outstanding at most; 0: no such bound\n"
	"  size=SIZE           of a disk: it grows; max: all that its storage has\n"
	"  link=up|down        of a network interface\n"
	"\n"
	"  -s, --socket PATH   of the node service (default " SV_CONTROL_SOCKET ")\n"
	"  -j, --json\n"
	"  -h, --help\n";

static const struct option options[] = {{"json", no_argument, NULL, 'j'},
	{"socket", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0}};

/* --- whom to ask ----------------------------------------------------------------------------- */

/* An answer of a VM process, which may be a refusal. NULL with a sentence. */
static json_t *ask_vm(const char *vm, const char *what, struct sv_error *err)
{
	char *text = NULL;
	const char *refusal;
	json_t *o;

	if (sv_vmm_ask(vm, what, &text, err) < 0)
		return NULL;
	o = json_loads(text, 0, NULL);
	free(text);
	refusal = json_string_value(json_object_get(o, "error"));
	if (o && !refusal)
		return o;
	sv_fail(err, EIO, "%s", refusal ? refusal : "the VM process's answer makes no sense");
	json_decref(o);
	return NULL;
}

static json_t *ask_node(int sock, struct sv_error *err)
{
	char *text = NULL;
	json_t *o;

	if (sv_node_stats(sock, &text, err) < 0)
		return NULL;
	o = json_loads(text, 0, NULL);
	free(text);
	if (!o)
		sv_fail(err, EIO, "the node's answer makes no sense");
	return o;
}

/* All about one device, after setting @key (NULL: nothing). @sock: -1: ask the VM process. */
static json_t *ask_device(int sock, const char *vm, const char *device, const char *key,
	const char *value, struct sv_error *err)
{
	char what[256], *text = NULL;
	json_t *o;

	if (sock < 0) {
		snprintf(what, sizeof(what), key ? "device %s %s=%s" : "device %s", device, key, value);
		return ask_vm(vm, what, err);
	}
	if (sv_node_set_device(sock, vm, device, key, value, &text, err) < 0)
		return NULL;
	o = json_loads(text, 0, NULL);
	free(text);
	return o;
}

/* --- all of them ----------------------------------------------------------------------------- */

static void add(json_t *all, const char *vm, const json_t *devices, const char *only)
{
	json_t *d;
	size_t i;

	if (only && strcmp(only, vm) != 0)
		return;
	json_array_foreach((json_t *)(uintptr_t)devices, i, d) {
		json_object_set_new(d, "vm", json_string(vm));
		json_array_append(all, d);
	}
}

static void add_node(json_t *all, const json_t *node, const char *only)
{
	json_t *vm;
	size_t i;

	add(all, OWN, json_object_get(node, "devices"), only);
	json_array_foreach(json_object_get(node, "vms"), i, vm)
		add(all, json_string_value(json_object_get(vm, "vm")), json_object_get(vm, "devices"), only);
}

static bool has_vm(const json_t *node, const char *name)
{
	json_t *vm;
	size_t i;

	if (node && !strcmp(name, OWN))
		return true;
	json_array_foreach(json_object_get(node, "vms"), i, vm) {
		const char *its = json_string_value(json_object_get(vm, "vm"));

		if (its && !strcmp(its, name))
			return true;
	}
	return false;
}

/* The VMs that have a sidecore process of their own. */
static void add_private(json_t *all, const json_t *node, const char *only)
{
	char *text = sv_vmm_list();
	json_t *list = json_loads(text, 0, NULL), *name;
	struct sv_error err;
	size_t i;

	json_array_foreach(list, i, name) {
		const char *vm = json_string_value(name);
		json_t *o;

		if ((only && strcmp(only, vm) != 0) || has_vm(node, vm))
			continue;
		o = ask_vm(vm, "devices", &err);
		if (o && has_vm(o, vm)) {
			/* Its node has no devices of its own. */
			json_object_del(o, "devices");
			add_node(all, o, vm);
		}
		json_decref(o);
	}
	json_decref(list);
	free(text);
}

/* A node with many devices tells names alone. */
static void complete(int sock, json_t *all)
{
	struct sv_error err;
	json_t *d;
	size_t i;

	json_array_foreach(all, i, d) {
		const char *vm = json_string_value(json_object_get(d, "vm"));
		json_t *more = NULL;

		if (json_object_get(d, "qos") || !strcmp(json_string_value(json_object_get(d, "class")), "console"))
			continue;
		more = ask_device(sock, vm, json_string_value(json_object_get(d, "name")), NULL, NULL, &err);
		if (more)
			json_object_update_missing(d, more);
		json_decref(more);
	}
}

static int print(const json_t *o, bool json, void (*text)(const json_t *o))
{
	char *s;

	if (!json) {
		text(o);
		return EXIT_DONE;
	}
	s = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
	puts(s ? s : "");
	free(s);
	return EXIT_DONE;
}

static int list(int sock, const json_t *node, const char *vm, bool json)
{
	json_t *all = json_array();
	struct sv_error err;
	int rc = EXIT_DONE;

	add_node(all, node, vm);
	if (sock >= 0)
		complete(sock, all);
	add_private(all, node, vm);
	if (vm && !json_array_size(all)) {
		sv_fail(&err, ENOENT, "%s: no VM of this name has devices here; `sidevisor ps` lists VMs, "
			"--socket names another node service", vm);
		rc = cli_fail(&err, -ENOENT);
	} else {
		print(all, json, device_print_list);
	}
	json_decref(all);
	return rc;
}

/* --- one of them ----------------------------------------------------------------------------- */

/* What is wrong with the settings that every device has is said before any is sent. */
static int check_settings(char **setting, int n)
{
	struct sv_control_qos scratch = {0};
	struct sv_error err = {""};

	for (int i = 0; i < n; i++) {
		const char *equals = strchr(setting[i], '=');

		if (!equals || equals == setting[i])
			return cli_usage_error("device", "'%s': write KEY=VALUE", setting[i]);
		if (sv_qos_wish_text(&scratch, setting[i], &err) == -EINVAL)
			return cli_usage_error("device", "%s", err.text);
	}
	return -1;
}

static int one(int sock, const char *vm, const char *device, char **setting, int n, bool json)
{
	struct sv_error err = {""};
	json_t *o = n ? NULL : ask_device(sock, vm, device, NULL, NULL, &err);

	for (int i = 0; i < n; i++) {
		char *value = strchr(setting[i], '=');

		*value++ = 0;
		json_decref(o);
		o = ask_device(sock, vm, device, setting[i], value, &err);
		if (!o)
			break;
	}
	if (!o)
		return cli_fail(&err, -EIO);
	json_object_set_new(o, "vm", json_string(vm));
	if (json || !n)
		print(o, json, device_print_one);
	json_decref(o);
	return EXIT_DONE;
}

static int go(const struct node_process *np, char **operand, int n, bool json)
{
	char *vm = n ? operand[0] : NULL, *device = vm ? strchr(vm, '/') : NULL;
	struct sv_error err = {""};
	json_t *node = NULL;
	int rc;

	if (device)
		*device++ = 0;
	if (np->sock >= 0) {
		node = ask_node(np->sock, &err);
		if (!node)
			return cli_fail(&err, -EIO);
	}
	if (!device)
		rc = list(np->sock, node, vm, json);
	else
		rc = one(has_vm(node, vm) ? np->sock : -1, vm, device, operand + 1, n - 1, json);
	json_decref(node);
	return rc;
}

int cli_device(int argc, char **argv)
{
	struct node_process np = {.sock = -1};
	const char *socket = NULL;
	struct sv_error err = {""};
	bool json = false;
	int c, rc;

	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "js:h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_DONE;
		}
		if (c == '?')
			return cli_usage_error("device", "unknown option '%s', or it needs a value",
				argv[optind - 1]);
		json |= c == 'j';
		socket = c == 's' ? optarg : socket;
	}
	if (argc - optind > 1) {
		if (!strchr(argv[optind], '/'))
			return cli_usage_error("device", "'%s': write VM/DEVICE before settings", argv[optind]);
		rc = check_settings(argv + optind + 1, argc - optind - 1);
		if (rc >= 0)
			return rc;
	}
	rc = node_connect(&np, socket, &err);
	if (rc < 0 && (socket || rc != -ENOENT))
		return cli_fail(&err, rc);
	rc = go(&np, argv + optind, argc - optind, json);
	if (np.sock >= 0)
		node_leave(&np);
	return rc;
}
