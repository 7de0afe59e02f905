/* SPDX-License-Identifier: BSD-3-Clause */
/* The measurements of `sidevisor bench`, one verb each. argv[0] is the verb. Return: exit status. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stddef.h>

#include <base/error.h>

/* What a measurement asks of whoever can run a VM in this process (cli/). */
struct sv_bench_vm {
	/* `sidevisor run` with these arguments, argv[0] = "run". Return: its exit status. */
	int (*run)(int argc, char **argv);
	/* After it: the CPUs it used. */
	int (*guest_cpu)(void);
	int (*sidecore_cpu)(void);
	/* Where `paging: auto` of this profile, a file or a guest's name, looks. Return: 0 or -errno. */
	int (*record_path)(const char *profile, char *path, size_t bytes, struct sv_error *err);
};

int sv_bench_exit(int argc, char **argv, const struct sv_bench_vm *vm);
int sv_bench_paging(int argc, char **argv, const struct sv_bench_vm *vm);
int sv_bench_io(int argc, char **argv);
int sv_bench_net(int argc, char **argv);
int sv_bench_start(int argc, char **argv);
int sv_bench_plan(int argc, char **argv);
int sv_bench_channel(int argc, char **argv);
int sv_bench_fairness(int argc, char **argv);
int sv_bench_restart(int argc, char **argv);
int sv_bench_scale(int argc, char **argv);

/* Where the lightweight kernel's ELF is: SIDEVISOR_LWK, the build tree, or where it is installed. */
const char *sv_bench_lwk_path(void);

#endif
