/* SPDX-License-Identifier: BSD-3-Clause */
/* The measurements of `sidevisor bench`, one verb each. argv[0] is the verb. Return: exit status. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

int sv_bench_exit(int argc, char **argv);
int sv_bench_channel(int argc, char **argv);
int sv_bench_start(int argc, char **argv);

#endif
