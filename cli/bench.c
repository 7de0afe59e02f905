/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bench/bench.h>

#include "cli.h"
#include "paging_auto.h"

static const char help[] = "usage: sidevisor bench NAME [OPTION...]\n\n"
			   "  channel  the ring against other queues, and against the bare cache line\n"
			   "  exit     what an exit costs here, and what a round trip of the ring costs\n"
			   "  fairness what disks of one sidecore do to each other\n"
			   "  io       our disks against other back ends, under fio in a Linux guest\n"
			   "  net      our switch between two Linux guests, polling and woken\n"
			   "  paging   a page-table update by request, by exit, by trap\n"
			   "  plan     placing guests on machines of up to thousands of cores\n"
			   "  restart  how long disks are away when `serve` is killed and started again\n"
			   "  scale    64 disks of 16 guests on one sidecore\n"
			   "  start    from `run` to the first guest instruction, and the VM process's memory\n"
			   "\n`sidevisor bench NAME --help` says more.\n";

int cli_bench(int argc, char **argv)
{
	static const struct sv_bench_vm vm = {.run = cli_run,
		.guest_cpu = cli_run_guest_cpu,
		.sidecore_cpu = cli_run_sidecore_cpu,
		.record_path = paging_auto_record_of};

	/* Guests come and go in a measurement: the host is not changed for each, unless asked to. */
	setenv("SIDEVISOR_ISOLATE", "none", 0);
	if (argc < 2)
		return cli_usage_error("bench",
			"which one: channel, exit, fairness, io, net, paging, plan, restart, scale or start?");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		fputs(help, stdout);
		return EXIT_DONE;
	}
	if (!strcmp(argv[1], "channel"))
		return sv_bench_channel(argc - 1, argv + 1);
	if (!strcmp(argv[1], "exit"))
		return sv_bench_exit(argc - 1, argv + 1, &vm);
	if (!strcmp(argv[1], "io"))
		return sv_bench_io(argc - 1, argv + 1);
	if (!strcmp(argv[1], "fairness"))
		return sv_bench_fairness(argc - 1, argv + 1);
	if (!strcmp(argv[1], "scale"))
		return sv_bench_scale(argc - 1, argv + 1);
	if (!strcmp(argv[1], "net"))
		return sv_bench_net(argc - 1, argv + 1);
	if (!strcmp(argv[1], "paging"))
		return sv_bench_paging(argc - 1, argv + 1, &vm);
	if (!strcmp(argv[1], "plan"))
		return sv_bench_plan(argc - 1, argv + 1);
	if (!strcmp(argv[1], "restart"))
		return sv_bench_restart(argc - 1, argv + 1);
	if (!strcmp(argv[1], "start"))
		return sv_bench_start(argc - 1, argv + 1);
	return cli_usage_error("bench", "unknown measurement '%s'", argv[1]);
}
