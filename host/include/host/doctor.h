/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What on this node would spoil guests and sidecores: read, never changed.
 *
 * Every reading goes through a root, so that tests examine made-up nodes. What cannot be read is a
 * finding of its own, "unknown", never a guess.
 */
#ifndef HOST_DOCTOR_H
#define HOST_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include <host/cpus.h>

#define SV_FINDINGS 64u

enum sv_severity {
	SV_SEVERITY_PROBLEM, /* guests do not run, or not safely */
	SV_SEVERITY_WARNING, /* it costs something that is worth a change */
	SV_SEVERITY_NOTE,    /* good to know */
	SV_SEVERITY_UNKNOWN, /* could not be read */
	SV_SEVERITY_OK,
	SV_SEVERITIES,
};

struct sv_finding {
	const char *id; /* stable, such as "transparent-huge-pages" */
	enum sv_severity severity;
	char what[200];	  /* what was found */
	char cost[240];	  /* what it costs; empty: nothing */
	char remedy[240]; /* a command; empty: none */
	bool matters;	  /* for the guests that were asked about */
};

struct sv_examination {
	const char *root;	  /* "" in life */
	struct sv_cpus guest;	  /* empty: not planned yet; then all CPUs are looked at */
	struct sv_cpus sidecore;
	bool untrusted;		  /* guests or neighbours that do not trust each other */
	uint64_t memory_bytes;	  /* of the guests; 0: not said */
	const char *kvm;	  /* the device; NULL: /dev/kvm below the root is not opened */
};

struct sv_findings {
	struct sv_finding finding[SV_FINDINGS];
	unsigned n;
};

/*
 * Examine, the worst first. Context: any thread; takes as long as reading a few hundred small files
 * and, for the load of cores, 200 ms when the root is this machine's.
 */
void sv_doctor_examine(const struct sv_examination *e, struct sv_findings *out);

const char *sv_severity_name(enum sv_severity severity);

/* --- noise ------------------------------------------------------------------------------------- */

/*
 * Fixed work quanta: a thread on one CPU does the same work again and again and takes the time of each. What
 * is above the shortest is lost to interrupts, other threads, frequency changes and the hypervisor
 * below (method: FWQ of the Sequoia benchmarks; Petrini, Kerbyson and Pakin, SC'03; Hoefler,
 * Schneider and Lumsdaine, SC'10).
 */
#define SV_NOISE_BUCKETS 16u

struct sv_noise {
	int cpu;
	unsigned quanta;
	/* Quanta by what they took beyond the shortest: [0] below 1 us, [i] below 2^i us, the last all else. */
	unsigned bucket[SV_NOISE_BUCKETS];
	double least_us, p50_us, p99_us, p9999_us, worst_us;
	double lost; /* share of time above the shortest quantum, 0 to 1 */
};

/* From times of quanta in microseconds, which are sorted by it. @n at least 1. */
void sv_noise_from(double *us, unsigned n, struct sv_noise *out);
/*
 * Measure on @cpu for @seconds. Context: it makes a thread and waits for it, a second longer at most
 * than asked. Return: 0, or -errno (-EINVAL: this process may not run there).
 */
int sv_noise_measure(int cpu, double seconds, struct sv_noise *out);

#endif
