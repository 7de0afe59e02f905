/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Latencies between cores that were measured on this machine: made by `sidevisor plan --measure`,
 * kept in a file, and used by later plans on a machine of the same identity (docs/placement.md).
 */
#ifndef PLACEMENT_LATENCIES_H
#define PLACEMENT_LATENCIES_H

#include <stddef.h>

#include <base/error.h>
#include <placement/machine.h>

#define SV_LATENCY_CPUS 2048u
#define SV_LATENCY_BYTES (64u << 20)

struct sv_latency_pair {
	int a, b;	 /* CPUs */
	enum sv_near near;
	double ns;	 /* one way; 0: not measured */
};

/*
 * The pairs to measure: of cores, and some of SMT siblings. All when there are at most @most of
 * them; else of each level as many, evenly taken. *pairs: the caller frees it.
 * Return: how many, or -ENOMEM.
 */
int sv_latency_pairs(const struct sv_machine *m, unsigned most, struct sv_latency_pair **pairs);

/* Give them to @m, in place of what it has. Pairs with CPUs that it lacks are left out. */
int sv_latencies_use(struct sv_machine *m, const struct sv_latency_pair *pair, unsigned n,
	struct sv_error *err);

/* Where they are kept: of the machine for root, else of the user. Return: 0 or -ENAMETOOLONG. */
int sv_latencies_path(char *path, size_t bytes);

/* Write the file as a whole, or not at all. Return: 0, or -errno with a sentence. */
int sv_latencies_save(const struct sv_machine *m, const struct sv_latency_pair *pair, unsigned n,
	const char *path, struct sv_error *err);

/*
 * Read a file and use it. Foreign data: bounded and checked. Return: 0; -ENOENT: there is none;
 * -ESTALE: of another machine (only when @m is this one); -EINVAL: broken; each with a sentence.
 */
int sv_latencies_load(struct sv_machine *m, const char *path, struct sv_error *err);

#endif
