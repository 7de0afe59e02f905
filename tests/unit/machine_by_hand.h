/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine without KVM, for tests: guest memory in an anonymous mapping, and a configuration. */
#ifndef TESTS_MACHINE_BY_HAND_H
#define TESTS_MACHINE_BY_HAND_H

#include <stddef.h>

#include "vm.h"

#define MIB (1ull << 20)

struct by_hand {
	struct sv_vm_config config;
	struct sv_vm vm;
};

/* @low and @high: bytes of RAM below and above 4 GiB; one node, one thread per core. */
struct by_hand *by_hand_new(uint64_t low, uint64_t high, unsigned vcpus);
void by_hand_free(struct by_hand *m);
/*
 * Three cores of each of four L3s: the fourth of each is a sidecore. Two packages, a node each; the last
 * core is an SMT pair, and the second L3 has but two cores. Memory 1 : 3.
 */
void by_hand_asymmetric(struct by_hand *m);
void by_hand_topology(struct by_hand *m, unsigned sockets, unsigned dies, unsigned cores,
	unsigned threads, unsigned nodes);

/* Is all of guest memory still zero? */
bool by_hand_untouched(const struct by_hand *m);
/* The same for [gpa, gpa + bytes). */
bool by_hand_zero(const struct by_hand *m, uint64_t gpa, uint64_t bytes);

/* Write a temporary file; returns its path, valid until the next-but-three call. */
const char *by_hand_file(const char *name, const void *bytes, size_t n);
/* Fresh directory for the files of this test program, removed at exit. */
const char *by_hand_dir(void);

#endif
