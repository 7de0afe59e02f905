/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct {
	const char *verb;
	int (*main)(int argc, char **argv);
	const char *what;
} verbs[] = {
	{"run", cli_run, "run a guest"},
	{"plan", cli_plan, "which cores should be sidecores, and why"},
	{"profile", cli_profile, "check, show and import guest and node profiles"},
	{"serve", cli_serve, "run this node's sidecores"},
	{"doctor", cli_doctor, "is this node ready, what it costs, and the remedy"},
	{"bench", cli_bench, "measure: exit against ring, channel against its peers"},
	{"stats", cli_stats, "what a running VM counts"},
	{"dirty", cli_dirty, "what a guest writes: track it, and prove that none is missed"},
	{"memory", cli_memory, "how much memory a guest shall have, and has given back"},
	{"ps", cli_ps, "the running VMs"},
	{"device", cli_device, "what virtual devices count and may take, and changing it"},
	{"restore-host", cli_restore, "undo what a crash left changed on this host"},
	{"stop", cli_control, "stop a VM"},
	{"pause", cli_control, "keep a VM's vCPUs out of the guest"},
	{"resume", cli_control, "let them in again"},
};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void usage(FILE *f)
{
	fprintf(f, "usage: sidevisor VERB [OPTION...]\n\n"
		   "A hypervisor that moves the work of exits to sidecores.\n\n");
	for (size_t i = 0; i < VERBS; i++)
		fprintf(f, "  %-12s %s\n", verbs[i].verb, verbs[i].what);
	fprintf(f, "\n`sidevisor VERB --help` says more. Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return EXIT_DONE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("sidevisor " SV_VERSION);
		return EXIT_DONE;
	}
	if (!strcmp(argv[1], "dial"))
		return cli_dial(argc - 1, argv + 1);
	for (size_t i = 0; i < VERBS; i++)
		if (!strcmp(argv[1], verbs[i].verb))
			return verbs[i].main(argc - 1, argv + 1);
	fprintf(stderr, "sidevisor: unknown verb '%s' (see `sidevisor --help`)\n", argv[1]);
	return EXIT_USAGE;
}
