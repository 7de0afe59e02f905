/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BASE_PIN_H
#define BASE_PIN_H

/*
 * Enter the cpuset behind @join_fd (its list of threads, open for writing; <= 0: none), then run
 * on @cpu alone. In this order: outside an isolated cpuset its CPUs are not to be had.
 * Context: the thread that it is about. Return: 0 or -errno.
 */
int sv_pin_self(int join_fd, int cpu);

#endif
